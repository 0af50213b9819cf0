"""What every registered metric must satisfy, and the planted vulnerable one too: the gates rest on it.

A metric whose weights are not part of the package takes part where its file is in `weights.folder()`.
`lite0` costs 0.15 s an image of 192 × 256 on one core: most tests use small pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness import attacks, datasets, metrics
from iqa_robustness.bench.pair import Subject
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import CapabilityError, ImageContractError, IqaRobustnessError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.probe import BATCH_TOLERANCE
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.metrics.weights import available
from iqa_robustness.store import Key
from iqa_robustness.streams import Streams

REGISTERED = [name for name in metrics.registry.names() if available(name)]
NAMES = [*REGISTERED, "iqa_robustness.metrics.planted:Vulnerable"]
CONTENTS = ("astronaut", "chelsea", "coffee", "hopper")
# Sides from which a metric scores anything at all, where that is more than the smallest pictures here have.
LEAST = {"niqe": 96}
# Defined on whole grey levels: a step of less than one changes nothing, whatever the gradient says.
ROUNDING = {"brisque", "cnniqa", "niqe"}
# A defended, attacked or graded picture may leave the declared range by so much of it.
MARGIN = 0.25
# Measured on a CPU: with rows in fours, a matrix product treats every row alike; in threes or fives the last rows of a
# batch go another way, and a metric that ends in a linear layer depends on the row in its last bit.
MICRO_BATCHES = (1, 4, 8)


@pytest.fixture(scope="module", params=NAMES)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each metric, loaded once; tests of one metric run together."""
    return Subject(request.param, device="cpu")


@pytest.fixture(scope="module")
def metric(subject: Subject) -> Metric:
    return subject.metric


def enough(metric: Metric, height: int, width: int) -> tuple[int, int]:
    """The size, enlarged to what the metric takes."""
    least = LEAST.get(metric.spec.name, 1)
    return max(height, least), max(width, least)


def named(rows: int | Sequence[int]) -> Streams:
    return Streams("conformance", [str(row) for row in (range(rows) if isinstance(rows, int) else rows)])


def scores_of(metric: Metric, images: Tensor, *, micro_batch: int = 4) -> Tensor:
    return Scorer(metric=metric, micro_batch=micro_batch).scores(images, streams=named(len(images)))


def gradients_of(metric: Metric, images: Tensor) -> tuple[Tensor, Tensor]:
    return Scorer(metric=metric, micro_batch=4).scores_and_gradients(images, streams=named(len(images)))


def called(metric: Metric, images: Tensor) -> Tensor:
    """The metric itself, on a batch as it is."""
    result: Tensor = metric(images, streams=named(len(images))) if metric.spec.stochastic else metric(images)
    return result


# --- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTERED)
def test_the_spec_says_what_the_registry_says(name: str) -> None:
    entry, spec = metrics.registry.resolve(name), metrics.create(name).spec
    assert spec.name == entry.name
    assert spec.licence == entry.licence
    assert spec.access == entry.access
    assert spec.licence
    assert entry.summary
    assert spec.input_policy
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in spec.weights)


def test_it_is_ready_to_score_and_can_be_part_of_a_key(subject: Subject) -> None:
    metric = subject.metric
    assert isinstance(metric.spec, MetricSpec)
    assert metric.spec.diam > 0
    assert not metric.training
    assert not any(parameter.requires_grad for parameter in metric.parameters())
    assert json.loads(Key(subject.document).text) == subject.document


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (192, 256), (65, 97)])
def test_one_finite_score_an_image_at_every_size(
    metric: Metric, size: tuple[int, int], photographs: Callable[..., Tensor]
) -> None:
    images = photographs(2, *enough(metric, *size))
    before = images.clone()
    scores = called(metric, images)
    assert isinstance(scores, Tensor)
    assert scores.shape == (2,)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert float(scores[0]) != float(scores[1])
    assert torch.equal(images, before)


def test_extreme_pictures_have_finite_scores(metric: Metric, extremes: Callable[..., Tensor]) -> None:
    assert torch.isfinite(called(metric, extremes(*enough(metric, 64, 64)))).all()


@settings(deadline=None, max_examples=5)
@given(pixels=hnp.arrays(np.uint8, (1, 3, 40, 44), elements=st.integers(0, 255)))
def test_whatever_the_picture_the_score_is_finite(metric: Metric, pixels: np.ndarray) -> None:
    height, width = enough(metric, *pixels.shape[2:])
    repeated = np.pad(pixels, ((0, 0), (0, 0), (0, height - pixels.shape[2]), (0, width - pixels.shape[3])), "wrap")
    assert torch.isfinite(called(metric, torch.from_numpy(repeated.astype(np.float32)) / 255)).all()


def refusal(metric: Metric, images: Tensor) -> IqaRobustnessError | None:
    try:
        assert torch.isfinite(called(metric, images)).all()
    except IqaRobustnessError as error:
        return error
    return None


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (31, 200)])
def test_a_picture_too_small_is_scored_or_refused_by_name(metric: Metric, size: tuple[int, int]) -> None:
    error = refusal(metric, torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))
    assert error is None or isinstance(error, ImageContractError)
    assert error is None or (error.where.metric == metric.spec.name and error.fix)


def graded(metric: Metric) -> Tensor:
    """(2, contents): scores of the best and of the worst quality level, 192 × 256."""
    mini = datasets.load("mini")
    cut, ids = view(mini, size=(192, 256)), [item.id for item in mini.items]
    rows = [ids.index(f"{content}-{level}") for level in (0, 4) for content in CONTENTS]
    images = torch.cat([cut.batch(range(row, row + 1)) for row in rows])
    return scores_of(metric, images).view(2, -1)


