"""The tables of a record, made of what its stages found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from iqa_robustness.bench.adaptive import ADAPTIVE, QUERIED, TRANSFERRED
from iqa_robustness.bench.columns import Columns

_NOT_ATTACKED = ("attacked", "defended_attacked", "placebo", "ssim", "psnr", "linf", "l2", "radius")
_NOT_ENCODED = ("clean_jpeg", "attacked_jpeg", "clean_resize", "attacked_resize")
_BOUNDS = ("clean_lower", "clean_upper", "attacked_lower", "attacked_upper")
_ADAPTIVE_ONLY = tuple(f"defended_{name}" for name in (ADAPTIVE, TRANSFERRED, QUERIED))


def images_table(columns: dict[str, Any], states: dict[str, Columns]) -> pd.DataFrame:
    """One row an image.

    Args:
        columns: known ones: ids, opinions, undefended scores, and what an attack found.
        states: columns of the pair's scores, by `clean`, `attacked`, `placebo`, `clean-again`.
    """
    count = len(columns["id"])
    unknown = np.full(count, np.nan)
    known_later = (*_NOT_ATTACKED, *_NOT_ENCODED, *_ADAPTIVE_ONLY, *_BOUNDS, "defended_clean_again")
    table: dict[str, Any] = dict.fromkeys((*known_later, "ssim_purified", "psnr_purified"), unknown)
    table |= dict.fromkeys(("forwards", "backwards"), np.zeros(count, np.int64))
    table |= dict.fromkeys(("entrant", "gradient_finite", "gradient_nonzero", "responded"), np.ones(count, bool))
    table |= {"abstained": np.zeros(count, bool), "worst_source": [""] * count, **columns}
    table["defended_clean"] = states["clean"]["scores"]
    judged = states.get("attacked", states["clean"])
    table["ssim_purified"], table["psnr_purified"] = judged["ssim_purified"], judged["psnr_purified"]
    if "attacked" in states:
        table["defended_attacked"] = states["attacked"]["scores"]
        table["placebo"] = states["placebo"]["scores"]
    if "clean-again" in states:
        table["defended_clean_again"] = states["clean-again"]["scores"]
    if "lower" in judged:
        table["clean_lower"], table["clean_upper"] = states["clean"]["lower"], states["clean"]["upper"]
        table["radius"], table["abstained"] = judged["radius"], judged["abstained"]
        if "attacked" in states:
            table["attacked_lower"], table["attacked_upper"] = judged["lower"], judged["upper"]
    return pd.DataFrame(table)


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
