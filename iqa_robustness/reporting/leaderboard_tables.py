"""The tables of defenses: as the paper's tables 4, 5 and 6 have them, and those of the earlier studies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.reporting.certified import ELSEWHERE, NOTES, VACUOUS
from iqa_robustness.reporting.costs import added
from iqa_robustness.reporting.leaderboard_aggregate import WITH_OPINIONS, aggregated, value_of
from iqa_robustness.reporting.leaderboard_board import Board, Contestant, Task
from iqa_robustness.reporting.leaderboard_table import NOT_APPLICABLE, Column, Table
from iqa_robustness.store import Record

PSEUDO_MARK = "¹"
PSEUDO = (
    f"{PSEUDO_MARK} not applicable: the opinion scores of this data set are pseudo (a formula, not people), and such "
    "scores never enter a leaderboard"
)
_LACKS_MARK = "²"
_LACKS = f"{_LACKS_MARK} lacks some of the cells that most defenses have: its means are over fewer"
_INVALID_MARK = "³"
_INVALID = (
    f"{_INVALID_MARK} some attack was unable to work (its cell is invalid in a run): a low D_score proves nothing there"
)
_AGGREGATION = (
    "Each number is the mean over metrics within each (attack, strength) cell, then over cells, ± the standard "
    "deviation over cells: the published aggregation, and no measure of certainty. Below it, its 95 % interval over "
    "contents. "
)
_SROCC_CLEAR, _SROCC_ADV = ("srocc_clear", "SROCC_clear", 3), ("srocc_adv", "SROCC_adv", 3)
_Measure = tuple[str, str, int]
_ATTACKED: tuple[_Measure, ...] = (("d_score", "D_score, %", 1), _SROCC_ADV, ("q_score", "Q_score", 2))
_CERTIFIED: tuple[_Measure, ...] = (
    ("cert_r", "R, higher is better", 3),
    ("cert_r_familywise", "R, all at once", 3),
    ("abstain", "abstains, share", 3),
    ("cert_rd", "Cert.RD, lower is better", 4),
    _SROCC_CLEAR,
    _SROCC_ADV,
    ("d_score_defended", "D^(D), %", 1),
)
_STUDY: tuple[_Measure, ...] = (
    ("d_score", "gain, % of range", 1),
    ("relative_gain", "relative gain", 3),
    ("study_quality", "(SSIM + PSNR/80)/2", 3),
    ("srocc_shift", "SROCC(f(x), f(P(x')))", 3),
    ("srocc_adv", "SROCC_adv", 3),
    ("r_score", "R_score, higher is better", 2),
)


def purification_table(board: Board) -> Table:
    """As the paper's table 4: accuracy, time, and what is left of it under both kinds of attack."""
    return _defended(
        board,
        ("none", "purification", "detection"),
        name="defenses",
        title="Defenses",
        about=_AGGREGATION
        + "Time: milliseconds an image that the defense adds, on the machine that computed the scores. Q_score: SSIM + "
        "PSNR/40 of x and P(x'), where pixels correspond; without a defense, of x and x'. Adaptive: the worst, image "
        "by image, of an attack on the defended metric, the images made without knowing the defense, and a black-box "
        "attack.",
    )


def training_table(board: Board) -> Table:
    """As the paper's table 5: metrics that were trained against attacks."""
    return _defended(
        board,
        ("training",),
        name="adversarial-training",
        title="Adversarial training",
        about=_AGGREGATION + "The metric has other weights; nothing is done to the images.",
        purifies=False,
    )


def certified_table(board: Board) -> Table:
    """As the paper's table 6: what is guaranteed, and what is left of the score."""
    return _table(
        board,
        board.taking_part("certified"),
        name="certified",
        title="Certified defenses",
        about=_AGGREGATION
        + "R: certified l2 radius, 0 where it abstains. Cert.RD: larger side of the certified interval ÷ range. 'All "
        "at once' holds for all images of a cell together. D^(D): shift behind the defense. A certificate speaks of "
        "the ideal smoothed metric.",
        parts=(("certified", "", _CERTIFIED),),
    )


def study_table(board: Board) -> Table:
    """The earlier study's measures of purifications, and the R_score, under attacks that do not know the defense."""
    return _table(
        board,
        board.taking_part("nonadaptive"),
        name="study",
        title="Measures of the earlier studies",
        about="Non-adaptive attacks. Relative gain: shift ÷ clean score, which depends on where a metric's scale has "
        "its zero. R_score: log10(largest possible shift ÷ shift), 0 is the worst.",
        parts=(("nonadaptive", "", _STUDY),),
    )


def metric_table(board: Board) -> Table:
    """The undefended metrics, by the R_score: how the published benchmark chose its seven."""
    found = []
    records = board.of("none", "nonadaptive")
    for metric in board.metrics:
        own = {task: record for task, record in records.items() if task.metric == metric}
        if own:
            numbers = {key: _number(key, own) for key in ("r_score", "d_score", "srocc_clear", "srocc_adv")}
            found.append({"metric": metric, **numbers})
    found.sort(key=lambda row: (-row["r_score"].mean if row["r_score"] else math.inf, row["metric"]))
    return Table(
        name="metrics",
        title="Undefended metrics",
        columns=(
            Column(key="metric", heading="metric", plain=True),
            Column(key="r_score", heading="R_score, higher is better"),
            Column(key="d_score", heading="D_score, %", digits=1),
            Column(key="srocc_clear", heading="SROCC_clear", digits=3),
            Column(key="srocc_adv", heading="SROCC_adv", digits=3),
        ),
        rows=tuple(found),
        about="Non-adaptive attacks, mean over (attack, strength) cells ± standard deviation over cells; below it, the "
        "95 % interval over contents.",
        notes=(PSEUDO,) if board.pseudo else (),
    )


