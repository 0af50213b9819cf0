"""The tables of a record, made of what its stages found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from iqa_robustness.bench.adaptive import ADAPTIVE, QUERIED, TRANSFERRED
from iqa_robustness.bench.columns import Columns

_NOT_ATTACKED = ("attacked", "defended_attacked", "placebo", "ssim", "psnr", "linf", "l2")
_NOT_ENCODED = ("clean_jpeg", "attacked_jpeg", "clean_resize", "attacked_resize")
_BOUNDS = ("clean_lower", "clean_upper", "attacked_lower", "attacked_upper")
_CERTIFIED_ONLY = (
    *_BOUNDS,
    *("attacked_lower_familywise", "attacked_upper_familywise"),
    *("clean_radius", "radius", "radius_familywise", "estimate_lower", "estimate_upper"),
)
_ADAPTIVE_ONLY = tuple(f"defended_{name}" for name in (ADAPTIVE, TRANSFERRED, QUERIED))


def images_table(columns: dict[str, Any], states: dict[str, Columns]) -> pd.DataFrame:
    """One row an image.

    Args:
        columns: known ones: ids, opinions, undefended scores, and what an attack found.
        states: columns of the pair's scores, by `clean`, `attacked`, `placebo`, `clean-again`; of certified defenses
            the judged ones, attacked or else clean, with what `certificates.corrected` adds.
    """
    count = len(columns["id"])
    unknown = np.full(count, np.nan)
    known_later = (*_NOT_ATTACKED, *_NOT_ENCODED, *_ADAPTIVE_ONLY, *_CERTIFIED_ONLY, "defended_clean_again")
    table: dict[str, Any] = dict.fromkeys((*known_later, "ssim_purified", "psnr_purified"), unknown)
    table |= dict.fromkeys(("forwards", "backwards"), np.zeros(count, np.int64))
    table |= dict.fromkeys(("entrant", "gradient_finite", "gradient_nonzero", "responded"), np.ones(count, bool))
    table |= dict.fromkeys(("abstained", "clean_abstained", "broken"), np.zeros(count, bool))
    table |= dict.fromkeys(("clean_votes", "attacked_votes", "attacked_samples"), np.zeros(count, np.int64))
    table |= dict.fromkeys(("clean_class", "attacked_class"), np.full(count, -1))
    table |= {"worst_source": [""] * count, **columns}
    table["defended_clean"] = states["clean"]["scores"]
    judged = states.get("attacked", states["clean"])
    table["ssim_purified"], table["psnr_purified"] = judged["ssim_purified"], judged["psnr_purified"]
    if "attacked" in states:
        table["defended_attacked"] = states["attacked"]["scores"]
    if "placebo" in states:
        table["placebo"] = states["placebo"]["scores"]
    if "clean-again" in states:
        table["defended_clean_again"] = states["clean-again"]["scores"]
    if "lower" in judged:
        table |= _certified(states)
    return pd.DataFrame(table)


def _certified(states: dict[str, Columns]) -> dict[str, np.ndarray]:
    clean, judged = states["clean"], states.get("attacked", states["clean"])
    found = {f"clean_{name}": clean[name] for name in ("lower", "upper", "radius", "abstained", "votes")}
    found |= {"clean_class": clean["classes"], "radius": judged["radius"], "abstained": judged["abstained"]}
    found |= {name: judged[name] for name in ("estimate_lower", "estimate_upper", "radius_familywise")}
    if "attacked" in states:
        names = ("lower", "upper", "votes", "lower_familywise", "upper_familywise")
        samples = (~np.isnan(judged["draws"])).sum(axis=1)
        found |= {"attacked_class": judged["classes"], "attacked_samples": samples}
        found |= {f"attacked_{name}": judged[name] for name in names}
    return found


def draws_table(ids: Sequence[str], states: dict[str, Columns]) -> pd.DataFrame:
    """One row for each draw of each image in each state that was drawn more than once."""
    parts = [
        pd.DataFrame(
            {
                "id": np.repeat(ids, columns["draws"].shape[1]),
                "state": state,
                "draw": np.tile(np.arange(columns["draws"].shape[1]), len(ids)),
                "score": columns["draws"].ravel(),
            }
        )
        for state, columns in states.items()
        if "draws" in columns
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "state", "draw", "score"])
