"""The codec in torch: its transform, tables and colours against scipy and Pillow, its slopes against closed forms."""

from __future__ import annotations

import io
import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from iqa_robustness import jpeg
from iqa_robustness.datasets.mini import Mini
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8
from iqa_robustness.jpeg import check_quality, coded, round_trip
from iqa_robustness.similarity import psnr

QUALITIES = (1, 10, 30, 49, 50, 51, 75, 90, 100)


@pytest.fixture(scope="module")
def grain() -> Tensor:
    """(2, 3, 37, 52) uniform, no two neighbours equal."""
    return torch.from_numpy(np.random.RandomState(0).uniform(size=(2, 3, 37, 52)).astype(np.float32))


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """(4, 96, 128, 3) uint8, cut out of photographs."""
    mini = Mini()
    contents = ("astronaut", "coffee", "gravel", "hubble")
    return np.stack([mini.reference(content)[100:196, 200:328] for content in contents])


def written(pixels: np.ndarray, quality: int) -> Image.Image:
    """As Pillow writes it: baseline, 4:2:0."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling="4:2:0")
    return Image.open(io.BytesIO(buffer.getvalue()))


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", range(1, 101))
def test_tables_are_those_that_libjpeg_writes(quality: int) -> None:
    tables = written(np.zeros((8, 8, 3), np.uint8), quality).quantization
    for number, table in enumerate((jpeg._LUMINANCE, jpeg._CHROMINANCE)):
        assert jpeg._table(table, quality).flatten().tolist() == [*tables[number]]


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_plane_is_rounded_in_scipys_cosine_transform(grain: Tensor, quality: int) -> None:
    plane, table = grain[0, :1, :32, :48] * 255 - 128, jpeg._table(jpeg._LUMINANCE, quality)
    blocks = plane.numpy().reshape(4, 8, 6, 8).transpose(0, 2, 1, 3).astype(np.float64)
    steps = np.rint(scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho") / table.numpy())
    decoded = scipy.fft.idctn(steps * table.numpy(), axes=(2, 3), norm="ortho")
    expected = decoded.transpose(0, 2, 1, 3).reshape(32, 48)
    assert np.abs(jpeg._plane(plane, table, "soft")[0].numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("quality", QUALITIES)
def test_grey_pictures_come_out_as_pillows_up_to_rounding(photographs: np.ndarray, quality: int) -> None:
    """Without colour, only the rounding of pixels is left to differ, and of a coefficient near the middle of a step."""
    grey = photographs[..., :1].repeat(3, axis=-1)
    decoded = np.stack([np.array(written(picture, quality).convert("RGB")) for picture in grey])
    ours = coded(from_uint8(grey), quality).movedim(1, -1).numpy() * 255
    assert np.quantile(np.abs(ours - decoded), 0.9) < 0.8


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (17, 33), (16, 16), (8, 8), (1, 1), (3, 50)])
def test_pictures_of_any_size_come_out_close_to_pillows(photographs: np.ndarray, size: tuple[int, int]) -> None:
    pixels = np.ascontiguousarray(photographs[:, : size[0], : size[1]])
    for quality in (10, 50, 90):
        decoded = np.stack([np.array(written(picture, quality).convert("RGB")) for picture in pixels])
        ours = coded(from_uint8(pixels), quality)
        assert ours.shape == (4, 3, *size)
        # Most of them: in a small picture, one coefficient rounded to the other side is seen.
        assert float(psnr(ours, from_uint8(decoded)).median()) > 38


@settings(max_examples=25)
@given(level=st.integers(0, 255), quality=st.integers(1, 100))
def test_a_grey_surface_moves_by_half_a_step_of_the_mean_at_most(level: int, quality: int) -> None:
    step = int(jpeg._table(jpeg._LUMINANCE, quality)[0, 0]) / 8
    change = coded(torch.full((1, 3, 16, 16), level / 255), quality) - level / 255
    assert float(change.abs().max()) * 255 <= step / 2 + 1e-3
    assert float(change.std()) < 1e-6


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_round_trip_is_pillows_picture_by_picture(photographs: np.ndarray, quality: int) -> None:
    back = round_trip(photographs, quality)
    assert back.dtype == np.uint8
    for before, after in zip(photographs, back, strict=True):
        assert np.array_equal(after, np.array(written(before, quality)))
        assert np.array_equal(round_trip(before, quality), after)
    assert round_trip(photographs[:0], quality).shape == (0, 96, 128, 3)


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_quality_outside_of_libjpegs_scale_is_refused(quality: int) -> None:
    with pytest.raises(ConfigurationError, match=f"got {quality}"):
        check_quality(quality)
    check_quality(min(max(quality, 1), 100))


# --- slopes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", ["soft", "straight-through"])
def test_the_slope_of_rounding_is_the_named_one_and_its_value_exact(slope: jpeg.Slope) -> None:
    values = (torch.arange(-24, 25, dtype=torch.float64) / 8).requires_grad_(True)
    rounded = jpeg._rounded(values, slope)
    (gradient,) = torch.autograd.grad(rounded.sum(), values)
    nearest = [int(Decimal(value).to_integral_value(ROUND_HALF_UP)) for value in values.tolist()]  # away from 0
    assert rounded.tolist() == nearest
    wave = torch.cos(2 * math.pi * values.detach())
    expected = 1 - 0.75 * wave if slope == "soft" else torch.ones_like(wave)
    assert torch.allclose(gradient, expected)


def test_straight_through_a_plane_the_gradient_is_unchanged(grain: Tensor) -> None:
    """The transform is orthonormal, so that it undoes itself in the backward pass too."""
    leaf, weights = grain[:1, 0, :32, :48].clone().requires_grad_(True), grain[1:, 0, :32, :48]
    table = jpeg._table(jpeg._LUMINANCE, 10)
    (gradient,) = torch.autograd.grad((jpeg._plane(255 * leaf, table, "straight-through") * weights).sum(), leaf)
    assert torch.allclose(gradient, 255 * weights, atol=1e-3)


def test_the_soft_slope_spares_what_is_rounded_away_again() -> None:
    """A flat picture: frequencies sit at 0, the middle of a step; its mean is put to the edge of one."""
    half_step = 16 / 8 / 2 / 255  # at quality 50
    leaf = torch.full((1, 3, 16, 16), 128 / 255 + half_step).requires_grad_(True)
    columns = torch.linspace(-1, 1, 16)
    fine, mean = (
        torch.autograd.grad((coded(leaf, 50) * weights).sum(), leaf)[0].norm() / weights.expand(3, 16, 16).norm()
        for weights in (columns.sign() * (-1) ** torch.arange(16), torch.ones(16))
    )
    assert float(fine) < 0.3
    assert float(mean) > 1.7
