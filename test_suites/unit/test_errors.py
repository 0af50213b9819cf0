"""Errors: exit codes, what a person reads, and that errors survive the way between processes."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import errors
from iqa_robustness.errors import (
    CellTimeoutError,
    ClusterError,
    ConfigurationError,
    ConformanceError,
    CorruptEntryError,
    DeviceMemoryError,
    DownloadError,
    ExitCode,
    IqaRobustnessError,
    StoreError,
    UnknownNameError,
    Where,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, IqaRobustnessError) and kind is not UnknownNameError
]


# --- exit codes -----------------------------------------------------------------------------------------------------


def test_exit_codes_are_published_and_do_not_move() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "PASS": 0,
        "FAIL": 1,
        "INTERRUPTED": 2,
        "INTERNAL": 3,
        "CONFIGURATION": 4,
        "NOTHING_SELECTED": 5,
        "INCONCLUSIVE": 10,
        "INVALID": 11,
        "MISSING": 12,
        "INFRASTRUCTURE": 13,
    }


def test_the_first_six_exit_codes_are_those_of_pytest() -> None:
    own = [int(code) for code in (ExitCode.PASS, ExitCode.FAIL, ExitCode.INTERRUPTED, ExitCode.INTERNAL)]
    assert own == [pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, 3]
    assert ExitCode.CONFIGURATION == pytest.ExitCode.USAGE_ERROR
    assert ExitCode.NOTHING_SELECTED == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_ends_a_run_with_the_code_of_its_family(kind: type[IqaRobustnessError]) -> None:
    if issubclass(kind, ConfigurationError):
        assert kind.exit_code == ExitCode.CONFIGURATION
    elif issubclass(kind, ConformanceError):
        assert kind.exit_code == ExitCode.FAIL
    elif issubclass(kind, StoreError | DownloadError | ClusterError | DeviceMemoryError):
        assert kind.exit_code == ExitCode.INFRASTRUCTURE
    else:
        assert kind.exit_code == ExitCode.MISSING


# --- the text -------------------------------------------------------------------------------------------------------


def test_the_text_says_what_where_and_what_to_do_in_three_lines() -> None:
    error = StoreError("disk full", where=Where(metric="compact", file="/store"), fix="make room")
    assert str(error).splitlines() == [
        "disk full",
        "  where: metric=compact, file=/store",
        "  what to do: make room",
    ]


def test_what_is_unknown_is_left_out() -> None:
    assert str(StoreError("disk full")) == "disk full"
    assert str(StoreError("disk full", fix="make room")) == "disk full\n  what to do: make room"


def test_at_completes_the_place_and_keeps_what_is_known() -> None:
    error = CellTimeoutError("too slow", where=Where(attack="ifgsm"))
    assert error.at(metric="compact", attack="square", line=7) is error
    assert error.where == Where(attack="ifgsm", metric="compact", line=7)
    assert error.at(metric="lite0").where.metric == "compact"


@given(st.text(), st.text(), st.integers(0, 99))
def test_a_place_names_every_known_field_once(metric: str, image: str, line: int) -> None:
    text = str(Where(metric=metric, image=image, line=line))
    expected = [f"metric={metric}"] * bool(metric) + [f"image={image}"] * bool(image) + [f"line={line}"] * bool(line)
    assert text == ", ".join(expected)


# --- did you mean ---------------------------------------------------------------------------------------------------


def test_a_misspelt_name_is_answered_with_close_ones() -> None:
    error = UnknownNameError("attack", "ifgms", ["square", "ifgsm", "mi-fgsm"])
    assert error.suggestions[0] == "ifgsm"
    assert "unknown attack 'ifgms'" in str(error)
    assert "did you mean ifgsm" in str(error)
    assert "square" not in str(error)


def test_a_name_like_no_other_is_answered_with_all_of_them() -> None:
    error = UnknownNameError("attack", "xyz", ["square", "ifgsm"])
    assert error.suggestions == []
    assert "known: ifgsm, square" in str(error)


def test_without_any_name_the_answer_says_so() -> None:
    assert "known: none" in str(UnknownNameError("profile", "x", []))


# --- between processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_survive_pickling_with_place_and_advice(kind: type[IqaRobustnessError]) -> None:
    error = kind("what", where=Where(metric="compact", line=3), fix="do this")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.where, back.fix, back.args) == (str(error), error.where, error.fix, error.args)


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
def test_an_unknown_name_survives_too(again: object) -> None:
    error = UnknownNameError("attack", "ifgms", ["ifgsm"])
    back = again(error)  # type: ignore[operator]
    assert str(back) == str(error)
    assert (back.kind, back.name, back.suggestions) == ("attack", "ifgms", ["ifgsm"])


def test_a_corrupt_entry_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="flipped"):
        raise CorruptEntryError("flipped")
