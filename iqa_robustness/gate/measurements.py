"""The numbers of a record with their intervals, and whether there are enough images to gate on each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iqa_robustness.gate.mixtures import mixed
from iqa_robustness.measures import (
    Interval,
    certified_delta,
    effect_size,
    mean_interval,
    q_values,
    rank_displacement,
    rank_flips,
    srocc,
    statistic_interval,
    survivals,
)
from iqa_robustness.measures.disparity import shifts
from iqa_robustness.store import Record

# Below this SROCC with opinion scores is too uncertain to gate on: at 50 images its 95 % interval is ± 0.2 wide.
SROCC_IMAGES = 200
# The bundled set has no more; its verdicts are about the harness, and labelled so.
SROCC_IMAGES_MINI = 40
RANK_IMAGES = 50
# With fewer, even no abstention (or survivor) at all cannot show a share below 10 % (0.9^29 < 0.05).
ABSTAIN_IMAGES = 29


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number about a cell.

    name: as in thresholds.yaml.      title: for people.      unit: of value and bounds.
    interval: estimate with bounds, NaN where it is not applicable.
    gated: thresholds apply; otherwise `note` says why they do not.
    """

    name: str
    title: str
    unit: str
    interval: Interval
    gated: bool = True
    note: str = ""

    @property
    def value(self) -> float:
        """The estimate."""
        return self.interval.value

    @property
    def applicable(self) -> bool:
        """Whether there is a number at all."""
        return not math.isnan(self.interval.value)


@dataclass(frozen=True, kw_only=True)
class MeasureInfo:
    """How a measure is called and computed.

    compute: takes the record.      scenarios: where the measure applies.
    limits: least and most that the measure can be, in its unit; no interval leaves them.
    """

    title: str
    unit: str
    compute: Callable[[Record], Interval]
    scenarios: tuple[str, ...]
    limits: tuple[float, float] = (-math.inf, math.inf)


_ATTACKED = ("nonadaptive", "adaptive", "certified", "transfer")
_NOT_NEGATIVE, _SHARE = (0.0, math.inf), (0.0, 1.0)


def _mean(values: Callable[[Record], np.ndarray]) -> Callable[[Record], Interval]:
    return lambda record: mean_interval(values(record), record.contents)


def _rank(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    first: Callable[[Record], np.ndarray],
    second: Callable[[Record], np.ndarray],
    *,
    correlation: bool,
) -> Callable[[Record], Interval]:
    def compute(record: Record) -> Interval:
        a, b = first(record), second(record)
        return statistic_interval(lambda rows: statistic(a[rows], b[rows]), record.contents, correlation=correlation)

    return compute


def _shift(record: Record, before: str, after: str) -> np.ndarray:
    return shifts(record.scores(before), record.scores(after), diam=record.diam)


def _own_shift(record: Record) -> np.ndarray:
    """Of a trained metric, against its own clean scores, in per cent of the range it was given by its training."""
    low, high = record.meta["defense"]["own_range"]
    return shifts(record.scores("defended_clean"), record.scores("defended_attacked"), diam=high - low)


def _towards_better(record: Record, column: str) -> np.ndarray:
    scores: np.ndarray = record.scores(column) * (1 if record.higher_is_better else -1)
    return scores


def _spread(record: Record) -> Interval:
    """Range of the defended clean scores between their 5th and 95th percentile, in per cent of diam."""
    scores = record.scores("defended_clean")

    def width(rows: np.ndarray) -> float:
        return float(np.subtract(*np.percentile(scores[rows], [95, 5]))) * 100 / record.diam

    return statistic_interval(width, record.contents)


def _headroom(record: Record) -> np.ndarray:
    """How far each defended clean score is from the end of the range that the attacker aims at, per cent of diam."""
    low, high = record.meta["metric"]["score_range"]
    upwards = (record.meta["cell"]["goal"] == "raise") == record.higher_is_better
    scores = record.scores("defended_clean")
    room: np.ndarray = np.maximum(100 * ((high - scores) if upwards else (scores - low)) / record.diam, 0)
    return room


def _effect(record: Record) -> Interval:
    before, after = record.scores("clean"), record.scores("defended_attacked")
    return statistic_interval(lambda rows: effect_size(before[rows], after[rows]), record.contents)


def _delta(record: Record) -> np.ndarray:
    lower, upper = record.scores("attacked_lower"), record.scores("attacked_upper")
    return certified_delta(lower, record.scores("defended_attacked"), upper, diam=record.diam)


