"""A leaderboard as a static site: one page without network, every table as CSV and JSON, every figure as SVG."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from iqa_robustness.reporting.leaderboard_aggregate import aggregated, value_of
from iqa_robustness.reporting.leaderboard_board import SCENARIOS, Board
from iqa_robustness.reporting.leaderboard_breakdown import (
    SPOKEN,
    attack_table,
    by_metric_table,
    ranking_table,
    selection_table,
)
from iqa_robustness.reporting.leaderboard_figures import Bars, bars_figure, preset_figure
from iqa_robustness.reporting.leaderboard_ranking import ranking
from iqa_robustness.reporting.leaderboard_selection import presets_of, varied_parameter
from iqa_robustness.reporting.leaderboard_table import Column, Table
from iqa_robustness.reporting.leaderboard_tables import (
    certified_table,
    metric_table,
    purification_table,
    study_table,
    training_table,
)

_CELL_MEASURES = ("d_score", "d_score_defended", "gain", "srocc_clear", "srocc_adv", "srocc_shift", "q_score")
_CERTIFIED_MEASURES = ("cert_r", "cert_rd", "abstain")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure: name of its file, caption, and the SVG."""

    name: str
    caption: str
    svg: bytes


def tables_of(board: Board) -> list[Table]:
    """Every table that has a row, in the page's order."""
    scenarios = [scenario for scenario in SCENARIOS if board.tasks[scenario]]
    rankings = [ranking(board, scenario) for scenario in scenarios]
    found = [purification_table(board), training_table(board), certified_table(board)]
    found += [ranking_table(one) for one in rankings if one is not None]
    found += [by_metric_table(board, scenario) for scenario in scenarios]
    found += [attack_table(board, scenario) for scenario in scenarios]
    found += [selection_table(board, scenario) for scenario in scenarios]
    found += [metric_table(board), study_table(board)]
    return [table for table in found if table.rows]


def cells_table(board: Board) -> Table:
    """One row a record, for who wants to compute something else."""
    measures = [*_CELL_MEASURES, *(_CERTIFIED_MEASURES if board.tasks["certified"] else ())]
    facts = ("scenario", "metric", "defense", "attack", "strength", "images", "record", "submitter")
    rows: list[dict[str, Any]] = []
    for (task, name), record in sorted(board.records.items()):
        row: dict[str, Any] = {"defense": name, "images": len(record.images), "record": record.meta["key"]}
        row |= {"submitter": str(record.volatile.get("submitter", "")), **task._asdict()}
        rows.append(row | {measure: value_of(measure, record) for measure in measures})
    return Table(
        name="cells",
        title="Cells",
        columns=tuple(Column(key=key, heading=key) for key in (*facts, *measures)),
        rows=tuple(rows),
    )


def pictures_of(board: Board) -> list[Picture]:
    """The published figure, and a curve for each defense that the board has several presets of."""
    found = []
    bars = _bars(board)
    if bars:
        caption = "D_score under adaptive (hatched) and non-adaptive attacks, coloured by Q_score; error bars: 95 %"
        found.append(Picture(name="adaptive-against-nonadaptive", caption=caption, svg=bars_figure(bars)))
    for number, (family, members) in enumerate(presets_of(board).items()):
        parameter = varied_parameter(members)
        if not parameter:
            continue
        curves = {}
        for scenario in SCENARIOS:
            points = []
            for one in sorted(members, key=lambda one: float(one.fields[parameter])):
                number_of = aggregated("d_score", board.of(one.name, scenario))
                if number_of is not None:
                    points.append((float(one.fields[parameter]), number_of.interval))
            if len(points) > 1:
                curves[SPOKEN[scenario]] = points
        if curves:
            caption = f"{family.rpartition('.')[2]}: D_score by {parameter}"
            found.append(Picture(name=f"preset-{number + 1}", caption=caption, svg=preset_figure(parameter, curves)))
    return found


def written_site(board: Board, folder: Path) -> Path:
    """Write index.html, tables/*.csv, tables/*.json and figures/*.svg; returns the page's path."""
    tables, pictures, cells = tables_of(board), pictures_of(board), cells_table(board)
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for table in (*tables, cells):
        (folder / "tables" / f"{table.name}.csv").write_text(table.csv, encoding="utf-8")
        document = json.dumps(table.document, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "tables" / f"{table.name}.json").write_text(document, encoding="utf-8")
    for picture in pictures:
        (folder / "figures" / f"{picture.name}.svg").write_bytes(picture.svg)
    page = folder / "index.html"
    page.write_text(leaderboard_html(board, tables, pictures), encoding="utf-8")
    return page


def leaderboard_html(board: Board, tables: Sequence[Table], pictures: Sequence[Picture]) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("iqa_robustness.reporting"), autoescape=True, undefined=StrictUndefined
    )
    records = [*board.records.values()]
    counted = sum(len(board.of(one.name, scenario)) for one in board.contestants for scenario in SCENARIOS)
    alone = {"cells that fewer than half of the defenses have": len(records) - counted}
    left_out = {**board.left_out, **{reason: count for reason, count in alone.items() if count}}
    return environment.get_template("leaderboard.html.j2").render(
        board=board,
        facts={
            "data set": board.dataset,
            "images of a cell": _span({len(record.images) for record in records}),
            "metrics": ", ".join(board.metrics),
            "records": str(len(records)),
            "computed with": ", ".join(sorted({_numerics(record.meta.get("numerics", {})) for record in records})),
            "submitted by": ", ".join(sorted({str(r.volatile.get("submitter", "")) for r in records} - {""})) or "–",
            "left out": "; ".join(f"{count} of {reason}" for reason, count in left_out.items()) or "nothing",
        },
        tables=tables,
        pictures=[
            {"caption": one.caption, "svg": _inline(one.svg, number), "name": one.name}
            for number, one in enumerate(pictures)
        ],
    )


def _bars(board: Board) -> list[Bars]:
    bars = []
    for one in board.contestants:
        plain, adaptive = (aggregated("d_score", board.of(one.name, s)) for s in ("nonadaptive", "adaptive"))
        quality = aggregated("q_score", board.of(one.name, "nonadaptive"))
        if plain is not None or adaptive is not None:
            bars.append(
                Bars(
                    name=one.name,
                    nonadaptive=plain.interval if plain else None,
                    adaptive=adaptive.interval if adaptive else None,
                    quality=quality.mean if quality else math.nan,
                )
            )
    return sorted(bars, key=_by_harm)


def _by_harm(one: Bars) -> tuple[bool, float, float, str]:
    """As the table of defenses is sorted."""
    adaptive, plain = (math.inf if i is None else i.value for i in (one.adaptive, one.nonadaptive))
    return one.name != "none", adaptive, plain, one.name


def _inline(svg: bytes, number: int) -> str:
    """Without what a page does not need, and with ids that no other picture has: pages resolve them over all."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>|(?<= )xmlns(:\w+)?=\"[^\"]*\"", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r"xlink:href=\"#", f'href="#p{number}-', text)
    text = re.sub(r"\bid=\"", f'id="p{number}-', text)
    return re.sub(r"url\(#", f"url(#p{number}-", text)


def _span(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _numerics(numerics: dict[str, Any]) -> str:
    return " ".join(f"{name} {value}" if name == "torch" else str(value) for name, value in sorted(numerics.items()))
