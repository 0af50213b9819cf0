"""C&W: the budget is filled by the search for its constant, in a space without bounds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.cw import CW
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.errors import ConfigurationError


def psnr(images: Tensor, clean: Tensor) -> np.ndarray:
    return -10 * np.log10((images - clean).double().square().flatten(1).mean(dim=1).numpy())


def visited(metric: torch.nn.Module, count: int) -> np.ndarray:
    """(steps, count, 3, H, W): where gradients were taken."""
    batches = zip(metric.batches, metric.modes, strict=True)
    return np.stack([batch[:count].numpy() for batch, mode in batches if mode == "gradient"])


def sizes(metric: torch.nn.Module, clean: Tensor, least: float) -> np.ndarray:
    """(steps, N): squared lengths of the changes at which gradients were taken, over the largest allowed."""
    change = visited(metric, len(clean)) - clean.numpy()
    return (change.astype(np.float64) ** 2).mean(axis=(2, 3, 4)) / 10 ** (-least / 10)


# --- the budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "least"), [("weak", 40), ("medium", 35), ("strong", 30)])
@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_the_ball_is_filled_along_the_gradient(
    toys: SimpleNamespace, goal: object, strength: str, least: float
) -> None:
    clean, weights = toys.pictures(3, 32, 32), toys.gaussian(32, 32)
    result = attacks.create("cw", strength=strength)(toys.Linear(weights), clean, goal=goal)
    assert psnr(result.images, clean).min() >= least - 5e-3  # the budget forgives a thousandth of a level
    assert psnr(result.images, clean) == pytest.approx(least, abs=0.3)
    towards = weights if goal is RAISE else -weights
    change = (result.images - clean).flatten(1).double()
    cosines = torch.nn.functional.cosine_similarity(change, towards.double().flatten()[None])
    assert float(cosines.min()) > 0.99


def test_the_first_constant_solves_a_linear_score(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 16)
    metric = toys.Linear(toys.gaussian(16, 16))
    CW(steps=120, searches=1, rate=0.1)(metric, clean)
    assert sizes(metric, clean, 35.0)[-1] == pytest.approx([1, 1], rel=0.03)


def test_the_constant_grows_while_the_solution_lies_inside_and_falls_back_outside(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 16)
    weights = toys.gaussian(16, 16)

    class Steepening(toys.Linear):
        """The farther, the steeper: the first constant is far too large."""

        def forward(self, images: Tensor) -> Tensor:
            self._record(images)
            inner = ((images - clean[0]) * self.weights).flatten(1).sum(dim=1)
            return inner + 4 * inner.square()

    class Flattening(toys.Linear):
        """The farther, the flatter: the first constant is too small."""

        def forward(self, images: Tensor) -> Tensor:
            self._record(images)
            inner = ((images - clean[0]) * self.weights).flatten(1).sum(dim=1)
            return torch.tanh(5 * inner)

    for kind, first_is_inside in ((Flattening, True), (Steepening, False)):
        metric = kind(weights)
        result = CW(steps=60, searches=10, rate=0.2)(metric, clean[:1])
        ends = sizes(metric, clean[:1], 35.0)[60::60, 0]
        assert (ends[0] < 0.9) == first_is_inside
        assert (ends[0] > 1.1) == (not first_is_inside)
        assert ends[-1] == pytest.approx(1, abs=0.1)
        assert psnr(result.images, clean[:1]) == pytest.approx([35], abs=0.4)


def test_each_image_has_a_constant_of_its_own(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 16)
    scale = torch.tensor([1.0, 1000.0])

    class Uneven(toys.Linear):
        """The second image's slope is a thousand times the first one's."""

        def forward(self, images: Tensor) -> Tensor:
            near = (images - clean[:, None]).abs().amax(dim=(2, 3, 4)).argmin(dim=0) if len(clean) == 2 else None
            assert near is not None
            return super().forward(images) * scale[near]

    metric = Uneven(toys.gaussian(16, 16))
    result = CW()(metric, clean)
    assert psnr(result.images, clean) == pytest.approx([35, 35], abs=0.3)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_the_unit_of_the_score_does_not_matter(toys: SimpleNamespace, factor: float) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    ours = CW()(toys.Linear(weights), clean)
    theirs = CW()(toys.Linear(weights * factor, score_range=(0.0, factor)), clean)
    assert float((ours.images - theirs.images).abs().max()) <= 1 / 255 + 1e-6
    assert (ours.images != theirs.images).float().mean() < 0.05


# --- the space ------------------------------------------------------------------------------------------------------


def test_no_gradient_is_taken_outside_the_range_and_the_first_one_at_the_clean_image(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=0, high=256)
    metric = toys.Linear(toys.gaussian(scale=1.0))
    CW(rate=5.0)(metric, clean)
    points = visited(metric, 2)
    assert np.array_equal(points[0], clean.numpy())
    assert points.min() >= 0
    assert points.max() <= 1


def test_the_first_step_is_the_rate_for_a_pixel_half_way_and_less_towards_the_ends(toys: SimpleNamespace) -> None:
    levels = torch.tensor([0, 26, 128, 229, 255]).repeat(3, 8, 1)[None] / 255
    metric = toys.Linear(torch.ones(3, 8, 5))
    CW(steps=2, searches=1, rate=0.5)(metric, levels)
    first, second = visited(metric, 1)
    moved = (second - first)[0, 0, 0] / 10 ** (-35 / 20)
    assert moved[2] == pytest.approx(0.5, rel=0.02)
    assert moved[1] == pytest.approx(0.5 * 4 * 0.102 * 0.898, rel=0.05)
    assert np.abs(moved[[0, 4]]).max() < 1e-3


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "searches"), [(1, 1), (10, 8), (7, 3)])
def test_the_cost_is_a_gradient_a_step_and_a_query_a_search(toys: SimpleNamespace, steps: int, searches: int) -> None:
    metric = toys.Linear(toys.gaussian())
    result = CW(steps=steps, searches=searches)(metric, toys.pictures(3))
    assert set(result.backwards.tolist()) == {steps * searches}
    assert set(result.forwards.tolist()) <= {steps * searches + searches, steps * searches + searches + 1}
    assert metric.rows == int(result.forwards.sum())


def test_images_that_reach_a_target_stop(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 2 / 255, tolerance=0.3 / 255)
    result = CW(rate=0.1)(metric, clean, goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.backwards[0]) < 80
    assert int(result.backwards[1]) == 80


def test_the_published_code_returns_the_last_solution(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    published = CW(searches=3, paper=True)(toys.Linear(toys.gaussian()), clean)
    longer = toys.Linear(toys.gaussian())
    CW(searches=4)(longer, clean)
    solution = torch.from_numpy(visited(longer, 1)[30])  # where the fourth search begins
    assert torch.equal(published.images, CW().budget.admit(solution, clean))


def test_a_flat_score_leaves_the_image_alone_and_is_flagged(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    result = CW()(toys.Linear(torch.zeros(3, 8, 9), offset=0.5), clean)
    assert torch.equal(result.images, clean)
    assert not result.gradient_nonzero.any()


@pytest.mark.parametrize(
    "parameters",
    [{"steps": 0}, {"searches": 0}, {"rate": 0.0}, {"rate": math.nan}, {"least_psnr": 0.0}, {"least_psnr": math.inf}],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        CW(**parameters)
