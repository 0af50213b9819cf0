"""Detection measures against scikit-learn, SciPy and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score, roc_curve

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import auc, auc_interval, held_out, roc, threshold_at

# Whole numbers among others, so that ties within and between both sides are common.
SUSPICIONS = st.lists(st.floats(0, 1) | st.integers(0, 3), min_size=1, max_size=25)


def labelled(clean: list[float], attacked: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([0] * len(clean) + [1] * len(attacked)), np.array([*clean, *attacked], float)


# --- AUC and ROC ----------------------------------------------------------------------------------------------------


@given(SUSPICIONS, SUSPICIONS)
def test_auc_is_that_of_scikit_learn_and_of_mann_and_whitney(clean: list[float], attacked: list[float]) -> None:
    found = auc(clean, attacked)
    assert found == pytest.approx(roc_auc_score(*labelled(clean, attacked)), abs=1e-12)
    statistic = mannwhitneyu(attacked, clean, method="asymptotic").statistic
    assert found == pytest.approx(statistic / (len(clean) * len(attacked)), abs=1e-12)
    assert auc(attacked, clean) == pytest.approx(1 - found, abs=1e-12)


@given(SUSPICIONS, SUSPICIONS)
def test_the_roc_is_that_of_scikit_learn_and_holds_the_auc(clean: list[float], attacked: list[float]) -> None:
    found = roc(clean, attacked)
    false, true, thresholds = roc_curve(*labelled(clean, attacked), drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rates, false)
    np.testing.assert_allclose(found.true_positive_rates, true)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    area = integrate.trapezoid(found.true_positive_rates, found.false_positive_rates)
    assert auc(clean, attacked) == pytest.approx(area, abs=1e-12)


def test_a_rising_transformation_changes_nothing() -> None:
    random = np.random.RandomState(0)
    clean, attacked = random.rand(40), random.rand(30) + 0.2
    assert auc(np.exp(5 * clean), np.exp(5 * attacked)) == auc(clean, attacked)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[0.1, 0.2]]])
@pytest.mark.parametrize("measure", [auc, roc])
def test_what_are_no_suspicions_is_refused(measure, values) -> None:
    for pair in ((values, [0.5]), ([0.5], values)):
        with pytest.raises(ConfigurationError, match="one number an image"):
            measure(*pair)
    with pytest.raises(ConfigurationError, match="one number an image"):
        threshold_at(values, 0.05)


# --- the interval ---------------------------------------------------------------------------------------------------


def simulated(random: np.random.RandomState, contents: int, *, shift: float, copies: int = 3) -> dict:
    """Suspicions with a part that all images of a content share, clean and attacked."""
    shared = np.repeat(random.normal(size=contents), copies)
    labels = np.repeat(np.arange(contents), copies).tolist()
    return {
        "clean": shared + 0.5 * random.normal(size=contents * copies),
        "attacked": shared + 0.5 * random.normal(size=contents * copies) + shift,
        "clean_contents": labels,
        "attacked_contents": labels,
    }


def test_bounds_are_at_least_as_wide_as_a_bootstrap_of_whole_contents_says() -> None:
    data = simulated(np.random.RandomState(3), 12, shift=1.0)
    found = auc_interval(**data)
    labels, scores = labelled(list(data["clean"]), list(data["attacked"]))
    contents = np.array(data["clean_contents"] + data["attacked_contents"])
    random, areas = np.random.RandomState(9), []
    for _ in range(400):
        chosen = random.randint(0, 12, 12)
        rows = np.concatenate([np.flatnonzero(contents == content) for content in chosen])
        areas.append(roc_auc_score(labels[rows], scores[rows]))
    low, high = np.quantile(areas, [0.025, 0.975])
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.low <= low + 0.02
    assert found.high >= high - 0.02
    assert found.high - found.low < 2 * (high - low)
    assert found.clusters == 12


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.RandomState(1)
    whole = simulated(random, 1500, shift=0.7, copies=1)
    truth = auc(whole["clean"], whole["attacked"])
    hits = [
        found.low <= truth <= found.high
        for found in (auc_interval(**simulated(random, 10, shift=0.7)) for _ in range(60))
    ]
    assert np.mean(hits) > 0.85


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=40)
def test_an_interval_holds_its_value_and_stays_in_range(rows: list[tuple[int, int, bool]]) -> None:
    clean, attacked = ([row for row in rows if row[2] is side] for side in (False, True))
    if not clean or not attacked:
        return
    values = [[row[0] for row in part] for part in (clean, attacked)]
    names = {"clean_contents": [row[1] for row in clean], "attacked_contents": [row[1] for row in attacked]}
    found = auc_interval(*values, **names)
    assert found == auc_interval(*values, **names)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    assert found.value == pytest.approx(auc(*values), abs=1e-12)


def test_two_contents_say_nothing_about_the_error() -> None:
    found = auc_interval([0, 1], [1, 2], clean_contents=["a", "b"], attacked_contents=["a", "b"])
    assert (found.low, found.high, found.clusters) == (0, 1, 2)


def test_contents_are_as_many_as_suspicions() -> None:
    for measure in (auc_interval, held_out):
        with pytest.raises(ConfigurationError, match="as many contents, got 1"):
            measure([0.1, 0.2], [0.3], clean_contents=["a"], attacked_contents=["a"])


# --- thresholds -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.floats(0.01, 0.5))
def test_at_most_the_share_that_is_asked_for_lies_above_a_threshold(clean: list[float], rate: float) -> None:
    threshold = threshold_at(clean, rate)
    assert np.mean(np.array(clean) > threshold) <= rate + 1e-9
    # No smaller value would do: with a clean image more above it, a share of rate is exceeded.
    if math.isfinite(threshold):
        assert (np.sum(np.array(clean) >= threshold) + 1) / (len(clean) + 1) > rate - 1e-9


def test_a_threshold_is_an_order_statistic() -> None:
    assert threshold_at(np.arange(1, 20), 0.05) == 19
    assert threshold_at(np.arange(1, 41), 0.05) == 39
    assert threshold_at(np.arange(1, 40), 0.5) == 20
    assert threshold_at(np.arange(1, 19), 0.05) == math.inf


def test_new_clean_images_exceed_it_as_seldom_as_promised() -> None:
    random = np.random.RandomState(0)
    exceeded = [random.exponential() > threshold_at(random.exponential(size=40), 0.05) for _ in range(4000)]
    assert np.mean(exceeded) == pytest.approx(2 / 41, abs=0.012)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_lies_between_none_and_all(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="strictly between 0 and 1"):
        threshold_at([0.1], rate)


def test_thresholds_are_chosen_on_other_contents() -> None:
    # Content "odd" alone has large suspicions; its own clean images may not teach the threshold that these are usual.
    contents = [*(["usual"] * 30), *(["other"] * 30), *(["odd"] * 30)]
    clean = [*np.linspace(0, 1, 30), *np.linspace(0, 1, 30), *np.linspace(5, 6, 30)]
    found = held_out(clean, np.array(clean) + 0.5, clean_contents=contents, attacked_contents=contents, rate=0.05)
    assert found.false_positive_rate.value == pytest.approx(1 / 3)  # all of the odd one, none of the others
    assert found.true_positive_rate.value == pytest.approx(1 / 3)


def test_held_out_rates_are_those_of_a_loop() -> None:
    data = simulated(np.random.RandomState(5), 8, shift=1.5, copies=5)
    found = held_out(**data, rate=0.1)
    called: dict[str, list[bool]] = {"clean": [], "attacked": []}
    for content in range(8):
        others = data["clean"][np.array(data["clean_contents"]) != content]
        threshold = np.sort(others)[math.ceil(36 * 0.9) - 1]
        for side, rows in called.items():
            rows += (data[side][np.array(data[f"{side}_contents"]) == content] > threshold).tolist()
    assert found.false_positive_rate.value == pytest.approx(np.mean(called["clean"]))
    assert found.true_positive_rate.value == pytest.approx(np.mean(called["attacked"]))
    assert 0 <= found.true_positive_rate.low <= found.true_positive_rate.high <= 1


def test_with_too_few_clean_images_nothing_is_called_attacked() -> None:
    contents = list("abcdefgh")
    found = held_out(range(8), [100.0] * 8, clean_contents=contents, attacked_contents=contents, rate=0.05)
    assert (found.true_positive_rate.value, found.false_positive_rate.value) == (0, 0)
