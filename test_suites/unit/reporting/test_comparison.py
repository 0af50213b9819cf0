"""Two runs side by side: who has won, on whose range, and what the commands print, write and exit with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.gate.baseline import Baseline, logical_key
from iqa_robustness.reporting.comparison import cell_of, compared, described, markdown
from iqa_robustness.store import Key, Record, Store

MakeCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]
MakeRun = Callable[..., Record]
STRENGTHS = ("strong", "weak", "medium")


@pytest.fixture
def run(make_cell: MakeCell, make_record: MakeRecord) -> MakeRun:
    """A record of a run: `worse` moves the attacked scores, in score units."""

    def make(cell: Cell | None = None, *, worse: float = 0.0, digest: str = "d", **facts: object) -> Record:
        record = make_record(**facts)
        if worse:
            record = make_record(defended_attacked=record.scores("defended_attacked") + worse, **facts)
        cell = cell or make_cell(scenario=str(facts.get("scenario", "nonadaptive")))
        record.meta["cell"] = cell.document
        record.meta["dataset"] |= {"digest": digest * 64}
        record.meta["numerics"] = {"device": "cpu"}
        return record

    return make


def a_run(*records: Record) -> Baseline:
    return Baseline(url="run", records={logical_key(record.meta["cell"]): record for record in records})


def test_won_lost_and_undecided_are_told_apart(run: MakeRun, make_cell: MakeCell) -> None:
    cells = [make_cell(strength=strength) for strength in STRENGTHS]
    base = a_run(*(run(cell) for cell in cells))
    head = a_run(*(run(cell, worse=worse) for cell, worse in zip(cells, (9.0, 0.0, -0.5), strict=True)))
    found = compared(base, head)
    assert [(one.cell.strength, one.outcome) for one in found.pairings] == [
        ("weak", "undecided"),
        ("medium", "won"),
        ("strong", "lost"),
    ]
    assert [found.count(outcome) for outcome in ("won", "lost", "undecided")] == [1, 1, 1]


def test_many_equal_cells_have_no_winner_by_chance(run: MakeRun, make_cell: MakeCell) -> None:
    rng = np.random.RandomState(1)
    clean = run().scores("clean")
    cells = [make_cell(seed=number) for number in range(40)]

    def noisy() -> Baseline:
        return a_run(*(run(cell, defended_attacked=clean + rng.normal(20, 6, 60)) for cell in cells))

    assert compared(noisy(), noisy()).count("undecided") == 40


def test_a_wider_range_does_not_make_head_better(run: MakeRun) -> None:
    base, head = a_run(run(worse=10)), a_run(run(worse=10, score_range=(0.0, 1000.0)))
    (one,) = compared(base, head).pairings
    assert one.outcome == "undecided"
    assert one.change.before == pytest.approx(one.change.after)
    assert one.effects[0] == pytest.approx(one.effects[1])


def test_clean_cells_are_compared_by_their_correlation(run: MakeRun) -> None:
    rng = np.random.RandomState(0)
    noisy = np.linspace(20, 80, 60) + rng.normal(0, 40, 60)
    (one,) = compared(a_run(run(scenario="clean")), a_run(run(scenario="clean", defended_clean=noisy))).pairings
    assert (one.measure, one.outcome) == ("srocc_clear", "lost")
    line = described(compared(a_run(run(scenario="clean")), a_run(run(scenario="clean", defended_clean=noisy))))
    assert "SROCC_clear" in line
    assert f"{one.change.after - one.change.before:+.3f}" in line


def test_cells_of_one_run_only_planted_ones_and_incomparable_ones_are_named_or_left_out(
    run: MakeRun, make_cell: MakeCell
) -> None:
    planted = make_cell(metric="iqa_robustness.metrics.planted:Robust")
    base = a_run(run(make_cell(strength="weak")), run(planted), run())
    head = a_run(run(make_cell(strength="strong")), run(planted), run(digest="e"))
    found = compared(base, head)
    assert (found.pairings, len(found.only_base), len(found.only_head)) == ([], 1, 1)
    assert [*found.incomparable] == [cell_of(run()).name]
    text = described(found)
    for said in ("1 in BASE only: nonadaptive:compact/flip/ifgsm/weak", "not comparable", "other images"):
        assert said in text


def test_bases_images_tell_when_heads_own_attack_missed_something(run: MakeRun) -> None:
    head = run()
    key = logical_key(head.meta["cell"])
    scores = {key: head.scores("clean") + 30}
    (one,) = compared(a_run(run()), a_run(head), on_base=scores).pairings
    assert one.on_base == pytest.approx(30)
    assert one.hides
    found = compared(a_run(run()), a_run(head), on_base=scores)
    assert "missed something" in described(found)
    assert "30.0 !" in markdown(found)
    assert not compared(a_run(run()), a_run(head), on_base={key: head.scores("clean")}).pairings[0].hides


def test_the_table_for_a_pull_request_shows_what_was_lost_and_folds_the_rest(run: MakeRun, make_cell: MakeCell) -> None:
    cells = [make_cell(strength=strength) for strength in STRENGTHS]
    base = a_run(*(run(cell) for cell in cells))
    head = a_run(*(run(cell, worse=worse) for cell, worse in zip(cells, (9.0, 0.0, -0.5), strict=True)))
    before, _, after = markdown(compared(base, head)).partition("<details>")
    assert "flip/ifgsm/strong | lost" in before
    assert "2 other cells" in after
    rows = [line for line in (before + after).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stores(run: MakeRun, make_cell: MakeCell, tmp_path: Path) -> tuple[str, str]:
    for name, worse in (("base", 0.0), ("head", 9.0)):
        store = Store(tmp_path / name)
        for strength in STRENGTHS:
            store.put(Key({"s": strength}), run(make_cell(strength=strength), worse=worse).files())
    return str(tmp_path / "base"), str(tmp_path / "head")


def test_compare_exits_with_1_where_head_has_lost(
    stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, head = stores
    assert main(["compare", base, head, "--markdown", str(tmp_path / "out" / "pr.md")]) == ExitCode.FAIL
    assert "HEAD has 0 won, 3 lost, 0 undecided" in capsys.readouterr().out
    assert (tmp_path / "out" / "pr.md").read_text(encoding="utf-8").startswith("### Robustness")
    assert main(["compare", head, base]) == 0
    assert "3 won" in capsys.readouterr().out


def test_an_overlay_is_compared_with_what_its_base_has_of_the_same_version(
    stores: tuple[str, str], run: MakeRun, make_cell: MakeCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, overlay = stores[0], tmp_path / "overlay"
    # Nothing has changed for what the overlay does not know: it is as in the base.
    Store(overlay).put(Key({"a": 1}), run(make_cell(metric="lite0")).files())
    assert main(["compare", base, str(overlay)]) == ExitCode.CONFIGURATION
    capsys.readouterr()
    assert main(["compare", base, str(overlay), "--iqa-store-base", base]) == 0
    assert "0 won, 0 lost, 3 undecided" in capsys.readouterr().out
    # Its own record goes before the base's, and another version's cells are not taken for this one's.
    record = run(make_cell(strength="weak"), worse=9.0)
    record.meta["key_document"] = {"target": {"metric": {"version": "2"}}}
    Store(overlay).put(Key({"a": 2}), record.files())
    assert main(["compare", base, str(overlay), "--iqa-store-base", base]) == ExitCode.FAIL
    out = capsys.readouterr().out
    assert "0 won, 1 lost, 0 undecided" in out
    assert "2 in BASE only" in out
    exported = str(tmp_path / "head.parquet")
    assert main(["store", "export-baseline", "--iqa-store", base, "--to", exported]) == 0
    assert main(["compare", base, exported, "--iqa-store-base", base]) == ExitCode.CONFIGURATION
    assert "no store below it" in capsys.readouterr().err


def test_an_exported_file_stands_for_its_store(
    stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, head = stores
    file = str(tmp_path / "baseline.parquet")
    assert main(["store", "export-baseline", "--iqa-store", base, "--to", file]) == 0
    assert "3 cells, 180 rows" in capsys.readouterr().out
    assert main(["compare", file, head]) == ExitCode.FAIL
    assert main(["compare", file, head, "--on-base-images"]) == ExitCode.CONFIGURATION
    assert "holds no images" in capsys.readouterr().err
    assert main(["store", "export-baseline", "--iqa-store", base, "--to", "baseline.csv"]) == ExitCode.CONFIGURATION


def test_runs_without_a_cell_in_common_are_refused(
    stores: tuple[str, str], run: MakeRun, make_cell: MakeCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path / "other").put(Key({"a": 1}), run(make_cell(metric="lite0")).files())
    assert main(["compare", stores[0], str(tmp_path / "other")]) == ExitCode.CONFIGURATION
    assert "no cell in common" in capsys.readouterr().err
