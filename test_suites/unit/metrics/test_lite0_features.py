"""The feature distance: its formula in NumPy, what it says of distortions, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.datasets.base import View
from iqa_robustness.errors import ImageContractError
from iqa_robustness.metrics.lite0_features import BLOCKS, Lite0Features
from iqa_robustness.similarity import psnr


@pytest.fixture(scope="module")
def distance() -> Lite0Features:
    return Lite0Features()


@pytest.fixture(scope="module")
def photographs(graded: View) -> Tensor:
    """Four undistorted pictures, 64 × 96."""
    return torch.cat([graded.batch(range(index, index + 1)) for index in (0, 5, 10, 15)])[:, :, 64:128, 80:176]


def noisy(images: Tensor, sigma: float, seed: int = 0) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + sigma * noise).clamp(0, 1)


class Maps(nn.Module):
    """A backbone of known activations: the image's channels, and their halves at half the size."""

    def depthwise(self, images: Tensor, blocks: range) -> Iterator[Tensor]:
        assert blocks == BLOCKS
        yield images
        yield images[..., ::2, ::2] / 2


def test_the_formula_is_the_published_one_without_learned_weights() -> None:
    one, other = torch.rand(2, 3, 32, 34), torch.rand(2, 3, 32, 34)
    network = Lite0Features.__new__(Lite0Features)
    nn.Module.__init__(network)
    network.backbone = Maps()  # type: ignore[assignment]
    expected = []
    for first, second in zip(one.double().numpy(), other.double().numpy(), strict=True):
        unit = [image / np.linalg.norm(image, axis=0) for image in (first, second)]
        whole = np.square(unit[0] - unit[1]).sum(axis=0)
        expected.append((whole.mean() + whole[::2, ::2].mean()) / 2)
    assert network(one, other).numpy() == pytest.approx(np.array(expected), rel=1e-4)


def test_equal_images_are_at_zero_and_the_order_does_not_matter(distance: Lite0Features, photographs: Tensor) -> None:
    changed = noisy(photographs, 0.05)
    with torch.no_grad():
        assert torch.equal(distance(photographs, photographs), torch.zeros(4))
        there, back = distance(photographs, changed), distance(changed, photographs)
    assert torch.allclose(there, back, atol=1e-6)
    assert (there > 0).all()
    assert (there < 2).all()


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_more_of_a_distortion_is_farther(distance: Lite0Features, photographs: Tensor, kind: str) -> None:
    def blurred(side: int) -> Tensor:
        return nn.functional.avg_pool2d(photographs, side, stride=1, padding=side // 2, count_include_pad=False)

    changed = [noisy(photographs, s) for s in (0.01, 0.03, 0.1)] if kind == "noise" else [blurred(s) for s in (3, 5, 9)]
    with torch.no_grad():
        found = [distance(images, photographs) for images in changed]
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()


def test_it_does_not_measure_what_psnr_does(distance: Lite0Features, photographs: Tensor) -> None:
    """At one PSNR, noise is farther than a shift of brightness."""
    noise = noisy(photographs, 0.02) - photographs
    brighter = photographs + noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    assert psnr(photographs + noise, photographs).numpy() == pytest.approx(psnr(brighter, photographs).numpy(), abs=0.1)
    with torch.no_grad():
        assert (distance(photographs + noise, photographs) > 2 * distance(brighter.clamp(0, 1), photographs)).all()


def test_the_gradient_is_that_of_finite_differences_and_zero_at_the_reference(
    distance: Lite0Features, photographs: Tensor
) -> None:
    clean = photographs[:1]
    leaf = clean.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(distance(leaf, clean).sum(), leaf)
    assert not slope.any()
    leaf = noisy(clean, 0.05).requires_grad_(True)
    (slope,) = torch.autograd.grad(distance(leaf, clean).sum(), leaf)
    direction, step = slope / slope.norm(), 0.02
    with torch.no_grad():
        rise = distance(leaf + step * direction, clean) - distance(leaf - step * direction, clean)
    assert float(rise / (2 * step)) == pytest.approx(float(slope.norm()), rel=0.05)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_any_size_from_32_pixels(distance: Lite0Features, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    assert distance(images, images.flip(0)).shape == (2,)
    with pytest.raises(ImageContractError):
        distance(images[..., :31], images[..., :31])


def test_a_place_without_any_activation_has_a_finite_gradient(distance: Lite0Features) -> None:
    leaf = torch.zeros(1, 3, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(distance(leaf, torch.full((1, 3, 32, 32), 0.5)).sum(), leaf)
    assert torch.isfinite(slope).all()
