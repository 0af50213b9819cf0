"""Unknown attack: how well a defended metric ranks a set of clean and attacked images that nobody has told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iqa_robustness.measures import Interval, mixture_interval
from iqa_robustness.store import Record

SHARES = (0.1, 0.5, 0.9)
"""Of attacked images in a mix."""

# Informing: a transfer is compared with its white-box attack instead.
_SCENARIOS = ("nonadaptive", "adaptive", "certified")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """One share of attacked images.

    share: of the images.
    truth: `mos` (opinion scores) or `clean` (the metric's own scores of the clean images).
    defended: mean SROCC of the truth with what the defended metric reports, over the mixes.
    undefended: the same of the metric alone, under the same images.
    """

    share: float
    truth: str
    defended: Interval
    undefended: Interval


def mixed(record: Record, *, truth: str, share: float, defended: bool) -> Interval:
    """Mean SROCC of a truth (`mos` or `clean`) with what is reported of a mix; NaN without opinion scores."""
    columns = ("defended_clean", "defended_attacked") if defended else ("clean", "attacked")
    # Opinion scores rise with quality, whichever way the metric goes.
    sign = -1 if truth == "mos" and not record.higher_is_better else 1
    clean, attacked = (sign * record.scores(column) for column in columns)
    return mixture_interval(record.scores(truth), clean, attacked, record.contents, share=share)


def mixtures(record: Record) -> list[Mixture]:
    """Every truth that the record has with every share; none without an attack."""
    if record.meta["cell"]["scenario"] not in _SCENARIOS:
        return []
    truths = [truth for truth in ("mos", "clean") if not np.isnan(record.scores(truth)).any()]
    found = []
    for truth in truths:
        for share in SHARES:
            own = mixed(record, truth=truth, share=share, defended=True)
            bare = record.meta["defense"]["kind"] == "none"
            alone = own if bare else mixed(record, truth=truth, share=share, defended=False)
            found.append(Mixture(share=share, truth=truth, defended=own, undefended=alone))
    return found
