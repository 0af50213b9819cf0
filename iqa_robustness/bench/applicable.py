"""Which cells have a meaning."""

from __future__ import annotations

from iqa_robustness import attacks
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.errors import CapabilityError


def check_applicable(cell: Cell, pair: Pair, attacked: Pair, *, has_references: bool) -> None:
    """Raise CapabilityError for a cell without meaning; many are never planned, but some metrics tell only when made.

    Either pair, the one that is scored and the one that is attacked, can make a cell meaningless:

    - A white-box attack on a metric that answers queries only, the one inside a certified radius included.
    - A full-reference metric behind a defense that moves pixels.
    - A full-reference metric on images that are their own references, unless it is attacked to lower the quality it
      reports: all clean scores are alike, and nothing is better.
    """
    for one in (pair, attacked):
        if not one.subject.metric.spec.full_reference:
            continue
        _ = one.guarded
        if not has_references and not (cell.attack and cell.goal == "lower"):
            raise CapabilityError(
                "the data set has no references: each image is its own, and nothing scores better than that",
                fix="take a data set with references (folder: with a column reference), or attack with goal lower",
            )
    inside = cell.scenario == "soundness"
    if not inside and (not cell.attack or attacks.registry.resolve(cell.attack).access == "black-box"):
        return
    if attacked.subject.metric.spec.access == "query-only":
        raise CapabilityError(
            f"{cell.attack or 'the attack inside the radius'} needs gradients, and the metric answers queries only",
            fix="attack it with a black-box attack (square)",
        )
