"""Mixtures of a record: which columns are mixed, in which direction, and where there is nothing to mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import measure
from iqa_robustness.gate.mixtures import SHARES, mixtures
from iqa_robustness.measures import mixture_interval
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]


def noisy(make_record: MakeRecord, **more: Any) -> Record:
    """A record whose scores follow the opinions, more or less, and are attacked."""
    random = np.random.RandomState(0)
    better = 1 if more.get("higher_is_better", True) else -1
    quality = np.linspace(20, 80, 60)
    columns: dict[str, Any] = {"mos": quality}
    for name, noise in (("clean", 10), ("attacked", 40), ("defended_clean", 15), ("defended_attacked", 25)):
        columns[name] = 50 + better * (quality - 50 + noise * random.normal(size=60))
    return make_record(**{**columns, **more})


@pytest.mark.parametrize("higher", [True, False])
def test_every_truth_and_share_has_its_number_with_and_without_the_defense(
    higher: bool, make_record: MakeRecord
) -> None:
    record = noisy(make_record, higher_is_better=higher)
    found = mixtures(record)
    assert [(one.truth, one.share) for one in found] == [(t, s) for t in ("mos", "clean") for s in SHARES]
    for one in found:
        sign = -1 if one.truth == "mos" and not higher else 1
        for interval, columns in (
            (one.defended, ("defended_clean", "defended_attacked")),
            (one.undefended, ("clean", "attacked")),
        ):
            scores = [sign * record.scores(column) for column in columns]
            assert interval == mixture_interval(record.scores(one.truth), *scores, record.contents, share=one.share)
            assert interval.value > 0


def test_what_is_measured_of_every_cell_is_half_of_the_images(make_record: MakeRecord) -> None:
    record = noisy(make_record)
    measured, found = measure(record), {(one.truth, one.share): one for one in mixtures(record)}
    assert measured["srocc_mixed"].interval == found["mos", 0.5].defended
    assert measured["srocc_mixed_shift"].interval == found["clean", 0.5].defended
    assert not measured["srocc_mixed"].gated  # 60 images are too few
    assert measured["srocc_mixed_shift"].gated


def test_without_a_defense_both_are_one(make_record: MakeRecord) -> None:
    for one in mixtures(noisy(make_record, kind="none")):
        assert one.defended is one.undefended


def test_without_opinions_only_the_metrics_own_order_is_kept(make_record: MakeRecord) -> None:
    record = noisy(make_record, mos=np.nan)
    assert {one.truth for one in mixtures(record)} == {"clean"}
    assert measure(record)["srocc_mixed"].note.startswith("not applicable")


@pytest.mark.parametrize("scenario", ["clean", "transfer"])
def test_without_an_attack_of_its_own_nothing_is_mixed(scenario: str, make_record: MakeRecord) -> None:
    assert mixtures(make_record(scenario=scenario)) == []
