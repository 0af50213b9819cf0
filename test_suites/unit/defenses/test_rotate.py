"""Rotate: as scipy turns images, or torchvision where the published code is reproduced; angles from the streams."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.rotate import Rotate, rotated
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

ANGLES = (-180.0, -50.0, -7.0, 0.5, 15.0, 33.0, 120.0)


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, [*ids])


@pytest.mark.parametrize("angle", [*ANGLES, 90.0])
def test_an_image_is_turned_as_scipy_does_mirrored_at_its_edges(grain: Tensor, angle: float) -> None:
    turned = rotated(grain, torch.full((2,), angle)).numpy()
    expected = scipy.ndimage.rotate(grain.numpy(), angle, axes=(2, 3), reshape=False, order=1, mode="reflect")
    assert np.abs(turned - expected).max() < 3e-5


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("angle", ANGLES)
def test_as_published_it_is_torchvisions_nearest_pixel_with_black_wedges(grain: Tensor, angle: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    assert torch.equal(rotated(grain, torch.full((2,), angle), paper=True), functional.rotate(grain, angle))


def test_a_positive_angle_turns_counter_clockwise() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(rotated(images, torch.tensor([90.0, -90.0]))[0], images[0].rot90(1, (1, 2)), atol=1e-5)
    assert torch.allclose(rotated(images, torch.tensor([90.0, -90.0]))[1], images[1].rot90(-1, (1, 2)), atol=1e-5)


@pytest.mark.parametrize("limit", Rotate.parameter_values)
def test_angles_are_uniform_between_the_limits(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    module = "iqa_robustness.defenses.purification.rotate.rotated"
    monkeypatch.setattr(module, lambda images, degrees, paper: seen.append(degrees) or images)
    ids = [str(number) for number in range(1000)]
    Rotate(limit=limit).purify(torch.zeros(1000, 3, 1, 1), streams=Streams("key", ids))
    assert scipy.stats.kstest(seen[0].numpy() / limit, "uniform", args=(-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize("paper", [False, True])
def test_each_image_has_an_angle_of_its_own_whatever_its_company(paper: bool, grain: Tensor) -> None:
    images, defense = grain[:1].expand(3, -1, -1, -1), Rotate(paper=paper)
    whole = defense.purify(images, streams=streams_of("abc"))
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(defense.purify(images, streams=streams_of("cba")), whole.flip(0))


def test_an_even_surface_has_wedges_only_as_published() -> None:
    white = torch.ones(2, 3, 24, 40)
    assert torch.allclose(rotated(white, torch.tensor([20.0, -45.0])), white)
    corners = rotated(white, torch.tensor([20.0, -45.0]), paper=True)[:, :, 0, 0]
    assert (corners == 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    images = torch.from_numpy(np.random.RandomState(1).uniform(0.2, 0.8, (1, 3, 6, 7))).requires_grad_(True)
    degrees = torch.tensor([17.0], dtype=torch.float64)
    for paper in (False, True):
        assert torch.autograd.gradcheck(lambda x, paper=paper: rotated(x, degrees, paper=paper), (images,))


@pytest.mark.parametrize("limit", [0, -5, 181, np.nan])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="rotate needs a limit"):
        Rotate(limit=limit)


def test_what_it_needs_and_declares(grain: Tensor) -> None:
    with pytest.raises(ConfigurationError, match="rotate draws random numbers and needs `streams`"):
        Rotate().purify(grain)
    assert (Rotate.stochastic, Rotate.differentiable, Rotate.keeps_geometry) == (True, True, False)
