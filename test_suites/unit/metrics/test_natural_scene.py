"""Grey levels, local normalisation and halving: against NumPy, SciPy and Pillow; MATLAB's conventions; gradients."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import correlate
from torch import Tensor

from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.natural_scene import grey_levels, halved, neighbour_products, normalized

BORDERS: dict[Literal["zero", "replicate"], str] = {"zero": "constant", "replicate": "nearest"}


def levels(height: int = 20, width: int = 26, *, count: int = 2, seed: int = 0) -> Tensor:
    numbers = np.random.default_rng(seed).integers(0, 256, (count, height, width))
    return torch.from_numpy(numbers.astype(np.float64))


def window() -> np.ndarray:
    """`fspecial('gaussian', 7, 7/6)`."""
    rows, columns = np.mgrid[-3:4, -3:4]
    weights = np.exp(-(rows**2 + columns**2) / (2 * (7 / 6) ** 2))
    return weights / weights.sum()


def test_grey_levels_are_those_of_rgb2gray() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    to_yiq = np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])
    expected = np.floor(pixels @ np.linalg.inv(to_yiq)[0] + 0.5)
    found = grey_levels(from_uint8(pixels))
    assert found.dtype == torch.float64
    assert np.array_equal(found.numpy(), expected)


def test_grey_images_keep_their_levels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    assert grey_levels(from_uint8(ramp)).flatten().tolist() == list(range(256))


def test_rounding_passes_the_gradient() -> None:
    images = torch.rand((1, 3, 4, 5), generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(grey_levels(images).sum(), images)
    weights = gradient[0, :, 0, 0].tolist()
    assert weights == pytest.approx([255 * 0.2989, 255 * 0.5870, 255 * 0.1140], abs=0.02)
    assert bool((gradient == gradient[:, :, :1, :1]).all())


def test_changes_below_half_a_level_do_not_count() -> None:
    images = from_uint8(np.full((1, 8, 8, 3), 77, np.uint8))
    assert grey_levels(images + 0.4 / 255).equal(grey_levels(images))
    assert not grey_levels(images + 0.6 / 255).equal(grey_levels(images))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(20, 26), (7, 31), (4, 4)])
def test_normalisation_equals_scipy(border: Literal["zero", "replicate"], size: tuple[int, int]) -> None:
    grey = levels(*size)
    for found, image in zip(normalized(grey, border=border), grey.numpy(), strict=True):
        mean, square = (correlate(part, window(), mode=BORDERS[border]) for part in (image, image**2))
        expected = (image - mean) / (np.sqrt(np.abs(square - mean**2)) + 1)
        assert found.numpy() == pytest.approx(expected, abs=1e-9)


def test_constant_surroundings_are_exactly_zero() -> None:
    grey = levels(30, 40, count=1)
    grey[:, 5:25, 8:30] = 211
    found = normalized(grey, border="replicate")
    assert not found[:, 8:22, 11:27].any(), "three pixels inside, the window sees one level"
    assert float((found == 0).double().mean()) < 0.5
    assert not normalized(torch.full((1, 9, 9), 255.0, dtype=torch.float64), border="replicate").any()


def test_zero_border_is_an_edge_of_a_constant_image() -> None:
    found = normalized(torch.full((1, 20, 20), 100.0, dtype=torch.float64), border="zero")
    assert not found[:, 3:-3, 3:-3].any()
    assert bool((found[:, 0] > 0.5).all())


@pytest.mark.parametrize("size", [(24, 32), (64, 48)])
def test_halving_equals_pillow_inside(size: tuple[int, int]) -> None:
    grey = levels(*size, count=1, seed=4)
    picture = Image.fromarray(grey[0].numpy().astype(np.float32), mode="F")
    expected = np.array(picture.resize((size[1] // 2, size[0] // 2), Image.Resampling.BICUBIC))
    # At the border Pillow cuts the kernel off, MATLAB mirrors the image.
    assert halved(grey)[0, 2:-2, 2:-2].numpy() == pytest.approx(expected[2:-2, 2:-2], abs=1e-3)


@settings(max_examples=25)
@given(height=st.integers(4, 23), width=st.integers(4, 23))
def test_halving_mirrors_at_the_border(height: int, width: int) -> None:
    grey = levels(height, width, count=1, seed=height * width)
    found = halved(grey)[0].numpy()
    assert found.shape == ((height + 1) // 2, (width + 1) // 2)
    wide = np.pad(grey[0].numpy(), 4, mode="symmetric")

    def keys(distance: np.ndarray) -> np.ndarray:
        x = np.abs(distance)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, near, np.where(x <= 2, far, 0))

    def row(out: int, length: int) -> np.ndarray:
        """Weights of the padded pixels for one output pixel, whose centre is at 2 out + 1/2."""
        weights = keys((np.arange(-4, length + 4) - (2 * out + 0.5)) / 2)
        return weights / weights.sum()

    rows = np.stack([row(out, height) for out in range(found.shape[0])])
    columns = np.stack([row(out, width) for out in range(found.shape[1])])
    assert found == pytest.approx(rows @ wide @ columns.T, abs=1e-9)


def test_halving_keeps_constants_and_ramps() -> None:
    assert halved(torch.full((1, 9, 11), 42.0, dtype=torch.float64)).numpy() == pytest.approx(42.0)
    ramp = torch.arange(40, dtype=torch.float64).expand(1, 40, 40)
    assert halved(ramp)[0, 0, 2:-2].tolist() == pytest.approx([2 * k + 0.5 for k in range(2, 18)])


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (-1, 1), (1, -1)])
def test_products_wrap_round(shift: tuple[int, int]) -> None:
    values = levels(5, 6)
    expected = values.numpy() * np.roll(values.numpy(), shift, axis=(1, 2))
    assert np.array_equal(neighbour_products(values, shift).numpy(), expected)
    row, column = shift
    assert float(neighbour_products(values, shift)[0, 0, 0]) == float(values[0, 0, 0] * values[0, -row, -column])


@pytest.mark.parametrize("border", BORDERS)
def test_gradients_equal_finite_differences(border: Literal["zero", "replicate"]) -> None:
    grey = levels(4, 5, count=1, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalized(x, border=border), grey, atol=1e-6)
    assert torch.autograd.gradcheck(halved, grey, atol=1e-6)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("value", [0.0, 128.0, 255.0])
def test_constant_images_have_finite_gradients(border: Literal["zero", "replicate"], value: float) -> None:
    grey = torch.full((1, 16, 18), value, dtype=torch.float64, requires_grad=True)
    structure = normalized(halved(grey), border=border)
    weights = levels(*structure.shape[1:], count=1)
    (gradient,) = torch.autograd.grad((structure * weights).sum(), grey)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) < 1e3
    assert bool(gradient.any()), "a constant image can be made less constant"


def test_images_are_treated_apart() -> None:
    grey = levels(17, 19, count=3)
    for part in (halved, lambda x: normalized(x, border="zero")):
        together = part(grey)
        assert all(part(grey[k : k + 1])[0].equal(together[k]) for k in range(3))
