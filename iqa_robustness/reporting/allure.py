"""What a cell's Allure result shows: labels to browse by, numbers, pictures, and how to run it again."""

from __future__ import annotations

import json
from pathlib import Path

import allure

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.gate.verdict import Verdict, described
from iqa_robustness.reporting.figures import shift_plot
from iqa_robustness.reporting.pictures import cell_pictures, worst_rows
from iqa_robustness.reporting.results import spoken_shares
from iqa_robustness.store import Record

_EPICS = {
    "clean": "Clean images",
    "nonadaptive": "Non-adaptive attacks",
    "adaptive": "Adaptive attacks",
    "certified": "Certified defenses",
    "soundness": "Attacks inside the certified radius",
    "transfer": "Attacks on other defenses and metrics",
}
# Pictures are most of a report's size: one image where all is well, three where someone will look.
_SHOWN = {"pass": 1}
_SHOWN_OTHERWISE = 3


def report_cell(
    cell: Cell,
    pair: Pair,
    record: Record,
    verdict: Verdict,
    *,
    runner: LocalRunner,
    command: str,
    attachments: str,
) -> None:
    """Label the running Allure test and attach the cell's numbers and pictures.

    Args:
        cell: what the item is.
        pair: for the purified picture.
        record: its numbers.
        verdict: what was concluded.
        runner: to find the images.
        command: that runs the cell again.
        attachments: `none`, `worst` (a few images) or `all`.
    """
    allure.dynamic.epic(_EPICS[cell.scenario])
    allure.dynamic.feature(cell.metric)
    allure.dynamic.story(cell.defense)
    allure.dynamic.title(f"{cell.id}" + (" (lowering)" if cell.goal == "lower" else ""))
    allure.dynamic.severity(verdict.thresholds.tier)
    if "attack" in record.meta:
        allure.dynamic.tag(record.meta["attack"]["access"], f"restriction: {record.meta['attack']['restriction']}")
    allure.dynamic.tag(f"verdict: {verdict.status}")
    allure.dynamic.description(_description(record, verdict, command))
    allure.attach(record.images.to_csv(index=False), "record.csv", allure.attachment_type.CSV)
    allure.attach(json.dumps(record.meta, indent=1, sort_keys=True), "meta.json", allure.attachment_type.JSON)
    allure.attach(command, "run this cell again", allure.attachment_type.TEXT)
    if attachments == "none" or "attack" not in record.meta:
        return
    plot = shift_plot(
        record.scores("clean"),
        record.scores("defended_attacked"),
        record.scores("placebo"),
        title=f"{cell.id}, {cell.scenario}",
        axis=f"{cell.metric} score",
    )
    allure.attach(plot, "score shift", allure.attachment_type.SVG)
    shown = len(record.images) if attachments == "all" else _SHOWN.get(verdict.status, _SHOWN_OTHERWISE)
    sheet = cell_pictures(cell, pair, record, runner, worst_rows(record, shown))
    allure.attach(sheet, f"worst images ({shown})", allure.attachment_type.JPG)


def _description(record: Record, verdict: Verdict, command: str) -> str:
    """Markdown: verdict, checks, measures, protocol, command."""
    lines = [f"**{verdict.status}**" + (f" (known weakness: {verdict.weakness})" if verdict.declared else "")]
    lines += [f"- {reason}" for reason in verdict.reasons]
    lines += ["", "| check | measured | required | finds in 4 runs of 5, beyond it |", "|---|---|---|---|"]
    lines += [f"| {c.status} | {c.finding} | {c.bound} | {c.detectable:.3g} |" for c in verdict.checks]
    checked = {check.measurement.name for check in verdict.checks}
    lines += ["", "Reported, not gated:", ""]
    lines += [
        f"- {described(m)}" + (f" ({m.note})" if m.note else "")
        for name, m in verdict.measurements.items()
        if name not in checked and m.applicable
    ]
    data = record.meta["dataset"]
    lines += [
        "",
        f"Data: {data['name']}, {data['images']} images, opinion scores: {data['mos_kind']}. "
        f"Protocol: {', '.join(f'{name} {text}' for name, text in record.meta['protocol'].items())}."
        + _worst_images(record)
        + _certificates(record),
        "",
        f"Run it again: `{command}`",
    ]
    return "\n".join(lines)


def _worst_images(record: Record) -> str:
    """Whose images an adaptive cell judges; nothing for other cells."""
    if "sources" not in record.meta:
        return ""
    shares = record.images["worst_source"].value_counts(normalize=True)
    return f" Worst images: {spoken_shares({str(name): float(share) for name, share in shares.items()})}."


def _certificates(record: Record) -> str:
    """What the certificates speak of; nothing for other cells."""
    facts = record.meta.get("certificate")
    return (
        "" if facts is None else f" Certificates are of {facts['of']}; each is wrong with a chance of {facts['alpha']}."
    )


def write_environment(folder: Path, facts: dict[str, str]) -> None:
    """`environment.properties`: what the report's front page says about the run."""
    text = "\n".join(f"{name}={value}" for name, value in facts.items())
    (folder / "environment.properties").write_text(text + "\n", encoding="utf-8")


def write_categories(folder: Path) -> None:
    """`categories.json`: how the report groups what is not green."""
    categories = [
        {"name": "Fails a threshold", "matchedStatuses": ["failed"], "messageRegex": "(?s).*fail: .*"},
        {
            "name": "Inconclusive: more images needed",
            "matchedStatuses": ["failed"],
            "messageRegex": "(?s).*inconclusive: .*",
        },
        {
            "name": "Invalid: the attack could not work",
            "matchedStatuses": ["failed"],
            "messageRegex": "(?s).*invalid: .*",
        },
        {
            "name": "A declared weakness is gone",
            "matchedStatuses": ["failed"],
            "messageRegex": "(?s).*pass: the declared.*",
        },
        {"name": "Not computed", "matchedStatuses": ["broken"]},
        {"name": "Known weaknesses", "matchedStatuses": ["skipped"], "messageRegex": "(?s).*known weakness.*"},
    ]
    (folder / "categories.json").write_text(json.dumps(categories, indent=1), encoding="utf-8")
