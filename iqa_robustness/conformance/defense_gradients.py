"""What an adaptive attack needs of a defense: a gradient that is right, or a surrogate with one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.conformance.check import NotApplicable, require
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.defenses.base import Defense, Purification
from iqa_robustness.errors import ConformanceError, DefenseContractError
from iqa_robustness.metrics.scoring import Scorer

SIZES = ((48, 64), (33, 47))
GAIN = 0.01
_SLOPE = (
    "compute in torch without detach() or no_grad(); a defense without a gradient declares differentiable = False, and "
    "its `surrogate` gives the slope (BPDA)"
)


def gradients(subject: DefenseSubject) -> str:
    """Three photographs of each of two sizes, with gradients and without."""
    defense = subject.made()
    scorer = subject.guarded(defense)
    for height, width in SIZES:
        images = subject.photographs(3, height, width, defense=defense)
        scores, slopes = scorer.scores_and_gradients(images, streams=subject.streams("abc"))
        require(
            bool(torch.isfinite(slopes).all()) and bool((slopes.flatten(1).norm(dim=1) > 0).all()),
            f"the gradient at a photograph of {height} x {width} is zero or not finite",
            fix=_SLOPE,
        )
        queried = scorer.scores(images, streams=subject.streams("abc"))
        require(
            torch.allclose(scores, queried, rtol=1e-5),
            f"with gradients the scores are {scores.tolist()}, without {queried.tolist()}",
            fix="compute the same whether or not the input requires gradients: a surrogate changes the slope alone",
        )
    return "through the defense" if defense.differentiable else "through its surrogate"


def finite_differences(subject: DefenseSubject) -> str:
    """Two photographs with gradients, and two steps of each; in float64 where the defense computes in that."""
    defense = subject.made()
    if not defense.differentiable:
        raise NotApplicable("it is not differentiable")
    images = _inner(subject, defense)
    try:
        # Steps that are too small to change which pixel is a median, say.
        return _compared(subject, defense, images, step=1e-7, tolerance=1e-3)
    except (RuntimeError, TypeError, DefenseContractError):  # a network in float32
        return _compared(subject, defense, images.float(), step=2e-3, tolerance=0.02)


def _inner(subject: DefenseSubject, defense: Defense) -> Tensor:
    """Two float64 photographs away from the ends, where noise is clipped, without equal neighbours."""
    images = 0.3 + 0.4 * subject.photographs(2, defense=defense).double()
    return images + 1e-3 * torch.from_numpy(np.random.RandomState(1).uniform(size=images.shape)).to(images.device)


def _compared(subject: DefenseSubject, defense: Defense, images: Tensor, *, step: float, tolerance: float) -> str:
    metric = subject.reference_metric().to(images.dtype)
    scorer = Scorer(metric=defense.protect(metric), micro_batch=2)
    _, slopes = scorer.scores_and_gradients(images, streams=subject.streams("ab"))
    random = torch.from_numpy(np.random.RandomState(0).uniform(size=images.shape)).to(images)
    change = step * random * slopes.sign()
    slope = (slopes * change).flatten(1).sum(dim=1)
    higher, lower = (scorer.scores(images + sign * change, streams=subject.streams("ab")) for sign in (1, -1))
    measured = (higher - lower) / 2
    require(bool((slope > 0).all()), "there is no gradient other than zero to compare with", fix=_SLOPE)
    require(
        torch.allclose(measured, slope, rtol=tolerance),
        f"a small step changes the scores by {measured.tolist()}, the gradient says {slope.tolist()}",
        fix="declare differentiable = False and name a `surrogate`, or look for detach() and rounding",
    )
    return f"within {float((measured / slope - 1).abs().max()):.1%}"


def surrogate(subject: DefenseSubject) -> str:
    """Two photographs through the defense and its surrogate."""
    defense = subject.made()
    if defense.differentiable:
        raise NotApplicable("it is differentiable")
    if not isinstance(defense, Purification):
        raise NotApplicable("it purifies no image")
    require(
        bool(defense.surrogate_name),
        "the surrogate has no name",
        fix="set surrogate_name: ClassVar[str]; records say by which surrogate an attack got through",
    )
    leaf = subject.photographs(2, defense=defense).requires_grad_(True)
    try:
        applied = defense.applied(leaf, streams=subject.streams("ab"))
    except DefenseContractError as error:
        raise ConformanceError(error.what, fix=error.fix) from error
    require(
        torch.equal(applied.detach(), defense.purify(leaf.detach(), streams=subject.streams("ab"))),
        "with gradients the purified image is another one than without",
        fix="leave `applied` alone: the surrogate changes the slope only",
    )
    weights = torch.linspace(-1, 1, applied.shape[-1], device=leaf.device)
    (slope,) = torch.autograd.grad((applied * weights).sum(), leaf)
    require(
        bool(torch.isfinite(slope).all()) and bool((slope.flatten(1).norm(dim=1) > 0).all()),
        "the surrogate's gradient is zero or not finite",
        fix="compute it in torch from its input; the identity will do",
    )
    return defense.surrogate_name


def adaptive_attack(subject: DefenseSubject) -> str:
    """A strong ifgsm on two photographs: about a dozen forwards of each, twice as many where it is random."""
    defense = subject.made()
    guarded = defense.protect(subject.reference_metric())
    attack = attacks.create("ifgsm", strength="strong")
    result = attack(guarded, subject.photographs(2, defense=defense), draws=2, micro_batch=2)
    gain = float((result.values - result.clean_values).mean())
    require(
        bool(result.gradient_finite.all() and result.gradient_nonzero.all())
        and bool((result.values >= result.clean_values).all())
        and gain > GAIN,
        f"a strong ifgsm moves a vulnerable metric behind it by {gain:.2%} of the range",
        fix="either it withstands, and no gradient helps against it, or the attack cannot see through it: name a "
        "`surrogate` that follows the defense, and draw noise from `streams` so that draws can be averaged",
    )
    return f"gains {gain:.1%} of the range"
