"""Measures of earlier studies: reported where their tables are, never gated."""

from __future__ import annotations

from iqa_robustness.gate.measure_info import ATTACKED, NOT_NEGATIVE, MeanOf, MeasureInfo
from iqa_robustness.measures import r_values, relative_gains, study_qualities
from iqa_robustness.store import Record


def _range(record: Record) -> tuple[float, float]:
    low, high = record.meta["metric"]["score_range"]
    return float(low), float(high)


STUDY: dict[str, MeasureInfo] = {
    "relative_gain": MeasureInfo(
        title="Relative gain",
        unit="share of the clean score",
        compute=MeanOf(lambda r: relative_gains(r.scores("clean"), r.scores("defended_attacked"))),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "study_quality": MeasureInfo(
        title="Quality",
        unit="(SSIM + PSNR/80)/2",
        compute=MeanOf(lambda r: study_qualities(r.scores("ssim_purified"), r.scores("psnr_purified"))),
        scenarios=ATTACKED,
    ),
    "r_score": MeasureInfo(
        title="R_score",
        unit="orders of magnitude",
        compute=MeanOf(lambda r: r_values(r.scores("clean"), r.scores("defended_attacked"), score_range=_range(r))),
        scenarios=ATTACKED,
    ),
}
"""By name, as the measures of a gate are; computed from the same records."""
