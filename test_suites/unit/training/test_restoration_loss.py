"""The losses of purifiers against NumPy, scikit-image and each other."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, UnknownNameError, WeightsError
from iqa_robustness.metrics.lite0_features import Lite0Features
from iqa_robustness.training.restoration_loss import TERMS, RestorationLoss

OWN = tuple(term for term in TERMS if term != "lpips")


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand((2, 3, 40, 48), generator=draw)
    return (clean * 0.8 + 0.1 * torch.rand(clean.shape, generator=draw)).clamp(0, 1), clean


@pytest.fixture(scope="module")
def losses() -> dict[str, RestorationLoss]:
    return {term: RestorationLoss(term) for term in OWN}


def test_squared_error_is_numpys(images: tuple[Tensor, Tensor]) -> None:
    first, second = (part.numpy() for part in images)
    expected = ((first - second) ** 2).mean(axis=(1, 2, 3))
    assert RestorationLoss("mse")(*images).numpy() == pytest.approx(expected, rel=1e-5)


def test_ssim_is_scikit_images(images: tuple[Tensor, Tensor]) -> None:
    expected = [
        1 - structural_similarity(one.numpy(), other.numpy(), channel_axis=0, data_range=1.0)
        for one, other in zip(*images, strict=True)
    ]
    assert RestorationLoss("ssim")(*images).tolist() == pytest.approx(expected, abs=1e-5)


def test_a_negative_is_no_likeness(images: tuple[Tensor, Tensor]) -> None:
    """Not clamped, minus the clean image would have an SSIM of 1, and channels of a network learned to be that."""
    _, clean = images
    assert RestorationLoss("ssim")(-clean, clean).min() > 0.9


def test_lite0_features_is_the_distance_of_that_name(images: tuple[Tensor, Tensor]) -> None:
    assert torch.allclose(RestorationLoss("lite0-features")(*images), Lite0Features()(*images))


@settings(deadline=None, max_examples=6)
@given(terms=st.lists(st.sampled_from(OWN), min_size=2, unique=True))
def test_a_sum_is_the_sum_of_its_terms_in_any_order(
    terms: list[str], images: tuple[Tensor, Tensor], losses: dict[str, RestorationLoss]
) -> None:
    loss = RestorationLoss("+".join(terms))
    assert torch.allclose(loss(*images), sum(losses[term](*images) for term in terms), rtol=1e-5)
    assert loss.name == "+".join(sorted(terms, key=TERMS.index))


@pytest.mark.parametrize("term", OWN)
def test_nothing_is_lost_by_the_clean_image_and_a_step_down_the_slope_lessens_the_loss(
    term: str, images: tuple[Tensor, Tensor], losses: dict[str, RestorationLoss]
) -> None:
    restored, clean = images
    assert losses[term](clean, clean).abs().max() < 1e-6
    leaf = restored.clone().requires_grad_(True)
    before = losses[term](leaf, clean)
    (slope,) = torch.autograd.grad(before.sum(), leaf)
    assert torch.isfinite(slope).all()
    moved = restored - 1e-3 * slope / slope.abs().max()
    assert (losses[term](moved, clean) < before.detach()).all()


def test_lpips_is_never_replaced_by_something_else(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises((WeightsError, ConfigurationError)) as raised:
        RestorationLoss("mse+lpips")
    assert re.search("lpips|pyiqa", str(raised.value))  # without the extra, what brings it is named


def test_lpips_is_taken_from_pyiqa_and_its_files_are_named(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Published(torch.nn.Module):
        files = ("alex",)

        def __init__(self, name: str) -> None:
            super().__init__()
            assert name == "lpips"

        def forward(self, restored: Tensor, clean: Tensor) -> Tensor:
            return torch.full((len(restored),), 7.0)

    monkeypatch.setattr("iqa_robustness.metrics.pyiqa_distance.PyiqaDistance", Published)
    loss = RestorationLoss("lpips+mse")
    assert loss.name == "mse+lpips"
    assert loss.files == ("alex",)
    assert torch.allclose(loss(*images) - 7, RestorationLoss("mse")(*images), atol=1e-6)


@pytest.mark.parametrize("expression", ["mae", "", "mse+", "mse ssim", "MSE", "lite0"])
def test_what_is_no_loss_is_refused(expression: str) -> None:
    with pytest.raises(UnknownNameError, match="term of the loss"):
        RestorationLoss(expression)


def test_a_term_is_named_once() -> None:
    with pytest.raises(ConfigurationError, match="'mse\\+ssim\\+mse' has mse twice"):
        RestorationLoss("mse+ssim+mse")


def test_images_are_judged_one_by_one(images: tuple[Tensor, Tensor]) -> None:
    both = RestorationLoss("mse+ssim")(*images)
    alone = [float(RestorationLoss("mse+ssim")(images[0][row : row + 1], images[1][row : row + 1])) for row in (0, 1)]
    assert both.tolist() == pytest.approx(alone, rel=1e-5)
    assert not np.isclose(*alone)
