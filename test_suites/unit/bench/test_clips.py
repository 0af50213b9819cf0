"""Scores of clips: pooled over frames, and what a cell does to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.clips import clip_shifts, pooled
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for clip, frames in (("a", 3), ("b", 2)):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for n in range(frames):
            pixels = random.integers(40, 200, (32, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "clips" / clip / f"{n}.png")
    return tmp_path / "clips"


@given(
    scores=st.lists(st.tuples(st.sampled_from("xyz"), st.floats(-5, 5)), min_size=1, max_size=20),
    better=st.booleans(),
)
def test_a_clip_has_the_mean_and_the_worst_of_its_frames(scores: list[tuple[str, float]], better: bool) -> None:
    clips = [clip for clip, _ in scores]
    found = pooled(np.array([score for _, score in scores]), clips, higher_is_better=better)
    assert [one.clip for one in found] == [*dict.fromkeys(clips)]
    assert sum(one.frames for one in found) == len(scores)
    for one in found:
        own = [score for clip, score in scores if clip == one.clip]
        assert one.mean == pytest.approx(np.mean(own))
        assert one.worst == (min(own) if better else max(own))


def test_gains_of_a_cell_are_those_of_its_record(root: Path, tmp_path: Path) -> None:
    runner = LocalRunner(Store(tmp_path / "store"), Numerics(device="cpu", micro_batch=4))
    cell = Cell(
        metric=PLANTED,
        defense="none",
        attack="fgsm",
        strength="medium",
        scenario="nonadaptive",
        dataset=f"frames:{root}",
        images=None,
        size=(32, 40),
        queries=10,
        draws=1,
        n0=2,
        n=4,
    )
    (found,) = clip_shifts(runner, [cell])
    record = runner.record(cell)
    diam, images = runner.pair(cell).subject.metric.spec.diam, record.images
    gain = 100 * (images["defended_attacked"] - images["defended_clean"]) / diam
    assert (found.clips, found.frames) == (2, 5)
    assert found.mean_gain.value == pytest.approx(gain.groupby(images["content"]).mean().mean())
    lowest = images.groupby("content")[["defended_clean", "defended_attacked"]].min()
    expected = 100 * (lowest["defended_attacked"] - lowest["defended_clean"]).mean() / diam
    assert found.worst_gain.value == pytest.approx(expected)
    assert found.mean_gain.value > 0
    assert found.attacked - found.clean == pytest.approx(found.mean_gain.value * diam / 100)
    assert record.meta["dataset"]["mos_kind"] == "none"


def test_the_command_writes_its_table(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["clips", "--iqa-metric", PLANTED, "--iqa-attack", "fgsm", "--iqa-dataset", f"frames:{root}"]
    places = ["--iqa-store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--iqa-size", "32x40"]
    assert main([*arguments, *places]) == ExitCode.PASS
    assert "worst frame" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "clips.json").read_text(encoding="utf-8"))
    assert [row["clips"] for row in document["rows"]] == [2]
    assert document["rows"][0]["mean_gain"] > 0
