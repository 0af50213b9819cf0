"""Means over cells: the published aggregation by hand, the gate's own numbers, and honest intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import measure
from iqa_robustness.measures import mean_interval, srocc
from iqa_robustness.reporting.leaderboard_aggregate import aggregated, applies, image_table, value_of
from iqa_robustness.reporting.leaderboard_board import Task, board_of


def task(metric: str = "compact", strength: str = "medium") -> Task:
    return Task("nonadaptive", metric, "ifgsm", strength)


def test_a_single_record_gives_what_its_gate_measures(stored: Any) -> None:
    record = stored(d_score=7.0)
    measured = measure(record)
    orders = ("srocc_clear", "srocc_adv", "srocc_shift", "rank_flips")
    for name in ("d_score", "d_score_defended", "gain", "q_score", "survives_jpeg", *orders):
        found = aggregated(name, {task(): record})
        assert found is not None
        for part in ("value", "low", "high"):
            assert getattr(found.interval, part) == pytest.approx(getattr(measured[name].interval, part)), name
        assert value_of(name, record) == pytest.approx(measured[name].value)
        assert (found.cells, found.records, math.isnan(found.sd)) == (1, 1, True)


def test_the_published_aggregation_by_hand(league: Any) -> None:
    records = board_of(league({"flip": 10})).of("flip", "nonadaptive")
    found = aggregated("d_score", records)
    assert found is not None
    # Metrics first: 10 and 30 at medium strength are 20, 20 and 60 at strong 40; then over these two.
    assert found.mean == pytest.approx(30)
    assert found.sd == pytest.approx(np.std([20, 40], ddof=1))
    assert found.median == pytest.approx(25)
    assert (found.cells, found.records) == (2, 4)


def test_a_cell_with_more_metrics_weighs_no_more(stored: Any) -> None:
    records = {
        task("a"): stored(d_score=10),
        task("b"): stored(d_score=20),
        task("a", "strong"): stored(d_score=40),
    }
    found = aggregated("d_score", records)
    assert found is not None
    assert found.mean == pytest.approx((15 + 40) / 2)


def test_cells_on_the_same_images_are_not_independent(stored: Any) -> None:
    one = aggregated("d_score", {task(): stored()})
    four = aggregated("d_score", {task(f"metric-{n}"): stored() for n in range(4)})
    assert one is not None
    assert four is not None
    assert (four.interval.low, four.interval.high) == pytest.approx((one.interval.low, one.interval.high))


def test_on_the_same_images_it_is_the_interval_of_each_images_own_mean(league: Any) -> None:
    records = board_of(league({"flip": 10})).of("flip", "nonadaptive")
    numbers, contents = image_table("d_score", records, dict.fromkeys(records, 0.25))
    shifts = [np.abs(r.scores("defended_attacked") - r.scores("clean")) for r in records.values()]
    assert [*numbers.values()] == pytest.approx(np.mean(shifts, axis=0))
    expected = mean_interval(np.mean(shifts, axis=0), [*contents.values()])
    found = aggregated("d_score", records)
    assert found is not None
    assert found.interval.low == pytest.approx(expected.low)


def test_fewer_images_in_one_cell_leave_the_mean_of_cells(stored: Any) -> None:
    records = {task(): stored(d_score=10, images=24), task(strength="strong"): stored(d_score=40, images=12)}
    found = aggregated("d_score", records)
    assert found is not None
    assert found.mean == pytest.approx(25)
    numbers, _ = image_table("d_score", records, dict.fromkeys(records, 0.5))
    assert np.mean([*numbers.values()]) == pytest.approx(25)
    assert len(numbers) == 24


def test_orders_are_averaged_and_left_out_by_content(stored: Any) -> None:
    random = np.random.RandomState(0)
    noisy = [np.linspace(20, 80, 24) + 15 * random.randn(24) for _ in range(2)]
    records = {task(str(n)): stored(defended_attacked=scores) for n, scores in enumerate(noisy)}
    found = aggregated("srocc_adv", records)
    assert found is not None
    assert found.mean == pytest.approx(np.mean([srocc(np.linspace(1, 5, 24), scores) for scores in noisy]))
    single = aggregated("srocc_adv", {task("0"): records[task("0")]})
    assert single is not None
    assert -1 <= found.interval.low < found.mean < found.interval.high <= 1
    assert found.interval.high - found.interval.low < single.interval.high - single.interval.low


def test_many_contents_are_left_out_in_groups(stored: Any) -> None:
    scores = np.linspace(20, 80, 240) + 15 * np.random.RandomState(0).randn(240)
    record = stored(defended_attacked=scores, images=240, content=[f"photo-{n}" for n in range(240)])
    found = aggregated("srocc_adv", {task(): record})
    assert found is not None
    assert found.interval.clusters == 240
    alone = measure(record)["srocc_adv"].interval
    assert found.interval.high - found.interval.low == pytest.approx(alone.high - alone.low, rel=0.3)


def test_formulas_opinions_never_count(stored: Any) -> None:
    record = stored(mos_kind="pseudo")
    for name in ("srocc_clear", "srocc_adv"):
        assert not applies(name, record)
        assert math.isnan(value_of(name, record))
        assert aggregated(name, {task(): record}) is None
    assert aggregated("srocc_shift", {task(): record}) is not None


def test_what_does_not_apply_is_absent(stored: Any) -> None:
    moved = stored(ssim_purified=np.nan, psnr_purified=np.nan)
    assert aggregated("q_score", {task(): moved}) is None
    assert aggregated("cert_r", {task(): moved}) is None
    assert aggregated("d_score", {}) is None
    both = aggregated("q_score", {task("a"): moved, task("b"): stored()})
    assert both is not None
    assert both.records == 1


def test_certificates_have_their_own_forms(stored: Any) -> None:
    median = stored("ms", kind="certified", scenario="certified")
    classes = stored("rs", kind="certified", scenario="certified", form="classification")
    place = Task("certified", "compact", "ifgsm", "medium")
    width = aggregated("cert_rd", {place: median})
    assert width is not None
    assert width.mean == pytest.approx(measure(median)["cert_rd"].value)
    assert aggregated("cert_rd", {place: classes}) is None
    radius = aggregated("cert_r", {place: classes})
    assert radius is not None
    assert radius.mean == pytest.approx(0.05)


def test_shares_keep_the_interval_that_the_gate_gives_them(stored: Any) -> None:
    # Ten of 24 images abstain; where none does, the share still has an upper bound.
    place = Task("certified", "compact", "ifgsm", "medium")
    for abstained in (np.arange(24) < 10, np.zeros(24, bool)):
        record = stored("ms", kind="certified", scenario="certified", abstained=abstained)
        found, measured = aggregated("abstain", {place: record}), measure(record)["abstain"].interval
        assert found is not None
        assert found.interval == measured
        assert 0 <= found.interval.low <= found.mean < found.interval.high < 1
    twice = aggregated("abstain", {place: record, Task("certified", "lite0", "ifgsm", "medium"): record})
    assert twice is not None
    assert twice.interval.high == pytest.approx(measured.high)


def test_only_means_have_numbers_of_images(stored: Any) -> None:
    with pytest.raises(TypeError, match="no mean"):
        image_table("srocc_adv", {task(): stored()}, {task(): 1.0})
