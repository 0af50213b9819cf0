"""summary.html as a file: self-contained, complete without scripts, every cell with its numbers and its command."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from iqa_robustness.reporting.gallery import Gallery, Triptych
from iqa_robustness.reporting.html import heat_map, summary_html
from iqa_robustness.reporting.results import LABELS, label

FACTS = {"profile": "smoke", "store": ".iqa-store", "thresholds-sha256": "ef" * 32}
PICTURE = "data:image/webp;base64,UklGRg=="


class Page(HTMLParser):
    """Elements with their attributes, in order; and that tags nest."""

    VOID = frozenset({"meta", "br", "wbr", "input", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def triptych(**changes: Any) -> Triptych:
    known = {"image": "cat & dog", "clean": PICTURE, "adversarial": PICTURE, "difference": PICTURE, "factor": 15}
    return Triptych(**{**known, "texts": ("score 41.0", "score 67.3", "l∞ 4/255"), **changes})


@pytest.fixture
def cells(outcome: Any, red: Any, weak: Any, certified: Any, sound: Any) -> list[Any]:
    missing = outcome(defense="jpeg", status="missing", measures={}, gains={}, numerics={}, dataset={}, images=0)
    curves = [
        outcome(
            metric="lite0",
            strength=strength,
            budget={"restriction": "linf", "limit": limit / 255},
            measures={"d_score": [limit, limit, limit], "gain": [limit, limit - 1, limit + 1]},
        )
        for strength, limit in (("weak", 2), ("medium", 4))
    ]
    control = outcome(metric="iqa_robustness.metrics.planted:Robust")
    clean = outcome(scenario="clean", attack="", strength="", gains={}, measures={"srocc_clear": [0.8, 0.7, 0.9]})
    return [outcome(), weak, red, missing, clean, certified(), sound(1), control, *curves]


def test_every_cell_of_a_run_is_a_row_and_a_detail_and_links_lead_there(cells: list[Any]) -> None:
    text = summary_html(cells, FACTS)
    page = Page(text)
    assert not page.open
    rows = [row for row in page.all("tr") if "data-cell" in row]
    details = [detail["id"] for detail in page.all("details")]
    assert len(rows) == len(cells) - 1  # the control is no verdict on a metric
    assert len(details) == len(set(details)) == len(cells)
    assert {row["data-cell"] for row in rows} < set(details)
    for cell in cells:
        assert text.count(f"<code>{html.escape(cell['name'])}</code>") == 1
    known = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    targets = [link["href"] for link in page.all("a")]
    assert len(targets) > len(rows)
    assert {target.removeprefix("#") for target in targets} <= known


def test_rows_say_what_the_filters_ask(cells: list[Any]) -> None:
    page = Page(summary_html(cells, FACTS))
    rows = [row for row in page.all("tr") if "data-cell" in row]
    judged = [cell for cell in cells if not cell["metric"].startswith("iqa_robustness.")]
    axes = ("metric", "defense", "attack", "scenario")
    said = sorted((row["data-verdict"], *(row[f"data-{axis}"] for axis in axes)) for row in rows)
    assert said == sorted((label(cell), *(cell[axis] for axis in axes)) for cell in judged)
    assert [select["name"] for select in page.all("select")] == ["verdict", *axes]
    offered = {option["value"] for option in page.all("option")}
    for cell in judged:
        assert {label(cell), *(cell[axis] for axis in axes)} <= offered | {""}


def test_without_scripts_nothing_is_hidden_but_the_filters(cells: list[Any]) -> None:
    page = Page(summary_html(cells, FACTS))
    assert [tag for tag, attributes in page.elements if "hidden" in attributes] == ["form"]
    assert not any("onclick" in attributes or "onload" in attributes for _, attributes in page.elements)


def test_nothing_is_loaded_from_anywhere(cells: list[Any]) -> None:
    pictures = Gallery(triptychs={cells[0]["name"]: triptych()}, left_out={})
    text = summary_html(cells, FACTS, gallery=pictures)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/webp;base64,")), (tag, name)
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert not re.search(r"url\((?!#)|@import|https?:|fetch\(|XMLHttpRequest", text)


def test_equal_outcomes_give_equal_bytes(cells: list[Any]) -> None:
    assert summary_html(cells, FACTS) == summary_html(cells[::-1], FACTS)
    assert "<svg" in summary_html(cells, FACTS)


def test_long_names_may_break_where_a_reader_would_break_them(outcome: Any) -> None:
    page = summary_html([outcome(metric="my.package:My<Metric>")], FACTS)
    assert "<td>my.<wbr>package:<wbr>My&lt;Metric&gt;</td>" in page


def test_what_people_wrote_is_escaped_everywhere(outcome: Any) -> None:
    nasty = "<script>alert(1)</script>\"'&"
    cell = outcome(
        metric=nasty,
        defense=nasty,
        attack=nasty,
        strength=nasty,
        weakness=nasty,
        expected=True,
        status="fail",
        reasons=[nasty],
        command=nasty,
        notes={"rank_flips": nasty},
        mos_kind="pseudo",
    )
    pictures = Gallery(triptychs={cell["name"]: triptych(image=nasty)}, left_out={})
    text = summary_html([cell], {"store": nasty}, gallery=pictures)
    assert "alert(1)</script>" not in text
    assert text.count("<script>") == 1
    assert not Page(text).open
    assert Page(text).all("img")[0]["alt"] == f"clean: {nasty}"


def test_a_cell_shows_its_command_units_bounds_and_provenance(outcome: Any) -> None:
    text = summary_html([outcome()], FACTS)
    assert "pytest &#39;test_gate.py::test_gate[compact/none/ifgsm/medium]&#39;" in text
    assert '10.000 [8.000, 12.000] % of range <span class="pass">at most 20 required: pass</span>' in text
    for fact in ("cpu, float32, torch 2.7.1, micro-batch 4", "mini, digest cdcdcdcdcdcd", "ab" * 32, "ef" * 32):
        assert fact in text


def test_an_outcome_without_a_command_has_none(outcome: Any) -> None:
    cell = outcome()
    del cell["command"]
    assert "<pre>" not in summary_html([cell], FACTS)


def test_gains_are_drawn_beside_the_verdict_and_in_the_detail(cells: list[Any]) -> None:
    text = summary_html(cells, FACTS)
    drawn = sum(bool(cell["gains"]) for cell in cells)
    assert text.count('<svg class="histogram"') == drawn
    assert text.count('<svg class="strip"') == drawn - 1
    assert "distribution of the gains of 6 images" in text


def test_pictures_are_shown_where_there_are_any_and_a_missing_one_says_why(outcome: Any, red: Any) -> None:
    cells = [outcome(), red]
    found = Gallery(
        triptychs={red["name"]: triptych(window="256 × 256 of 512 × 512 pixels")},
        left_out={cells[0]["name"]: "the data set holds other images"},
    )
    text = summary_html(cells, FACTS, gallery=found)
    images = Page(text).all("img")
    assert [image["alt"] for image in images] == [
        f"{what}: cat & dog" for what in ("clean", "adversarial", "difference × 15, around grey")
    ]
    assert "256 × 256 of 512 × 512 pixels" in text
    assert "No pictures: the data set holds other images." in text
    assert "the worst image of 1 cell," in text
    bare = summary_html(cells, FACTS)
    assert "<img" not in bare
    assert "pictures" not in bare.lower()


def test_the_heat_map_marks_what_is_neither_green_nor_declared(outcome: Any, red: Any, weak: Any) -> None:
    heat = heat_map([outcome(), red, weak])
    places = {place["label"]: place["bad"] for row in heat["rows"] for place in row["places"] if place}
    assert places == {"pass": False, "fail": True, "weakness": False}
    assert summary_html([outcome(), red, weak], FACTS).count('class="heat bad"') == 1


def test_it_is_made_for_paper_the_dark_and_small_screens(cells: list[Any]) -> None:
    text = summary_html(cells, FACTS)
    for rule in ("@media print", "prefers-color-scheme: dark", "::details-content", "@media screen { .filtered"):
        assert rule in text
    assert any(meta.get("name") == "viewport" for meta in Page(text).all("meta"))
    tables = [number for number, (tag, _) in enumerate(Page(text).elements) if tag == "table"]
    boxes = [Page(text).elements[number - 1][1].get("class") for number in tables]
    assert set(boxes) == {"wide"}


def test_the_text_of_300_cells_and_all_pictures_stay_below_3_megabytes(outcome: Any) -> None:
    measures = {f"measure_number_{number}": [12.345, 10.123, 14.567] for number in range(32)}
    cells = [
        outcome(defense=f"defense-{number}", measures={**outcome()["measures"], **measures}) for number in range(300)
    ]
    assert len(summary_html(cells, FACTS).encode()) < 1_500_000


def test_verdicts_come_from_bad_to_good(cells: list[Any]) -> None:
    rows = [row for row in Page(summary_html(cells, FACTS)).all("tr") if "data-cell" in row]
    verdicts = [row["data-verdict"] for row in rows]
    assert verdicts[0] == "fail"
    assert verdicts[-1] == "pass"
    assert set(verdicts) <= set(LABELS)
