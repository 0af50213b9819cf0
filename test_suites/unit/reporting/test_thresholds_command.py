"""`iqa-robustness thresholds`: explanations, dead rules, suggestions as a diff, and the names of cells."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.plan import Selection
from iqa_robustness.bench.profiles import profile
from iqa_robustness.cli import main
from iqa_robustness.errors import ConfigurationError, ExitCode
from iqa_robustness.gate.thresholds import Thresholds
from iqa_robustness.reporting.leaderboard_selection import is_for_selection
from iqa_robustness.reporting.threshold_cells import NamedCell, named_cells, profile_cells
from iqa_robustness.reporting.threshold_lint import findings
from iqa_robustness.reporting.threshold_suggestions import _loosened, completed, suggestions
from iqa_robustness.store import Key, Record, Store

MakeCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]
TODAY = datetime.date(2026, 6, 1)
FILE = """\
version: 1
defaults:
  nonadaptive: {d_score: {max: 20}}
  clean: {d_score: {max: 5}, spread: {min: 1}}
rules:
  - match: {metric: compact}             # line 6
    tier: normal
    thresholds: {d_score: {max: 30}}
  - match: {metric: compact, attack: ifgsm}
    thresholds: {d_score: {max: 40}}
  - match: {metric: niqe}
    tier: blocker
  - match: {metric: compact, defense: flip}
    waiver: {reason: waits for new weights, owner: ana, issue: "https://example.org/7", expires: 2026-05-31}
