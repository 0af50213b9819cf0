"""What the runs of an attack must satisfy: equal again, honest counters, kept limits, any picture, clear refusals."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from iqa_robustness.attacks.base import Attack, AttackResult
from iqa_robustness.conformance.attack_subject import IDS, STRENGTHS, AttackSubject
from iqa_robustness.conformance.check import require
from iqa_robustness.conformance.pictures import extremes
from iqa_robustness.conformance.targets import Fragile, Noisy
from iqa_robustness.errors import CapabilityError, ConformanceError, NonFiniteScoreError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams

RESULT = ("images", "clean", "values", "clean_values", "forwards", "backwards", "responded", "gradient_nonzero")
SIZES = ((64, 64), (33, 47), (50, 32))
LIMITS = (8, 13)
_EVERY = (0, 1, 2)
_DRAWN = 100
_STREAMS = "draw from `streams` alone, image by image, and let no image's step depend on another image"


def repeatable(subject: AttackSubject) -> str:
    """Four runs with few queries."""
    attack = subject.frugal()
    for target in (subject.reference_metric(), Noisy(subject.reference_metric())):
        again = _attacked(subject, attack, target, _EVERY)
        _check_equal(_whole(subject, attack, target), again, _EVERY, "a second time", attack)
    return "equal bits, on a random metric too"


def company(subject: AttackSubject) -> str:
    """Eight further runs with few queries."""
    plain, noisy = subject.reference_metric(), Noisy(subject.reference_metric())
    places = [("medium", plain, (2, 0, 1)), ("medium", plain, (1,)), ("medium", noisy, (1,))]
    # What holds on a random metric holds on another: only there every row's draws must be its own.
    places += [(strength, noisy, (2, 0, 1)) for strength in STRENGTHS]
    for strength, target, rows in places:
        attack = subject.frugal(strength)
        part = _attacked(subject, attack, target, rows)
        _check_equal(_whole(subject, attack, target), part, rows, "in another place or other company", attack)
    return "equal bits, on a random metric too"


def counters(subject: AttackSubject) -> str:
    """Eight runs with few queries: together and one by one, without and with `paper`."""
    for paper in (False, True):
        attack, clean = subject.frugal(paper=paper), subject.photographs()
        metric = subject.counted()
        result = attack(metric, clean, ids=IDS)
        counted = (int(result.forwards.sum()), int(result.backwards.sum()))
        require(
            counted == (metric.forwards, metric.backwards),
            f"it counts {counted[0]} forwards and {counted[1]} backwards, the metric saw {metric.forwards} and "
            f"{metric.backwards} ({attack!r})",
            fix="reach the metric through the objective alone, which counts",
        )
        require(
            attack.access == "white-box" or metric.backwards == 0,
            f"it is declared black-box, and takes {metric.backwards} gradients ({attack!r})",
            fix='declare access = "white-box", or use `objective.values` alone',
        )
        allowed = getattr(attack, "queries", None)
        require(
            allowed is None or int(result.forwards.max()) <= allowed,
            f"an image spends {int(result.forwards.max())} forwards, queries={allowed} allows fewer",
            fix="count the clean image, and stop in time",
        )
        for row, name in enumerate(IDS):
            alone = subject.counted()
            attack(alone, clean[row : row + 1], ids=[name])
            share = (int(result.forwards[row]), int(result.backwards[row]))
            require(
                (alone.forwards, alone.backwards) == share,
                f"image {name} costs {alone.forwards} forwards and {alone.backwards} backwards alone, {share[0]} and "
                f"{share[1]} beside others ({attack!r})",
                fix="let an image that has finished spend nothing more: ask with `rows`",
            )
    medium = subject.run("medium")
    return f"{medium.forwards / len(IDS):.0f} forwards and {medium.backwards / len(IDS):.0f} backwards an image"


def limits(subject: AttackSubject) -> str:
    """Eight runs of a few forward passes; as many more as it has encoders for each value."""
    for paper in (False, True):
        attack, clean = subject.made(paper=paper), subject.photographs(2)
        for limit in (queries * len(attack.encoders) for queries in LIMITS):
            for row in range(len(clean)):
                metric = subject.counted()
                result = attack(metric, clean[row : row + 1], max_forwards=limit)
                require(
                    metric.forwards <= limit,
                    f"with max_forwards={limit} the metric scores an image {metric.forwards} times ({attack!r})",
                    fix="reach the metric through the objective, and let BudgetExhausted pass",
                )
                sound = bool(torch.isfinite(result.values).all())
                require(
                    sound and not bool(attack.budget.violations(result.images, result.clean).any()),
                    f"with max_forwards={limit} the result is outside the budget, or has no finite value ({attack!r})",
                    fix="let BudgetExhausted pass: the template returns the best allowed image",
                )
    return f"{LIMITS[0]} and {LIMITS[1]} values of an image"


def entrants(subject: AttackSubject) -> str:
    """No run: whom an attack would leave out. (That they are left alone is the template's business.)"""
    attack, names = subject.chosen(), [f"image-{number}" for number in range(_DRAWN)]
    together = attack.entrants(Streams("entrants", names, device=subject.device))
    if together is None:
        return "every image"
    alone = [attack.entrants(Streams("entrants", [name], device=subject.device)) for name in names]
    require(
        all(one is not None and bool(one) == bool(many) for one, many in zip(alone, together, strict=True)),
        f"whether an image is attacked depends on its companions ({attack!r})",
        fix=_STREAMS,
    )
    return f"{float(together.float().mean()):.0%} of {_DRAWN} images"


def any_size(subject: AttackSubject) -> str:
    """One run with few queries for each of three sizes."""
    for height, width in SIZES:
        attack = subject.frugal(size=(height, width))
        result = attack(subject.reference_metric(), subject.photographs(1, height, width))
        require(
            result.images.shape == (1, 3, height, width) and float(result.values) > float(result.clean_values),
            f"a picture of {height} x {width} becomes {tuple(result.images.shape[2:])} and gains "
            f"{float(result.values) - float(result.clean_values):.2%}",
            fix="take height and width from the images, and end patches at the edge",
        )
    return ", ".join(f"{height} x {width}" for height, width in SIZES)


def extreme_pictures(subject: AttackSubject) -> str:
    """One run with few queries."""
    attack, clean = subject.frugal(), extremes().to(subject.device)
    result = attack(subject.reference_metric(), clean)
    require(
        bool((result.values >= result.clean_values).all())
        and not bool(attack.budget.violations(result.images, clean).any()),
        "a black, white, grey or noise picture leaves the budget or becomes worse than it was",
        fix="divide by no norm that can be zero; clamp to [0, 1]",
    )
    return "black, white, grey, noise"


def no_images(subject: AttackSubject) -> str:
    """Two runs, one of them on nothing."""
    metric = subject.counted()
    empty = subject.photographs(1)[:0]
    shape = tuple(subject.frugal()(metric, empty).images.shape)
    require(
        shape == tuple(empty.shape) and metric.forwards == 0,
        f"of no images it makes {shape}, with {metric.forwards} forwards",
        fix="return early when there are no rows",
    )
    clean = subject.photographs(2)
    before = clean.clone()
    subject.frugal()(subject.reference_metric(), clean)
    require(torch.equal(clean, before), "the caller's images were changed", fix="work on a copy")
    return ""


def queries_only(subject: AttackSubject) -> str:
    """One run of a black-box attack; none of a white-box attack, which is to be refused."""
    metric, attack = subject.counted(name="remote", access="query-only"), subject.made()
    if attack.access == "black-box":
        result = attack(metric, subject.photographs(1))
        require(
            float(result.values) > float(result.clean_values) and metric.backwards == 0,
            f"on a metric without gradients it gains {float(result.values) - float(result.clean_values):.2%} and takes "
            f"{metric.backwards} gradients",
            fix="use `objective.values` alone",
        )
        return "works"
    try:
        attack(metric, subject.photographs(1))
    except CapabilityError as error:
        named = (error.where.metric, error.where.attack) == ("remote", attack.name)
        require(
            named and metric.forwards == 0,
            f"it is refused after {metric.forwards} forwards, as {error.where}",
            fix="leave the refusal to the template",
        )
        return "says so"
    raise ConformanceError(
        "it needs gradients, and does not refuse a metric that has none",
        fix='declare access = "white-box", and leave the refusal to the template',
    )


def named_nan(subject: AttackSubject) -> str:
    """One run with few queries, to the first NaN."""
    clean = subject.photographs(2)
    target, attack = Fragile(subject.reference_metric(), clean, row=1), subject.frugal()
    try:
        attack(target, clean, ids=["good", "bad"])
    except NonFiniteScoreError as error:
        where = error.where
        require(
            (where.metric, where.attack, where.image) == (target.spec.name, attack.name, "bad"),
            f"a score that is NaN is reported of {where}, not of the image that has it",
            fix="give `rows` with candidates, so that the objective knows whose they are",
        )
        return ""
    raise ConformanceError(
        "a metric that answers NaN for every changed version of an image is not noticed",
        fix="ask the objective about candidates, and let its errors pass",
    )


def _whole(subject: AttackSubject, attack: Attack, metric: Metric) -> AttackResult:
    """The attack on every picture, done once for each kind of metric."""
    return subject.once((attack, metric.spec.name), lambda: _attacked(subject, attack, metric, _EVERY))


def _attacked(subject: AttackSubject, attack: Attack, metric: Metric, rows: Sequence[int]) -> AttackResult:
    clean = subject.photographs()[list(rows)]
    ids = [IDS[row] for row in rows]
    return attack(metric, clean, ids=ids, seed=5, key="cell", draws=2, micro_batch=2)


def _check_equal(whole: AttackResult, part: AttackResult, rows: Sequence[int], when: str, attack: Attack) -> None:
    for field in RESULT:
        require(
            torch.equal(getattr(part, field), getattr(whole, field)[list(rows)]),
            f"an image attacked {when} has other {field.replace('_', ' ')} ({attack!r})",
            fix=_STREAMS,
        )
