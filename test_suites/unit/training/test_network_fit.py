"""Fitting the small network: that it learns, repeats itself, draws by weight, and leaves the world alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.metrics.compact import CompactNetwork
from iqa_robustness.training import learners, network_fit
from iqa_robustness.training.examples import Example, Kind, View, balanced
from iqa_robustness.training.learners import NormalisedNetwork
from iqa_robustness.training.network_fit import Schedule, fit_compact
from iqa_robustness.training.progress import Progress


def labelled(pixels: np.ndarray, target: float, kind: Kind = "human", view: View = "part") -> Example:
    return Example(pixels=pixels, target=target, content="a", kind=kind, view=view)


def graded_noise(count: int, seed: int) -> list[Example]:
    """Noise about grey; the score is its contrast."""
    random = np.random.default_rng(seed)
    contrasts = random.uniform(0, 1, count)
    noise = random.uniform(-1, 1, (count, 32, 32, 3))
    pixels = np.rint(128 + 120 * contrasts[:, None, None, None] * noise).astype(np.uint8)
    return [labelled(one, 20 + 60 * contrast) for one, contrast in zip(pixels, contrasts, strict=True)]


def flat(value: int, *, rows: int = 16, columns: int = 16, kind: Kind = "human", view: View = "part") -> Example:
    return labelled(np.full((rows, columns, 3), value, np.uint8), float(value), kind, view)


def images_of(examples: Sequence[Example]) -> Tensor:
    return from_uint8(np.stack([one.pixels for one in examples]))


def targets_of(examples: Sequence[Example]) -> list[float]:
    return [one.target for one in examples]


def same_weights(first: CompactNetwork, second: CompactNetwork) -> bool:
    others = second.state_dict()
    return all(value.equal(others[name]) for name, value in first.state_dict().items())


class Watched(NormalisedNetwork):
    """Notes itself and every batch that it is trained on."""

    made: ClassVar[list[Watched]] = []
    batches: ClassVar[list[Tensor]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.batches.append(images.clone())
        return super().forward(images)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """The class of the networks that are trained from here on."""
    monkeypatch.setattr(Watched, "made", [])
    monkeypatch.setattr(Watched, "batches", [])
    monkeypatch.setattr(network_fit, "NormalisedNetwork", Watched)
    return Watched


@pytest.fixture(autouse=True, scope="module")
def _small_parts() -> Iterator[None]:
    """Squares of 16 pixels, and running statistics that keep up with a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_fit, "_SIDE", 16)
        patch.setattr(learners, "_NORM_MOMENTUM", 0.2)
        yield


