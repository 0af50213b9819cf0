"""Upscale: shrunk, and brought back to the image's own size as OpenCV does in each mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.defenses.purification.upscale import Upscale, UpscaleBicubic, UpscaleNearest
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.similarity import psnr

KINDS = {"INTER_LINEAR": Upscale, "INTER_NEAREST": UpscaleNearest, "INTER_CUBIC": UpscaleBicubic}


@pytest.mark.parametrize("scale", Upscale.parameter_values)
@pytest.mark.parametrize("flag", KINDS)
def test_the_small_image_is_enlarged_as_opencv_does(grain: Tensor, flag: str, scale: float) -> None:
    cv2 = pytest.importorskip("cv2")
    small = Resize(scale=scale).purify(grain).movedim(1, -1).contiguous().numpy()
    large = np.stack([cv2.resize(image, (52, 37), interpolation=getattr(cv2, flag)) for image in small])
    purified = KINDS[flag](scale=scale).purify(grain).movedim(1, -1).numpy()
    assert np.abs(purified - large.clip(0, 1)).max() < 5e-6


def test_the_modes_are_one_defenses(grain: Tensor) -> None:
    for kind in (UpscaleNearest, UpscaleBicubic):
        assert torch.equal(kind().purify(grain), Upscale(mode=kind().mode).purify(grain))
        assert kind.parameter_values == Upscale.parameter_values


@pytest.mark.parametrize("kind", KINDS.values())
def test_by_default_an_image_gets_its_own_size_back_and_pixels_correspond(kind: type[Upscale], grain: Tensor) -> None:
    assert kind().keeps_geometry
    for size in ((37, 52), (20, 31), (1, 1)):
        assert kind().purify(grain[..., : size[0], : size[1]]).shape == (2, 3, *size)


@pytest.mark.parametrize(
    ("kind", "size"), [(Upscale, (384, 512)), (UpscaleNearest, (299, 299)), (UpscaleBicubic, (299, 299))]
)
def test_as_published_every_image_gets_one_size(kind: type[Upscale], size: tuple[int, int], grain: Tensor) -> None:
    defense = kind(paper=True)
    assert not defense.keeps_geometry
    assert defense.purify(grain).shape == (2, 3, *size)


def test_as_published_an_image_of_that_size_is_shrunk_without_antialiasing() -> None:
    images = torch.rand(1, 3, 384, 512)
    small = Resize(paper=True).purify(images)
    expected = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(Upscale(paper=True).purify(images), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS.values())
def test_a_larger_scale_keeps_more(kind: type[Upscale], photographs: np.ndarray) -> None:
    images = torch.from_numpy(photographs).movedim(-1, 1).float() / 255
    kept = [float(psnr(images, kind(scale=scale).purify(images)).mean()) for scale in (0.1, 0.25, 0.5)]
    assert kept == sorted(kept)


@pytest.mark.parametrize("kind", KINDS.values())
def test_its_gradient_is_that_of_finite_differences(kind: type[Upscale]) -> None:
    images = torch.from_numpy(np.random.RandomState(1).uniform(0.4, 0.6, (1, 3, 7, 8))).requires_grad_(True)
    assert torch.autograd.gradcheck(kind().purify, (images,))


def test_bicubic_overshoots_and_is_clipped() -> None:
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8:] = 1
    assert float(UpscaleBicubic().purify(images).max()) == 1
    assert float(UpscaleBicubic().purify(0.5 * images).max()) > 0.5


def test_what_is_no_scale_or_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="upscale needs a scale"):
        Upscale(scale=0)
    with pytest.raises(UnknownNameError, match="mode of upscale 'bicubik'") as caught:
        Upscale(mode="bicubik")  # type: ignore[arg-type]
    assert caught.value.suggestions[0] == "bicubic"
