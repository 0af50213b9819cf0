"""D_score and its companions: the published demo rows, and what must hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import d_score, d_score_excess, effect_size, gain, gain_halves, q_score, srocc
from iqa_robustness.measures.disparity import shifts

NUMBERS = st.floats(-1e3, 1e3)
DIAMS = st.floats(0.1, 1e3)


def columns(count: int) -> st.SearchStrategy[tuple[list[float], ...]]:
    """So many lists of one length."""
    rows = st.lists(st.tuples(*[NUMBERS] * count), min_size=1, max_size=20)
    return rows.map(lambda rows: tuple(list(column) for column in zip(*rows, strict=True)))


PAIRS, TRIPLES = columns(2), columns(3)

# The official benchmark's demo: KonCept512, FGSM at 2/255, JPEG quality 50, ten images of KonIQ-10k.
# Source: github.com/msu-video-group/adversarial-defenses-for-iqa, commit 2642c99, res/fgsm_sample_res.csv (4 digits).
# MOS, clear, attacked, defended-clear, defended-attacked, SSIM and PSNR (clear / defended-attacked)
DEMO = np.array(
    [
        [3.1698, 57.6537, 78.2678, 57.1451, 61.7063, 0.9227, 38.0487],
        [3.3153, 52.8980, 74.6989, 50.8970, 56.0348, 0.9149, 32.5256],
        [1.9706, 40.6814, 71.7114, 38.3379, 42.4389, 0.9362, 40.3019],
        [3.1275, 58.1492, 64.1009, 57.8014, 60.0883, 0.8745, 26.0252],
        [2.2476, 40.0386, 71.0941, 38.8179, 45.8143, 0.8596, 34.2075],
        [1.6542, 46.6956, 72.6553, 45.0247, 49.7668, 0.9096, 37.8850],
        [2.0588, 37.8063, 73.9994, 38.4161, 45.1892, 0.9319, 39.4851],
        [1.6061, 23.2852, 71.0430, 20.8761, 28.8578, 0.9381, 38.7550],
        [2.3019, 38.3451, 75.1047, 38.1470, 46.9243, 0.9308, 36.0799],
        [1.6132, 24.1060, 66.3932, 24.5748, 30.3818, 0.9570, 39.3792],
    ]
)
MOS, CLEAR, ATTACKED, DEFENDED_CLEAR, DEFENDED_ATTACKED, SSIM, PSNR = DEMO.T
# SSIM and PSNR (clear / defended-clear) of the same rows
CLEAN_SIMILARITIES = np.array(
    [
        [0.9257, 38.2262],
        [0.9193, 32.6410],
        [0.9393, 40.5182],
        [0.8768, 26.1037],
        [0.8635, 34.3475],
        [0.9137, 38.0891],
        [0.9372, 39.7904],
        [0.9424, 38.9182],
        [0.9350, 36.2871],
        [0.9609, 39.5456],
    ]
)
DIAM = 40.46619606018066  # of KonCept512, bounds.json of the same repository
# Two inputs rounded by 5e-5 each move a mean by at most 1e-4 score units.
ROUNDING = 100 * 1e-4 / DIAM


# --- the published demo ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "published"),
    [
        pytest.param(CLEAR, ATTACKED, 73.9900, id="nonpurified"),
        pytest.param(CLEAR, DEFENDED_ATTACKED, 11.7489, id="D_score"),
        pytest.param(DEFENDED_CLEAR, DEFENDED_ATTACKED, 14.1265, id="D_score^(D)"),
    ],
)
def test_d_scores_of_the_published_demo(before: np.ndarray, after: np.ndarray, published: float) -> None:
    assert d_score(before, after, diam=DIAM) == pytest.approx(published, abs=ROUNDING)


def test_q_scores_of_the_published_demo() -> None:
    assert q_score(SSIM, PSNR) == pytest.approx(1.82426, abs=6e-5)
    assert q_score(*CLEAN_SIMILARITIES.T) == pytest.approx(1.83256, abs=6e-5)


@pytest.mark.parametrize(
    ("first", "second", "published"),
    [
        pytest.param(MOS, CLEAR, 0.7455, id="clear"),
        pytest.param(MOS, ATTACKED, 0.5152, id="attacked"),
        pytest.param(MOS, DEFENDED_CLEAR, 0.7576, id="defended-clear"),
        pytest.param(MOS, DEFENDED_ATTACKED, 0.8424, id="defended-attacked"),
        pytest.param(CLEAR, DEFENDED_CLEAR, 0.9394, id="clear-defended-clear"),
    ],
)
def test_rank_correlations_of_the_published_demo(first: np.ndarray, second: np.ndarray, published: float) -> None:
    # Ranks do not change by rounding here: the result is a fraction of 990, known to four digits.
    assert srocc(first, second) == pytest.approx(published, abs=5e-5)


def test_every_image_of_the_demo_was_raised() -> None:
    raised, lowered = gain_halves(CLEAR, DEFENDED_ATTACKED, diam=DIAM)
    assert (raised, lowered) == (pytest.approx(11.7489, abs=ROUNDING), 0.0)


# --- D_score --------------------------------------------------------------------------------------------------------


def test_a_shift_by_a_tenth_of_the_range_is_ten_per_cent() -> None:
    assert d_score([10, 20], [15, 25], diam=50) == pytest.approx(10)
    assert shifts([10, 20], [15, 15], diam=50).tolist() == pytest.approx([10, -10])


@given(PAIRS, DIAMS, st.floats(0.01, 100), NUMBERS)
def test_d_score_does_not_depend_on_the_scales_origin_or_unit(
    scores: tuple[list[float], list[float]], diam: float, unit: float, origin: float
) -> None:
    before, after = (np.array(side) for side in scores)
    moved = d_score(unit * before + origin, unit * after + origin, diam=unit * diam)
    assert moved == pytest.approx(d_score(before, after, diam=diam), rel=1e-6, abs=1e-6)


@given(PAIRS, DIAMS)
def test_d_score_is_symmetric_and_the_same_for_reversed_scales(
    scores: tuple[list[float], list[float]], diam: float
) -> None:
    before, after = (np.array(side) for side in scores)
    assert d_score(before, after, diam=diam) == d_score(after, before, diam=diam) == d_score(-before, -after, diam=diam)


@given(PAIRS, DIAMS)
def test_d_score_is_zero_where_nothing_moved_and_only_there(
    scores: tuple[list[float], list[float]], diam: float
) -> None:
    before, after = scores
    assert d_score(before, before, diam=diam) == 0
    assume(any(abs(a - b) > 1e-6 for a, b in zip(before, after, strict=True)))
    assert d_score(before, after, diam=diam) > 0


@given(TRIPLES, DIAMS)
def test_d_score_keeps_the_triangle_inequality(
    scores: tuple[list[float], list[float], list[float]], diam: float
) -> None:
    a, b, c = scores
    longer = d_score(a, b, diam=diam) + d_score(b, c, diam=diam)
    assert d_score(a, c, diam=diam) <= longer * (1 + 1e-9) + 1e-9


@given(TRIPLES, DIAMS)
def test_the_excess_is_what_the_placebo_does_not_explain(
    scores: tuple[list[float], list[float], list[float]], diam: float
) -> None:
    clean, attacked, placebo = scores
    excess = d_score_excess(clean, attacked, placebo, diam=diam)
    assert excess == d_score(clean, attacked, diam=diam) - d_score(clean, placebo, diam=diam)
    assert d_score_excess(clean, placebo, placebo, diam=diam) == 0
    assert d_score_excess(clean, attacked, clean, diam=diam) == d_score(clean, attacked, diam=diam)


# --- signed companions ----------------------------------------------------------------------------------------------


@given(PAIRS, DIAMS, st.booleans())
def test_the_halves_add_up_to_d_score_and_differ_by_the_gain(
    scores: tuple[list[float], list[float]], diam: float, higher: bool
) -> None:
    raised, lowered = gain_halves(*scores, diam=diam, higher_is_better=higher)
    assert raised >= 0
    assert lowered >= 0
    whole = d_score(*scores, diam=diam)
    assert raised + lowered == pytest.approx(whole, rel=1e-9, abs=1e-9)
    signed = gain(*scores, diam=diam, higher_is_better=higher)
    assert raised - lowered == pytest.approx(signed, abs=1e-9 * (1 + whole))


@given(PAIRS, DIAMS)
def test_a_gain_is_towards_better_scores(scores: tuple[list[float], list[float]], diam: float) -> None:
    better = gain(*scores, diam=diam, higher_is_better=True)
    assert gain(*scores, diam=diam, higher_is_better=False) == -better
    raised, lowered = gain_halves(*scores, diam=diam, higher_is_better=True)
    assert gain_halves(*scores, diam=diam, higher_is_better=False) == (lowered, raised)


def test_a_rising_score_is_a_loss_where_lower_is_better() -> None:
    assert gain([10, 20], [15, 25], diam=50, higher_is_better=False) == pytest.approx(-10)


# --- the effect size ------------------------------------------------------------------------------------------------


def test_the_effect_size_counts_standard_deviations_of_the_clean_scores() -> None:
    # Sample standard deviation of 1, 2, 3 is 1.
    assert effect_size([1, 2, 3], [1.5, 2.5, 2.5]) == pytest.approx(0.5)


@given(PAIRS, st.floats(0.1, 100), NUMBERS)
def test_the_effect_size_needs_no_declared_range(
    scores: tuple[list[float], list[float]], unit: float, origin: float
) -> None:
    before, after = (np.array(side) for side in scores)
    assume(len(before) > 1 and before.std() > 1)
    moved = effect_size(unit * before + origin, unit * after + origin)
    assert moved == pytest.approx(effect_size(before, after), rel=1e-6)


@pytest.mark.parametrize("clean", [[3.0], [3.0, 3.0, 3.0], []], ids=["one", "constant", "none"])
def test_the_effect_size_is_undefined_without_spread(clean: list[float]) -> None:
    assert math.isnan(effect_size(clean, clean))


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diam", [0, -1, math.nan, math.inf])
def test_a_range_must_be_positive_and_finite(diam: float) -> None:
    with pytest.raises(ConfigurationError, match="diam must be positive and finite") as caught:
        d_score([1, 2], [1, 3], diam=diam)
    assert "width of the score range" in caught.value.fix


@pytest.mark.parametrize("measure", [lambda a, b: d_score(a, b, diam=1), effect_size, srocc, q_score])
def test_unequal_lengths_are_refused_and_never_broadcast(measure: object) -> None:
    for first, second in (([1, 2, 3], [1]), ([1], [1, 2, 3]), ([[1, 2]], [[1, 2]]), (1.0, 2.0)):
        with pytest.raises(ConfigurationError, match="two arrays of one length"):
            measure(first, second)  # type: ignore[operator]