@pytest.fixture(scope="module")
def learned(_small_parts: None) -> CompactNetwork:
    """One network for the tests that look at a finished training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_fit, "_SIDE", 32)
        return fit_compact(graded_noise(64, 0), schedule=Schedule(steps=100, batch=16, averaging=0.9), seed=0)


# --- learning -------------------------------------------------------------------------------------------------------


def test_it_learns_a_quality_that_can_be_seen(learned: CompactNetwork) -> None:
    unseen = graded_noise(40, 1)
    scores = learned(images_of(unseen))
    targets = torch.tensor(targets_of(unseen))
    assert spearmanr(scores.numpy(), targets.numpy()).statistic > 0.95
    error = float((scores - targets).abs().mean())
    assert error < 0.3 * float((targets - targets.mean()).abs().mean())


def test_the_loss_falls_from_that_of_a_guess(learned: CompactNetwork) -> None:
    examples = graded_noise(64, 0)
    images, targets = images_of(examples), torch.tensor(targets_of(examples))
    start = fit_compact(examples, schedule=Schedule(steps=1, learning_rate=0.0), seed=0)

    def loss(network: CompactNetwork) -> float:
        return float((network(images) - targets).square().mean())

    assert loss(learned) < 0.25 * min(loss(start), float(targets.var()))


def test_the_result_is_ready_to_score(learned: CompactNetwork) -> None:
    assert type(learned) is CompactNetwork
    assert not learned.training
    assert not any(parameter.requires_grad for parameter in learned.parameters())
    assert all(bool(torch.isfinite(value).all()) for value in learned.state_dict().values())


def test_folding_the_normalisation_away_changes_no_score(watched: type[Watched]) -> None:
    examples = graded_noise(12, 0)
    folded = fit_compact(examples, schedule=Schedule(steps=6, batch=4), seed=0)
    (network,) = watched.made
    source = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 33, 47, generator=source)
    with torch.no_grad():
        # Normalisation far from its first values: each of its parts takes part.
        for norm in network.norms:
            norm.weight.uniform_(-1, 2, generator=source)
            norm.bias.uniform_(-0.5, 0.5, generator=source)
            norm.running_var.uniform_(0.1, 2, generator=source)
        network.standard.running_var.uniform_(0.1, 2, generator=source)
        expected = 100 * network.eval()(images)
    assert network.folded()(images).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert not torch.allclose(folded(images), expected, rtol=0.01)


def test_what_is_returned_is_the_trained_network_folded(watched: type[Watched]) -> None:
    found = fit_compact(graded_noise(12, 0), schedule=Schedule(steps=3, batch=4), seed=0)
    (network,) = watched.made
    assert same_weights(found, network.folded())


def test_the_first_guess_is_the_mean_target() -> None:
    examples = graded_noise(40, 2)
    network = fit_compact(examples, schedule=Schedule(steps=1, learning_rate=0.0), seed=0)
    assert float(network.head.output.bias) == pytest.approx(np.mean(targets_of(examples)), rel=1e-6)


def test_the_average_of_the_weights_is_returned() -> None:
    examples, schedule = graded_noise(16, 0), Schedule(steps=12, batch=4)
    start = fit_compact(examples, schedule=replace(schedule, learning_rate=0.0), seed=0)
    # An average that keeps nothing is the last step.
    last = fit_compact(examples, schedule=replace(schedule, averaging=0.0), seed=0)
    usual = fit_compact(examples, schedule=schedule, seed=0)

    def distance(network: CompactNetwork) -> float:
        return float((network.head.hidden.weight - start.head.hidden.weight).norm())  # type: ignore[union-attr]

    assert 0 < distance(usual) < distance(last)


# --- repeatability --------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    examples, schedule = graded_noise(12, 0), Schedule(steps=4, batch=4)
    first, again, other = (fit_compact(examples, schedule=schedule, seed=seed) for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, other)
    # Not only what is drawn follows the seed: the first weights do as well.
    untouched = replace(schedule, learning_rate=0.0)
    first, other = (fit_compact(examples, schedule=untouched, seed=seed) for seed in (1, 2))
    assert not first.head.hidden.weight.equal(other.head.hidden.weight)  # type: ignore[union-attr]


def test_global_sources_of_randomness_are_neither_read_nor_moved() -> None:
    examples, schedule = graded_noise(6, 0), Schedule(steps=2, batch=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[union-attr] # noqa: NPY002
    first = fit_compact(examples, schedule=schedule, seed=0)
    assert torch.get_rng_state().equal(before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[arg-type] # noqa: NPY002
    torch.manual_seed(6)
    assert same_weights(first, fit_compact(examples, schedule=schedule, seed=0))


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20])
def test_any_number_of_steps_is_a_training(watched: type[Watched], steps: int) -> None:
    network = fit_compact(graded_noise(4, 0), schedule=Schedule(steps=steps, batch=2), seed=0)
    assert len(watched.batches) == steps
    assert bool(torch.isfinite(network(images_of(graded_noise(2, 1)))).all())


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (48, 16)])
def test_parts_are_cut_out_and_mirrored_at_random(
    watched: type[Watched], coordinates: Callable[[int, int], np.ndarray], size: tuple[int, int]
) -> None:
    pixels = coordinates(*size)
    fit_compact([labelled(pixels, 50.0)], schedule=Schedule(steps=50, batch=8), seed=0)
    places, turned = Counter[tuple[int, int]](), 0
    for image in to_uint8(torch.cat(watched.batches)):
        mirrored = bool(image[0, 0, 1] > image[0, -1, 1])
        upright = image[:, ::-1] if mirrored else image
        top, left = int(upright[0, 0, 0]), int(upright[0, 0, 1])
        assert np.array_equal(upright, pixels[top : top + 16, left : left + 16])
        places[top, left] += 1
        turned += mirrored
    assert set(places) == {(top, left) for top in range(size[0] - 15) for left in range(size[1] - 15)}
    assert abs(turned - 200) < 4 * 10


def test_pictures_upright_and_across_are_learned_together(watched: type[Watched]) -> None:
    examples = [flat(value, rows=16, columns=24) for value in (10, 20)]
    examples += [flat(value, rows=24, columns=16) for value in (30, 40)]
    fit_compact(examples, schedule=Schedule(steps=20, batch=2), seed=0)
    assert set(to_uint8(torch.cat(watched.batches))[:, 0, 0, 0].tolist()) == {10, 20, 30, 40}


def test_examples_are_drawn_by_their_balanced_weight(watched: type[Watched]) -> None:
    examples = [
        *[flat(value, kind="human", view="part") for value in range(10, 14)],
        *[flat(value, kind="human", view="large", rows=32) for value in range(20, 22)],
        *[flat(value, kind="lowered", view="part") for value in range(30, 32)],
        *[flat(value, kind="pseudo", view="half") for value in range(40, 50)],
    ]
    fit_compact(examples, schedule=Schedule(steps=200, batch=10), seed=0)
    drawn = Counter(to_uint8(torch.cat(watched.batches))[:, 0, 0, 0].tolist())
    total = sum(drawn.values())
    assert total == 2000
    weights = balanced(examples)
    of_large = np.array([one.pixels.shape[0] == 32 for one in examples])
    for one, weight, is_large in zip(examples, weights, of_large, strict=True):
        # A batch has one size: first a size is drawn for all ten, then each image among those of the size.
        size = weights[of_large == is_large].sum()
        share = weight / size
        variance = size * 10 * share * (1 - share) + (10 * share) ** 2 * size * (1 - size)
        assert abs(drawn[int(one.target)] - weight * total) < 4 * np.sqrt(200 * variance)


def test_an_image_is_learned_with_its_own_target(watched: type[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    loss = torch.nn.functional.smooth_l1_loss

    def noted(scores: Tensor, targets: Tensor, **facts: float) -> Tensor:
        asked.append(targets)
        return loss(scores, targets, **facts)

    monkeypatch.setattr(network_fit.F, "smooth_l1_loss", noted)
    fit_compact([flat(value) for value in range(0, 100, 5)], schedule=Schedule(steps=12, batch=8), seed=0)
    shown = to_uint8(torch.cat(watched.batches))[:, 0, 0, 0]
    assert len(set(shown.tolist())) > 10
    assert torch.cat(asked).tolist() == pytest.approx((shown / 100).tolist())


def test_alike_examples_give_finite_scores() -> None:
    pixels = graded_noise(1, 0)[0].pixels
    network = fit_compact([labelled(pixels, 50.0)], schedule=Schedule(steps=3, batch=2), seed=0)
    assert bool(torch.isfinite(network(images_of([labelled(pixels, 50.0)]))).all())


def test_progress_is_told_of_every_step() -> None:
    told: list[tuple[int, str]] = []

    class Told(Progress):
        def at(self, done: int, note: str = "") -> None:
            told.append((done, note))

    fit_compact(
        graded_noise(4, 0),
        schedule=Schedule(steps=5, batch=2),
        seed=0,
        progress=Told(label="steps", total=5),
    )
    assert [done for done, _ in told] == [1, 2, 3, 4, 5]
    assert all(note.startswith("loss ") and float(note.removeprefix("loss ")) > 0 for _, note in told)


def test_a_trained_network_learns_on_from_where_it_is() -> None:
    examples = graded_noise(16, 2)
    trained = fit_compact(examples, schedule=Schedule(steps=3, batch=8), seed=0)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    still = Schedule(steps=2, batch=8, learning_rate=0.0)
    assert all(before[name].equal(value) for name, value in continued(examples, trained, still).items())
    moved = continued(examples, trained, Schedule(steps=2, batch=8, learning_rate=1e-3))
    assert not before["convolutions.0.weight"].equal(moved["convolutions.0.weight"])
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def continued(examples: list[Example], network: CompactNetwork, schedule: Schedule) -> dict[str, Tensor]:
    return {**fit_compact(examples, schedule=schedule, seed=1, start=network).state_dict()}
