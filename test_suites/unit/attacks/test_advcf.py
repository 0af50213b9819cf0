"""AdvCF: curves against NumPy's interpolation, monotone and anchored, and both parametrisations."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.advcf import AdvCF, clipped_rises, curves, softmax_rises
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.similarity import ssim
from iqa_robustness.streams import Streams

STREAMS = Streams("key", ["a", "b", "c"])


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy() * 255).astype(int)


@given(pieces=st.integers(2, 80), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_curve_is_the_linear_interpolation_of_its_pieces(pieces: int, seed: int) -> None:
    rises = softmax_rises(2 * torch.randn(3, pieces, generator=torch.Generator().manual_seed(seed)))
    found = curves(rises).double().numpy()
    knots = np.linspace(0, 1, pieces + 1)
    for channel in range(3):
        heights = np.concatenate([[0], np.cumsum(rises[channel].double().numpy())])
        assert found[channel] == pytest.approx(np.interp(np.arange(256) / 255, knots, heights), abs=1e-5)
    assert (np.diff(found) >= -1e-6).all()
    assert found[:, 0] == pytest.approx(0)
    assert found[:, 255] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rises", [softmax_rises, clipped_rises])
def test_zeros_are_the_identity(toys: SimpleNamespace, rises: object) -> None:
    assert torch.allclose(curves(rises(torch.zeros(3, 64))), torch.arange(256) / 255, atol=1e-5)  # type: ignore[operator]
    images = toys.pictures(3, low=0, high=256)
    for paper in (False, True):
        parameters, renders = AdvCF(paper=paper).start(images, STREAMS)
        assert parameters.shape == (3, 3, 64)
        for row, render in enumerate(renders):
            assert torch.allclose(render(parameters[row])[0], images[row], atol=1e-5)


def test_published_rises_are_cut_off_at_zero_and_share_the_whole() -> None:
    parameters = torch.tensor([[-0.9, 0.0, 0.25, 0.0]])
    assert clipped_rises(parameters)[0].tolist() == pytest.approx([0, 0.25, 0.5, 0.25])


def test_every_pixel_of_a_level_gets_the_same_level_and_order_is_kept(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 24, 32, low=0, high=256)
    result = AdvCF()(toys.Linear(toys.gaussian(24, 32)), clean)
    before, after = levels(clean), levels(result.images)
    assert (after != before).any()
    for image in range(2):
        for channel in range(3):
            table: dict[int, int] = {}
            pairs = zip(before[image, channel].flat, after[image, channel].flat, strict=True)
            assert all(table.setdefault(level, new) == new for level, new in pairs)
            outputs = [table[level] for level in sorted(table)]
            assert outputs == sorted(outputs)


def test_a_metric_of_brightness_is_raised_by_curves_above_the_diagonal_and_lowered_by_those_below(
    toys: SimpleNamespace,
) -> None:
    clean = toys.pictures(2, 16, 20, low=30, high=226)
    for sign in (1, -1):
        result = AdvCF()(toys.Linear(torch.full((3, 16, 20), sign * 1e-3)), clean)
        assert (sign * (levels(result.images) - levels(clean)) >= 0).all()
        assert (ssim(result.images, clean) >= 0.85 - 1e-6).all()


def test_the_gradient_of_the_look_up_is_the_sum_over_the_pixels_of_a_level(toys: SimpleNamespace) -> None:
    images = toys.pictures(1, 16, 20, low=0, high=256)
    parameters, (render,) = AdvCF(pieces=8).start(images, Streams("key", ["a"]))
    leaf = (parameters[0] + 0.3 * torch.randn(3, 8)).requires_grad_(True)
    weights = toys.gaussian(16, 20)
    (found,) = torch.autograd.grad((render(leaf) * weights).sum(), leaf)
    # The same from the curve's definition on every pixel.
    other = leaf.detach().double().requires_grad_(True)
    starts = torch.arange(8).double() / 8
    risen = ((images[0].double()[..., None] - starts) * 8).clamp(0, 1)
    direct = (risen * other.softmax(dim=-1)[:, None, None, :]).sum(dim=-1)
    (expected,) = torch.autograd.grad((direct * weights).sum(), other)
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_paper_pulls_bent_curves_back(toys: SimpleNamespace) -> None:
    attack = AdvCF(paper=True, pieces=4)
    bent = torch.tensor([[[0.1, -0.1, 0.0, 0.0]] * 3])
    slope = attack.slope(torch.zeros_like(bent), bent)
    assert (slope[..., 0] < 0).all()
    assert (slope[..., 1] > 0).all()
    # 0.5 · d/dp Σ (p / Σp − 1/4)² at Σp = 1 is d − Σ d · p, with the differences d and the rises p.
    assert slope[0, 0].tolist() == pytest.approx([-0.08, 0.12, 0.02, 0.02], abs=1e-6)


def test_the_cost_is_ten_gradients_and_the_check(toys: SimpleNamespace) -> None:
    result = attacks.create("advcf", strength="weak")(toys.Linear(toys.gaussian(16, 20)), toys.pictures(2, 16, 20))
    assert result.backwards.tolist() == [10, 10]
    assert set(result.forwards.tolist()) <= {11, 12}


@pytest.mark.parametrize("parameters", [{"pieces": 1}, {"steps": 0}, {"least_ssim": 1.5}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        AdvCF(**parameters)
