"""The site: whole, without network, the same each time, and nobody's name is markup."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import measure
from iqa_robustness.reporting.leaderboard_board import board_of
from iqa_robustness.reporting.leaderboard_site import (
    cells_table,
    leaderboard_html,
    pictures_of,
    tables_of,
    written_site,
)


@pytest.fixture(scope="module")
def records(league: Any, stored: Any) -> list[Any]:
    random = np.random.RandomState(0)
    clean = np.linspace(20, 80, 24)
    return [
        *league({"none": 30, "flip": 10}),
        *league({"flip": 40}, scenario="adaptive"),
        *league({"at-ssim": 15}, kind="training"),
        *league({"ms": 5}, kind="certified", scenario="certified"),
        *(
            stored("jpeg", defended_attacked=clean + shift + random.rand(24), fields={"quality": quality}, **facts)
            for facts in ({}, {"scenario": "adaptive"})
            for quality, shift in ((30, 5.0), (60, 15.0), (90, 40.0))
        ),
    ]


@pytest.fixture(scope="module")
def page(records: Any, tmp_path_factory: Any) -> Path:
    return written_site(board_of(records), tmp_path_factory.mktemp("leaderboard") / "site")


def test_the_site_is_whole_and_every_link_on_the_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert (page.parent.name, page.name) == ("site", "index.html")
    links = re.findall(r' href="([^"#][^"]*)"', text)
    assert len(links) > 20
    for link in links:
        assert (page.parent / link).is_file(), link
    anchors, ids = re.findall(r'<a href="#([^"]+)"', text), re.findall(r'id="([^"]+)"', text)
    assert set(anchors) <= set(ids)
    assert len(ids) == len(set(ids)), "an id twice: pictures would take each other's parts"
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(ids)


def test_it_asks_nothing_of_a_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'"data:image/png;base64,[^"]*"', "", text)
    assert not re.search(r"https?://|//[a-z]|<script|@import|src=", text)


def test_the_tables_are_those_of_the_task(records: Any) -> None:
    assert [table.name for table in tables_of(board_of(records))] == [
        "defenses",
        "adversarial-training",
        "certified",
        "ranking-nonadaptive",
        "ranking-adaptive",
        "by-metric-nonadaptive",
        "by-metric-adaptive",
        "by-metric-certified",
        "attacks-nonadaptive",
        "attacks-adaptive",
        "attacks-certified",
        "selection-nonadaptive",
        "selection-adaptive",
        "metrics",
        "study",
    ]


def test_files_hold_the_numbers_of_the_records(records: Any, page: Path) -> None:
    with (page.parent / "tables" / "cells.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records)
    by_key = {record.meta["key"]: record for record in records}
    for row in rows:
        measured = measure(by_key[row["record"]])
        for name in ("d_score", "gain", "srocc_adv", "srocc_shift"):
            assert float(row[name]) == pytest.approx(measured[name].value), name
    documents = [json.loads(path.read_text()) for path in (page.parent / "tables").glob("*.json")]
    assert all(document["rows"] for document in documents)


def test_figures_are_drawn_for_what_there_is(page: Path, league: Any) -> None:
    figures = page.parent / "figures"
    assert {path.name for path in figures.iterdir()} == {"adaptive-against-nonadaptive.svg", "preset-1.svg"}
    assert b"<!-- quality -->" in (figures / "preset-1.svg").read_bytes()
    assert pictures_of(board_of(league({"ms": 5}, kind="certified", scenario="certified"))) == []


def test_equal_records_make_equal_sites(records: Any, page: Path, tmp_path: Path) -> None:
    written_site(board_of(reversed(records)), tmp_path)
    for path in page.parent.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(page.parent)).read_bytes(), path.name


def test_pseudo_opinions_are_said_to_be_such_and_give_no_correlation(league: Any) -> None:
    board = board_of(league({"none": 30, "flip": 10}, mos_kind="pseudo", dataset="mini"))
    text = leaderboard_html(board, tables_of(board), [])
    assert "pseudo (a formula, not people)" in text
    assert "n/a ¹" in text
    assert all(row["srocc_adv"] != row["srocc_adv"] for row in cells_table(board).rows)
    human = board_of(league({"none": 30, "flip": 10}))
    assert "pseudo" not in leaderboard_html(human, tables_of(human), [])


def test_a_submitters_name_is_no_markup(stored: Any) -> None:
    evil = "<img src=x onerror=alert(1)>"
    facts = {"volatile": {"submitter": evil}}
    board = board_of([stored("none", 30), stored(evil, 10, **facts)])
    text = leaderboard_html(board, tables_of(board), pictures_of(board))
    assert "<img" not in text
    assert "&lt;img" in text
    assert cells_table(board).rows[0]["submitter"] == evil


def test_what_was_left_out_is_on_the_page(league: Any, stored: Any) -> None:
    odd = [stored("flip", goal="lower"), stored("flip", attack="easy")]
    board = board_of([*league({"none": 30, "flip": 10, "jpeg": 5}), *odd])
    text = leaderboard_html(board, tables_of(board), [])
    assert "1 of attack that lowers the score; 1 of cells that fewer than half of the defenses have" in text
