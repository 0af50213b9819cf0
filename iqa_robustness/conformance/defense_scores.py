"""What the scores behind a defense must satisfy: repeatable, random only where declared, at any size, certified."""

from __future__ import annotations

import dataclasses

import torch

from iqa_robustness.conformance.check import NotApplicable, require
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.errors import ConformanceError, IqaRobustnessError

SIZES = ((64, 64), (33, 47), (50, 32), (48, 129))
_STREAMS = "draw from `streams`, one generator an image, never from a global one; let no image depend on another"


def repeatable(subject: DefenseSubject) -> str:
    """Each variant: four photographs, three times in other orders, and one alone."""
    for defense in subject.every:
        images = subject.photographs(4, defense=defense)
        scorer = subject.guarded(defense)
        whole = scorer.scores(images, streams=subject.streams("abcd"))
        require(
            whole.shape == (4,) and bool(torch.isfinite(whole).all()),
            f"scores of four photographs are {whole.tolist()} ({defense!r})",
            fix="return one score an image; purify into finite values",
        )
        for rows in ([0, 1, 2, 3], [3, 1, 0, 2], [2], [1, 3, 2]):
            part = scorer.scores(images[rows], streams=subject.streams("".join("abcd"[row] for row in rows)))
            require(
                torch.equal(part, whole[rows]),
                f"scores change with the order or the company of images: {whole[rows].tolist()}, then {part.tolist()} "
                f"({defense!r})",
                fix=_STREAMS,
            )
    return "equal bits"


def randomness(subject: DefenseSubject) -> str:
    """Three scores of two photographs; four more where it is random."""
    defense = subject.made()
    images = subject.photographs(2, 64, 80, defense=defense)
    scorer = subject.guarded(defense)
    devices = [torch.device(subject.device)] if torch.device(subject.device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        first = scorer.scores(images, streams=subject.streams("ab", "one"))
        torch.manual_seed(1)
        again = scorer.scores(images, streams=subject.streams("ab", "one"))
    require(torch.equal(first, again), "with equal streams the scores differ", fix=_STREAMS)
    other = scorer.scores(images, streams=subject.streams("ab", "two"))
    changes = not torch.equal(first, other)
    require(
        changes is defense.stochastic,
        f"it is declared stochastic={defense.stochastic}, and the scores {'' if changes else 'do not '}depend on the "
        "streams",
        fix=f"declare stochastic = {changes}",
    )
    if not defense.stochastic:
        return "not random"
    streams = subject.streams("ab")
    draws = torch.stack([scorer.scores(images, streams=streams) for _ in range(4)])
    require(
        bool((draws.std(dim=0) > 0).all()),
        "asked again with the streams it has, it draws the same",
        fix="draw from the streams that are given, not from a fork of them: attacks average over draws (EOT)",
    )
    try:
        scorer.scores(images)
    except IqaRobustnessError:
        return "from the streams"
    raise ConformanceError(
        "without streams it scores all the same",
        fix="raise ConfigurationError when `streams` is None: a default generator would hide who forgot them",
    )


def any_size(subject: DefenseSubject) -> str:
    """Two photographs of each of four sizes."""
    defense = subject.made()
    scorer = subject.guarded(defense)
    for height, width in SIZES:
        images = subject.photographs(2, height, width, defense=defense)
        scores = scorer.scores(images, streams=subject.streams("ab"))
        require(
            bool(torch.isfinite(scores).all()),
            f"photographs of {height} x {width} get the scores {scores.tolist()}",
            fix="pad to what the defense needs and cut back",
        )
    least = subject.least(defense)
    return f"from {least} x {least} pixels" if least else ", ".join(f"{height} x {width}" for height, width in SIZES)


def certificates(subject: DefenseSubject) -> str:
    """Certificates of three photographs, and of two of them again, with 20 samples each."""
    if subject.kind.kind != "certified":
        raise NotApplicable("it certifies nothing")
    guarded = subject.made().protect(subject.reference_metric())
    certify = getattr(guarded, "certify", None)
    if certify is None:
        raise ConformanceError(
            "it is declared certified, and its metric has no `certify`",
            fix="return a SmoothedMetric (iqa_robustness.defenses.certified.smoothing), or a metric with `certify`",
        )
    images = subject.photographs(3)
    whole = certify(images, streams=subject.streams("abc"), micro_batch=5)
    known = ~whole.abstained
    # A certified class has no bounds.
    bounded = known & (whole.classes < 0)
    ordered = (whole.lower[bounded] <= whole.scores[bounded]) & (whole.scores[bounded] <= whole.upper[bounded])
    require(
        bool(torch.isfinite(whole.scores).all() and ordered.all()),
        f"bounds and scores are out of order: {whole.lower.tolist()}, {whole.scores.tolist()}, {whole.upper.tolist()}",
        fix="take bounds and estimate from the same draws; an image without bounds is one that abstains",
    )
    require(
        bool((whole.radius >= 0).all() and (whole.radius[whole.abstained] == 0).all()),
        f"radii are {whole.radius.tolist()}",
        fix="a radius is not negative, and 0 where it abstains",
    )
    part = certify(images[[2, 0]], streams=subject.streams("ca"), micro_batch=5)
    for field in dataclasses.fields(whole):
        ours, theirs = getattr(part, field.name), getattr(whole, field.name)[[2, 0]]
        require(
            torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)),
            f"the certificates' {field.name} of an image change with its company",
            fix=_STREAMS,
        )
    return f"{int(known.sum())} of 3 certified with few samples"
