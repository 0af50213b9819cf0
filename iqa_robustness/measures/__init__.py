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
from iqa_robustness.measures.correlation import rank_flips, rank_flips_without, srocc, srocc_without
from iqa_robustness.measures.degradation import biases, order_lost
from iqa_robustness.measures.detection import HeldOut, Roc, auc, auc_interval, held_out, roc, threshold_at
from iqa_robustness.measures.disparity import d_score, d_score_excess, effect_size, gain, gain_halves
from iqa_robustness.measures.displacement import rank_displacement, rank_displacement_without
from iqa_robustness.measures.intervals import (
    Interval,
    Scale,
    mean_interval,
    percentile_range_interval,
    share_interval,
    statistic_interval,
)
from iqa_robustness.measures.mixture import mixture_interval, mixture_srocc
from iqa_robustness.measures.purification_study import relative_gains, study_qualities
from iqa_robustness.measures.quality import q_score, q_values
from iqa_robustness.measures.r_score import r_score, r_values
from iqa_robustness.measures.ranking import CriticalDifference, RankInterval, bootstrap_ranks, critical_difference
from iqa_robustness.measures.survival import survivals, survives_encode

__all__ = [
    "CriticalDifference",
    "HeldOut",
    "Interval",
    "RankInterval",
    "Roc",
    "Scale",
    "auc",
    "auc_interval",
    "biases",
    "bootstrap_ranks",
    "certified_delta",
    "certified_radii",
    "certified_radius",
    "certified_width",
    "clopper_pearson_bounds",
    "clopper_pearson_lower",
    "critical_difference",
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
    "percentile_range_interval",
    "percentile_ranks",
    "q_score",
    "q_values",
    "r_score",
    "r_values",
    "rank_displacement",
    "rank_displacement_without",
    "rank_flips",
    "rank_flips_without",
    "relative_gains",
    "roc",
    "share_interval",
    "srocc",
    "srocc_without",
    "statistic_interval",
    "study_qualities",
    "survivals",
    "survives_encode",
    "threshold_at",
]
