"""What makes a metric's numbers repeat: the same again, in any batch, in any company, on either device."""

from __future__ import annotations

import torch
from torch import Tensor

from iqa_robustness.conformance.check import NotApplicable, require
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.conformance.pictures import SMALL
from iqa_robustness.metrics.probe import BATCH_TOLERANCE

# Sums of float32 in another order, through a hundred layers.
DEVICE_TOLERANCE = 1e-3
# Backward passes of resizing and pooling add in no fixed order on a GPU.
GPU_GRADIENT_TOLERANCE = 1e-3
# With rows in fours a matrix product treats every row of a batch alike; in threes or fives it need not.
MICRO_BATCH = 4


def determinism(subject: MetricSubject) -> str:
    """Two forwards of two images; two more for a stochastic metric."""
    images, stochastic = subject.pictures(2, SMALL), subject.metric.spec.stochastic
    first = subject.called(images)
    devices = [torch.device(subject.device)] if torch.device(subject.device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(1)
        again = subject.called(images)
    require(
        torch.equal(first, again),
        f"the same pictures get other scores the second time ({float(first[0]):.6g}, then {float(again[0]):.6g})",
        fix="draw from `streams` alone, not from torch's, NumPy's or Python's global generator"
        if stochastic
        else "look for dropout or state kept between calls; a metric that draws sets stochastic=True in its spec and "
        "draws from the `streams` that forward is given",
    )
    if not stochastic:
        return "equal bits"
    require(
        not torch.equal(first, subject.called(images, key="another")),
        "the spec says stochastic, and the scores do not depend on the streams",
        fix="set stochastic=False: attacks then need no average over draws",
    )
    return "equal bits for equal streams, other scores for others"


def batch(subject: MetricSubject) -> str:
    """21 forwards."""
    images = subject.pictures(5, SMALL)
    alone, *together = (subject.scores(images, micro_batch=size) for size in (1, 2, 5))
    generator = torch.Generator().manual_seed(0)
    noise = subject.to_device(torch.rand(4, 3, *images.shape[2:], generator=generator))
    beside_noise = subject.scores(torch.cat([images[:1], noise]), micro_batch=5)[:1]
    worst = max(*(float((scores - alone).abs().max()) for scores in together), float((beside_noise - alone[:1]).abs()))
    require(
        worst <= BATCH_TOLERANCE * subject.metric.spec.diam,
        f"an image's score changes with the other images of its batch, by {worst / subject.metric.spec.diam:.2g} of "
        f"the range ({BATCH_TOLERANCE:g} allowed)",
        fix="call eval(); replace batch statistics, batch means and shared random draws by per-image ones",
    )
    return f"within {worst / subject.metric.spec.diam:.1g} of the range"


def company(
    subject: MetricSubject,
    *,
    micro_batch: int = MICRO_BATCH,
    size: tuple[int, int] = SMALL,
    choices: tuple[tuple[int, ...], ...] = ((4, 2, 0, 1, 3), (3,)),
) -> str:
    """20 forwards in the default, and as many again with backwards for a white-box metric."""
    images = subject.pictures(5, size)
    white_box = subject.metric.spec.access == "white-box"
    whole = _scored(subject, images, range(5), micro_batch, white_box=white_box)
    exact, diam = images.device.type == "cpu", subject.metric.spec.diam
    for rows in choices:
        part = _scored(subject, images[list(rows)], rows, micro_batch, white_box=white_box)
        for what, ours, theirs in zip(("score", "score beside its gradient", "gradient"), part, whole, strict=False):
            gradient = what == "gradient"
            scale = max(float(theirs.abs().max()), torch.finfo(theirs.dtype).tiny) if gradient else diam
            difference = float((ours - theirs[list(rows)]).abs().max()) / scale
            # A CPU with one thread adds in one order; kernels of a GPU may choose another.
            allowed = 0.0 if exact else GPU_GRADIENT_TOLERANCE if gradient else BATCH_TOLERANCE
            require(
                difference <= allowed,
                f"in batches of {micro_batch} rows an image's {what} changes with its place or its companions, "
                f"by {difference:.2g} of {'its largest value' if gradient else 'the range'}",
                fix="compute each row alone: no statistics over the batch, no state kept between calls; compute on one "
                "thread (torch.set_num_threads(1))",
            )
    return f"rows of {micro_batch}, {'equal bits' if exact else 'equal but for the order of sums'}"


def device(subject: MetricSubject) -> str:
    """Two forwards on each device."""
    if not torch.cuda.is_available():
        raise NotApplicable("no CUDA device")
    if subject.metric.spec.stochastic:
        raise NotApplicable("draws differ between devices")
    other = _other(subject.device)
    images = subject.pictures(2, (224, 224))
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        here = subject.scores(images, micro_batch=2).cpu()
        try:
            there = _on(subject, other).scores(images.to(other), micro_batch=2).cpu()
        finally:
            subject.metric.to(subject.device)
    difference = float((here - there).abs().max()) / subject.metric.spec.diam
    require(
        difference <= DEVICE_TOLERANCE,
        f"scores differ between {subject.device} and {other} by {difference:.2g} of the range "
        f"({DEVICE_TOLERANCE:g} allowed)",
        fix="register constants as buffers, so that .to(device) moves them; compute in float32",
    )
    return f"CPU and CUDA agree within {difference:.1g} of the range"


def _scored(
    subject: MetricSubject, images: Tensor, rows: range | tuple[int, ...], micro_batch: int, *, white_box: bool
) -> tuple[Tensor, ...]:
    scores = subject.scores(images, rows=rows, micro_batch=micro_batch)
    if not white_box:
        return (scores,)
    return scores, *subject.scores_and_gradients(images, rows=rows, micro_batch=micro_batch)


def _other(name: str) -> str:
    return "cpu" if torch.device(name).type == "cuda" else "cuda"


def _on(subject: MetricSubject, name: str) -> MetricSubject:
    """The same metric, moved: whoever asks moves it back."""
    moved = MetricSubject(subject.reference, device=name, options=subject.options)
    moved.metric = subject.metric.to(name)
    return moved