"""


def thresholds(text: str = FILE) -> Thresholds:
    return Thresholds.from_text(text, Path("thresholds.yaml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "thresholds.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


# --- names of cells -------------------------------------------------------------------------------------------------


@given(
    scenario=st.sampled_from([s for s in SCENARIOS if s not in ("clean", "transfer")]),
    goal=st.sampled_from(GOALS),
    metric=st.sampled_from(["compact", "own.package:Class", "exec:./score --range=[0,1]", "pyiqa:musiq"]),
    strength=st.sampled_from(["weak", "strong"]),
)
def test_a_cells_name_is_read_back(scenario: str, goal: str, metric: str, strength: str, make_cell: MakeCell) -> None:
    cell = make_cell(scenario=scenario, goal=goal, metric=metric, strength=strength, defense="flip+jpeg")
    assert asdict(NamedCell.parsed(cell.name)) == {
        axis: getattr(cell, axis) for axis in ("metric", "defense", "attack", "strength", "scenario", "goal")
    }


def test_scenario_and_goal_have_defaults_and_a_transfers_source_is_left_out(make_cell: MakeCell) -> None:
    assert NamedCell.parsed("compact/flip/ifgsm/weak").scenario == "nonadaptive"
    assert NamedCell.parsed("compact/flip") == NamedCell(metric="compact", defense="flip", scenario="clean")
    transfer = make_cell(scenario="transfer", source="compact/jpeg")
    assert NamedCell.parsed(transfer.name) == NamedCell(
        metric="compact", defense="flip", attack="ifgsm", strength="medium", scenario="transfer"
    )


@pytest.mark.parametrize("name", ["", "compact", "adaptive:", "/flip"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a cell"):
        NamedCell.parsed(name)


def test_a_profiles_cells_are_in_every_scenario_and_goal() -> None:
    found = profile_cells(profile("smoke"), Selection())
    assert {(cell.scenario, cell.goal) for cell in found} == {(s, g) for s in SCENARIOS for g in GOALS}
    assert {cell.metric for cell in profile_cells(profile("smoke"), Selection(metric=("niqe",)))} == {"niqe"}


# --- explain --------------------------------------------------------------------------------------------------------


def test_every_number_is_explained_by_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thresholds", "explain", "compact/flip/ifgsm/medium", "--iqa-thresholds", str(file)]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "compact behind flip, nonadaptive, ifgsm medium, raise"
    assert "d_score at most 40 % of range thresholds.yaml, line 10" in lines
    assert "tier normal thresholds.yaml, line 7" in lines
    assert any(line.startswith("waiver waits for new weights (waived until 2026-05-31 by ana") for line in lines)
    assert [line for line in lines if line.startswith("line")] == [
        "line 6 metric compact",
        "line 9 metric compact, attack ifgsm",
        "line 13 metric compact, defense flip",
    ]


def test_a_bound_that_is_never_measured_and_a_cell_without_any_say_so(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["thresholds", "explain", "lite0/none", "--iqa-thresholds", str(file)])
    out = capsys.readouterr().out
    assert "line 4; never measured in this scenario" in out
    assert "no rule covers it" in out
    main(["thresholds", "explain", "transfer:lite0/none/ifgsm/weak", "--iqa-thresholds", str(file)])
    assert "no threshold applies: the cell cannot pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "hint"),
    [("compact/flip/ifsgm/medium", "ifgsm"), ("compactt/flip/ifgsm/weak", "compact"), ("compact/jpg", "jpeg")],
)
def test_a_cell_of_names_that_do_not_exist_is_refused(
    cell: str, hint: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["thresholds", "explain", cell, "--iqa-thresholds", str(file)]) == ExitCode.CONFIGURATION
    said = capsys.readouterr()
    assert f"did you mean {hint}" in said.err + said.out


@pytest.mark.parametrize("metric", ["own:Contrast", "exec:./score --range=[0,1]", "onnx:a.onnx"])
def test_a_cell_of_ones_own_metric_is_explained(metric: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = f"adaptive:{metric}/gaussian-blur+unsharp/ifgsm/medium:lower"
    assert main(["thresholds", "explain", cell, "--iqa-thresholds", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{metric} behind gaussian-blur+unsharp, adaptive, ifgsm medium, lower\n")


# --- lint -----------------------------------------------------------------------------------------------------------


def test_dead_overridden_unmeasured_and_expired_are_found_with_their_lines() -> None:
    cells = [NamedCell(metric="compact", defense=d, attack="ifgsm", strength="weak") for d in ("none", "flip")]
    found = findings(thresholds(), cells, today=TODAY)
    assert [(one.line, one.kind) for one in found] == [(4, "unmeasured"), (11, "dead"), (14, "expired")]
    # Where every cell is an ifgsm cell, only its tier is left of the first rule; without it nothing is.
    found = findings(thresholds(FILE.replace("    tier: normal\n", "")), cells, today=TODAY)
    assert (6, "overridden") in [(one.line, one.kind) for one in found]


def test_a_rule_that_takes_back_is_dead_where_nothing_is_declared() -> None:
    cells = [NamedCell(metric="compact", defense=d, attack="ifgsm", strength="weak") for d in ("none", "flip")]
    rules = "  - match: {defense: flip, metric: compact}\n    declared: false\n"
    weak = "  - match: {defense: flip}\n    known_weakness: a flip is invertible\n"
    head = "version: 1\ndefaults: {nonadaptive: {d_score: {max: 20}}}\nrules:\n"
    [found] = findings(thresholds(head + rules), cells, today=TODAY)
    assert (found.line, found.kind) == (4, "overridden")
    assert found.text.startswith("it takes nothing back")
    # What it takes back everywhere is a rule without effect in its turn.
    assert [(one.line, one.kind) for one in findings(thresholds(head + rules + weak), cells, today=TODAY)] == [
        (6, "overridden")
    ]
    two = [*cells, NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")]
    assert findings(thresholds(head + rules + weak), two, today=TODAY) == []


def test_a_waiver_is_announced_before_it_expires() -> None:
    cells = [NamedCell(metric="compact", defense="flip", attack="ifgsm", strength="weak")]
    kinds = {
        day: [one.kind for one in findings(thresholds(), cells, today=datetime.date(2026, *day)) if one.line == 14]
        for day in ((4, 1), (5, 2), (5, 31), (6, 1))
    }
    assert kinds == {(4, 1): [], (5, 2): ["expires soon"], (5, 31): ["expires soon"], (6, 1): ["expired"]}


def test_the_command_fails_on_what_has_expired_and_strictly_on_everything(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lint = ["thresholds", "lint", "--iqa-thresholds", str(file)]
    assert main(lint) == ExitCode.FAIL
    assert "expired" in capsys.readouterr().out
    file.write_text(FILE.replace("2026-05-31", "2999-01-01"), encoding="utf-8")
    assert main(lint) == 0
    assert "elsewhere" in capsys.readouterr().out
    assert main([*lint, "--strict"]) == ExitCode.FAIL
    kept = [line for line in file.read_text(encoding="utf-8").splitlines() if "spread: {min: 1}" not in line]
    file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert main([*lint, "--strict"]) == 0


def test_the_thresholds_of_this_repository_have_no_findings() -> None:
    path = Path(__file__).parents[3] / "thresholds.yaml"
    cells = profile_cells(profile("smoke"), Selection())
    smoke = profile("smoke")
    found = findings(Thresholds.load(path), cells, today=TODAY, named=lambda match: named_cells(smoke, match))
    assert {one.kind for one in found} <= {"elsewhere"}


def test_a_rule_for_what_a_suite_names_is_not_dead_but_an_impossible_one_is() -> None:
    smoke = profile("smoke")
    text = """\
