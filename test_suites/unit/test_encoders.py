"""Encoders: their values against Pillow, their slopes against closed forms, and that images do not know each other."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from iqa_robustness.datasets.mini import Mini
from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import encode_png, from_uint8, read_pixels, to_uint8
from iqa_robustness.jpeg import coded
from iqa_robustness.similarity import psnr
from iqa_robustness.store import document_of

ENCODERS: list[Encoder] = [Lossless(), JpegFile(), JpegFile(quality=30), Thumbnail(), Thumbnail(scale=0.7)]
LOSSY = ENCODERS[1:]
SIZES = [(64, 80), (33, 47), (8, 9), (1, 1), (2, 31)]


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """(3, 64, 80, 3) uint8, cut out of photographs."""
    mini = Mini()
    return np.stack([mini.reference(content)[100:164, 200:280] for content in ("astronaut", "coffee", "gravel")])


def cut(photographs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(photographs[:, : size[0], : size[1]])


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [10, 75, 95])
def test_a_jpeg_file_is_pillows(photographs: np.ndarray, quality: int, size: tuple[int, int]) -> None:
    pixels = cut(photographs, size)
    back = to_uint8(JpegFile(quality=quality).encode(from_uint8(pixels)))
    for before, after in zip(pixels, back, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(before).save(buffer, "jpeg", quality=quality)  # 4:2:0 is Pillow's default
        assert np.array_equal(after, np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")))


def test_the_default_quality_is_pillows(photographs: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photographs[0]).save(buffer, "jpeg")
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.array_equal(to_uint8(JpegFile().encode(from_uint8(photographs[:1])))[0], expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.7])
def test_a_thumbnail_is_pillows(photographs: np.ndarray, scale: float, size: tuple[int, int]) -> None:
    pixels = cut(photographs, size)
    back = to_uint8(Thumbnail(scale=scale).encode(from_uint8(pixels)))
    small = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))
    for before, after in zip(pixels, back, strict=True):
        shrunk = Image.fromarray(before).resize(small, Image.Resampling.BILINEAR)
        expected = np.asarray(shrunk.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        assert np.array_equal(after, expected)


def test_a_png_file_is_lossless_for_8_bits_so_that_nothing_has_to_be_written(photographs: np.ndarray) -> None:
    written = np.stack([read_pixels(encode_png(picture)) for picture in photographs])
    assert np.array_equal(to_uint8(Lossless().encode(from_uint8(photographs))), written)
    between = from_uint8(photographs) * 0.99
    assert torch.equal(Lossless().through(between), between)


@pytest.mark.parametrize("encoder", LOSSY, ids=repr)
def test_what_comes_back_has_8_bits_and_is_that_of_the_rounded_image(encoder: Encoder, photographs: np.ndarray) -> None:
    images = from_uint8(photographs.clip(1, 254))
    back = encoder.encode(images)
    assert (back.shape, back.dtype) == (images.shape, torch.float32)
    assert torch.equal(back, (back * 255).round() / 255)
    assert not torch.equal(back, images)
    assert torch.equal(encoder.encode(images + 0.4 / 255), back)


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_an_image_comes_back_the_same_in_any_company(encoder: Encoder, photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    together = encoder.encode(images)
    for row in range(3):
        assert torch.equal(encoder.encode(images[row : row + 1])[0], together[row])
    assert torch.equal(encoder.encode(images.flip(0)), together.flip(0))
    assert encoder.encode(images[:0]).shape == (0, 3, 64, 80)


@settings(max_examples=25)
@given(level=st.integers(0, 255), scale=st.floats(0.05, 0.95), height=st.integers(1, 20), width=st.integers(1, 20))
def test_a_flat_picture_has_nothing_that_a_thumbnail_could_lose(
    level: int, scale: float, height: int, width: int
) -> None:
    images = torch.full((1, 3, height, width), level / 255)
    assert torch.equal(to_levels(Thumbnail(scale=scale).encode(images)), to_levels(images))


def to_levels(images: Tensor) -> Tensor:
    return images.mul(255).round()


# --- slopes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_with_a_gradient_the_value_is_exact_and_the_slope_the_surrogates(
    encoder: Encoder, photographs: np.ndarray
) -> None:
    leaf = from_uint8(photographs).requires_grad_(True)
    weights = torch.linspace(-1, 1, 80)
    through = encoder.through(leaf)
    assert torch.equal(through.detach(), encoder.encode(leaf.detach()))
    (found,) = torch.autograd.grad((through * weights).sum(), leaf)
    (expected,) = torch.autograd.grad((encoder.surrogate(leaf) * weights).sum(), leaf)
    assert torch.equal(found, expected)
    assert float(found.norm()) > 0


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_without_one_there_is_no_graph(encoder: Encoder, photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    assert not encoder.through(images).requires_grad
    with torch.no_grad():
        assert torch.equal(encoder.through(images.requires_grad_(True)), encoder.encode(images.detach()))


@pytest.mark.parametrize("encoder", LOSSY, ids=repr)
def test_the_surrogate_is_close_to_the_real_thing(encoder: Encoder, photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    exact, stand_in = encoder.encode(images), encoder.surrogate(images)
    assert (psnr(stand_in, exact) > 38).all()
    assert (psnr(stand_in, exact) > psnr(images, exact)).all()


def test_the_surrogate_of_jpeg_is_the_codec_with_the_soft_slope(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    assert torch.equal(JpegFile(quality=40).surrogate(images), coded(images, 40, slope="soft"))


def test_the_slope_of_a_thumbnail_is_the_transpose_of_what_it_does() -> None:
    """⟨T x, y⟩ = ⟨x, Tᵀ y⟩ for any two pictures."""
    random = np.random.RandomState(0)
    x, y = (torch.from_numpy(random.uniform(size=(1, 3, 12, 14))).requires_grad_(True) for _ in range(2))
    shrunk = Thumbnail(scale=0.5).surrogate(x)
    (transposed,) = torch.autograd.grad((shrunk * y.detach()).sum(), x)
    assert float((x * transposed).sum().detach()) == pytest.approx(float((shrunk * y).sum().detach()), rel=1e-9)


# --- what they are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_it_can_be_part_of_a_key(encoder: Encoder) -> None:
    document = document_of(encoder)
    assert document["version"] == type(encoder).version
    assert all(document_of(other) != document for other in ENCODERS if other != encoder)


@pytest.mark.parametrize("quality", [0, 101])
def test_an_impossible_quality_is_refused(quality: int) -> None:
    with pytest.raises(ConfigurationError, match="quality"):
        JpegFile(quality=quality)


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0 and below 1"):
        Thumbnail(scale=scale)