def _displacement(record: Record) -> Interval:
    """One entrant at a time in a contest that the defended metric judges."""
    before, after = _towards_better(record, "defended_clean"), _towards_better(record, "defended_attacked")
    entrants = record.images["entrant"].to_numpy(bool)
    return statistic_interval(
        lambda rows: rank_displacement(before[rows], after[rows], entrants=entrants[rows]), record.contents
    )


def _surviving(encoder: str) -> Callable[[Record], np.ndarray]:
    def values(record: Record) -> np.ndarray:
        upwards = (record.meta["cell"]["goal"] == "raise") == record.higher_is_better
        names = ("clean", "attacked", f"clean_{encoder}", f"attacked_{encoder}")
        found: np.ndarray = survivals(*(record.scores(name) for name in names), higher_is_wanted=upwards)
        return found

    return values


def _noise_floor(record: Record) -> np.ndarray:
    """What D_score^(D) reads where nothing was attacked, per cent of diam; 0 where nothing is random."""
    if record.images["defended_clean_again"].isna().all():
        return np.zeros(len(record.images))
    floor: np.ndarray = np.abs(_shift(record, "defended_clean", "defended_clean_again"))
    return floor


MEASURES: dict[str, MeasureInfo] = {
    "d_score": MeasureInfo(
        title="D_score",
        unit="% of range",
        compute=_mean(lambda r: np.abs(_shift(r, "clean", "defended_attacked"))),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "d_score_excess": MeasureInfo(
        title="D_score over placebo",
        unit="% of range",
        compute=_mean(
            lambda r: np.abs(_shift(r, "clean", "defended_attacked")) - np.abs(_shift(r, "clean", "placebo"))
        ),
        scenarios=_ATTACKED,
    ),
    "d_score_placebo": MeasureInfo(
        title="D_score of the placebo",
        unit="% of range",
        compute=_mean(lambda r: np.abs(_shift(r, "clean", "placebo"))),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "d_score_noise": MeasureInfo(
        title="D_score of noise alone",
        unit="% of range",
        compute=_mean(_noise_floor),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "d_score_defended": MeasureInfo(
        title="D_score^(D)",
        unit="% of range",
        compute=_mean(lambda r: np.abs(_shift(r, "defended_clean", "defended_attacked"))),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "d_score_own": MeasureInfo(
        title="D_score on the trained metric's own range",
        unit="% of own range",
        compute=_mean(lambda r: np.abs(_own_shift(r))),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "gain": MeasureInfo(
        title="Signed gain",
        unit="% of range",
        compute=_mean(lambda r: _shift(r, "clean", "defended_attacked") * (1 if r.higher_is_better else -1)),
        scenarios=_ATTACKED,
    ),
    "gain_defended": MeasureInfo(
        title="Signed gain behind the defense",
        unit="% of range",
        compute=_mean(lambda r: _shift(r, "defended_clean", "defended_attacked") * (1 if r.higher_is_better else -1)),
        scenarios=_ATTACKED,
    ),
    "effect_size": MeasureInfo(title="Shift ÷ SD of clean scores", unit="SD", compute=_effect, scenarios=_ATTACKED),
    "q_score": MeasureInfo(
        title="Q_score",
        unit="SSIM + PSNR/40",
        compute=_mean(lambda r: q_values(r.scores("ssim_purified"), r.scores("psnr_purified"))),
        scenarios=("clean", *_ATTACKED),
    ),
    "srocc_clear": MeasureInfo(
        title="SROCC_clear",
        unit="",
        compute=_rank(
            srocc, lambda r: r.scores("mos"), lambda r: _towards_better(r, "defended_clean"), correlation=True
        ),
        scenarios=("clean", *_ATTACKED),
    ),
    "srocc_adv": MeasureInfo(
        title="SROCC_adv",
        unit="",
        compute=_rank(
            srocc, lambda r: r.scores("mos"), lambda r: _towards_better(r, "defended_attacked"), correlation=True
        ),
        scenarios=_ATTACKED,
    ),
    "srocc_shift": MeasureInfo(
        title="SROCC(f(x), f(P(x')))",
        unit="",
        compute=_rank(srocc, lambda r: r.scores("clean"), lambda r: r.scores("defended_attacked"), correlation=True),
        scenarios=_ATTACKED,
    ),
    "srocc_mixed": MeasureInfo(
        title="SROCC, half of the images attacked",
        unit="",
        compute=lambda r: mixed(r, truth="mos", share=0.5, defended=True),
        scenarios=_ATTACKED,
    ),
    "srocc_mixed_shift": MeasureInfo(
        title="SROCC(f(x), reported), half of the images attacked",
        unit="",
        compute=lambda r: mixed(r, truth="clean", share=0.5, defended=True),
        scenarios=_ATTACKED,
    ),
    "rank_flips": MeasureInfo(
        title="Swapped pairs",
        unit="share",
        compute=_rank(
            rank_flips, lambda r: r.scores("clean"), lambda r: r.scores("defended_attacked"), correlation=False
        ),
        scenarios=_ATTACKED,
        limits=_SHARE,
    ),
    "rank_displacement": MeasureInfo(
        title="Climb of a single entrant",
        unit="% of places",
        compute=_displacement,
        scenarios=_ATTACKED,
        limits=(-100.0, 100.0),
    ),
    "survives_jpeg": MeasureInfo(
        title="Gain survives JPEG",
        unit="share",
        compute=_mean(_surviving("jpeg")),
        scenarios=("nonadaptive",),
        limits=_SHARE,
    ),
    "survives_resize": MeasureInfo(
        title="Gain survives resizing",
        unit="share",
        compute=_mean(_surviving("resize")),
        scenarios=("nonadaptive",),
        limits=_SHARE,
    ),
    "spread": MeasureInfo(
        title="Spread of clean scores",
        unit="% of range",
        compute=_spread,
        scenarios=("clean", *_ATTACKED),
        limits=_NOT_NEGATIVE,
    ),
    "headroom": MeasureInfo(
        title="Headroom",
        unit="% of range",
        compute=_mean(_headroom),
        scenarios=("clean", *_ATTACKED),
        limits=_NOT_NEGATIVE,
    ),
    "cert_rd": MeasureInfo(
        title="Cert.RD (certified delta)",
        unit="share of range",
        compute=_mean(_delta),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "cert_r": MeasureInfo(
        title="Cert.R",
        unit="l2, units of 1",
        compute=_mean(lambda r: r.scores("radius")),
        scenarios=_ATTACKED,
        limits=_NOT_NEGATIVE,
    ),
    "abstain": MeasureInfo(
        title="Abstentions",
        unit="share",
        compute=_mean(lambda r: r.images["abstained"].to_numpy(np.float64)),
        scenarios=_ATTACKED,
        limits=_SHARE,
    ),
}
"""Every measure of a record, by its name in thresholds.yaml."""

_WITH_OPINIONS = ("srocc_clear", "srocc_adv", "srocc_mixed")
# Without meaning where every clean score is that of an image compared with itself.
_OF_CLEAN_SCORES = (
    *_WITH_OPINIONS,
    "srocc_shift",
    "srocc_mixed_shift",
    "rank_flips",
    "rank_displacement",
    "spread",
    "effect_size",
)
_CERTIFIED_ONLY = ("cert_rd", "cert_r", "abstain")
_TRAINED_ONLY = ("d_score_own",)


def measure(record: Record) -> dict[str, Measurement]:
    """All measures that apply to a record's scenario, by name."""
    scenario = record.meta["cell"]["scenario"]
    certified = record.meta["defense"]["kind"] == "certified"
    trained = "own_range" in record.meta["defense"]
    return {
        name: _measurement(name, info, record)
        for name, info in MEASURES.items()
        if scenario in info.scenarios
        and (certified or name not in _CERTIFIED_ONLY)
        and (trained or name not in _TRAINED_ONLY)
    }


def _measurement(name: str, info: MeasureInfo, record: Record) -> Measurement:
    needed, images = _needed_images(name, record), len(record.images)
    note = "" if images >= needed else f"reported only: {images} images, {needed} are needed to gate on it"
    if name in _WITH_OPINIONS and bool(record.images["mos"].isna().any()):
        note = "not applicable: the data set has no opinion scores"
    if name in _OF_CLEAN_SCORES and _compares_with_itself(record):
        note = "not applicable: each image is its own reference, and all clean scores are alike"
    return Measurement(
        name=name,
        title=info.title,
        unit=info.unit,
        interval=info.compute(record).within(*info.limits),
        gated=not note,
        note=note,
    )


def _compares_with_itself(record: Record) -> bool:
    metric, dataset = record.meta["metric"], record.meta["dataset"]
    return bool(metric.get("full_reference")) and not dataset["has_references"]


def _needed_images(name: str, record: Record) -> int:
    if name in _WITH_OPINIONS:
        return SROCC_IMAGES_MINI if record.meta["dataset"]["name"] in ("mini", "ladder") else SROCC_IMAGES
    if name in ("srocc_shift", "srocc_mixed_shift", "rank_flips", "rank_displacement"):
        return RANK_IMAGES
    return ABSTAIN_IMAGES if name in ("abstain", "survives_jpeg", "survives_resize") else 1
