"""Measures of the earlier studies from a record: the measure functions on its own columns, with its own range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import MEASURES, measure
from iqa_robustness.gate.study import STUDY
from iqa_robustness.measures import r_score, relative_gains, study_qualities


def test_they_are_those_of_the_defended_attacked_image(make_record: Any) -> None:
    record = make_record(defended_attacked=np.linspace(30, 85, 60), attacked=99.0)
    clean, moved = record.scores("clean"), record.scores("defended_attacked")
    assert STUDY["relative_gain"].compute(record).value == pytest.approx(relative_gains(clean, moved).mean())
    assert STUDY["r_score"].compute(record).value == pytest.approx(r_score(clean, moved, score_range=(0, 100)))
    assert STUDY["study_quality"].compute(record).value == pytest.approx((0.95 + 38 / 80) / 2)


def test_the_range_is_the_metrics(make_record: Any) -> None:
    near, far = (STUDY["r_score"].compute(make_record(score_range=(0.0, high))).value for high in (100.0, 1000.0))
    assert far > near


def test_quality_is_absent_where_pixels_do_not_correspond(make_record: Any) -> None:
    record = make_record(ssim_purified=np.nan, psnr_purified=np.nan)
    assert np.isnan(STUDY["study_quality"].compute(record).value)
    assert np.isnan(study_qualities([np.nan], [np.nan])).all()


def test_their_intervals_hold_them_and_nothing_is_gated_on_them(make_record: Any) -> None:
    record = make_record()
    for info in STUDY.values():
        interval = info.compute(record)
        assert interval.low <= interval.value <= interval.high
        assert interval.clusters == 20
    assert not set(STUDY) & set(MEASURES)
    assert not set(STUDY) & set(measure(record))
