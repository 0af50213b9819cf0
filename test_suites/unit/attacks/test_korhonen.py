"""Korhonen: activity against SciPy, the path on a linear metric in closed form, and the published sign."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import torch

from iqa_robustness import attacks
from iqa_robustness.attacks.korhonen import Korhonen, signed_activity, spatial_activity
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.errors import ConfigurationError

# 5 × 5 without the corners, as the authors dilate.
ROUND = np.array([[0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]], dtype=bool)


def luma_of(images: torch.Tensor) -> np.ndarray:
    return np.einsum("nchw,c->nhw", images.double().numpy(), [0.299, 0.587, 0.114])


def hill(height: int, width: int) -> torch.Tensor:
    """(1, 3, height, width): brighter towards the middle column, so that the derivative along a row has both signs."""
    ramp = torch.minimum(torch.arange(width), width - 1 - torch.arange(width)) * 8 + 60
    return (ramp.expand(1, 3, height, width) + torch.arange(height)[:, None] % 3).float() / 255


def dilated(activity: np.ndarray) -> np.ndarray:
    return scipy.ndimage.grey_dilation(activity, footprint=ROUND, mode="constant", cval=-np.inf)


def without_border(derivative: np.ndarray) -> np.ndarray:
    inner = np.zeros_like(derivative)
    inner[1:-1, 1:-1] = derivative[1:-1, 1:-1]
    return inner


@pytest.mark.parametrize("size", [(8, 9), (33, 47), (3, 3), (20, 5)])
def test_activity_is_scipys_sobel_magnitude_over_its_maximum_dilated(
    toys: SimpleNamespace, size: tuple[int, int]
) -> None:
    images = toys.pictures(3, *size, low=0, high=256)
    found = spatial_activity(images)
    for row, luma in enumerate(luma_of(images)):
        magnitude = without_border(np.hypot(scipy.ndimage.sobel(luma, 0), scipy.ndimage.sobel(luma, 1)))
        assert found[row, 0].numpy() == pytest.approx(dilated(magnitude / magnitude.max()), abs=1e-5)
    assert found.shape == (3, 1, *size)
    assert float(found.min()) >= 0
    assert float(found.max()) == 1


def test_the_published_activity_is_the_signed_derivative_along_the_rows(toys: SimpleNamespace) -> None:
    images = torch.cat([toys.pictures(2, 12, 20, low=0, high=256), hill(12, 20)])
    found = signed_activity(images)
    for row, luma in enumerate(luma_of(images)):
        derivative = without_border(scipy.ndimage.sobel(luma * 219 + 16, axis=-1))
        assert found[row, 0].numpy() == pytest.approx(dilated(derivative / derivative.max()) / 255, abs=1e-6)
    assert (found[2, 0, 3:-3, 12:-3] < 0).all()


@pytest.mark.parametrize("size", [(8, 9), (2, 30), (1, 1)])
def test_a_flat_or_tiny_image_is_active_everywhere(size: tuple[int, int]) -> None:
    assert torch.equal(spatial_activity(torch.full((2, 3, *size), 0.5)), torch.ones(2, 1, *size))


def test_activity_does_not_depend_on_companions(toys: SimpleNamespace) -> None:
    images = toys.pictures(4, 33, 47)
    assert torch.equal(spatial_activity(images)[2:3], spatial_activity(images[2:3]))


@pytest.mark.parametrize(("strength", "reached"), [("weak", 2), ("medium", 4), ("strong", 8)])
def test_on_a_linear_metric_a_pixel_goes_as_far_as_its_activity_allows(
    toys: SimpleNamespace, strength: str, reached: int
) -> None:
    clean, weights = toys.pictures(3, 16, 20), toys.gaussian(16, 20)
    attack = attacks.create("korhonen", strength=strength)
    for goal, sign in ((None, 1), (LOWER, -1)):
        result = attack(toys.Linear(weights), clean, **({} if goal is None else {"goal": goal}))
        way = 255 * torch.minimum(torch.tensor(attack.epsilon), attack.epsilon * attack.pace * spatial_activity(clean))
        moved = (result.images - clean) * 255
        assert float((moved - sign * way * weights.sign()).abs().max()) <= 0.5 + 1e-3
        assert int(moved.abs().max().round()) == reached


def test_paper_turns_around_where_the_derivative_is_negative(toys: SimpleNamespace) -> None:
    clean, weights = hill(16, 20), toys.gaussian(16, 20, scale=10.0)
    result = Korhonen(paper=True)(toys.Linear(weights, score_range=(0.0, 100.0)), clean)
    moved, mask = ((result.images - clean) * 255).round(), signed_activity(clean)
    # Adam divides the mask's size out again; only its sign is left.
    clear = (mask * weights / 100).abs() > 1e-6
    assert torch.equal(moved[clear], (4 * weights.sign() * mask.sign())[clear])
    assert (mask.expand_as(moved)[clear] < 0).any()


def test_a_larger_pace_gains_more_and_costs_the_same(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 16, 20), toys.Linear(toys.gaussian(16, 20))
    slow, fast = (Korhonen(pace=pace)(metric, clean) for pace in (1.0, 4.0))
    assert (fast.values > slow.values).all()
    assert set(fast.backwards.tolist()) == set(slow.backwards.tolist()) == {10}
    assert set(fast.forwards.tolist()) <= {11, 12}


def test_black_and_white_pixels_stay_in_range(toys: SimpleNamespace) -> None:
    clean = (toys.pictures(2, 12, 12, low=0, high=256) > 0.5).float()
    metric = toys.Linear(toys.gaussian(12, 12))
    Korhonen(epsilon=8 / 255)(metric, clean)
    assert all(0 <= float(batch.min()) <= float(batch.max()) <= 1 for batch in metric.batches)


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"pace": 0.0}, {"pace": float("nan")}, {"epsilon": 4.0}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Korhonen(**parameters)
