"""Which images of a cell to show, and their panels: clean, adversarial, purified, amplified difference."""

from __future__ import annotations

import numpy as np
import torch

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.defenses.base import PurifiedMetric
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.reporting.figures import Panel, amplified_difference, spoken
from iqa_robustness.store import Record
from iqa_robustness.streams import Streams


def worst_rows(record: Record, count: int) -> list[int]:
    """Places of the images with the largest shift of the defended score, worst first."""
    shift = np.abs(record.scores("defended_attacked") - record.scores("clean"))
    return [int(row) for row in np.argsort(-shift, kind="stable")[:count]]


def cell_panels(cell: Cell, pair: Pair, record: Record, runner: LocalRunner, rows: list[int]) -> list[list[Panel]]:
    """Some images of an attacked cell for a contact sheet, one row each.

    The purified picture is made again from the stored adversarial one; where nothing may be computed
    (`--iqa-from-store`), it is left out.
    """
    adversarial = runner.attacked_pixels(cell, pair, record)
    view = runner.clean(cell).view
    sheet = []
    for row in rows:
        clean, attacked = view.pixels(row), adversarial[row]
        difference, factor = amplified_difference(clean, attacked)
        facts = record.images.iloc[row]
        panels = [
            Panel(pixels=clean, title=f"clean: {facts['id']}", text=f"score {spoken(facts['clean'])}"),
            Panel(
                pixels=attacked,
                title="adversarial",
                text=f"score {spoken(facts['attacked'])}, l∞ {facts['linf'] * 255:.0f}/255, "
                f"SSIM {spoken(facts['ssim'], 3)}, PSNR {spoken(facts['psnr'])} dB",
            ),
        ]
        purified = None if runner.from_store else _purified(pair, attacked, str(facts["id"]))
        if purified is not None:
            panels.append(
                Panel(
                    pixels=purified,
                    title=f"purified by {pair.defense_name}",
                    text=f"score {spoken(facts['defended_attacked'])} (clean: {spoken(facts['defended_clean'])})",
                )
            )
        panels.append(Panel(pixels=difference, title="difference", text=f"× {factor}, around grey"))
        sheet.append(panels)
    return sheet


def _purified(pair: Pair, pixels: np.ndarray, name: str) -> np.ndarray | None:
    guarded = pair.guarded
    if not isinstance(guarded, PurifiedMetric) or pair.defense.kind == "none":
        return None
    image = from_uint8(pixels)[None].to(pair.subject.device)
    with torch.inference_mode():
        shown: np.ndarray = to_uint8(guarded.purified(image, streams=Streams("picture", [name])))[0]
    return shown
