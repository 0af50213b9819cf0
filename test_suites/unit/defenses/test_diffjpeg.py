"""DiffJPEG: JPEG without 8-bit rounding, its slope declared as the surrogate it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from iqa_robustness.defenses.purification.diffjpeg import DiffJPEG
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8
from iqa_robustness.jpeg import coded
from iqa_robustness.similarity import psnr


def pillow(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("quality", DiffJPEG.parameter_values)
def test_it_is_close_to_pillows_jpeg_and_closer_than_the_picture_is(
    photographs: np.ndarray, quality: int, paper: bool
) -> None:
    images = from_uint8(photographs)
    decoded = from_uint8(np.stack([pillow(picture, quality) for picture in photographs]))
    purified = DiffJPEG(quality=quality, paper=paper).purify(images)
    assert (psnr(purified, decoded) > 37).all()
    assert (psnr(purified, decoded) > psnr(images, decoded) + 3).all()


def test_pixels_are_not_rounded_to_8_bits(photographs: np.ndarray) -> None:
    levels = DiffJPEG().purify(from_uint8(photographs)) * 255
    assert float((levels - levels.round()).abs().mean()) > 0.1
    # So that a change below 8 bits is seen.
    images = 0.5 + 0.2 * torch.rand(1, 3, 32, 32)
    assert not torch.equal(DiffJPEG().purify(images + 0.4 / 255), DiffJPEG().purify(images))


def test_a_lower_quality_keeps_less(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    kept = torch.stack([psnr(images, DiffJPEG(quality=q).purify(images)) for q in DiffJPEG.parameter_values])
    assert (kept.diff(dim=0) > 0).all()


# --- the slope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("paper", "name"), [(False, "soft-rounding"), (True, "straight-through")])
def test_its_value_is_exact_and_its_slope_the_declared_surrogates(grain: Tensor, paper: bool, name: str) -> None:
    defense, leaf = DiffJPEG(paper=paper), grain.clone().requires_grad_(True)
    applied = defense.applied(leaf)
    assert (defense.differentiable, defense.surrogate_name) == (False, name)
    assert torch.equal(applied.detach(), defense.purify(grain))
    weights = torch.linspace(-1, 1, 52)
    (gradient,) = torch.autograd.grad((applied * weights).sum(), leaf)
    (expected,) = torch.autograd.grad((defense.purify(leaf) * weights).sum(), leaf)
    assert torch.equal(gradient, expected)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_it_is_what_jpeg_is_attacked_through(grain: Tensor) -> None:
    assert torch.equal(JPEG(quality=30).surrogate(grain), DiffJPEG(quality=30).purify(grain))


# --- as published ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(17, 33), (31, 47), (37, 52)])
def test_as_published_the_margin_is_mirrored(grain: Tensor, size: tuple[int, int]) -> None:
    images = grain[..., : size[0], : size[1]]
    framed = F.pad(images, (0, 16 - size[1] % 16, 0, 16 - size[0] % 16), mode="reflect")
    assert torch.equal(DiffJPEG(paper=True).purify(images), coded(framed, 50)[..., : size[0], : size[1]])
    assert not torch.equal(DiffJPEG(paper=True).purify(images), DiffJPEG().purify(images))


def test_as_published_no_margin_is_a_whole_block_and_moves_the_last_colours_alone(grain: Tensor) -> None:
    images = grain[..., :32, :48]
    published, right = DiffJPEG(paper=True).purify(images), DiffJPEG().purify(images)
    assert torch.equal(published[..., :31, :47], right[..., :31, :47])
    assert not torch.equal(published, right)


def test_an_image_smaller_than_the_margin_is_refused_only_as_published() -> None:
    assert DiffJPEG().purify(torch.rand(1, 3, 9, 40)).shape == (1, 3, 9, 40)
    with pytest.raises(ConfigurationError, match=r"margin of 8 pixels takes images from 9 × 9 pixels, got 8 × 40"):
        DiffJPEG(paper=True).purify(torch.rand(1, 3, 8, 40))


@pytest.mark.parametrize("quality", [0, -5, 101])
def test_a_quality_outside_its_scale_is_refused(quality: int) -> None:
    with pytest.raises(ConfigurationError, match="quality"):
        DiffJPEG(quality=quality)
