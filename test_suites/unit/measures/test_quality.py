"""Q_score: the formula, the cap, and images without a value. (The published rows are in test_disparity.)"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.measures import q_score, q_values
from iqa_robustness.measures.quality import PSNR_CAP

ROWS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 90)), min_size=1, max_size=20)


@given(ROWS)
def test_q_score_is_the_mean_of_ssim_and_a_fortieth_of_psnr(rows: list[tuple[float, float]]) -> None:
    ssim, psnr = zip(*rows, strict=True)
    assert q_score(ssim, psnr) == pytest.approx(sum(s + p / 40 for s, p in rows) / len(rows))
    assert q_score(ssim, psnr) == pytest.approx(float(q_values(ssim, psnr).mean()))


def test_equal_images_count_with_the_cap() -> None:
    assert q_score([1.0], [math.inf]) == pytest.approx(1 + PSNR_CAP / 40) == 3.5
    assert q_score([1.0, 0.5], [math.inf, 40]) == pytest.approx((1 + PSNR_CAP / 40 + 1.5) / 2)


def test_the_cap_is_below_what_one_level_of_one_value_gives_and_above_what_any_purification_does() -> None:
    one_level = 10 * math.log10(384 * 512 * 3 * 255**2)
    assert PSNR_CAP < one_level == pytest.approx(105.8, abs=0.1)
    assert PSNR_CAP > 60


@given(ROWS, st.integers(0, 5))
def test_images_where_pixels_do_not_correspond_are_left_out(rows: list[tuple[float, float]], unknown: int) -> None:
    ssim, psnr = (list(side) for side in zip(*rows, strict=True))
    nan = [math.nan] * unknown
    assert q_score(ssim + nan, psnr + nan) == pytest.approx(q_score(ssim, psnr))


def test_without_any_image_q_score_is_undefined() -> None:
    assert math.isnan(q_score([], []))
    assert math.isnan(q_score([math.nan], [math.nan]))
    assert np.isnan(q_values([math.nan, 0.5], [40, math.nan])).all()
