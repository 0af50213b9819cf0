"""Baselines: files that come back whole, what is refused, and regressions that are proven before they fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import BaselineError, ThresholdsFileError
from iqa_robustness.gate.baseline import RATCHETED, Baseline, logical_key, regression, written
from iqa_robustness.gate.thresholds import Bound, CellThresholds, Thresholds
from iqa_robustness.gate.verdict import judge
from iqa_robustness.store import Key, Record, Store

MakeCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]
MakeRun = Callable[..., Record]


@pytest.fixture(scope="module")
def run(make_cell: MakeCell, make_record: MakeRecord) -> MakeRun:
    """A record as a run leaves it: its cell whole, images and numerics known."""

    def make(cell: Cell | None = None, **facts: object) -> Record:
        record = make_record(**facts)
        record.meta["cell"] = (cell or make_cell()).document
        record.meta["dataset"] = {"name": "folder:/photos", "mos_kind": "human", "digest": "d" * 64}
        record.meta["numerics"] = {"device": "cpu", "torch": "2.0"}
        return record

    return make


def baseline_of(*records: Record) -> Baseline:
    return Baseline(url="base", records={logical_key(record.meta["cell"]): record for record in records})


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_baseline_comes_back_from_its_file_as_it_was(run: MakeRun, make_cell: MakeCell, tmp_path: Path) -> None:
    records = [run(), run(make_cell(strength="weak"), images=40, contents=10)]
    path = written(baseline_of(*records), tmp_path / "deep" / "baseline.parquet")
    again = Baseline.load(str(path))
    for record in records:
        found = again.of(record)
        assert found is not None
        pd.testing.assert_frame_equal(found.images, record.images)
        assert found.meta == record.meta
    assert [file.name for file in path.parent.iterdir()] == ["baseline.parquet"]


def test_a_store_gives_the_latest_record_of_each_cell(run: MakeRun, make_cell: MakeCell, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for number, created in enumerate(("2026-01-01", "2026-03-01", "2026-02-01")):
        store.put(Key({"n": number}), run(ssim=0.9 + number / 100).files(), volatile={"created": created})
    store.put(Key({"stage": "another"}), {"values.safetensors": b""})
    found = Baseline.load(str(tmp_path / "store")).of(run())
    assert found is not None
    assert found.images["ssim"].tolist() == [0.91] * 60
    assert Baseline.load(str(tmp_path / "store")).of(run(make_cell(attack="pgd"))) is None


def test_what_is_no_baseline_is_refused_by_name(run: MakeRun, tmp_path: Path) -> None:
    Store(tmp_path / "empty")
    with pytest.raises(BaselineError, match="holds no record"):
        Baseline.load(str(tmp_path / "empty"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "foreign.parquet").write_bytes(run().files()["record.parquet"])
    for name in ("missing", "broken", "foreign"):
        with pytest.raises(BaselineError, match="cannot be read"):
            Baseline.load(str(tmp_path / f"{name}.parquet"))


def test_a_file_of_another_schema_is_refused(run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(baseline_of(run()), tmp_path / "baseline.parquet")
    monkeypatch.setattr("iqa_robustness.gate.baseline.SCHEMA_VERSION", 99)
    with pytest.raises(BaselineError, match="this version reads 99"):
        Baseline.load(str(path))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("images", {"dataset": {"digest": "e" * 64}}),
        ("numerics", {"numerics": {"device": "cuda", "torch": "2.0"}}),
    ],
)
def test_other_images_and_other_numerics_are_refused(what: str, change: dict[str, object], run: MakeRun) -> None:
    other = run()
    other.meta.update(change)
    with pytest.raises(BaselineError, match=f"other {what}"):
        baseline_of(run()).of(other)


# --- regressions ----------------------------------------------------------------------------------------------------


def test_shifts_are_compared_on_the_baselines_range_whatever_the_new_one_declares(run: MakeRun) -> None:
    before, after = run(), run(score_range=(0.0, 1000.0))
    found = regression("d_score", before, after)
    assert (found.before, found.after) == pytest.approx((0.95, 0.95))
    assert found.interval.value == pytest.approx(0)


@given(more=st.floats(0.1, 30))
def test_the_difference_of_means_is_the_mean_of_paired_differences(more: float, run: MakeRun) -> None:
    before = run()
    after = run(defended_attacked=before.scores("defended_attacked") + more)
    for measure in ("d_score", "d_score_defended", "d_score_excess"):
        found = regression(measure, before, after)
        assert found.interval.value == pytest.approx(more)
        assert found.after - found.before == pytest.approx(more)
        assert found.proven
        assert not regression(measure, after, before).proven


def test_images_are_paired_by_name_not_by_place(run: MakeRun) -> None:
    before, shuffled = run(), run()
    shuffled.images[:] = shuffled.images.sample(frac=1, random_state=3).to_numpy()
    found = regression("d_score", before, shuffled)
    assert (found.interval.low, found.interval.high) == pytest.approx((0, 0))
    lacking = run(images=59)
    with pytest.raises(BaselineError, match="other images"):
        regression("d_score", before, lacking)


def test_a_correlation_is_worse_where_it_is_lower_and_direction_is_the_metrics(run: MakeRun) -> None:
    rng = np.random.RandomState(0)
    noisy = np.linspace(20, 80, 60) + rng.normal(0, 25, 60)
    before, after = run(), run(defended_clean=noisy)
    found = regression("srocc_clear", before, after)
    expected = spearmanr(before.scores("mos"), noisy).statistic
    assert (found.before, found.after) == pytest.approx((1, expected))
    assert found.interval.value == pytest.approx(1 - expected)
    assert found.proven
    down = run(higher_is_better=False)
    assert regression("srocc_clear", down, down).interval.value == 0


def test_a_wider_level_proves_less(run: MakeRun) -> None:
    moved = run().scores("defended_attacked") + np.tile([6.0, -4.0, 1.0], 20)
    before, after = run(), run(defended_attacked=moved)
    narrow, wide = (regression("d_score", before, after, level=level).interval for level in (0.9, 0.999))
    assert wide.low < narrow.low < narrow.high < wide.high


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "allowed", "status"), [(5, 3, "fail"), (5, 8, "pass"), (0, 0, "pass"), (-0.5, 0, "pass"), (0.5, 0, "fail")]
)
def test_a_regression_fails_beyond_what_is_allowed(more: float, allowed: float, status: str, run: MakeRun) -> None:
    after = run(defended_attacked=run().scores("defended_attacked") + more)
    thresholds = CellThresholds(bounds={"d_score": Bound(max=90, max_regression=allowed)})
    found = judge(after, thresholds, baseline=run())
    assert [check.name for check in found.checks] == ["d_score", "d_score_regression"]
    assert (found.checks[1].status, found.status) == (status, status)
    assert judge(after, thresholds).status == "pass"


def test_what_is_not_proven_does_not_fail_even_beyond_what_is_allowed(run: MakeRun) -> None:
    moved = run().scores("defended_attacked").copy()
    moved[run().images["content"] == "scene-0"] += 60  # one content of twenty
    found = judge(
        run(defended_attacked=moved), CellThresholds(bounds={"d_score": Bound(max_regression=1)}), baseline=run()
    )
    (check,) = found.checks
    assert check.regression is not None
    assert check.regression.interval.value > 1
    assert check.regression.interval.low <= 0
    assert found.status == "pass"


def test_a_regression_reads_aloud(run: MakeRun) -> None:
    after = run(defended_attacked=run().scores("defended_attacked") + 5)
    found = judge(after, CellThresholds(bounds={"d_score": Bound(max_regression=3)}), baseline=run())
    assert found.reasons == (
        "fail: D_score 5.0 [5.0, 5.0] % of range worse than the baseline (1.0 there, 6.0 here); "
        "at most 3 worse than the baseline is required",
    )


def test_only_what_can_be_paired_may_be_ratcheted_and_not_below_zero() -> None:
    def load(bound: str) -> None:
        text = f"version: 1\ndefaults:\n  nonadaptive:\n    {bound}\n"
        Thresholds.from_text(text, Path("thresholds.yaml"))

    for measure in RATCHETED:
        load(f"{measure}: {{max_regression: 2}}")
    with pytest.raises(ThresholdsFileError, match="no max_regression for rank_flips"):
        load("rank_flips: {max_regression: 0.1}")
    with pytest.raises(ThresholdsFileError, match="must not be negative"):
        load("d_score: {max_regression: -1}")
    assert not math.isnan(Bound(max_regression=0).max_regression or 0)
