"""The earlier study's measures, against numbers computed by hand and from its published rows."""

from __future__ import annotations

import numpy as np
import pytest

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import relative_gains, study_qualities

# KonCept behind JPEG 50 under FGSM, ten images: the published rows of the benchmark's demo.
CLEAR = [57.6537, 52.8980, 40.6814, 58.1492, 40.0386, 46.6956, 37.8063, 23.2852, 38.3451, 24.1060]
DEFENDED = [61.7063, 56.0348, 42.4389, 60.0883, 45.8143, 49.7668, 45.1892, 28.8578, 46.9243, 30.3818]


def test_the_published_rows_give_the_published_relative_gain() -> None:
    assert relative_gains(CLEAR, DEFENDED).mean() == pytest.approx(0.1335, abs=5e-5)


def test_a_relative_gain_has_no_sign() -> None:
    assert relative_gains([10, 10, -10], [12, 8, -12]) == pytest.approx([0.2, 0.2, 0.2], rel=1e-6)


def test_a_score_of_nought_gives_a_number() -> None:
    assert np.isfinite(relative_gains([0.0], [1.0])).all()


def test_quality_by_hand() -> None:
    assert study_qualities([0.9, 1.0, 0.0], [40.0, 80.0, 0.0]) == pytest.approx([0.7, 1.0, 0.0])


def test_equal_images_have_a_finite_quality_and_absent_numbers_stay_absent() -> None:
    found = study_qualities([1.0, np.nan], [np.inf, np.nan])
    assert found[0] == pytest.approx((1 + 100 / 80) / 2)
    assert np.isnan(found[1])


@pytest.mark.parametrize("measure", [relative_gains, study_qualities])
def test_numbers_of_different_images_are_refused(measure: object) -> None:
    with pytest.raises(ConfigurationError, match="one length"):
        measure([1.0, 2.0], [1.0])  # type: ignore[operator]