version: 1
defaults: {}
rules:
  - match: {defense: gaussian-blur, scenario: adaptive}
    tier: normal
  - match: {defense: gaussian-blur, scenario: certified}
    tier: normal
"""
    found = findings(
        thresholds(text),
        profile_cells(smoke, Selection()),
        today=TODAY,
        named=lambda match: named_cells(smoke, match),
    )
    assert [(one.line, one.kind) for one in found] == [(4, "elsewhere"), (6, "dead")]


# --- suggest --------------------------------------------------------------------------------------------------------


def test_what_passes_with_room_is_tightened_to_the_worst_cell_and_the_margin(make_record: MakeRecord) -> None:
    # The D_score of the factory's record is 0.95 [0.92, 0.98], of the second one twice that.
    cell = NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")
    quality = make_record().scores("clean")
    worse = make_record(defended_attacked=quality + 2 * (make_record().scores("defended_attacked") - quality))
    (found,) = suggestions(thresholds(), [(cell, make_record()), (cell, worse)], margin=0.1)
    assert (found.metric, found.defense, found.scenario, found.cells) == ("lite0", "flip", "nonadaptive", 2)
    assert str(found.bounds["d_score"]) == "at most 2.2"


def test_cells_that_do_not_pass_and_bounds_that_are_not_tighter_suggest_nothing(make_record: MakeRecord) -> None:
    cell = NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")
    invalid = make_record(proof=(0.0,) * 8)
    assert suggestions(thresholds(), [(cell, invalid)]) == []
    tight = thresholds("version: 1\ndefaults: {nonadaptive: {d_score: {max: 1}}}\n")
    assert suggestions(tight, [(cell, make_record())], margin=0.1) == []
    assert len(suggestions(tight, [(cell, make_record())], margin=0.0)) == 1


def test_a_bound_that_does_not_hold_on_held_out_contents_is_not_suggested(make_record: MakeRecord) -> None:
    """Half of the contents are moved by 2 %, the others by 12: what was learned from the first is no promise."""
    cell = NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")
    clean, limits = np.linspace(20, 80, 60), "version: 1\ndefaults: {nonadaptive: {d_score: {max: 40}}}\n"
    alike = make_record(clean=clean, defended_attacked=clean + 7.0)
    assert len(suggestions(thresholds(limits), [(cell, alike)])) == 1
    calm = np.array([is_for_selection(content) for content in alike.contents])
    assert 10 < calm.sum() < 50
    uneven = make_record(clean=clean, defended_attacked=clean + np.where(calm, 2.0, 12.0))
    assert suggestions(thresholds(limits), [(cell, uneven)]) == []
    # The other way round it does hold.
    cautious = make_record(clean=clean, defended_attacked=clean + np.where(calm, 12.0, 2.0))
    assert len(suggestions(thresholds(limits), [(cell, cautious)])) == 1
    few = make_record(contents=3, clean=clean, defended_attacked=clean + 7.0)
    assert min(sum(map(is_for_selection, {*few.contents})), 3 - sum(map(is_for_selection, {*few.contents}))) < 2
    assert len(suggestions(thresholds(limits), [(cell, few)])) == 1


def test_the_file_keeps_its_text_and_says_what_was_suggested(make_record: MakeRecord) -> None:
    cell = NamedCell(metric="exec:./score --range=[0,1]", defense="flip", attack="ifgsm", strength="weak")
    found = suggestions(thresholds(), [(cell, make_record())])
    after = completed(FILE.rstrip("\n"), found)
    assert after.startswith(FILE)
    again = thresholds(after)
    assert str(again.for_cell(cell).bounds["d_score"]) == str(found[0].bounds["d_score"])
    bare = completed("version: 1\ndefaults: {nonadaptive: {d_score: {max: 20}}}\n", found)
    assert len(thresholds(bare).rules) == 1


@pytest.mark.parametrize("rules", ["rules: []", "rules: [ ]  # none yet", "rules:"])
def test_rules_are_added_where_there_are_none_yet(make_record: MakeRecord, rules: str) -> None:
    cell = NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")
    found = suggestions(thresholds(), [(cell, make_record())])
    text = f"version: 1\ndefaults: {{nonadaptive: {{d_score: {{max: 20}}}}}}\n{rules}\n#  - match: {{attack: square}}\n"
    after = completed(text, found)
    assert len(thresholds(after).rules) == 1
    assert "#  - match: {attack: square}\n" in after
    assert ("# none yet" in text) is ("# none yet" in after)


def test_the_file_that_init_writes_takes_suggestions(tmp_path: Path, make_record: MakeRecord) -> None:
    assert main(["init", "--iqa-metric", "lite0", "--to", str(tmp_path), "--ci", "none", "--no-qualify"]) == 0
    path = tmp_path / "thresholds.yaml"
    cell = NamedCell(metric="lite0", defense="flip", attack="ifgsm", strength="weak")
    found = suggestions(thresholds(), [(cell, make_record())])
    path.write_text(completed(path.read_text(encoding="utf-8"), found), encoding="utf-8")
    assert len(Thresholds.load(path).rules) == 1


@example(value=5e-324, side="min", margin=0.0)
@given(value=st.floats(-1e4, 1e4), side=st.sampled_from(["min", "max"]), margin=st.floats(0, 0.9))
def test_a_margin_only_loosens_and_by_no_more_than_it_and_a_digit(value: float, side: str, margin: float) -> None:
    looser, sign = _loosened(value, side, margin), 1 if side == "max" else -1
    step = 0.2 * max(abs(value) * (1 + margin), 1e-300)
    assert -0.002 * step <= sign * (looser - value) <= margin * abs(value) + step


def test_the_command_prints_a_diff_and_writes_only_when_told(
    file: Path, tmp_path: Path, make_cell: MakeCell, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    for metric in ("lite0", "iqa_robustness.metrics.planted:Vulnerable"):
        record = make_record()
        cell = make_cell(metric=metric)
        record.meta["cell"] = {**cell.document, "goal": "raise"}
        store.put(Key({"metric": metric}), record.files())
    store.put(Key({"stage": "something else"}), {"values.safetensors": b""})
    suggest = ["thresholds", "suggest", "--iqa-thresholds", str(file), "--iqa-store", str(tmp_path / "store")]
    assert main(suggest) == 0
    out = capsys.readouterr().out
    assert "+  - match: {metric: lite0, defense: flip, scenario: nonadaptive}" in out
    assert "planted" not in out
    assert file.read_text(encoding="utf-8") == FILE
    assert main([*suggest, "--write"]) == 0
    assert len(Thresholds.load(file).rules) == len(thresholds().rules) + 1
    capsys.readouterr()
    assert main(suggest) == 0
    assert "no suggestion" in capsys.readouterr().out


def test_suggestions_rest_on_the_base_too(
    file: Path, tmp_path: Path, make_cell: MakeCell, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, metric in (("base", "lite0"), ("overlay", "spaq")):
        record = make_record()
        record.meta["cell"] = make_cell(metric=metric).document
        Store(tmp_path / place).put(Key({"metric": metric}), record.files())
    suggest = ["thresholds", "suggest", "--iqa-thresholds", str(file), "--iqa-store", str(tmp_path / "overlay")]
    assert main(suggest) == 0
    assert "lite0" not in capsys.readouterr().out
    assert main([*suggest, "--iqa-store-base", str(tmp_path / "base")]) == 0
    out = capsys.readouterr().out
    assert "metric: lite0" in out
    assert "metric: spaq" in out
    assert main([*suggest, "--iqa-store-base", str(tmp_path / "typo")]) == ExitCode.CONFIGURATION
    assert "there is no store at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        (FILE, ["--margin", "1.5"], "--margin"),
        ("version: 1\nrules: []\ndefaults: {nonadaptive: {d_score: {max: 20}}}\n", [], "YAML|last key"),
    ],
)
def test_a_file_that_cannot_be_added_to_is_left_alone(
    text: str,
    options: list[str],
    what: str,
    file: Path,
    tmp_path: Path,
    make_cell: MakeCell,
    make_record: MakeRecord,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(text, encoding="utf-8")
    record = make_record()
    record.meta["cell"] = make_cell(metric="lite0").document
    Store(tmp_path / "store").put(Key({"a": 1}), record.files())
    suggest = ["thresholds", "suggest", "--iqa-thresholds", str(file), "--iqa-store", str(tmp_path / "store")]
    assert main([*suggest, *options, "--write"]) == ExitCode.CONFIGURATION
    assert re.search(what, capsys.readouterr().err)
    assert file.read_text(encoding="utf-8") == text
