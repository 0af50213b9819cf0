"""What the gradients of a white-box metric must satisfy: attacks climb them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.conformance.check import NotApplicable, require
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.conformance.pictures import SMALL, extremes, photographs
from iqa_robustness.metrics.probe import BATCH_TOLERANCE

# Share of the range that a step of finite differences moves the score by, one way: few kinks lie on so short a way.
STEP = 0.001
STEP_TOLERANCE = 0.03
# A shift in grey levels that rounding to whole levels undoes.
_BELOW_ROUNDING = 0.3 / 255
_ACCESS = 'a metric without gradients declares access="query-only" in its spec'


def gradients(subject: MetricSubject, *, size: tuple[int, int] = SMALL) -> str:
    """Two forwards with backwards, two forwards."""
    _check_white_box(subject)
    images = _inner(subject, size)
    scores, slopes = subject.scores_and_gradients(images, micro_batch=2)
    _check_finite(slopes, "a photograph")
    norms = slopes.flatten(1).norm(dim=1)
    require(
        bool((norms > 0).all()),
        "the gradient of a photograph's score is zero everywhere",
        fix=f"compute in torch from the input on: no detach(), no_grad, NumPy, rounding or clamping; {_ACCESS}",
    )
    _check_agreement(subject, scores, subject.scores(images, micro_batch=2))
    return f"norm {float(norms.min()) / subject.metric.spec.diam:.2g} of the range for each unit of the image"


def finite_differences(subject: MetricSubject, *, size: tuple[int, int] = SMALL) -> str:
    """Two forwards with backwards, four forwards; four more where they disagree."""
    _check_white_box(subject)
    images, diam = _inner(subject, size), subject.metric.spec.diam
    _, slopes = subject.scores_and_gradients(images, micro_batch=2)
    # A random direction that is not nearly orthogonal to the gradient: there, float32 noise is all one would see.
    random = torch.from_numpy(np.random.RandomState(0).uniform(size=images.shape).astype(np.float32)).to(images.device)
    direction = random * slopes.sign()
    slope = (slopes.double() * direction).flatten(1).sum(dim=1)
    require(
        bool((torch.isfinite(slope) & (slope > 0)).all()),
        "there is no finite gradient other than zero to compare with",
        fix=_ACCESS,
    )
    step = (STEP * diam / slope).float()[:, None, None, None] * direction
    higher, lower = (subject.scores(images + sign * step, micro_batch=2) for sign in (1, -1))
    ratios = (higher - lower).double() / (2 * STEP * diam)
    worst = float((ratios - 1).abs().max())
    if not worst <= STEP_TOLERANCE and _rounds(subject, size):
        raise NotApplicable("it rounds its input to whole grey levels: a smaller step changes nothing")
    said = ", ".join(f"{float(ratio):.3f}" for ratio in ratios)
    require(
        worst <= STEP_TOLERANCE,
        f"a small step along the gradient changes the score by {said} times what the gradient says",
        fix="look for detach(), an in-place change, a wrong `backward` of a function of your own, or noise that is not "
        "drawn from `streams`",
    )
    return f"{said} times the slope"


def extreme_gradients(subject: MetricSubject) -> str:
    """Five forwards with backwards, five forwards."""
    _check_white_box(subject)
    images = subject.to_device(extremes(*subject.enough(*SMALL)))
    scores, slopes = subject.scores_and_gradients(images, micro_batch=len(images))
    _check_finite(slopes, "a black, white, grey or noise picture")
    _check_agreement(subject, scores, subject.scores(images, micro_batch=len(images)))
    return "black, white, grey, noise"


def _inner(subject: MetricSubject, size: tuple[int, int]) -> Tensor:
    """Two photographs away from black and white, so that a step stays within [0, 1]."""
    return subject.pictures(2, size).clamp(0.1, 0.9)


def _check_white_box(subject: MetricSubject) -> None:
    if subject.metric.spec.access == "query-only":
        raise NotApplicable("it answers queries only")


def _check_finite(slopes: Tensor, what: str) -> None:
    require(
        bool(torch.isfinite(slopes).all()),
        f"the gradient at {what} is not finite",
        fix="look for the root or logarithm of zero, or the deviation of a flat picture: add a small constant inside "
        "the root, not behind it",
    )


def _check_agreement(subject: MetricSubject, scores: Tensor, queried: Tensor) -> None:
    difference = float((scores - queried).abs().max()) / subject.metric.spec.diam
    require(
        difference <= BATCH_TOLERANCE,
        f"with gradients the score is another than without, by {difference:.2g} of the range "
        f"({BATCH_TOLERANCE:g} allowed)",
        fix="compute the same whether or not the input requires gradients",
    )


def _rounds(subject: MetricSubject, size: tuple[int, int]) -> bool:
    """Whether a shift of less than half a level changes no score at all: of grey pictures, whatever makes them grey."""
    levels = (photographs(2, *subject.enough(*size)).mean(dim=1, keepdim=True) * 255).round().clamp(8, 247)
    grey = subject.to_device((levels / 255).expand(-1, 3, -1, -1).contiguous())
    pattern = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (1, 1, *grey.shape[2:])).astype(np.float32))
    shifted = grey + _BELOW_ROUNDING * pattern.to(grey.device)
    return torch.equal(subject.scores(grey, micro_batch=2), subject.scores(shifted, micro_batch=2))
