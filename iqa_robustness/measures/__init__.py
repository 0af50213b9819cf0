"""Numbers about scores: arrays in, floats out. No torch, no models."""

from iqa_robustness.measures.certified import (
    certified_delta,
    certified_radii,
    certified_radius,
    certified_width,
    clopper_pearson_bounds,
    clopper_pearson_lower,
    family_wise,
    median_ranks,
    percentile_ranks,
)
from iqa_robustness.measures.correlation import rank_flips, srocc
from iqa_robustness.measures.degradation import biases, order_lost
from iqa_robustness.measures.detection import HeldOut, Roc, auc, auc_interval, held_out, roc, threshold_at
from iqa_robustness.measures.disparity import d_score, d_score_excess, effect_size, gain, gain_halves
from iqa_robustness.measures.displacement import rank_displacement
from iqa_robustness.measures.intervals import Interval, mean_interval, statistic_interval
from iqa_robustness.measures.mixture import mixture_interval, mixture_srocc
from iqa_robustness.measures.quality import q_score, q_values
from iqa_robustness.measures.survival import survivals, survives_encode

__all__ = [
    "HeldOut",
    "Interval",
    "Roc",
    "auc",
    "auc_interval",
    "biases",
    "certified_delta",
    "certified_radii",
    "certified_radius",
    "certified_width",
    "clopper_pearson_bounds",
    "clopper_pearson_lower",
    "d_score",
    "d_score_excess",
    "effect_size",
    "family_wise",
    "gain",
    "gain_halves",
    "held_out",
    "mean_interval",
    "median_ranks",
    "mixture_interval",
    "mixture_srocc",
    "order_lost",
    "percentile_ranks",
    "q_score",
    "q_values",
    "rank_displacement",
    "rank_flips",
    "roc",
    "srocc",
    "statistic_interval",
    "survivals",
    "survives_encode",
    "threshold_at",
]
