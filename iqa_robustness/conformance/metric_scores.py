"""What a metric's scores must satisfy: at every size, on extreme pictures, about the declared range and direction."""

from __future__ import annotations

import torch
from torch import Tensor

from iqa_robustness.conformance.check import require
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.conformance.pictures import CONTENTS, SMALL, extremes
from iqa_robustness.errors import ConformanceError, ImageContractError, ProgramCrashError
from iqa_robustness.metrics.ranges import Ranges

SIZES = ((64, 64), (224, 224), (192, 256), (65, 97))
TINY = ((1, 1), (7, 9), (16, 16), (31, 200))
# Shares of the range: what scores may leave it by, what they span at least, and what clean pictures lead by at least.
MARGIN, SPREAD, LEAD = 0.25, 0.02, 0.05
_SMALL = (
    "in forward, enlarge small pictures or refuse them: `enlarged` and `refuse_smaller` of "
    "iqa_robustness.metrics.preparation"
)
_UNDEFINED = "look for a division by zero (a flat picture has no variance), a logarithm or a square root of zero"
_CALIBRATE = "measure it with `iqa-robustness calibrate`"


def sizes(subject: MetricSubject) -> str:
    """Two forwards at each of four sizes."""
    for size in SIZES:
        images = subject.pictures(2, size)
        before = images.clone()
        height, width = images.shape[2:]
        _check_scores(subject.called(images), images, f"{height} x {width}")
        require(
            torch.equal(images, before),
            f"forward changed its input of {height} x {width} in place",
            fix="work on a copy; no operation whose name ends in an underscore on the images themselves",
        )
    return ""


def size_policy(subject: MetricSubject) -> str:
    """One forward at each of four tiny sizes."""
    refused = []
    for height, width in TINY:
        generator = torch.Generator().manual_seed(0)
        images = subject.to_device(torch.rand(1, 3, height, width, generator=generator))
        try:
            _check_finite(subject.called(images), f"a picture of {height} x {width}", fix=_SMALL)
        except (ImageContractError, ProgramCrashError) as error:  # a program can refuse in no other way
            require(
                error.where.metric == subject.metric.spec.name and bool(error.fix),
                f"a picture of {height} x {width} is refused without the metric's name, or without what to do",
                fix="iqa_robustness.metrics.preparation.refuse_smaller(images, name, least) says both",
            )
            refused.append(f"{height} x {width}")
        except ConformanceError:
            raise
        except Exception as error:
            raise ConformanceError(
                f"a picture of {height} x {width} ends in {type(error).__name__}: {error}",
                fix=_SMALL,
            ) from error
    return f"refuses {', '.join(refused)}" if refused else "scores even 1 x 1"


def extreme_pictures(subject: MetricSubject) -> str:
    """Five forwards."""
    images = subject.to_device(extremes(*subject.enough(*SMALL)))
    _check_finite(subject.called(images), "a black, white, grey or noise picture")
    return "black, white, grey, noise"


def score_range(subject: MetricSubject) -> str:
    """Eight forwards, shared with `direction`."""
    spec, scores = subject.metric.spec, subject.graded
    Ranges.bundled().check(spec, name=subject.reference)
    (low, high), least, most = spec.score_range, float(scores.min()), float(scores.max())
    said = f"{least:.4g} to {most:.4g} of the declared {low:g} to {high:g}"
    require(
        least >= low - MARGIN * spec.diam and most <= high + MARGIN * spec.diam,
        f"scores of photographs lie outside the declared range: {said}",
        fix=f"declare the range that scores have ({_CALIBRATE}); look for a factor between the network's output and it",
    )
    distinct = len(scores.unique())
    require(
        distinct == scores.numel(),
        f"{scores.numel()} different pictures have {distinct} score{'s' * (distinct > 1)} between them ({said})",
        fix="return the score as it is: one that is clamped to its range or rounded hides shifts",
    )
    require(
        most - least > SPREAD * spec.diam,
        f"photographs of all qualities use {(most - least) / spec.diam:.1%} of the declared range: {said}",
        fix=f"declare the range that scores have ({_CALIBRATE}): in a range much too wide every shift looks small",
    )
    return said


def direction(subject: MetricSubject) -> str:
    """Eight forwards, shared with `score_range`."""
    spec = subject.metric.spec
    clean, distorted = subject.graded
    lead = spec.sign * (clean - distorted) / spec.diam
    wins, count = int((lead > 0).sum()), len(CONTENTS)
    said = f"{wins} of {count} scenes, by {float(lead.mean()):.1%} of the range on average"
    reversed_scale = int((lead < 0).sum()) >= count - 1
    require(
        wins >= count - 1 and float(lead.mean()) > LEAD,
        f"clean photographs beat their heavily distorted versions for {said}; {count - 1} and more than {LEAD:.0%} are "
        "expected",
        fix=f"the scale looks reversed: set higher_is_better={not spec.higher_is_better} in the spec"
        if reversed_scale
        else "check what forward makes of its input (RGB in [0, 1], not BGR or 0 … 255), its normalisation and weights",
    )
    return said


def _check_finite(scores: object, what: str, *, fix: str = _UNDEFINED) -> None:
    finite = isinstance(scores, Tensor) and bool(torch.isfinite(scores).all())
    require(
        finite,
        f"{what} gets {scores.flatten().tolist() if isinstance(scores, Tensor) else type(scores).__name__}",
        fix=fix,
    )


def _check_scores(scores: object, images: Tensor, size: str) -> None:
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (len(images),):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ConformanceError(
            f"forward returned {found} for {len(images)} images of {size}; shape ({len(images)},) is expected",
            fix="flatten the last axis (scores.flatten(1).squeeze(1)); do not average over the batch",
        )
    require(
        scores.dtype == torch.float32 and scores.device.type == images.device.type,
        f"scores of {size} are {scores.dtype} on {scores.device}; torch.float32 on {images.device} is expected",
        fix="end forward with .to(images.device, torch.float32)",
    )
    _check_finite(scores, f"a photograph of {size}")
    require(
        float(scores[0]) != float(scores[1]),
        f"two different photographs of {size} get the same score {float(scores[0]):.6g}",
        fix="check that forward reads its input; do not clamp or round the score",
    )
