"""JPEG: bit-equal to Pillow, rounding against truncation, and how good its differentiable stand-in is."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from iqa_robustness import attacks, metrics
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.similarity import psnr

COFFEE = 1  # the most colourful of the photographs
QUALITIES = (1, 10, 30, 50, 75, 95, 100)


def pillow(pixels: np.ndarray, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", **options)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))


@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_bit_equal_to_pillow_at_its_quality_with_halved_colour(photographs: np.ndarray, quality: int) -> None:
    purified = to_uint8(JPEG(quality=quality).purify(from_uint8(photographs)))
    for before, after in zip(photographs, purified, strict=True):
        assert np.array_equal(after, pillow(before, quality=quality, subsampling=2))
    unsampled = pillow(photographs[COFFEE], quality=quality, subsampling=0)
    assert not np.array_equal(purified[COFFEE], unsampled)


@pytest.mark.parametrize("size", [(95, 127), (17, 33), (8, 8), (1, 1), (3, 50)])
def test_odd_sizes_are_coded_as_pillow_does(photographs: np.ndarray, size: tuple[int, int]) -> None:
    pixels = np.ascontiguousarray(photographs[:2, : size[0], : size[1]])
    purified = JPEG(quality=40).purify(from_uint8(pixels))
    assert purified.shape == (2, 3, *size)
    for before, after in zip(pixels, to_uint8(purified), strict=True):
        assert np.array_equal(after, pillow(before, quality=40))


def test_the_result_is_on_the_grid_and_depends_on_no_companion(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    together = JPEG().purify(images)
    assert torch.equal(together, (together * 255).round() / 255)
    for row in range(len(images)):
        assert torch.equal(JPEG().purify(images[row : row + 1])[0], together[row])


def test_a_lower_quality_keeps_less(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    kept = torch.stack([psnr(images, JPEG(quality=quality).purify(images)) for quality in JPEG.parameter_values])
    assert (kept.diff(dim=0) > 0).all()


# --- rounding and the published code's truncation -------------------------------------------------------------------


def test_between_levels_the_nearest_is_coded_and_with_paper_the_lower(photographs: np.ndarray) -> None:
    interior = photographs.clip(1, 253)
    between = from_uint8(interior) + 0.7 / 255
    assert torch.equal(JPEG().purify(between), JPEG().purify(from_uint8(interior + 1)))
    assert torch.equal(JPEG(paper=True).purify(between), JPEG().purify(from_uint8(interior)))


def test_with_paper_images_on_the_grid_are_not_darkened() -> None:
    every_level = from_uint8(np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3))
    assert torch.equal(JPEG(paper=True, quality=100).purify(every_level), JPEG(quality=100).purify(every_level))


# --- the slope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quality", "least"), [(10, 38.0), (30, 42.0), (50, 42.0), (70, 42.0), (90, 43.0)])
def test_the_stand_in_is_close_to_the_real_thing(photographs: np.ndarray, quality: int, least: float) -> None:
    images = from_uint8(photographs)
    defense = JPEG(quality=quality)
    stand_in, exact = defense.surrogate(images), defense.purify(images)
    assert stand_in.shape == exact.shape
    assert (psnr(stand_in, exact) > least).all()
    # And closer to it than the untouched image is, so that it is worth its name.
    assert (psnr(stand_in, exact) > psnr(images, exact)).all()


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (17, 33)])
def test_the_stand_in_has_finite_gradients_that_are_not_zero_at_any_size(
    photographs: np.ndarray, size: tuple[int, int]
) -> None:
    leaf = from_uint8(photographs[:2, : size[0], : size[1]]).requires_grad_(True)
    stand_in = JPEG().surrogate(leaf)
    assert stand_in.shape == leaf.shape
    assert float(stand_in.detach().min()) >= 0
    assert float(stand_in.detach().max()) <= 1
    (gradient,) = torch.autograd.grad((stand_in * torch.linspace(-1, 1, size[1])).sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


class Contrast(Metric):
    """Mean of a fixed pattern."""

    spec = MetricSpec(name="pattern", score_range=(0.0, 1.0))

    def forward(self, images: Tensor) -> Tensor:
        return (images * torch.linspace(-1, 1, images.shape[-1])).mean(dim=(1, 2, 3))


def test_behind_it_the_value_is_exact_and_the_slope_is_the_stand_ins(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    defense = JPEG(quality=30)
    scores, gradients = Scorer(metric=defense.protect(Contrast()), micro_batch=4).scores_and_gradients(images)
    leaf = images.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(Contrast()(defense.surrogate(leaf)).sum(), leaf)
    assert torch.equal(scores, Contrast()(defense.purify(images)))
    assert torch.allclose(gradients, expected, atol=1e-9)


@dataclass(frozen=True, kw_only=True)
class Straight(JPEG):
    """With the slope of no compression at all."""

    def surrogate(self, images: Tensor) -> Tensor:
        return images


def gain(defense: JPEG, metric: Metric, images: Tensor) -> float:
    result = attacks.create("ifgsm", strength="medium")(defense.protect(metric), images, micro_batch=2)
    return float((result.values - result.clean_values).mean())


@pytest.mark.parametrize(("quality", "least"), [(10, 1.5), (50, 1.2)])
def test_an_adaptive_attack_on_a_network_gains_more_by_its_slope_than_by_the_identitys(
    photographs: np.ndarray, quality: int, least: float
) -> None:
    images, metric = from_uint8(photographs), metrics.create("compact")
    assert gain(JPEG(quality=quality), metric, images) > least * gain(Straight(quality=quality), metric, images)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_where_the_identity_is_as_good_as_optimal_its_slope_loses_little(photographs: np.ndarray, quality: int) -> None:
    """The planted weights are constant over blocks, so the gradient has no fine detail that JPEG would discard."""
    images, metric = from_uint8(photographs), Vulnerable()
    assert gain(JPEG(quality=quality), metric, images) > 0.9 * gain(Straight(quality=quality), metric, images)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [0, -5, 101])
def test_a_quality_outside_its_scale_is_refused(quality: int) -> None:
    with pytest.raises(ConfigurationError, match="quality"):
        JPEG(quality=quality)


def test_it_declares_what_it_is() -> None:
    assert not JPEG.differentiable
    assert not JPEG.stochastic
    assert JPEG.keeps_geometry
    assert (JPEG.surrogate_name, JPEG.varied_parameter) == ("diffjpeg", "quality")
    assert JPEG(quality=JPEG.parameter_values[0]).quality == 10
