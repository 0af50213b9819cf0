"""stAdv: the warp against SciPy, the smoothness in NumPy, and how far the published search gets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import torch

from iqa_robustness import attacks
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.stadv import StAdv, diagonal_roughness, variation, warped
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.similarity import ssim


def flow_of(height: int, width: int, seed: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))


def smooth(toys: SimpleNamespace, count: int = 2, height: int = 24, width: int = 32) -> torch.Tensor:
    """Pictures in which neighbours are alike."""
    raw = toys.pictures(count, height, width, low=0, high=256).numpy()
    blurred = scipy.ndimage.gaussian_filter(raw, (0, 0, 1.5, 1.5))
    stretched = (blurred - blurred.min()) / (blurred.max() - blurred.min())
    return torch.from_numpy(np.rint(stretched * 255).astype(np.float32)) / 255


@pytest.mark.parametrize("size", [(16, 20), (33, 47)])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_a_warp_is_scipys_linear_interpolation_with_the_border_repeated(
    toys: SimpleNamespace, size: tuple[int, int], scale: float
) -> None:
    image, flow = toys.pictures(1, *size), flow_of(*size, seed=3, scale=scale)
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = [rows + flow[0].numpy(), columns + flow[1].numpy()]
    found = warped(image, flow)[0]
    for channel in range(3):
        expected = scipy.ndimage.map_coordinates(image[0, channel].double().numpy(), places, order=1, mode="nearest")
        assert found[channel].numpy() == pytest.approx(expected, abs=1e-4)


def test_no_flow_changes_nothing_that_8_bits_hold(toys: SimpleNamespace) -> None:
    image = toys.pictures(1, 96, 128, low=0, high=256)
    found = warped(image, torch.zeros(2, 96, 128))
    assert float((found - image).abs().max()) < 0.02 / 255


def test_a_flow_of_whole_pixels_shifts(toys: SimpleNamespace) -> None:
    image = toys.pictures(1, 16, 20)
    flow = torch.stack([torch.full((16, 20), 2.0), torch.full((16, 20), -1.0)])
    found = warped(image, flow)
    assert torch.allclose(found[..., :-2, 1:], image[..., 2:, :-1], atol=1e-5)


def test_total_variation_and_the_published_roughness_in_numpy() -> None:
    flow = flow_of(7, 9, seed=1, scale=1.0)
    u = flow.double().numpy()
    steps = [np.diff(u, axis=1), np.diff(u, axis=2)]
    expected = sum(np.hypot(*step).sum() for step in steps)
    assert float(variation(flow[None])) == pytest.approx(expected, rel=1e-4)
    padded = np.pad(u, ((0, 0), (1, 1), (1, 1)))
    corners = [padded[:, i : i + 7, j : j + 9] for i in (0, 2) for j in (0, 2)]
    assert float(diagonal_roughness(flow)) == pytest.approx(sum(((u - c) ** 2).sum() for c in corners), rel=1e-4)
    constant = torch.ones(1, 2, 7, 9)
    assert float(variation(constant)) < 0.02
    assert torch.equal(variation(flow.expand(3, -1, -1, -1))[1:2], variation(flow[None]))


def test_it_moves_an_image_as_far_as_its_budget(toys: SimpleNamespace) -> None:
    clean = smooth(toys)
    for strength, least in (("weak", 0.9), ("medium", 0.85), ("strong", 0.75)):
        result = attacks.create("stadv", strength=strength)(Vulnerable(), clean)
        assert (ssim(result.images, clean) >= least - 1e-6).all()
        assert (ssim(result.images, clean) < least + 0.05).all()
        assert (result.values - result.clean_values > 0.2).all()


@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_the_first_published_step_moves_all_pixels_together_by_one_at_most(
    toys: SimpleNamespace, strength: str
) -> None:
    clean = smooth(toys, 1)
    metric = toys.Linear(toys.gaussian(24, 32, scale=0.1), offset=5.0)  # a slope in the flow with an l1 norm above 1
    attack = attacks.create("stadv", strength=strength, paper=True)
    assert isinstance(attack, StAdv)
    attack(metric, clean, micro_batch=1)
    first, second, third = (b for b, mode in zip(metric.batches, metric.modes, strict=True) if mode == "gradient")
    assert torch.allclose(first, clean, atol=1e-4)
    steepest = max(float((clean[..., 1:] - clean[..., :-1]).abs().max()), float(clean.diff(dim=2).abs().max()))
    moved = float((second - first).abs().sum())
    assert 0 < moved <= 3 * 2 * steepest * attack.published_rate
    assert float((third - second).abs().sum()) > moved  # L-BFGS knows by now how flat the slope is


def test_the_published_loss_is_followed_uphill(toys: SimpleNamespace) -> None:
    clean, metric = smooth(toys), toys.Linear(toys.gaussian(24, 32, scale=0.1), offset=5.0)
    for sign in (RAISE, LOWER):
        result = StAdv(paper=True, least_ssim=0.5)(metric, clean, goal=sign)
        assert result.trace[1] > result.trace[0]


def test_a_rougher_flow_is_pulled_back(toys: SimpleNamespace) -> None:
    clean, metric = smooth(toys), toys.Linear(toys.gaussian(24, 32, scale=0.001))
    gains = [
        float((result.values - result.clean_values).mean())
        for result in (StAdv(smoothness=weight)(metric, clean) for weight in (0.05, 3.0))
    ]
    assert gains[0] > gains[1] > 0
    spike = torch.zeros(1, 2, 8, 8)
    spike[0, :, 4, 4] = 1
    slope = StAdv(smoothness=1.0).slope(torch.zeros_like(spike), spike)
    assert (slope[0, :, 4, 4] < 0).all()


def test_a_flat_image_cannot_be_moved(toys: SimpleNamespace) -> None:
    clean = torch.full((1, 3, 16, 20), 100 / 255)
    result = StAdv()(toys.Linear(toys.gaussian(16, 20)), clean)
    assert torch.equal(result.images, clean)


def test_costs(toys: SimpleNamespace) -> None:
    clean, metric = smooth(toys), toys.Linear(toys.gaussian(24, 32))
    ours, published = StAdv()(metric, clean), StAdv(paper=True)(metric, clean)
    assert ours.backwards.tolist() == [10, 10]
    assert published.backwards.tolist() == [3, 3]
    assert set(published.forwards.tolist()) <= {4, 5, 6}


def test_the_published_search_of_an_image_does_not_depend_on_its_companions(toys: SimpleNamespace) -> None:
    clean, metric = smooth(toys, 3, 17, 23), toys.Linear(toys.gaussian(17, 23))
    whole = StAdv(paper=True)(metric, clean, ids=["a", "b", "c"])
    alone = StAdv(paper=True)(metric, clean[1:2], ids=["b"])
    assert torch.equal(whole.images[1:2], alone.images)


def test_the_published_rates_are_the_means_over_the_benchmarks_metrics() -> None:
    """Benchmark, section 3.3: L-BFGS' rate for seven metrics at each category."""
    rates = {
        "weak": (0.659608, 0.379205, 0.618482, 0.705996, 0.415832, 0.605897, 0.515644),
        "medium": (0.825157, 0.550044, 0.837649, 0.89785, 0.593179, 0.814442, 0.651771),
        "strong": (0.998026, 0.869698, 1.16333, 1.19475, 0.825896, 1.0424, 0.853691),
    }
    for strength, published in rates.items():
        attack = attacks.create("stadv", strength=strength)
        assert isinstance(attack, StAdv)
        assert attack.published_rate == pytest.approx(np.mean(published), abs=0.0006)
