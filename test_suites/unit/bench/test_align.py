"""Alignment: the parameter is found at which an attack is as visible as wanted, and what was measured is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from iqa_robustness import attacks, cli, datasets
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.attacks.strengths import StrengthTable
from iqa_robustness.bench import align as align_module
from iqa_robustness.bench.align import TARGETS, Target, align
from iqa_robustness.bench.align_command import described
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store


@pytest.fixture(scope="module")
def clean() -> Clean:
    return Clean(view(datasets.load("mini"), count=5, size=(48, 64)))


@pytest.mark.parametrize("measure", ["linf", "psnr"])
def test_the_strengths_are_as_visible_as_the_targets_say(clean: Clean, measure: str) -> None:
    row = align("ifgsm", Vulnerable(), clean, measure=measure, metric_name="planted")
    target = TARGETS[measure]
    images = clean.batch(range(5))
    for strength in attacks.STRENGTHS:
        result = attacks.create("ifgsm", **getattr(row, strength))(Vulnerable(), images, ids=clean.ids)
        pairs = [*zip(images.movedim(1, -1).numpy(), result.images.movedim(1, -1).numpy(), strict=True)]
        seen = {
            "linf": np.mean([np.abs(a - b).max() for a, b in pairs]),
            "psnr": np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]),
            "ssim": np.mean([structural_similarity(a, b, channel_axis=2, data_range=1) for a, b in pairs]),
        }
        for name, value in seen.items():
            assert row.measured[strength][name] == pytest.approx(value, rel=1e-4), name
        gain = float((result.values - result.clean_values).mean())
        assert row.measured[strength]["gain"] == pytest.approx(gain, abs=1e-5)
        # Signs on whole levels: two and three levels of 255 are 42.1 and 38.6 dB, and there is nothing between them.
        slack = target.tolerance if measure == "linf" else 1.8
        assert abs(seen[measure] - getattr(target, strength)) <= slack
    assert row.measured["weak"]["ssim"] > row.measured["medium"]["ssim"] > row.measured["strong"]["ssim"]
    assert (row.attack, row.metric) == ("ifgsm", "planted")
    assert "5 images of mini" in row.source


def test_every_point_is_measured_once_and_told(clean: Clean) -> None:
    lines: list[str] = []
    align("ifgsm", Vulnerable(), clean, measure="psnr", progress=lines.append)
    assert lines
    assert len(set(lines)) == len(lines)
    assert all("ifgsm: alpha" in line and "psnr" in line for line in lines)


def test_of_several_combinations_the_one_that_gains_most_at_the_target_is_taken(clean: Clean) -> None:
    alone = {steps: align("ifgsm", Vulnerable(), clean, measure="psnr", fixed={"steps": steps}) for steps in (1, 8)}
    both = align("ifgsm", Vulnerable(), clean, measure="psnr", others={"steps": [1, 8]})
    for strength in attacks.STRENGTHS:
        gains = {steps: row.measured[strength]["gain"] for steps, row in alone.items()}
        best = max(gains, key=gains.__getitem__)
        assert getattr(both, strength)["steps"] == best
        assert both.measured[strength]["gain"] == gains[best]


def test_strengths_that_come_out_the_same_are_refused(clean: Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Target(measure="psnr", weak=36.2, medium=36.0, strong=30, tolerance=0.25)  # four levels are 36.1 dB
    monkeypatch.setattr(align_module, "TARGETS", {"psnr": close})
    with pytest.raises(ConfigurationError, match="weak and medium come out the same"):
        align("ifgsm", Vulnerable(), clean, measure="psnr")


def test_the_goal_is_the_attackers(clean: Clean) -> None:
    row = align("ifgsm", Vulnerable(), clean, goal=LOWER)
    assert row.measured["strong"]["gain"] > 0.5


def test_a_target_out_of_reach_is_refused_with_what_was_reached(clean: Clean) -> None:
    with pytest.raises(ConfigurationError, match=r"no alpha of ifgsm gives ssim 0\.\d+: .* gives 0\.\d+") as caught:
        align("ifgsm", Vulnerable(), clean, measure="ssim", fixed={"epsilon": 1 / 255})
    assert (caught.value.where.attack, caught.value.where.metric) == ("ifgsm", "planted-vulnerable")


def test_a_measure_or_field_that_does_not_exist_is_refused(clean: Clean) -> None:
    with pytest.raises(ConfigurationError, match="no measure"):
        align("ifgsm", Vulnerable(), clean, measure="mse")
    with pytest.raises(ConfigurationError, match="no field 'stpes'"):
        align("ifgsm", Vulnerable(), clean, others={"stpes": [1]})


def test_the_command_writes_the_table_that_runs_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tables" / "strengths.yaml"
    planted = "iqa_robustness.metrics.planted:Vulnerable"
    command = ["align", "--iqa-attack", "ifgsm", "--iqa-metric", planted, "--images", "2", "--size", "48x64"]
    assert cli.main([*command, "--out", str(out), "--also", "steps=2,4"]) == 0
    shown = capsys.readouterr()
    assert "weak" in shown.out
    assert "--iqa-strengths" in shown.out
    table = StrengthTable.read(out)
    listed = table.fields("ifgsm", planted, "medium")
    assert listed is not None
    assert listed["steps"] in (2, 4)
    runner = LocalRunner(Store(tmp_path / "store"), Numerics(device="cpu", micro_batch=2), strengths=table)
    cell = Cell(
        metric=planted,
        defense="none",
        attack="ifgsm",
        strength="medium",
        scenario="nonadaptive",
        dataset="mini",
        images=2,
        size=(48, 64),
        queries=10,
        draws=1,
        n0=5,
        n=10,
    )
    assert runner.attack(cell) == attacks.create("ifgsm", **listed)
    assert runner.attack(replace(cell, metric="compact")) == attacks.create("ifgsm", strength="medium")
    assert runner.attack(replace(cell, attack="square")) == attacks.create("square", strength="medium", queries=10)


def test_the_rows_of_the_printed_table_align(clean: Clean) -> None:
    lines = described(align("ifgsm", Vulnerable(), clean)).splitlines()
    assert [line.split()[0] for line in lines] == ["strength", *attacks.STRENGTHS]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("text", ["steps", "=3", "steps="])
def test_a_setting_that_is_none_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["align", "--iqa-attack", "ifgsm", "--iqa-metric", "compact", "--set", text]
    assert cli.main([*arguments, "--out", str(tmp_path / "x.yaml")]) == 4
    assert "FIELD=VALUE" in capsys.readouterr().err
