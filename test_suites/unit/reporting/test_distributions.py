"""Gains of a cell's images: as numbers in its outcome, and as drawings."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.gate.measurements import measure
from iqa_robustness.reporting.distributions import BINS, Scale, bars, distribution_of
from iqa_robustness.reporting.html import summary_html

GAINS = st.lists(st.floats(-150, 150, allow_nan=False).map(lambda gain: round(gain, 3)), min_size=1, max_size=40)


def of(make_record: Any, gains: list[float], **facts: Any) -> dict[str, Any]:
    clean = np.linspace(20, 80, len(gains))
    record = make_record(images=len(gains), contents=1, clean=clean, defended_attacked=clean + gains, **facts)
    return distribution_of(record)


@given(gains=GAINS)
def test_every_image_is_in_one_bin_between_the_ends(make_record: Any, gains: list[float]) -> None:
    found = of(make_record, gains)
    assert sum(found["counts"]) == len(gains)
    assert (found["low"], found["high"]) == pytest.approx((min(gains), max(gains)), abs=1e-4)
    assert found["quartiles"] == pytest.approx(np.percentile(gains, [25, 50, 75]), abs=2e-4)
    assert len(found["counts"]) in (1, BINS)
    assert json.loads(json.dumps(found)) == found


def test_bins_are_those_of_numpy(make_record: Any) -> None:
    gains = [*np.random.RandomState(3).normal(10, 5, 50).round(3)]
    assert of(make_record, gains)["counts"] == np.histogram(gains, BINS)[0].tolist()


@pytest.mark.parametrize(("better", "range_"), [(True, (0.0, 100.0)), (False, (0.0, 50.0))])
def test_it_is_the_distribution_of_the_measure_gain(
    make_record: Any, better: bool, range_: tuple[float, float]
) -> None:
    record = make_record(higher_is_better=better, score_range=range_)
    found, gain = distribution_of(record), measure(record)["gain"].value
    assert found["low"] <= gain <= found["high"]
    assert gain == pytest.approx(0.95 * 100 / (range_[1] - range_[0]))


def test_alike_gains_are_one_bin(make_record: Any) -> None:
    record = make_record(clean=50.0, defended_attacked=52.5)
    assert distribution_of(record) == {"low": 2.5, "high": 2.5, "counts": [60], "quartiles": [2.5, 2.5, 2.5]}


def test_without_an_attack_or_a_number_there_is_no_distribution(make_record: Any) -> None:
    assert distribution_of(make_record(scenario="clean")) == {}
    assert distribution_of(make_record(defended_attacked=np.nan)) == {}


def test_scores_that_are_not_finite_are_left_out(make_record: Any) -> None:
    found = of(make_record, [1.0, np.nan, 3.0])
    assert (sum(found["counts"]), found["low"], found["high"]) == (2, 1.0, 3.0)


# --- drawings -------------------------------------------------------------------------------------------------------


@given(gains=GAINS)
def test_a_scale_shows_zero_and_everything(make_record: Any, gains: list[float]) -> None:
    scale = Scale.over([of(make_record, gains), {}], width=200)
    assert scale.low <= 0 <= scale.high
    places = [scale.place(gain) for gain in sorted([*gains, 0.0])]
    assert places == sorted(places)
    assert places[0] >= -0.01
    assert places[-1] <= 200.01


def test_one_far_image_flattens_no_other_cell() -> None:
    found = [{"low": -5.0 - n, "high": 20.0 + n, "quartiles": [0.0] * 3, "counts": [1]} for n in range(40)]
    whole = Scale.over(found, width=100)
    assert (whole.low, whole.high) == (-44.0, 59.0)
    far = Scale.over([*found, {**found[0], "low": -4000.0}], width=100)
    assert -100 < far.low < -44
    assert far.high == 59.0
    assert far.place(-4000.0) == 0
    assert far.place(4000.0) == 100


@pytest.mark.parametrize(("low", "high", "arrows"), [(-4000.0, 15.0, 1), (-4000.0, 900.0, 2), (-5.0, 15.0, 0)])
def test_a_line_that_goes_on_has_an_arrow(outcome: Any, low: float, high: float, arrows: int) -> None:
    gains = {"low": low, "high": high, "quartiles": [0.0] * 3, "counts": [1]}
    cells = [outcome(metric=f"m{number}") for number in range(40)] + [outcome(gains=gains)]
    page = summary_html(cells, {})
    strips = "".join(re.findall(r'<svg class="strip".*?</svg>', page))
    assert strips.count("M4 4L0 7L4 10") + strips.count("4l4 3l-4 3") == arrows


def test_a_scale_of_nothing_is_still_one() -> None:
    scale = Scale.over([{}], width=100)
    assert (scale.place(0), scale.place(1)) == (0, 100)


@given(gains=GAINS)
def test_bars_are_as_high_as_their_counts_and_stand_in_the_drawing(make_record: Any, gains: list[float]) -> None:
    found = of(make_record, gains)
    path = bars(found, Scale.over([found], width=200), height=40)
    drawn = re.findall(r"M([\d.e-]+) 40v-([\d.]+)h([\d.]+)V40z", path)
    assert len(drawn) == path.count("M")
    counts = [count for count in found["counts"] if count]
    assert [float(tall) for _, tall, _ in drawn] == pytest.approx([40 * c / max(counts) for c in counts], abs=0.01)
    for left, _, across in drawn:
        assert 0 <= float(left) <= 200.01
        assert float(across) >= 1
