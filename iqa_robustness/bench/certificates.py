"""What a record says of certificates: the columns of an image in one state, corrected for its companions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.bench.columns import Columns, array
from iqa_robustness.defenses.certified.bounds import Certificates, percentile_certificates
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.smoothing import Smoothing

NAMES = ("scores", "lower", "upper", "radius", "abstained", "draws", "selection", "classes", "votes")
"""What a scores stage keeps of `Certificates`."""


def certificate_facts(defense: Smoothing, count: int) -> dict[str, Any]:
    """What a certificate speaks of, for a record's meta.

    Args:
        defense: that certifies.
        count: images of the cell, the family that corrected certificates hold for together.
    """
    return {
        "of": "the ideal smoothed metric g, not the sampled estimate of it that is scored",
        "form": defense.form,
        "sigma": defense.sigma,
        "n0": defense.selecting,
        "n": defense.n,
        "alpha": defense.alpha,
        "looks": defense.looks,
        "resolution": defense.certifies_at,
        "family": count,
    }


def corrected(defense: Smoothing, state: Columns, score_range: tuple[float, float]) -> Columns:
    """What else a record says of the judged images: from the stored draws, without a forward pass.

    Args:
        defense: that drew.
        state: columns of a scores stage, (N, …).
        score_range: of the metric.

    Returns:
        Its columns; `lower_familywise`, `upper_familywise` and `radius_familywise` of certificates that hold for all N
        images at once; `estimate_lower` and `estimate_upper`, see `estimate_bounds`.
    """
    found = defense.certificates(
        _scores(state["draws"]),
        selection=_scores(state["selection"]),
        score_range=score_range,
        family=len(state["scores"]),
    )
    low, high = estimate_bounds(defense, state)
    together = {f"{name}_familywise": array(getattr(found, name)) for name in ("lower", "upper", "radius")}
    return {**state, **together, "estimate_lower": low, "estimate_upper": high}


def estimate_bounds(defense: Smoothing, state: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Confidence bounds (N,) of the smoothed score at the image itself, each wrong with chance `alpha`; score units.

    NaN of a classification, and where the draws hold no such order statistic.
    """
    if defense.form != "median":
        unknown = np.full(len(state["scores"]), np.nan)
        return unknown, unknown
    found: Certificates = percentile_certificates(
        _scores(state["draws"]),
        percentile=defense.percentile if isinstance(defense, MedianSmoothing) else 0.5,
        sigma=defense.sigma,
        epsilon=0.0,
        alpha=defense.level(1),
    )
    return array(found.lower), array(found.upper)


def _scores(draws: np.ndarray) -> Tensor:
    """As the metric gave them: columns hold float32 scores as float64."""
    return torch.from_numpy(draws).float()
