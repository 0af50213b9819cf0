"""Scoring in padded micro-batches: bit-equality, gradients, and the contract's errors."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from iqa_robustness.errors import NonFiniteScoreError, ScoreShapeError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.scoring import Scorer, in_micro_batches
from iqa_robustness.streams import Streams

SPEC = MetricSpec(name="toy", score_range=(0.0, 1.0))


class Toy(Metric):
    """A metric made of one function; notes the size of every batch and whether autograd was on."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spec = SPEC
        self.function = function
        self.calls: list[tuple[int, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append((len(images), torch.is_grad_enabled()))
        return self.function(images)


class Convolutional(Metric):
    """Two convolutions and a mean: enough arithmetic for a CPU's kernels to depend on the batch size."""

    spec = SPEC

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Softplus())
            self.weights = nn.Parameter(torch.randn(32))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return (self.layers(images).mean(dim=(2, 3)) * self.weights).sum(dim=1)


class Noisy(Metric):
    """The mean of the image's own noise."""

    spec = MetricSpec(name="noisy", score_range=(0.0, 1.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return streams.normal(*images.shape[1:]).mean(dim=(1, 2, 3)) + images.mean(dim=(1, 2, 3))


def photographs(count: int, *, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(count * height + width))


CONVOLUTIONAL = Convolutional()


@settings(deadline=None, max_examples=40)
@given(
    order=st.permutations(range(7)),
    chosen=st.integers(1, 7),
    micro_batch=st.integers(1, 5),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_scores_are_bit_equal_in_any_company(
    order: list[int], chosen: int, micro_batch: int, size: tuple[int, int]
) -> None:
    images = photographs(7, height=size[0], width=size[1])
    scorer = Scorer(metric=CONVOLUTIONAL, micro_batch=micro_batch)
    alone = torch.cat([scorer.scores(image[None]) for image in images])
    rows = order[:chosen]
    assert scorer.scores(images[rows]).equal(alone[rows])
    scores, gradients = scorer.scores_and_gradients(images[rows])
    single = [scorer.scores_and_gradients(images[row][None]) for row in rows]
    assert scores.equal(torch.cat([score for score, _ in single]))
    assert gradients.equal(torch.cat([gradient for _, gradient in single]))


@given(micro_batch=st.integers(1, 6), count=st.integers(1, 9), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_noise_belongs_to_the_image_and_not_to_its_place(micro_batch: int, count: int, seed: int) -> None:
    images, names = photographs(count), [f"image-{number}" for number in range(count)]
    scorer = Scorer(metric=Noisy(), micro_batch=micro_batch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    forward = scorer.scores(images, streams=Streams("key", names))
    shuffled = scorer.scores(images[order], streams=Streams("key", [names[row] for row in order]))
    assert shuffled.equal(forward[order])


@given(count=st.integers(0, 9), size=st.integers(1, 5))
def test_micro_batches_are_full_and_hold_every_image_once(count: int, size: int) -> None:
    images = photographs(count, height=4, width=4)
    seen = []
    for batch, rows, noise in in_micro_batches(images, size=size):
        assert batch.shape == (size, 3, 4, 4)
        assert noise is None
        assert not batch[len(rows) :].any()
        seen.append(batch[: len(rows)])
    assert torch.cat([*seen, images.new_empty(0, 3, 4, 4)]).equal(images)


def test_streams_are_cut_and_padded_with_the_images() -> None:
    names = ["a", "b", "c"]
    batches = [noise.ids for _, _, noise in in_micro_batches(photographs(3), size=2, streams=Streams("key", names))]
    assert batches[0] == ("a", "b")
    assert batches[1][0] == "c"
    assert len(batches[1]) == 2


def test_scores_run_without_autograd_and_in_batches_of_one_size() -> None:
    toy = Toy(lambda images: images.mean(dim=(1, 2, 3)))
    scores = Scorer(metric=toy, micro_batch=3).scores(photographs(7))
    assert toy.calls == [(3, False)] * 3
    assert not scores.requires_grad
    assert not scores.is_inference()
    assert scores.equal(photographs(7).mean(dim=(1, 2, 3)))


def test_gradients_keep_no_graph_and_leave_the_images_alone() -> None:
    kept: list[weakref.ref[Tensor]] = []

    def remembered(images: Tensor) -> Tensor:
        hidden = images.square()
        kept.append(weakref.ref(hidden))
        return hidden.mean(dim=(1, 2, 3))

    images = photographs(2)
    scores, gradients = Scorer(metric=Toy(remembered), micro_batch=2).scores_and_gradients(images)
    gc.collect()
    assert kept[0]() is None
    assert not scores.requires_grad
    assert not gradients.requires_grad
    assert not images.requires_grad
    assert images.grad is None


def test_gradients_are_asked_for_inside_no_grad() -> None:
    with torch.no_grad():
        _, gradients = Scorer(metric=Toy(lambda images: images.sum(dim=(1, 2, 3))), micro_batch=2).scores_and_gradients(
            photographs(2)
        )
    assert gradients.equal(torch.ones(2, 3, 24, 32))


def test_gradients_equal_finite_differences() -> None:
    weights = torch.randn((3, 6, 5), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    toy = Toy(lambda images: torch.sin(3 * (images * weights).sum(dim=(1, 2, 3))) + images.pow(3).mean(dim=(1, 2, 3)))
    scorer = Scorer(metric=toy, micro_batch=2)
    images = photographs(3, height=6, width=5).double()
    _, gradients = scorer.scores_and_gradients(images)
    step = 1e-5
    for image in range(3):
        for channel, row, column in ((0, 0, 0), (1, 3, 2), (2, 5, 4)):
            shift = torch.zeros_like(images)
            shift[image, channel, row, column] = step
            difference = scorer.scores(images + shift) - scorer.scores(images - shift)
            assert float(difference[image]) / (2 * step) == pytest.approx(
                float(gradients[image, channel, row, column]), rel=1e-5, abs=1e-8
            )
            others = [other for other in range(3) if other != image]
            assert not difference[others].any()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda images: images.detach().mean(dim=(1, 2, 3)), id="detached"),
        pytest.param(lambda images: torch.full((len(images),), 0.5), id="constant"),
        pytest.param(lambda images: torch.full((len(images),), 0.5, requires_grad=True) * 2, id="unrelated graph"),
    ],
)
def test_a_score_outside_the_graph_has_a_zero_gradient(function: Callable[[Tensor], Tensor]) -> None:
    scores, gradients = Scorer(metric=Toy(function), micro_batch=2).scores_and_gradients(photographs(3))
    assert scores.shape == (3,)
    assert gradients.shape == (3, 3, 24, 32)
    assert not gradients.any()


def test_no_images_give_no_scores() -> None:
    scorer = Scorer(metric=Toy(lambda images: images.mean(dim=(1, 2, 3))), micro_batch=2)
    nothing = photographs(3)[:0]
    assert scorer.scores(nothing).shape == (0,)
    scores, gradients = scorer.scores_and_gradients(nothing)
    assert scores.shape == (0,)
    assert gradients.shape == nothing.shape


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        pytest.param(lambda images: images.mean(dim=(2, 3)), r"\(2, 3\)", id="one a channel"),
        pytest.param(lambda images: images.mean(dim=(1, 2, 3))[:, None], r"\(2, 1\)", id="a column"),
        pytest.param(lambda images: images.mean(), r"\(\)", id="one a batch"),
        pytest.param(lambda images: [0.5] * len(images), "list", id="no tensor"),
    ],
)
def test_another_shape_is_refused(function: Callable[[Tensor], Tensor], shown: str) -> None:
    scorer = Scorer(metric=Toy(function), micro_batch=2)
    for ask in (scorer.scores, scorer.scores_and_gradients):
        with pytest.raises(ScoreShapeError, match=shown) as raised:
            ask(photographs(2))
        assert raised.value.where.metric == "toy"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_names_its_image(bad: float) -> None:
    images = photographs(5)
    images[3] = 0.25

    def broken(batch: Tensor) -> Tensor:
        means = batch.mean(dim=(1, 2, 3))
        return torch.where((means - 0.25).abs() < 1e-6, means.new_tensor(bad), means)

    scorer = Scorer(metric=Toy(broken), micro_batch=2)
    names = [f"photo-{number}" for number in range(5)]
    for ask in (scorer.scores, scorer.scores_and_gradients):
        with pytest.raises(NonFiniteScoreError) as raised:
            ask(images, streams=Streams("key", names))
        assert raised.value.where.image == "photo-3"
        with pytest.raises(NonFiniteScoreError) as raised:
            ask(images)
        assert raised.value.where.image == "number 3 of the batch"


def test_the_padding_may_score_anything() -> None:
    def divided(batch: Tensor) -> Tensor:
        return 1 / batch.mean(dim=(1, 2, 3))

    images = photographs(1)
    assert Scorer(metric=Toy(divided), micro_batch=4).scores(images).equal(divided(images))
