"""What a cell's Allure result shows: labels to browse by, numbers, pictures, and how to run it again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import allure

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.gate.verdict import Verdict, described
from iqa_robustness.reporting.attachments import Attachment, fitted, largest_sheet
from iqa_robustness.reporting.figures import shift_plot
from iqa_robustness.reporting.pictures import cell_panels, worst_rows
from iqa_robustness.reporting.results import spoken_shares
from iqa_robustness.store import Record

EPICS = {
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


def label_cell(cell: Cell, *, tier: str, status: str) -> None:
    """Name the running Allure test after its cell, and say where it belongs, whether or not it could be computed.

    The history id of the result rests on the item's parameters alone, above all the cell's full name; those added here
    may change from run to run and are left out of it.

    Args:
        cell: what the item is.
        tier: of its thresholds.
        status: the verdict's, `missing` without one.
    """
    allure.dynamic.epic(EPICS[cell.scenario])
    allure.dynamic.feature(cell.metric)
    allure.dynamic.story(cell.defense)
    allure.dynamic.severity(tier)
    allure.dynamic.title(cell.id + (" (lowering)" if cell.goal == "lower" else ""))
    allure.dynamic.tag(f"verdict: {status}")
    if cell.source:
        allure.dynamic.tag("transfer")
    facts = {"attack": cell.attack, "strength": cell.strength, "dataset": cell.dataset, "images": cell.images}
    for name, value in facts.items():
        if value:
            allure.dynamic.parameter(name, _Plain(str(value)), excluded=True)


def report_cell(
    cell: Cell,
    pair: Pair,
    record: Record,
    verdict: Verdict,
    *,
    runner: LocalRunner,
    command: str,
    attachments: str,
    limit: int | None = None,
) -> None:
    """Describe the running Allure test, and attach the cell's numbers and pictures.

    Where `limit` is short, pictures go before the plot, the record's facts and its table; the description says what is
    not there.

    Args:
        cell: what the item is.
        pair: for the purified picture.
        record: its numbers.
        verdict: what was concluded.
        runner: to find the images.
        command: that runs the cell again; it is always attached.
        attachments: `none` (no pictures), `worst` (a few images) or `all`.
        limit: bytes that attachments may take, None for any number.
    """
    if "attack" in record.meta:
        attack = record.meta["attack"]
        allure.dynamic.tag(attack["access"], f"restriction: {attack['restriction']}")
        allure.dynamic.parameter("budget", _Plain(_budget(attack["restriction"], attack["limit"])), excluded=True)
    _device_label(record)
    allure.attach(command, "run this cell again", allure.attachment_type.TEXT)
    found, absent = _pictures(cell, pair, record, verdict, runner, attachments, limit)
    kept, left_out = fitted([*found, *_numbers(cell, record, attachments)], limit)
    for attachment in kept:
        allure.attach(attachment.body, attachment.name, getattr(allure.attachment_type, attachment.kind))
    allure.dynamic.description(_description(record, verdict, command, [*absent, *left_out]))


@dataclass(frozen=True)
class _Plain:
    """A parameter's value that is shown as it is: Allure puts quotes around a string."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _budget(restriction: str, limit: float) -> str:
    return f"l∞ {limit * 255:.3g}/255" if restriction == "linf" else f"{restriction} {limit:.4g}"


def _device_label(record: Record) -> None:
    """Which GPU the worker had, where numbers come from one."""
    if not record.meta["numerics"]["device"].startswith("cuda"):
        return
    allure.dynamic.label("gpu", os.environ.get("CUDA_VISIBLE_DEVICES") or record.meta["numerics"]["device"])


def _pictures(
    cell: Cell,
    pair: Pair,
    record: Record,
    verdict: Verdict,
    runner: LocalRunner,
    choice: str,
    limit: int | None,
) -> tuple[list[Attachment], list[str]]:
    """The worst images as one attachment, or why there are none: that a picture is gone changes no verdict."""
    if choice == "none" or "attack" not in record.meta:
        return [], []
    wanted = len(record.images) if choice == "all" else _SHOWN.get(verdict.status, _SHOWN_OTHERWISE)
    try:
        panels = cell_panels(cell, pair, record, runner, worst_rows(record, wanted))
    except IqaRobustnessError as error:
        return [], [f"worst images ({error.what})"]
    return [largest_sheet(panels, limit)], []


def _numbers(cell: Cell, record: Record, choice: str) -> list[Attachment]:
    """The plot, the record's facts and its table."""
    found = []
    if choice != "none" and "attack" in record.meta:
        plot = shift_plot(
            record.scores("clean"),
            record.scores("defended_attacked"),
            record.scores("placebo"),
            title=f"{cell.id}, {cell.scenario}",
            axis=f"{cell.metric} score",
        )
        found.append(Attachment(name="score shift", body=plot, kind="SVG"))
    facts = json.dumps(record.meta, indent=1, sort_keys=True)
    found.append(Attachment(name="meta.json", body=facts.encode(), kind="JSON"))
    found.append(Attachment(name="record.csv", body=record.images.to_csv(index=False).encode(), kind="CSV"))
    return found


def _description(record: Record, verdict: Verdict, command: str, left_out: Sequence[str]) -> str:
    """Markdown: verdict, checks, measures, protocol, command, and what is not attached."""
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
    if left_out:
        lines += ["", f"Not attached: {'; '.join(left_out)}."]
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
