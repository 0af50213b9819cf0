"""Numbers about scores: arrays in, floats out. No torch, no models."""

from iqa_robustness.measures.certified import (
    certified_delta,
    certified_radius,
    clopper_pearson_lower,
    median_ranks,
)
from iqa_robustness.measures.correlation import rank_flips, srocc
from iqa_robustness.measures.disparity import d_score, d_score_excess, effect_size, gain, gain_halves
from iqa_robustness.measures.displacement import rank_displacement
from iqa_robustness.measures.intervals import Interval, mean_interval, statistic_interval
from iqa_robustness.measures.mixture import mixture_interval, mixture_srocc
from iqa_robustness.measures.quality import q_score, q_values
from iqa_robustness.measures.survival import survivals, survives_encode

__all__ = [
    "Interval",
    "certified_delta",
    "certified_radius",
    "clopper_pearson_lower",
    "d_score",
    "d_score_excess",
    "effect_size",
    "gain",
    "gain_halves",
    "mean_interval",
    "median_ranks",
    "mixture_interval",
    "mixture_srocc",
    "q_score",
    "q_values",
    "rank_displacement",
    "rank_flips",
    "srocc",
    "statistic_interval",
    "survivals",
    "survives_encode",
]
