"""Label penalties: the published formula, its clamping, and distances against independent implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from iqa_robustness.errors import UnknownNameError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.metrics.lite0_features import Lite0Features
from iqa_robustness.training.label_penalty import LabelPenalty

LOW, HIGH = 3.9, 88.4


@pytest.fixture(scope="module")
def images(picture: Callable[..., np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Attacked and clean, the second pair much further apart than the first."""
    clean = np.stack([picture(48, 64, seed=seed) for seed in (1, 2)])
    noise = np.random.default_rng(0).normal(size=clean.shape) * np.array([3, 40])[:, None, None, None]
    return from_uint8(np.clip(clean + noise, 0, 255).astype(np.uint8)), from_uint8(clean)


def test_ssim_is_that_of_skimage_with_a_gaussian_window(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    attacked, clean = images
    labels = torch.tensor([60.0, 70.0])
    found = LabelPenalty("ssim", low=LOW, high=HIGH, weight=0.1)(labels, attacked, clean)
    for row in range(2):
        similarity = structural_similarity(
            attacked[row].numpy(),
            clean[row].numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(found[row]) == pytest.approx(float(labels[row]) - 0.1 * (1 - similarity) * (HIGH - LOW), abs=2e-3)


def test_labels_stay_between_the_least_and_the_greatest(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    penalty = LabelPenalty("ssim", low=LOW, high=HIGH, weight=10)
    found = penalty(torch.tensor([HIGH, 20.0]), *images)
    assert float(found[1]) == pytest.approx(LOW)
    assert float(penalty(torch.tensor([200.0, 200.0]), images[1], images[1]).max()) == pytest.approx(HIGH)


def test_an_unchanged_image_keeps_its_label(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    labels = torch.tensor([12.5, 80.0])
    for name in ("none", "ssim", "lite0-features"):
        found = LabelPenalty(name, low=LOW, high=HIGH)(labels, images[1], images[1])
        assert found.tolist() == pytest.approx(labels.tolist(), abs=1e-3)


def test_lite0_features_are_the_distance_of_that_name(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    labels = torch.tensor([50.0, 60.0])
    found = LabelPenalty("lite0-features", low=0, high=100)(labels, *images)
    with torch.no_grad():
        distance = Lite0Features()(*images)
    assert torch.allclose(found, labels - 100 * distance)
    assert float(distance[1]) > float(distance[0]) > 0


def test_without_a_penalty_labels_are_those_of_clean_images(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    labels = torch.tensor([50.0, 600.0])
    assert torch.equal(LabelPenalty("none", low=0, high=100)(labels, *images), labels)


def test_lpips_is_that_of_pyiqa_on_vgg_and_nothing_stands_in(
    images: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorded(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.files = (WeightsFile(name=name, sha256="0"),)

        def forward(self, attacked: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
            return (attacked - clean).abs().amax(dim=(1, 2, 3))

    monkeypatch.setattr("iqa_robustness.metrics.pyiqa_distance.PyiqaDistance", Recorded)
    penalty = LabelPenalty("lpips", low=0, high=100)
    assert [file.name for file in penalty.files] == ["lpips-vgg"]
    expected = 50 - 100 * (images[0] - images[1]).abs().amax(dim=(1, 2, 3))
    assert torch.allclose(penalty(torch.tensor([50.0, 50.0]), *images), expected.clamp(0, 100))

    def absent(_name: str) -> None:
        raise WeightsError("no lpips here")

    monkeypatch.setattr("iqa_robustness.metrics.pyiqa_distance.PyiqaDistance", absent)
    with pytest.raises(WeightsError, match="no lpips here"):
        LabelPenalty("lpips", low=0, high=100)


def test_an_unknown_penalty_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="lite0-features"):
        LabelPenalty("lite0-feature", low=0, high=1)
