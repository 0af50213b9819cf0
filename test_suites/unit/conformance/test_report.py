"""Findings as people and machines read them."""

from __future__ import annotations

import json

import pytest

from iqa_robustness.conformance.check import Finding, Outcome
from iqa_robustness.conformance.report import closing_line, document_of, lines_of, passed

FINE = Finding(check="sizes", title="every size is scored", outcome=Outcome.OK, text="from 32 x 32", seconds=1.25)
SHORT = Finding(check="no images", title="no images cost nothing", outcome=Outcome.OK)
WRONG = Finding(
    check="direction",
    title="clean beats distorted",
    outcome=Outcome.FAILED,
    text="1 of 4 scenes,\nby -3 % of the range",
    fix="set higher_is_better=False",
    seconds=0.5,
)
ABSENT = Finding(check="device", title="CPU and CUDA agree", outcome=Outcome.NOT_APPLICABLE, text="no CUDA device")
ALL = [FINE, SHORT, WRONG, ABSENT]


def test_lines_are_aligned_and_a_failure_says_what_is_wrong_and_what_to_do() -> None:
    lines = [line for finding in ALL for line in lines_of(finding, name_width=9, width=100)]
    assert lines == [
        "  ok      sizes      every size is scored (from 32 x 32)",
        "  ok      no images  no images cost nothing",
        "  FAILED  direction  clean beats distorted",
        "                     wrong: 1 of 4 scenes, by -3 % of the range",
        "                     to do: set higher_is_better=False",
        "  –       device     CPU and CUDA agree: does not apply, no CUDA device",
    ]


@pytest.mark.parametrize("width", [60, 72, 120])
def test_long_texts_are_wrapped_below_their_beginning(width: int) -> None:
    long = Finding(check="x", title="t", outcome=Outcome.FAILED, text="word " * 60, fix="deed " * 60)
    lines = lines_of(long, name_width=9, width=width)
    assert max(map(len, lines)) <= width
    assert {len(line) - len(line.lstrip()) for line in lines[1:]} == {21, 28}
    assert " ".join(lines).count("word") == 60
    assert " ".join(lines).count("deed") == 60


def test_a_terminal_too_narrow_is_not_obeyed() -> None:
    assert max(map(len, lines_of(WRONG, name_width=9, width=10))) > 20


def test_a_failure_without_advice_has_none() -> None:
    bare = Finding(check="x", title="t", outcome=Outcome.FAILED, text="broken")
    assert [line.strip() for line in lines_of(bare, name_width=1, width=80)] == ["FAILED  x  t", "wrong: broken"]


def test_the_closing_line_counts() -> None:
    assert closing_line(ALL) == "2 ok, 1 failed, 1 does not apply; 1.8 s"
    assert closing_line([FINE, ABSENT, ABSENT]) == "1 ok, 0 failed, 2 do not apply; 1.2 s"
    assert closing_line([FINE]) == "1 ok, 0 failed; 1.2 s"


def test_only_a_failure_is_no_pass() -> None:
    assert passed([FINE, SHORT, ABSENT])
    assert not passed(ALL)


def test_the_document_holds_everything() -> None:
    document = document_of(ALL, kind="metric", reference="a:B", device="cpu", options={"weights": "x"})
    assert json.loads(json.dumps(document)) == document
    assert {key: document[key] for key in ("schema", "kind", "reference", "device", "options", "passed")} == {
        "schema": 1,
        "kind": "metric",
        "reference": "a:B",
        "device": "cpu",
        "options": {"weights": "x"},
        "passed": False,
    }
    assert [check["outcome"] for check in document["checks"]] == ["ok", "ok", "failed", "does not apply"]
    assert document["checks"][2] == {
        "name": "direction",
        "title": "clean beats distorted",
        "outcome": "failed",
        "text": WRONG.text,
        "fix": "set higher_is_better=False",
        "seconds": 0.5,
    }
