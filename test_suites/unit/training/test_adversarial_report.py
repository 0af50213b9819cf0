"""The scale that a trained metric is brought back to, and what is reported of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import linregress
from torch import Tensor, nn

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.training.adversarial_data import Views
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe
from iqa_robustness.training.adversarial_report import Calibrated, calibrated, report

pytestmark = pytest.mark.usefixtures("torchvision")

RECIPE = AdversarialRecipe(side=16, batch=4, epsilon=4 / 255)


class Grey(Dataset):
    """Flat grey pictures, the brighter the better, with opinions that are not quite in order."""

    name = "grey"
    mos_kind: MosKind = "human"
    digest = "grey"

    @property
    def items(self) -> Sequence[Item]:
        return [Item(id=str(n), mos=10.0 * n + 15 * (n % 2), content=str(n)) for n in range(9)]

    def pixels(self, index: int) -> np.ndarray:
        return np.full((16, 16, 3), 100 + 10 * index, np.uint8)


class Mean(Metric):
    """`gain` times the mean, plus what cannot be told from it."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.spec = MetricSpec(name="mean", score_range=(0.0, 50.0))
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * images.mean(dim=(1, 2, 3)) + 7


@pytest.fixture
def views() -> Views:
    return Views(Grey(), range(9), RECIPE, purpose="test")


def opinions(_images: Tensor, labels: Tensor) -> Tensor:
    return labels


@pytest.mark.parametrize("gain", [100.0, -3.0])
def test_slope_and_offset_are_those_of_a_regression(views: Views, gain: float) -> None:
    found = calibrated(Mean(gain).requires_grad_(False), views, opinions)
    outputs = np.array([gain * (100 + 10 * n) / 255 + 7 for n in range(9)])
    expected = linregress(outputs, [item.mos for item in Grey().items])
    assert found.slope == pytest.approx(expected.slope, rel=1e-4)
    assert found.offset == pytest.approx(expected.intercept, rel=1e-3)
    scores = expected.slope * outputs + expected.intercept
    assert found.score_range[0] == pytest.approx(scores.min(), abs=0.6)
    assert found.score_range[1] == pytest.approx(scores.max(), abs=0.6)


def test_the_published_range_is_that_of_the_outermost(views: Views) -> None:
    inner = calibrated(Mean(100.0).requires_grad_(False), views, opinions).score_range
    outer = calibrated(Mean(100.0).requires_grad_(False), views, opinions, outermost=True).score_range
    assert outer != inner
    assert outer[1] - outer[0] == pytest.approx(8 * 10 / 255 * 100 * _slope(), rel=1e-3)


def _slope() -> float:
    return float(linregress([(100 + 10 * n) / 2.55 for n in range(9)], [item.mos for item in Grey().items]).slope)


def test_a_collapsed_metric_is_refused(views: Views) -> None:
    with pytest.raises(ConfigurationError, match="one score"):
        calibrated(Mean(0.0).requires_grad_(False), views, opinions)


def test_shifts_are_in_per_cent_of_the_first_range(views: Views) -> None:
    """An attack of 4/255 moves a mean by 4/255: 10 · 4/255 of 50 before, 30 · 2 · 4/255 after scaling by 2."""
    after, before = (Mean(gain).requires_grad_(False) for gain in (30.0, 10.0))
    found: Any = report(
        after, Calibrated(slope=2.0, offset=1.0, score_range=(0, 1)), before, {"test": views}, opinions, RECIPE
    )["test"]
    assert found["views"] == 9
    assert found["shift before, %"] == pytest.approx(100 * 10 * 4 / 255 / 50, abs=0.01)
    assert found["shift after, %"] == pytest.approx(100 * 2 * 30 * 4 / 255 / 50, abs=0.01)
    # A mean keeps its order under attack; opinions have theirs.
    assert found["SROCC after"] == found["SROCC after raised"] == found["SROCC before"]
    assert 0.5 < found["SROCC after"] < 1


def test_a_falling_output_is_attacked_downwards_so_that_its_score_rises(views: Views) -> None:
    after, before = (Mean(gain).requires_grad_(False) for gain in (-30.0, 10.0))
    found: Any = report(
        after, Calibrated(slope=-2.0, offset=1.0, score_range=(0, 1)), before, {"test": views}, opinions, RECIPE
    )["test"]
    assert found["shift after, %"] == pytest.approx(100 * 2 * 30 * 4 / 255 / 50, abs=0.01)
    assert found["SROCC after"] == found["SROCC before"]
