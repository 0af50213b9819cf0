"""Scoring protocols: their names, and which statistic of the draws clean and attacked images get."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from iqa_robustness.bench.scoring_protocol import ONE_SHOT, Scoring, ScoringProtocol
from iqa_robustness.errors import ConfigurationError

DRAWS = arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-1e3, 1e3))


@pytest.mark.parametrize("name", ["one-shot", "mean-of-2", "mean-of-16", "worst-of-8"])
def test_a_protocol_is_its_name(name: str) -> None:
    assert ScoringProtocol.parsed(name).name == name


@pytest.mark.parametrize("name", ["", "mean", "mean-of-1", "worst-of-0", "median-of-5", "best-of-3", "mean-of--2"])
def test_another_name_is_an_error_that_says_what_there_is(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no scoring protocol") as caught:
        ScoringProtocol.parsed(name)
    assert "worst-of-K" in caught.value.fix


@pytest.mark.parametrize(
    ("goal", "higher", "statistic"),
    [("raise", True, "highest"), ("raise", False, "lowest"), ("lower", True, "lowest"), ("lower", False, "highest")],
)
def test_the_worst_is_what_the_attacker_wants_of_attacked_images_and_the_mean_of_clean_ones(
    goal: str, higher: bool, statistic: str
) -> None:
    protocol = ScoringProtocol.parsed("worst-of-4")
    assert protocol.attacked(goal=goal, higher_is_better=higher) == Scoring(statistic=statistic, draws=4)
    assert protocol.clean == Scoring(statistic="mean", draws=4)


@pytest.mark.parametrize("name", ["one-shot", "mean-of-3"])
def test_other_protocols_treat_all_images_alike(name: str) -> None:
    protocol = ScoringProtocol.parsed(name)
    assert protocol.attacked(goal="lower", higher_is_better=True) == protocol.clean


@given(DRAWS)
def test_the_statistics_are_numpys(draws: np.ndarray) -> None:
    for statistic, expected in (("mean", np.mean), ("highest", np.max), ("lowest", np.min)):
        found = Scoring(statistic=statistic, draws=draws.shape[1]).of(draws, draws)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected(draws, axis=1), atol=1e-9)


def test_what_else_is_known_of_the_worst_draw_is_that_draws() -> None:
    scores, similarity = np.array([[1.0, 5.0, 3.0]]), np.array([[0.9, 0.7, 0.8]])
    assert Scoring(statistic="highest", draws=3).of(similarity, scores) == [0.7]
    assert Scoring(statistic="lowest", draws=3).of(similarity, scores) == [0.9]
    assert Scoring(draws=3).of(similarity, scores) == pytest.approx([0.8])


def test_a_single_draw_adds_nothing_to_a_key() -> None:
    assert ONE_SHOT.document == {}
    documents = [Scoring(draws=2).document, Scoring(draws=3).document, Scoring(statistic="lowest", draws=2).document]
    assert all(documents)
    assert documents[0] != documents[1] != documents[2]


def test_options_can_be_read_without_torch() -> None:
    check = "import sys, iqa_robustness.bench.scoring_protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
