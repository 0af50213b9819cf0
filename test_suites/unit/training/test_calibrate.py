"""`iqa-robustness calibrate`: quantiles of what a metric gives, recorded with all that is needed to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.cli import main
from iqa_robustness.datasets.base import Dataset, Item
from iqa_robustness.errors import ConfigurationError, ExitCode, NonFiniteScoreError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.streams import Streams
from iqa_robustness.training.calibrate import LEAST_IMAGES, QUANTILES, STANDARD, calibrated

ROBUST = "iqa_robustness.metrics.planted:Robust"


class Pictures(Dataset):
    """Noise around a grey of the image's own; the sizes differ."""

    name = "folder:/somebody/photographs"
    mos_kind = "human"
    digest = "d" * 64

    def __init__(self, count: int = 20) -> None:
        self._items = [
            Item(id=f"image-{number}", mos=float(number), content=f"scene-{number}") for number in range(count)
        ]

    @property
    def items(self) -> Sequence[Item]:
        return self._items

    def pixels(self, index: int) -> np.ndarray:
        random = np.random.RandomState(index)
        return (60 + 6 * index + random.randint(-9, 10, (24 + index, 32, 3))).astype(np.uint8)


class Recorder(Metric):
    """The mean of an image in per cent; keeps what it has given and the sizes it has seen."""

    spec = MetricSpec(name="recorder", score_range=(0.0, 100.0), version="7")

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        scores = 100 * images.mean(dim=(1, 2, 3))
        self.given += scores.double().tolist()
        self.sizes.append(tuple(images.shape))
        return scores


class Random(Recorder):
    spec = MetricSpec(name="random", score_range=(0.0, 100.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + streams.normal()


class Constant(Recorder):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(super().forward(images), 50.0)


class Broken(Recorder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


def test_the_range_is_the_middle_98_per_cent_of_seven_versions_of_every_image() -> None:
    metric, data = Recorder(), Pictures()
    entry = calibrated(metric, data)
    assert len(metric.given) == 7 * len(data)
    assert (entry.low, entry.high) == pytest.approx(tuple(np.quantile(metric.given, QUANTILES)), rel=1e-5)
    assert (entry.metric, entry.kind, entry.version, entry.images) == ("recorder", "calibrated", "7", 20)
    assert {size[0] for size in metric.sizes} == {1 + len(STANDARD)}
    assert len({size[2] for size in metric.sizes}) == 20


def test_what_is_needed_to_repeat_it_is_recorded_without_a_path() -> None:
    data = Pictures()
    entry = calibrated(Recorder(), data, count=16, size=(16, 24), seed=3)
    found = entry.calibration
    assert found is not None
    assert (found.dataset, found.digest, found.size, found.seed) == ("folder", "d" * 64, (16, 24), 3)
    assert found.scores == 7 * 16
    assert found.distortions == tuple(STANDARD)
    assert set(found.image_ids) < {item.id for item in data.items}
    assert len(found.image_ids) == 16
    assert "/somebody" not in Ranges(entries={("x", "calibrated"): entry}).to_yaml()


@pytest.mark.parametrize("kind", [Recorder, Random])
def test_it_is_repeatable_and_the_noise_has_a_seed(kind: type[Recorder]) -> None:
    first, again, other = (calibrated(kind(), Pictures(), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_progress_counts_images() -> None:
    told: list[tuple[int, int]] = []
    calibrated(Recorder(), Pictures(15), progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 15) for number in range(1, 16)]


@pytest.mark.parametrize(
    ("metric", "images", "error", "said"),
    [
        (Recorder, LEAST_IMAGES - 1, ConfigurationError, "14 images are too few"),
        (Constant, LEAST_IMAGES, ConfigurationError, "hardly differ"),
        (Broken, LEAST_IMAGES, NonFiniteScoreError, "nan"),
    ],
)
def test_what_cannot_be_calibrated_says_why(
    metric: type[Recorder], images: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        calibrated(metric(), Pictures(images))


# --- the command ----------------------------------------------------------------------------------------------------


def run(*more: Any) -> int:
    return main(["calibrate", ROBUST, "--iqa-dataset", "mini", "--images", "15", "--size", "48x64", *map(str, more)])


def test_without_a_file_the_entry_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr()
    entry = Ranges.parsed(said.out, name="output").entries[ROBUST, "calibrated"]
    assert entry.images == 15
    assert f"the middle 98 % of 105 scores are {entry.low:g} to {entry.high:g}; declared (0, 60)" in said.err


def test_the_file_is_added_to_and_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "ranges.yaml"
    assert run("--out", out) == 0
    first = out.read_bytes()
    assert run("--out", out) == ExitCode.CONFIGURATION
    assert "holds a calibrated range" in capsys.readouterr().err
    assert out.read_bytes() == first
    planted = "iqa_robustness.metrics.planted:Vulnerable"
    size = ["--size", "48x64"]
    assert main(["calibrate", planted, "--iqa-dataset", "mini", "--images", "15", *size, "--out", str(out)]) == 0
    assert {metric for metric, _ in Ranges.read(out).entries} == {ROBUST, planted}


def test_a_range_that_will_be_refused_is_said_so_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wide(Recorder):
        spec = MetricSpec(name="wide", score_range=(-1000.0, 1000.0))

    monkeypatch.setattr(metrics, "create", lambda name, *, device: Wide())
    assert run("--out", tmp_path / "ranges.yaml") == 0
    assert "RangeTooWideError, once this calibration is used" in capsys.readouterr().err
    assert Ranges.read(tmp_path / "ranges.yaml").entries


@pytest.mark.parametrize("size", ["48", "0x64", "48x", "48x64x3"])
def test_a_size_is_height_x_width(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--size", size)
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
