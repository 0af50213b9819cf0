"""The measures of certificates: how far and how tight they are, how well they are estimated, and whether they hold."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest

from iqa_robustness.gate.measure_info import ATTACKED, NOT_NEGATIVE, SHARE, MeanOf, MeasureInfo, ShareOf
from iqa_robustness.measures import (
    Interval,
    certified_delta,
    certified_width,
    clopper_pearson_bounds,
)
from iqa_robustness.store import Record

SIGNIFICANCE = 0.01
"""A soundness cell fails where so many broken certificates are less likely than this, were all of them sound."""

_LEVEL = 0.95
_EVERYWHERE = (*ATTACKED, "soundness")


def _delta(record: Record, suffix: str = "") -> np.ndarray:
    lower, upper = (record.scores(f"attacked_{bound}{suffix}") for bound in ("lower", "upper"))
    return certified_delta(lower, record.scores("defended_attacked"), upper, diam=record.diam)


def _width(record: Record) -> np.ndarray:
    return certified_width(record.scores("attacked_lower"), record.scores("attacked_upper"), diam=record.diam)


def _reaches(record: Record) -> np.ndarray:
    """Whether each clean image's certificate speaks of its adversarial image at all; unknown at another resolution."""
    if record.meta["certificate"]["resolution"] is not None:
        return np.full(len(record.images), np.nan)
    reaches: np.ndarray = (record.scores("clean_radius") >= record.scores("l2")).astype(np.float64)
    return reaches


def _same_class(record: Record) -> np.ndarray:
    """Whether the adversarial image is certainly of the class that its original certainly is of."""
    images = record.images
    certain = ~(images["abstained"] | images["clean_abstained"])
    same: np.ndarray = (certain & (images["attacked_class"] == images["clean_class"])).to_numpy(np.float64)
    return same


def _sampling_error(record: Record) -> np.ndarray:
    half: np.ndarray = (record.scores("estimate_upper") - record.scores("estimate_lower")) / 2
    error: np.ndarray = 100 * half / record.diam
    return error


def _vote_error(record: Record) -> np.ndarray:
    votes, samples = (record.images[f"attacked_{what}"].to_numpy(np.int64) for what in ("votes", "samples"))
    facts = record.meta["certificate"]
    low, high = clopper_pearson_bounds(votes, samples, alpha=facts["alpha"] / facts["looks"])
    half: np.ndarray = 100 * (high - low) / 2
    return half


def broken_counts(record: Record) -> tuple[int, int]:
    """Broken certificates, and certificates in all: images of which a certificate abstains have none."""
    certain = ~record.images["clean_abstained"].to_numpy(bool)
    return int(record.images["broken"].to_numpy(bool)[certain].sum()), int(certain.sum())


def _broken(record: Record) -> Interval:
    """The share with exact bounds: a bootstrap of noughts would be certain of nothing but noughts."""
    broken, count = broken_counts(record)
    if not count:
        return Interval.unknown(float("nan"), 0)
    bounds = binomtest(broken, count).proportion_ci(_LEVEL, method="exact")
    return Interval(value=broken / count, low=float(bounds.low), high=float(bounds.high), clusters=count)


def _broken_p(record: Record) -> Interval:
    """The p-value of the one-sided binomial test that certificates break with a chance of at most alpha."""
    broken, count = broken_counts(record)
    if not count:
        return Interval.unknown(float("nan"), 0)
    p = float(binomtest(broken, count, record.meta["certificate"]["alpha"], alternative="greater").pvalue)
    return Interval(value=p, low=p, high=p, clusters=count)


CERTIFIED: dict[str, MeasureInfo] = {
    "cert_rd": MeasureInfo(
        title="Cert.RD (certified delta, lower is better)",
        unit="share of range",
        compute=MeanOf(_delta),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
        form="median",
    ),
    "cert_rd_familywise": MeasureInfo(
        title="Cert.RD, all images at once (lower is better)",
        unit="share of range",
        compute=MeanOf(lambda record: _delta(record, "_familywise")),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
        form="median",
    ),
    "cert_width": MeasureInfo(
        title="Cert.RD as width ÷ diam (lower is better)",
        unit="share of range",
        compute=MeanOf(_width),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
        form="median",
    ),
    "cert_r": MeasureInfo(
        title="Cert.R (higher is better)",
        unit="l2, units of 1",
        compute=MeanOf(lambda record: record.scores("radius")),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "cert_r_familywise": MeasureInfo(
        title="Cert.R, all images at once (higher is better)",
        unit="l2, units of 1",
        compute=MeanOf(lambda record: record.scores("radius_familywise")),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "cert_share": MeasureInfo(
        title="Certified at the attack's l2 size",
        unit="share",
        compute=ShareOf(_reaches),
        scenarios=ATTACKED,
        limits=SHARE,
    ),
    "abstain": MeasureInfo(
        title="Abstentions",
        unit="share",
        compute=ShareOf(lambda record: record.images["abstained"].to_numpy(np.float64)),
        scenarios=ATTACKED,
        limits=SHARE,
    ),
    "same_class": MeasureInfo(
        title="Same class as clean",
        unit="share",
        compute=ShareOf(_same_class),
        scenarios=ATTACKED,
        limits=SHARE,
        form="classification",
    ),
    "sampling_error": MeasureInfo(
        title="Sampling error of the smoothed score",
        unit="% of range",
        compute=MeanOf(_sampling_error),
        scenarios=_EVERYWHERE,
        limits=NOT_NEGATIVE,
        form="median",
    ),
    "vote_error": MeasureInfo(
        title="Sampling error of the class's votes",
        unit="% of votes",
        compute=MeanOf(_vote_error),
        scenarios=_EVERYWHERE,
        limits=NOT_NEGATIVE,
        form="classification",
    ),
    "broken": MeasureInfo(
        title="Broken certificates",
        unit="share",
        compute=_broken,
        scenarios=("soundness",),
        limits=SHARE,
    ),
    "broken_p": MeasureInfo(
        title="Chance of as many broken certificates, were all sound",
        unit="",
        compute=_broken_p,
        scenarios=("soundness",),
        limits=SHARE,
    ),
}
"""Every measure that certified defenses alone have, by its name in thresholds.yaml."""
