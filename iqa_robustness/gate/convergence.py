"""Whether an adaptive attack had enough steps and draws: twice as many must not change what it gains."""

from __future__ import annotations

import numpy as np

from iqa_robustness.gate.comparisons import FALSE_ALARM, holm, lead_test
from iqa_robustness.store import Record

# Of the gain, and at least so many per cent of the range: a twentieth of next to nothing is noise.
SHARE, LEAST_CHANGE = 0.05, 0.5
_OPTIONS = {"steps": "--iqa-doublings", "draws": "--iqa-draws"}


def convergence_reasons(record: Record) -> list[str]:
    """Why the cell's attack had too small a budget, and which it wants; empty where doubling gained nothing more.

    A one-sided paired t-test over contents, with Holm's correction over what was doubled: the gain has to grow by
    more than `SHARE` of it, and `LEAST_CHANGE`, beyond chance.
    """
    tested = []
    for entry in record.meta.get("convergence", []):
        single, doubled = np.array(entry["gains"], np.float64), np.array(entry["doubled"], np.float64)
        margin = max(SHARE * float(single.mean()), LEAST_CHANGE)
        _, p = lead_test(doubled - single, entry["contents"], margin=margin)
        if p is not None:
            tested.append((entry, float(single.mean()), float(doubled.mean()), p))
    adjusted = holm([p for *_, p in tested])
    return [
        f"the attack had not converged: with twice the {entry['what']} it gains {doubled:.1f} % of the range "
        f"instead of {single:.1f} %; it wants {entry['wants']} ({_OPTIONS[entry['what']]})"
        for (entry, single, doubled, _), p in zip(tested, adjusted, strict=True)
        if p <= FALSE_ALARM
    ]
