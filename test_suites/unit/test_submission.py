"""`iqa-robustness qualify … --bundle`: from somebody's defense to a file that a leaderboard admits."""

from __future__ import annotations

from pathlib import Path

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.leaderboard_bundle import read_bundle

OWN = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from iqa_robustness.defenses.base import Purification
from iqa_robustness.metrics.base import Metric, MetricSpec


class Contrast(Metric):
    spec = MetricSpec(name="contrast", score_range=(0.0, 60.0))

    def forward(self, images):
        return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt()


@dataclass(frozen=True, kw_only=True)
class Dimmed(Purification):
    """A little darker."""

    name: ClassVar[str] = "dimmed"
    version: ClassVar[int] = 1
    differentiable: ClassVar[bool] = True

    def purify(self, images, *, streams=None):
        return images * 0.9


@dataclass(frozen=True, kw_only=True)
class Upset(Dimmed):
    """Leaves the range of images."""

    name: ClassVar[str] = "upset"

    def purify(self, images, *, streams=None):
        return images + 2
'''
MODULE = "submitted_by_ana"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / f"{MODULE}.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_defense_that_passes_is_benchmarked_packed_and_admitted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defense = f"{MODULE}:Dimmed"
    small = ["--iqa-metric", f"{MODULE}:Contrast", "--iqa-images=2", "--iqa-attack=ifgsm", "--iqa-strength=weak"]
    hand_in = ["--bundle=mine.tar", "--submitter", "Ana, Lab 7", "--iqa-store=mine"]
    assert main(["qualify", "defense", defense, *hand_in, *small]) == 0
    out = capsys.readouterr().out
    assert "0 failed" in out
    assert out.index("0 failed") < out.index(f"benchmark of {defense}") < out.index("written: mine.tar, 3 records")
    bundle = read_bundle(here / "mine.tar")
    assert bundle.submitter == "Ana, Lab 7"
    cells = {(one.record.meta["cell"]["defense"], one.record.meta["cell"]["scenario"]) for one in bundle.submissions}
    assert cells == {("none", "nonadaptive"), (defense, "nonadaptive"), (defense, "adaptive")}
    assert main(["leaderboard", "add", "mine.tar", "--iqa-store=public"]) == 0
    assert "admitted into public: 3; there already: 0" in capsys.readouterr().out


def test_a_defense_that_fails_its_checks_is_not_benchmarked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--bundle=mine.tar", "--submitter=Ana", "--iqa-store=mine"]
    assert main(["qualify", "defense", f"{MODULE}:Upset", *arguments]) == ExitCode.FAIL
    assert "nothing was packed" in capsys.readouterr().out
    assert not (here / "mine.tar").exists()
    assert not (here / "mine").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["metric", f"{MODULE}:Contrast", "--submitter=Ana"], "of defenses, not of a metric"),
        (["defense", "jpeg"], "--submitter"),
        (["defense", "jpeg", "--submitter=Ana", "--option=quality=20"], "defaults"),
        (["defense", "jpeg", "--submitter=Ana", "--json"], "--json"),
    ],
)
def test_what_is_no_submission_is_refused_at_once(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["qualify", *arguments, "--bundle=mine.tar"]) == ExitCode.CONFIGURATION
    said = capsys.readouterr()
    assert what in said.err
    assert not said.out


def test_a_benchmark_that_misses_cells_is_not_packed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (here / f"{MODULE}.py").read_text(encoding="utf-8")
    broken = source.replace("class Contrast", "class Broken").replace("return 200 *", "return float('nan') *")
    (here / "broken_metric_of_ana.py").write_text(broken, encoding="utf-8")
    small = ["--iqa-metric=broken_metric_of_ana:Broken", "--iqa-images=2", "--iqa-attack=ifgsm", "--iqa-strength=weak"]
    arguments = ["--bundle=mine.tar", "--submitter=Ana", "--iqa-store=mine", *small]
    assert main(["qualify", "defense", f"{MODULE}:Dimmed", *arguments]) == ExitCode.MISSING
    assert not (here / "mine.tar").exists()
    assert "3 missing" in capsys.readouterr().out