def test_scores_of_photographs_lie_about_the_declared_range_and_spread(metric: Metric) -> None:
    scores = graded(metric)
    low, high = metric.spec.score_range
    assert float(scores.min()) >= low - MARGIN * metric.spec.diam
    assert float(scores.max()) <= high + MARGIN * metric.spec.diam
    assert float(scores.max() - scores.min()) > 0.02 * metric.spec.diam


@pytest.mark.parametrize("name", REGISTERED)
def test_clean_photographs_beat_heavily_distorted_ones(name: str) -> None:
    metric = metrics.create(name)
    clean, distorted = graded(metric)
    lead = metric.spec.sign * (clean - distorted)
    assert (lead > 0).sum() >= len(CONTENTS) - 1
    assert float(lead.mean()) > 0.05 * metric.spec.diam


@pytest.mark.parametrize("spoil", [Tensor.double, Tensor.half, lambda images: (images * 255).to(torch.uint8)])
def test_another_dtype_is_refused_before_the_metric_sees_it(
    metric: Metric,
    spoil: Callable[[Tensor], Tensor],
    photographs: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(metric, "forward", seen.append)
    attack = attacks.create("square", queries=2)
    with pytest.raises(ImageContractError, match="float32") as caught:
        attack(metric, spoil(photographs(1, 64, 64)))
    assert caught.value.where.metric == metric.spec.name
    assert seen == []


# --- repeatability --------------------------------------------------------------------------------------------------


def test_scores_are_the_same_again(metric: Metric, photographs: Callable[..., Tensor]) -> None:
    images = photographs(2, *enough(metric, 64, 64))
    first = called(metric, images)
    torch.manual_seed(1)
    assert torch.equal(called(metric, images), first)


def test_a_score_does_not_depend_on_the_batch(metric: Metric, photographs: Callable[..., Tensor]) -> None:
    images = photographs(5, *enough(metric, 64, 64))
    scores = {size: scores_of(metric, images, micro_batch=size) for size in (1, 2, 5)}
    beside_noise = torch.cat(
        [images[:1], torch.rand(4, 3, *images.shape[2:], generator=torch.Generator().manual_seed(0))]
    )
    tolerance = BATCH_TOLERANCE * metric.spec.diam
    assert float((scores[1] - scores[2]).abs().max()) <= tolerance
    assert float((scores[1] - scores[5]).abs().max()) <= tolerance
    assert float((scores_of(metric, beside_noise, micro_batch=5)[0] - scores[1][0]).abs()) <= tolerance


@pytest.mark.parametrize("micro_batch", MICRO_BATCHES)
@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_in_padded_micro_batches_scores_and_gradients_are_bit_equal_in_any_company(
    metric: Metric, micro_batch: int, size: tuple[int, int], photographs: Callable[..., Tensor]
) -> None:
    images, scorer = photographs(5, *enough(metric, *size)), Scorer(metric=metric, micro_batch=micro_batch)
    white_box = metric.spec.access == "white-box"
    scores = scorer.scores(images, streams=named(5))
    values, gradients = scorer.scores_and_gradients(images, streams=named(5)) if white_box else (scores, images)
    for chosen in ([4, 2, 0, 1, 3], [3], [1, 4]):
        assert torch.equal(scorer.scores(images[chosen], streams=named(chosen)), scores[chosen])
        if white_box:
            some_values, some_gradients = scorer.scores_and_gradients(images[chosen], streams=named(chosen))
            assert torch.equal(some_values, values[chosen])
            assert torch.equal(some_gradients, gradients[chosen])


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_gradients_are_finite_not_zero_and_agree_with_finite_differences(
    metric: Metric, size: tuple[int, int], photographs: Callable[..., Tensor]
) -> None:
    images = photographs(2, *enough(metric, *size)).clamp(0.1, 0.9)
    if metric.spec.access == "query-only":
        with pytest.raises(CapabilityError):
            attacks.create("ifgsm")(metric, images)
        return
    scores, gradients = gradients_of(metric, images)
    assert torch.isfinite(gradients).all()
    assert (gradients.flatten(1).norm(dim=1) > 0).all()
    assert torch.allclose(scores, scores_of(metric, images), atol=BATCH_TOLERANCE * metric.spec.diam)
    if metric.spec.name in ROUNDING:
        return
    # A random direction that is not nearly orthogonal to the gradient: there, float32 noise is all one would see.
    random = torch.from_numpy(np.random.RandomState(0).uniform(size=images.shape).astype(np.float32))
    direction = random * gradients.sign()
    slope = (gradients.double() * direction).flatten(1).sum(dim=1)
    # Short enough that few kinks lie on the way: a tenth of a per cent of the range, if the slope is right.
    step = (0.001 * metric.spec.diam / slope).float()[:, None, None, None] * direction
    measured = (scores_of(metric, images + step) - scores_of(metric, images - step)).double()
    assert measured.tolist() == pytest.approx([0.002 * metric.spec.diam] * 2, rel=0.03)


def test_gradients_of_extreme_pictures_are_finite(metric: Metric, extremes: Callable[..., Tensor]) -> None:
    if metric.spec.access == "white-box":
        scores, gradients = gradients_of(metric, extremes(*enough(metric, 64, 64)))
        assert torch.isfinite(gradients).all()
        assert torch.allclose(
            scores, scores_of(metric, extremes(*enough(metric, 64, 64))), atol=BATCH_TOLERANCE * metric.spec.diam
        )
    else:
        assert torch.isfinite(scores_of(metric, extremes(*enough(metric, 64, 64)))).all()
