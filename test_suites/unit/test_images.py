"""The tensor contract, 8-bit rounding, and reading images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iqa_robustness.errors import ImageContractError, ImageReadError
from iqa_robustness.images import (
    RANGE_TOLERANCE,
    checked_images,
    encode_png,
    fit_pixels,
    from_uint8,
    quantize,
    read_pixels,
    to_uint8,
)

SIDES = st.integers(1, 24)


def random_pixels(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [torch.rand(2, 3, 4, 5), torch.zeros(1, 3, 1, 1), torch.ones(4, 3, 2, 2)])
def test_good_images_pass_untouched(images: torch.Tensor) -> None:
    assert checked_images(images) is images


def test_no_images_are_fine() -> None:
    assert checked_images(torch.empty(0, 3, 8, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(3, 8, 8), "shape"),
        (torch.rand(1, 1, 8, 8), "shape"),
        (torch.rand(1, 4, 8, 8), "shape"),
        (torch.rand(1, 8, 8, 3), "shape"),
        (torch.rand(1, 1, 3, 8, 8), "shape"),
        (torch.rand(1, 3, 0, 8), "shape"),
        (torch.rand(1, 3, 8, 0), "shape"),
        (torch.tensor(0.5), "shape"),
        (torch.rand(1, 3, 8, 8, dtype=torch.float64), "float32"),
        (torch.rand(1, 3, 8, 8).half(), "float32"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "float32"),
        (torch.full((1, 3, 8, 8), 255.0), "[0, 1]"),
        (torch.full((1, 3, 8, 8), -0.01), "[0, 1]"),
        (torch.full((1, 3, 8, 8), 1 + 2e-6), "[0, 1]"),
        (torch.full((1, 3, 8, 8), -2e-6), "[0, 1]"),
    ],
)
def test_anything_else_is_refused(images: torch.Tensor, words: str) -> None:
    with pytest.raises(ImageContractError) as caught:
        checked_images(images, what="adversarial images")
    assert words in caught.value.what
    assert caught.value.what.startswith("adversarial images: expected")
    assert caught.value.fix


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_single_value_that_is_not_finite_is_refused(value: float) -> None:
    images = torch.rand(2, 3, 4, 4)
    images[1, 2, 3, 0] = value
    with pytest.raises(ImageContractError, match="finite"):
        checked_images(images)


def test_one_rounding_step_outside_is_clamped() -> None:
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    above, below = torch.nextafter(one, 2 * one), torch.nextafter(zero, -one)
    images = torch.stack([above, one, zero, below, torch.tensor(0.25), torch.tensor(-RANGE_TOLERANCE / 2)])
    images = images.reshape(1, 1, 2, 3).repeat(1, 3, 1, 1)
    checked = checked_images(images)
    assert float(checked.min()) == 0
    assert float(checked.max()) == 1
    assert bool((checked == images.clamp(0, 1)).all())
    assert float(images.max()) > 1, "the caller's tensor is left as it is"


def test_checking_keeps_the_gradient() -> None:
    images = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    checked_images(images).sum().backward()
    assert images.grad is not None
    assert bool((images.grad == 1).all())


# --- 8 bits ---------------------------------------------------------------------------------------------------------


@given(rows=SIDES, columns=SIDES, batch=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_bytes_to_floats_and_back_is_lossless(rows: int, columns: int, batch: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (batch, rows, columns, 3)).astype(np.uint8)
    images = from_uint8(pixels)
    assert images.shape == (batch, 3, rows, columns)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert checked_images(images) is images
    assert np.array_equal(to_uint8(images), pixels)
    assert bool((quantize(images) == images).all()), "the grid is a fixed point"
    assert np.array_equal(to_uint8(images[0]), pixels[0]), "a single image needs no batch axis"


def test_all_256_values_survive() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(to_uint8(quantize(from_uint8(ramp))), ramp)
    assert float(from_uint8(ramp).max()) == 1
    assert from_uint8(ramp)[0, 0, 1] == torch.tensor(1, dtype=torch.float32) / 255


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_rounding_moves_no_value_by_more_than_half_a_level(seed: int) -> None:
    images = torch.rand(1, 3, 7, 5, generator=torch.Generator().manual_seed(seed))
    rounded = quantize(images)
    assert float((rounded - images).abs().max()) <= 0.5 / 255 + 1e-7
    levels = rounded.double() * 255
    assert float((levels - levels.round()).abs().max()) < 1e-4
    assert bool((quantize(rounded) == rounded).all())
    assert np.array_equal(to_uint8(rounded), to_uint8(images))


def test_rounding_clamps_and_leaves_its_input_alone() -> None:
    images = torch.tensor([-0.3, 0.0, 0.5 / 255, 1.5 / 255, 1.0, 1.2]).reshape(1, 1, 2, 3).repeat(1, 3, 1, 1)
    before = images.clone()
    assert (quantize(images)[0, 0] * 255).flatten().round().tolist() == [0, 0, 0, 2, 255, 255]
    assert to_uint8(images)[0, ..., 0].flatten().tolist() == [0, 0, 0, 2, 255, 255]
    assert bool((images == before).all())


def test_from_uint8_shares_no_memory() -> None:
    pixels = random_pixels(4, 4)
    images = from_uint8(pixels)
    before = images.clone()
    pixels[:] = 0
    assert bool((images == before).all())


def test_to_uint8_takes_tensors_with_a_gradient() -> None:
    images = torch.full((1, 3, 2, 2), 0.2, requires_grad=True)
    assert to_uint8(images).tolist() == np.full((1, 2, 2, 3), 51).tolist()


# --- files ----------------------------------------------------------------------------------------------------------


@given(rows=SIDES, columns=SIDES, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_png_files_are_lossless(rows: int, columns: int, seed: int) -> None:
    pixels = random_pixels(rows, columns, seed)
    assert np.array_equal(read_pixels(encode_png(pixels)), pixels)


def test_a_path_and_its_bytes_read_the_same(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(encode_png(random_pixels(5, 6)))
    assert np.array_equal(read_pixels(file), read_pixels(file.read_bytes()))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_images_become_rgb(mode: str) -> None:
    image = Image.fromarray(random_pixels(8, 8)).convert(mode)
    pixels = read_pixels(encoded(image, "PNG"))
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.array(image.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("I", "TIFF"), ("CMYK", "JPEG"), ("F", "TIFF"), ("LAB", "TIFF")],
)
def test_images_that_are_not_8_bit_rgb_or_grey_are_refused(mode: str, kind: str) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_pixels(encoded(Image.new(mode, (4, 4)), kind), name="odd")
    assert f"mode {mode}" in caught.value.what
    assert caught.value.where.image == "odd"
    assert "convert" in caught.value.fix


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_hides_nothing_is_left_out(mode: str) -> None:
    image = Image.fromarray(random_pixels(6, 8)).convert(mode)
    assert np.array_equal(read_pixels(encoded(image, "PNG")), np.array(image.convert("RGB")))
    image.putpixel((3, 2), (*image.getpixel((3, 2))[:-1], 254))
    with pytest.raises(ImageReadError, match="transparent"):
        read_pixels(encoded(image, "PNG"))


def test_sixteen_bits_of_grey_are_rounded_to_eight() -> None:
    levels = np.arange(0, 65536, 13, dtype=np.uint16).reshape(1, -1)
    pixels = read_pixels(encoded(Image.fromarray(levels), "PNG"))
    assert np.array_equal(pixels, np.round(levels / 257).astype(np.uint8)[..., None].repeat(3, axis=2))


def turned(pixels: np.ndarray) -> dict[int, np.ndarray]:
    """Upright pictures by EXIF orientation, when the file holds `pixels`."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, -1)[::-1],
        8: np.rot90(pixels, 1),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_by_exif(orientation: int) -> None:
    pixels = random_pixels(4, 6)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    upright = read_pixels(encoded(image, "PNG", exif=exif))
    assert np.array_equal(upright, turned(pixels)[orientation])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    whole = encoded(Image.fromarray(random_pixels(40, 40)), kind)
    file = tmp_path / "cut.img"
    file.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ImageReadError) as caught:
        read_pixels(file)
    assert caught.value.where.image == str(file)
    assert caught.value.__cause__ is not None


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_gives_an_image_or_the_named_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
    damaged = bytearray(encoded(Image.fromarray(random_pixels(12, 12)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = read_pixels(bytes(damaged), name="damaged")
    except ImageReadError as error:
        assert error.where.image == "damaged"  # noqa: PT017 - either outcome is right
    else:
        assert pixels.ndim == 3
        assert pixels.dtype == np.uint8


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageReadError, match="cannot read the image"):
        read_pixels(content)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageReadError) as caught:
            read_pixels(path)
        assert caught.value.where.image == str(path)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encode_png(random_pixels(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError, match="decompression bomb"):
        read_pixels(bomb)


# --- sizes ----------------------------------------------------------------------------------------------------------


@given(rows=SIDES, columns=SIDES, height=SIDES, width=SIDES, value=st.integers(0, 255))
@settings(deadline=None, max_examples=150)
def test_any_size_is_covered_without_inventing_colours(
    rows: int, columns: int, height: int, width: int, value: int
) -> None:
    flat = np.full((rows, columns, 3), value, dtype=np.uint8)
    fitted = fit_pixels(flat, height, width)
    assert fitted.shape == (height, width, 3)
    assert fitted.dtype == np.uint8
    assert np.array_equal(np.unique(fitted), [value]), "no border may be drawn in"


def test_the_same_size_is_the_same_array() -> None:
    pixels = random_pixels(9, 7)
    assert fit_pixels(pixels, 9, 7) is pixels


@given(height=st.integers(1, 12), width=st.integers(1, 12), factor=st.integers(2, 4), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_shrinking_by_a_whole_factor_averages_boxes(height: int, width: int, factor: int, seed: int) -> None:
    pixels = random_pixels(height * factor, width * factor, seed)
    boxes = pixels.reshape(height, factor, width, factor, 3).astype(float).mean(axis=(1, 3))
    # Along each axis Pillow rounds once, so the result is within a level of the box's mean.
    assert np.abs(fit_pixels(pixels, height, width) - boxes).max() <= 1 + 1e-6


def test_halving_averages_exactly_where_the_means_are_whole() -> None:
    boxes = random_pixels(6, 8, 3)
    assert np.array_equal(fit_pixels(boxes.repeat(2, axis=0).repeat(2, axis=1), 6, 8), boxes)
    checker = (np.indices((8, 8)).sum(axis=0) % 2 * 100).astype(np.uint8)
    assert np.array_equal(fit_pixels(checker[..., None].repeat(3, axis=2), 4, 4), np.full((4, 4, 3), 50))


@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (12, 8), (8, 8)])
def test_the_centre_is_cut_out(rows: int, columns: int) -> None:
    pixels = random_pixels(rows, columns, 5)
    top, left = (rows - 8) // 2, (columns - 8) // 2
    assert np.array_equal(fit_pixels(pixels, 8, 8), pixels[top : top + 8, left : left + 8])
    halved = fit_pixels(pixels, 4, 4)
    assert np.array_equal(halved, fit_pixels(np.ascontiguousarray(pixels[top : top + 8, left : left + 8]), 4, 4))


def test_growing_keeps_a_picture_recognisable() -> None:
    ramp = np.linspace(0, 255, 16).astype(np.uint8)[None, :, None].repeat(12, axis=0).repeat(3, axis=2)
    grown = fit_pixels(ramp, 24, 32).astype(int)
    assert np.array_equal(grown[:, ::-1], grown[::-1, ::-1]), "rows stay equal"
    assert (np.diff(grown[0, :, 0]) >= -1).all()
    assert np.abs(grown[:, 1::2][:, 1:-1] - ramp[:1, 1:-1].astype(int)).max() <= 20


def test_fitting_is_repeatable_and_leaves_its_input_alone() -> None:
    pixels = random_pixels(17, 23, 6)
    before = pixels.copy()
    assert np.array_equal(fit_pixels(pixels, 9, 10), fit_pixels(pixels, 9, 10))
    assert np.array_equal(pixels, before)