def _defended(board: Board, kinds: Sequence[str], *, name: str, title: str, about: str, purifies: bool = True) -> Table:
    """Of defenses of some kinds; time and Q_score are those of a purification."""
    members = [one for one in board.contestants if one.kind in kinds]
    members = [one for one in members if any(board.of(one.name, s) for s in ("nonadaptive", "adaptive"))]
    measures = tuple(measure for measure in _ATTACKED if purifies or measure[0] != "q_score")
    parts = (("nonadaptive", "non-adaptive", (_SROCC_CLEAR, *measures)), ("adaptive", "adaptive", measures))
    return _table(board, members, name=name, title=title, about=about, parts=parts, timed=purifies)


def _table(
    board: Board,
    members: Iterable[Contestant],
    *,
    name: str,
    title: str,
    about: str,
    parts: Sequence[tuple[str, str, Sequence[_Measure]]],
    timed: bool = False,
) -> Table:
    columns = [Column(key="defense", heading="defense", plain=True)]
    if timed:
        columns.append(Column(key="milliseconds", heading="time, ms"))
    for scenario, prefix, measures in parts:
        for key, heading, digits in measures:
            said = f"{prefix} {heading}".strip() if key != "srocc_clear" else heading
            columns.append(Column(key=_key(scenario, key, parts), heading=said, digits=digits))
        columns.append(Column(key=f"{scenario}_cells", heading=f"{prefix} cells".strip()))
    rows, notes = [], set()
    for one in members:
        row: dict[str, Any] = {"defense": one.name, "milliseconds": milliseconds(board, one)}
        marks = ""
        for scenario, _, measures in parts:
            records = board.of(one.name, scenario)
            row |= {_key(scenario, key, parts): _number(key, records) for key, _, _ in measures}
            row[f"{scenario}_cells"] = len(records)
            if records and board.lacking(one.name, scenario):
                marks += _LACKS_MARK
            marks += "".join(_marks(record) for record in records.values())
        row["defense"] += "".join(f" {mark}" for mark in sorted(set(marks)))
        notes |= {*marks}
        rows.append(row)
    meanings = {PSEUDO_MARK: PSEUDO, _LACKS_MARK: _LACKS, _INVALID_MARK: _INVALID}
    meanings |= {mark: f"{mark} {text}" for mark, text in NOTES.items()}
    notes |= {PSEUDO_MARK} if board.pseudo else set()
    return Table(
        name=name,
        title=title,
        columns=tuple(columns),
        rows=tuple(_sorted(rows, parts)),
        about=about,
        notes=tuple(meanings[mark] for mark in sorted(notes)) if rows else (),
    )


def _marks(record: Record) -> str:
    """What limits the meaning of a record's numbers."""
    marks = _INVALID_MARK if invalid_reasons(record) else ""
    if "certificate" in record.meta and record.meta["certificate"].get("resolution") is not None:
        marks += ELSEWHERE
    return marks + (VACUOUS if 100 * value_of("cert_rd", record) > value_of("spread", record) else "")


def _key(scenario: str, measure: str, parts: Sequence[tuple[str, str, Sequence[_Measure]]]) -> str:
    return f"{scenario}_{measure}" if len(parts) > 1 and measure != "srocc_clear" else measure


def _number(measure: str, records: Mapping[Task, Record]) -> Any:
    """An aggregate; what says that it is not given where opinions are pseudo; None without a number."""
    pseudo = any(record.meta["dataset"]["mos_kind"] != "human" for record in records.values())
    if measure in WITH_OPINIONS and pseudo:
        return f"{NOT_APPLICABLE} {PSEUDO_MARK}"
    return aggregated(measure, records)


def milliseconds(board: Board, one: Contestant) -> float | None:
    """What a defense adds to an image: mean over metrics of the newest measurement; None where none was made."""
    if one.kind == "none":
        return 0.0
    alone = _costs(board, "none")
    times = [added(cost, alone.get(metric, {})) for metric, cost in _costs(board, one.name).items()]
    known = [time for time in times if time is not None]
    return statistics.fmean(known) if known else None


def _costs(board: Board, name: str) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """By metric, the cost that a record of the defense was computed at."""
    found = {}
    for (task, contestant), record in sorted(board.records.items()):
        if contestant == name and record.volatile.get("cost"):
            found[task.metric] = record.volatile["cost"]
    return found


def _sorted(rows: list[dict[str, Any]], parts: Sequence[tuple[str, str, Sequence[_Measure]]]) -> list[dict[str, Any]]:
    """Certified defenses by radius, others by D_score under adaptive attacks, then under the others; none first."""
    keys = ["cert_r"] if parts[0][0] == "certified" else [_key(p[0], "d_score", parts) for p in reversed(parts)]
    sign = -1 if keys == ["cert_r"] else 1

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        known = [math.inf if row.get(key) is None else sign * row[key].mean for key in keys]
        return row["defense"].partition(" ")[0] != "none", *known, row["defense"]

    return sorted(rows, key=place)
