"""Enhance: the sliders do what their names say, against other people's code, and the search finds what there is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from skimage.metrics import structural_similarity
from torch import Tensor

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.enhance import SLIDERS, Enhance, _layers, enhanced
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Robust

NEUTRAL = [neutral for _, neutral, _ in SLIDERS]


class Colourful(Metric):
    """Mean spread of the channels: saturation raises it, and nothing else of the five does as much."""

    spec = MetricSpec(name="colourful", score_range=(0.0, 1.0))

    def forward(self, images: Tensor) -> Tensor:
        return (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2))


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    return view(datasets.load("mini"), count=4, size=(48, 64)).batch(range(4))


def at(images: Tensor, **settings: float) -> Tensor:
    names = ("sharpness", "local", "contrast", "saturation", "gamma")
    row = [settings.get(name, neutral) for name, neutral in zip(names, NEUTRAL, strict=True)]
    return enhanced(images, _layers(images), torch.tensor([row] * len(images)))


# --- the sliders ----------------------------------------------------------------------------------------------------


def test_neutral_sliders_change_nothing(photographs: Tensor) -> None:
    assert torch.allclose(at(photographs), photographs, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.7])
def test_saturation_is_pillows(photographs: Tensor, factor: float) -> None:
    ours = to_uint8(at(photographs, saturation=factor)).astype(int)
    for mine, pixels in zip(ours, to_uint8(photographs), strict=True):
        theirs = np.asarray(ImageEnhance.Color(Image.fromarray(pixels)).enhance(factor), int)
        assert np.abs(mine - theirs).max() <= 2  # Pillow's grey and result are whole numbers


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_contrast_is_pillows(photographs: Tensor, factor: float) -> None:
    ours = to_uint8(at(photographs, contrast=factor)).astype(int)
    for mine, pixels in zip(ours, to_uint8(photographs), strict=True):
        theirs = np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(factor), int)
        assert np.abs(mine - theirs).max() <= 2


def test_gamma_is_a_power(photographs: Tensor) -> None:
    assert torch.allclose(at(photographs, gamma=1.5), photographs**1.5, atol=1e-6)


def test_sharpening_adds_what_a_box_blur_takes_away(photographs: Tensor) -> None:
    sharp = at(photographs, sharpness=0.5)
    row, column = 20, 30
    window = photographs[0, :, row - 2 : row + 3, column - 2 : column + 3].mean(dim=(1, 2))
    expected = photographs[0, :, row, column] * 1.5 - 0.5 * window
    assert torch.allclose(sharp[0, :, row, column], expected.clamp(0, 1), atol=1e-5)


def test_local_contrast_spreads_a_dull_picture_and_keeps_its_hue() -> None:
    rows, columns = np.mgrid[:64, :64]
    dull = np.stack([110 + (rows + columns) // 8] * 3, axis=-1).astype(np.uint8)
    images = from_uint8(dull)[None]
    equalized = at(images, local=1.0)
    assert float(equalized.std()) > 1.25 * float(images.std())
    assert float((equalized[:, 0] - equalized[:, 2]).abs().max()) < 1e-5


# --- the attack -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_it_moves_contrast_and_colour_which_noise_cannot(photographs: Tensor, goal: object) -> None:
    for metric in (Robust(), Colourful()):
        gains = []
        for name in ("enhance", "square"):
            result = attacks.create(name, strength="strong", queries=80)(metric, photographs, goal=goal)  # type: ignore[arg-type]
            gains.append(float((result.values - result.clean_values).mean()))
        assert gains[0] > 2 * gains[1]


def test_the_pictures_stay_as_similar_as_promised(photographs: Tensor) -> None:
    for strength, least in (("weak", 0.9), ("strong", 0.75)):
        result = attacks.create("enhance", strength=strength, queries=60)(Robust(), photographs)
        for clean, attacked in zip(photographs, result.images, strict=True):
            found = structural_similarity(clean.numpy(), attacked.numpy(), channel_axis=0, data_range=1)
            assert found >= least - 1e-3


def test_more_queries_gain_more_and_none_are_overdrawn(photographs: Tensor) -> None:
    few, many = (Enhance(queries=queries)(Robust(), photographs) for queries in (9, 120))
    assert float(many.values.mean()) > float(few.values.mean())
    assert few.forwards.tolist() == [9] * 4
    assert many.forwards.tolist() == [120] * 4


def test_an_image_that_reaches_its_target_stops(photographs: Tensor) -> None:
    clean = Robust()(photographs)
    result = Enhance(queries=200)(Robust(), photographs, goal=Towards(score=float(clean[0]) + 1.0, tolerance=0.01))
    assert int(result.forwards[0]) < 200
    assert float(result.values[0]) >= -0.01


def test_the_search_is_an_images_own(photographs: Tensor) -> None:
    ids = ["a", "b", "c", "d"]
    whole = Enhance(queries=30)(Robust(), photographs, ids=ids)
    part = Enhance(queries=30)(Robust(), photographs[[3, 1]], ids=["d", "b"])
    assert torch.equal(part.images, whole.images[[3, 1]])


@pytest.mark.parametrize("wrong", [{"queries": 1}, {"population": 0}, {"least_ssim": 0.0}])
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Enhance(**wrong)  # type: ignore[arg-type]


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Enhance().queries = 3  # type: ignore[misc]
