"""A small repository of somebody else's, in which the plugin runs: four pictures, metrics, thresholds, a test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

# pytester forgets what an inner run imported; torch cannot be imported twice in one process.
import kornia.filters  # noqa: F401
import matplotlib.figure  # noqa: F401
import numpy as np
import pandas.core.arrays.arrow.extension_types  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest
import scipy.fft
import scipy.stats  # noqa: F401
import torch  # noqa: F401
from PIL import Image

import iqa_robustness.bench.runners.local
import iqa_robustness.gate.verdict
import iqa_robustness.reporting.run  # noqa: F401

METRICS = '''
"""Metrics that keep their contract, or break it in one way."""
import os, time
import torch
from iqa_robustness.metrics.base import Metric, MetricSpec

class Contrast(Metric):
    """Robust: the RMS contrast of the first channel."""
    spec = MetricSpec(name="contrast", score_range=(0.0, 60.0))
    def forward(self, images):
        return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt()

class Fragile(Contrast):
    """Vulnerable: contrast, and a large multiple of one pattern."""
    spec = MetricSpec(name="fragile", score_range=(0.0, 60.0))
    def forward(self, images):
        pattern = torch.ones_like(images[0, 0]); pattern[::2] = -1
        return super().forward(images) + 3000 * ((images[:, 0] - 0.5) * pattern).mean(dim=(1, 2))

class Flat(Contrast):
    """Degenerate: no gradient, hardly a score."""
    def forward(self, images):
        return super().forward(images).detach().round()

class NaN(Contrast):
    def forward(self, images):
        scores = super().forward(images)
        return torch.where(images.mean(dim=(1, 2, 3)) > 0.45, torch.full_like(scores, float("nan")), scores)

class Averaged(Contrast):
    def forward(self, images):
        return super().forward(images).mean()

class Normalised(Contrast):
    """Depends on its batch."""
    def forward(self, images):
        scores = super().forward(images)
        return scores - scores.mean()

class Hanging(Contrast):
    def forward(self, images):
        if images.shape[-1] == 256 and images.shape[-2] == 192:
            while True:
                time.sleep(0.05)
        return super().forward(images)

class Crashing(Contrast):
    def forward(self, images):
        if images.shape[-2] == 192:
            os._exit(7)
        return super().forward(images)

class Raising(Contrast):
    def forward(self, images):
        if images.shape[-2] == 192:
            raise RuntimeError("no kernel for this size")
        return super().forward(images)

class Slow(Contrast):
    """Tells a file that it is being attacked, and takes its time."""
    def forward(self, images):
        if images.requires_grad:
            open("attacked", "a").write("x")
            time.sleep(0.3)
        return super().forward(images)
'''

THRESHOLDS = """
version: 1
defaults:
  clean: {spread: {min: 1}}
  nonadaptive: {d_score: {max: 20}}
rules: []
"""

GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none", attack="ifgsm")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)
"""

INI = """
[pytest]
pythonpath = .
iqa_metric = own:Contrast
iqa_dataset = folder:pictures
"""


class Project:
    """The repository: files to change, and the command to run."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path: Path = pytester.path
        self.write("own.py", METRICS)
        self.write("thresholds.yaml", THRESHOLDS)
        self.write("test_gate.py", GATE)
        self.write("pytest.ini", INI)
        write_pictures(self.path / "pictures")

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")

    def run(self, *arguments: str) -> pytest.RunResult:
        """In this process, which has the heavy libraries loaded; with workers in processes of their own."""
        if "-n" in arguments and arguments[arguments.index("-n") + 1] != "0":
            return self.run_alone(*arguments)
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    def run_alone(self, *arguments: str) -> pytest.RunResult:
        """In a process of its own, for runs that crash, hang, or must be seen from outside."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    def entries(self) -> list[Path]:
        """Folders of the store's entries."""
        return sorted((self.path / ".iqa-store" / "v1" / "entries").glob("*/*"))

    def records(self, store: str = ".iqa-store") -> dict[str, bytes]:
        """Record files by key."""
        return {
            path.parent.name: path.read_bytes() for path in (self.path / store).glob("v1/entries/*/*/record.parquet")
        }


def write_pictures(folder: Path, count: int = 4) -> None:
    """Photograph-like pictures, 48 × 64, with scores that follow their contrast."""
    folder.mkdir()
    random = np.random.RandomState(3)
    rows = ["file,mos"]
    for number in range(count):
        coarse = random.randint(0, 256, (6, 8, 3)).astype(np.float64)
        pixels = 128 + (np.kron(coarse, np.ones((8, 8, 1))) - 128) * (count - number) / count
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"picture{number}.png")
        rows.append(f"picture{number}.png,{count - number}")
    (folder / "mos.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    return Project(pytester)


@pytest.fixture
def lines() -> Callable[[pytest.RunResult], str]:
    """Everything a run printed."""
    return lambda result: "\n".join([*result.outlines, *result.errlines])
