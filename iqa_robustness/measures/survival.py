"""Whether a gain outlasts an encoder: how many images keep at least half of it in a file, or at another size."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iqa_robustness.measures.disparity import Scores, paired

KEPT = 0.5
"""Share of the gain that an image has to keep to count as surviving."""


def survivals(
    clean: ArrayLike,
    attacked: ArrayLike,
    encoded_clean: ArrayLike,
    encoded_attacked: ArrayLike,
    *,
    higher_is_wanted: bool = True,
) -> Scores:
    """1 where an image's gain survives the encoder E, 0 where it does not, (N,); NaN without a gain or a score.

    The gain before is f(x') − f(x), the gain after f(E(x')) − f(E(x)): what the encoder itself does to the score of a
    picture counts for nobody.

    Args:
        clean, attacked: (N,) f(x) and f(x'), score units.
        encoded_clean, encoded_attacked: (N,) f(E(x)) and f(E(x')).
        higher_is_wanted: whether the attacker wants the score itself to be higher.
    """
    before, after = (
        (second - first) * (1 if higher_is_wanted else -1)
        for first, second in (paired(clean, attacked), paired(encoded_clean, encoded_attacked))
    )
    before, after = paired(before, after)
    known = (before > 0) & ~np.isnan(after)
    return np.where(known, (after >= KEPT * before).astype(np.float64), np.nan)


def survives_encode(
    clean: ArrayLike,
    attacked: ArrayLike,
    encoded_clean: ArrayLike,
    encoded_attacked: ArrayLike,
    *,
    higher_is_wanted: bool = True,
) -> float:
    """Share of the images that gained whose gain survives; NaN if none gained. See `survivals`."""
    found = survivals(clean, attacked, encoded_clean, encoded_attacked, higher_is_wanted=higher_is_wanted)
    known = found[~np.isnan(found)]
    return float(known.mean()) if known.size else float("nan")
