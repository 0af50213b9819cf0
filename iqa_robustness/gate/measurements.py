"""The numbers of a record with their intervals, and whether there are enough images to gate on each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iqa_robustness.gate.certified import CERTIFIED
from iqa_robustness.gate.measure_info import ATTACKED, NOT_NEGATIVE, SHARE, MeanOf, MeasureInfo, RankOf, ShareOf
from iqa_robustness.gate.mixtures import mixed
from iqa_robustness.measures import (
    Interval,
    Scale,
    effect_size,
    percentile_range_interval,
    q_values,
    rank_displacement,
    rank_displacement_without,
    rank_flips,
    rank_flips_without,
    srocc,
    srocc_without,
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
# With fewer, even no abstention (or survivor) at all cannot show a share below 10 % (0.9^36 < 0.025).
ABSTAIN_IMAGES = 36


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number about a cell.

    name: as in thresholds.yaml.      title: for people.      unit: of value and bounds.
    interval: estimate with bounds, NaN where it is not applicable.
    gated: thresholds apply; otherwise `note` says why they do not.
    images: that it rests on.
    """

    name: str
    title: str
    unit: str
    interval: Interval
    gated: bool = True
    note: str = ""
    images: int = 0

    @property
    def value(self) -> float:
        """The estimate."""
        return self.interval.value

    @property
    def applicable(self) -> bool:
        """Whether there is a number at all."""
        return not math.isnan(self.interval.value)


def _rank(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    first: Callable[[Record], np.ndarray],
    second: Callable[[Record], np.ndarray],
    *,
    scale: Scale,
    without: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> RankOf:
    return RankOf(statistic=statistic, first=first, second=second, scale=scale, without=without)


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
    scores = 100 * record.scores("defended_clean") / record.diam
    found = percentile_range_interval(scores, record.contents, percentiles=(5, 95))
    # No score leaves the metric's range: that bounds what few images cannot.
    return found.within(0.0, max(100.0, found.value)) if found.clusters >= 3 else found


def _headroom(record: Record) -> np.ndarray:
    """How far each defended clean score is from the end of the range that the attacker aims at, per cent of diam."""
    low, high = record.meta["metric"]["score_range"]
    upwards = (record.meta["cell"]["goal"] == "raise") == record.higher_is_better
    scores = record.scores("defended_clean")
    room: np.ndarray = np.maximum(100 * ((high - scores) if upwards else (scores - low)) / record.diam, 0)
    return room


def _effect(record: Record) -> Interval:
    before, after = record.scores("clean"), record.scores("defended_attacked")
    return statistic_interval(lambda rows: effect_size(before[rows], after[rows]), record.contents, bootstrap=True)


def _displacement(record: Record) -> Interval:
    """One entrant at a time in a contest that the defended metric judges."""
    before, after = _towards_better(record, "defended_clean"), _towards_better(record, "defended_attacked")
    entrants = record.images["entrant"].to_numpy(bool)
    return statistic_interval(
        lambda rows: rank_displacement(before[rows], after[rows], entrants=entrants[rows]),
        record.contents,
        without=lambda labels: rank_displacement_without(before, after, labels, entrants=entrants),
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
        compute=MeanOf(lambda r: np.abs(_shift(r, "clean", "defended_attacked"))),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "d_score_excess": MeasureInfo(
        title="D_score over placebo",
        unit="% of range",
        compute=MeanOf(
            lambda r: np.abs(_shift(r, "clean", "defended_attacked")) - np.abs(_shift(r, "clean", "placebo"))
        ),
        scenarios=ATTACKED,
    ),
    "d_score_placebo": MeasureInfo(
        title="D_score of the placebo",
        unit="% of range",
        compute=MeanOf(lambda r: np.abs(_shift(r, "clean", "placebo"))),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "d_score_noise": MeasureInfo(
        title="D_score of noise alone",
        unit="% of range",
        compute=MeanOf(_noise_floor),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "d_score_defended": MeasureInfo(
        title="D_score^(D)",
        unit="% of range",
        compute=MeanOf(lambda r: np.abs(_shift(r, "defended_clean", "defended_attacked"))),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "d_score_own": MeasureInfo(
        title="D_score on the trained metric's own range",
        unit="% of own range",
        compute=MeanOf(lambda r: np.abs(_own_shift(r))),
        scenarios=ATTACKED,
        limits=NOT_NEGATIVE,
    ),
    "gain": MeasureInfo(
        title="Signed gain",
        unit="% of range",
        compute=MeanOf(lambda r: _shift(r, "clean", "defended_attacked") * (1 if r.higher_is_better else -1)),
        scenarios=ATTACKED,
    ),
    "gain_defended": MeasureInfo(
        title="Signed gain behind the defense",
        unit="% of range",
        compute=MeanOf(lambda r: _shift(r, "defended_clean", "defended_attacked") * (1 if r.higher_is_better else -1)),
        scenarios=(*ATTACKED, "soundness"),
    ),
    "effect_size": MeasureInfo(title="Shift ÷ SD of clean scores", unit="SD", compute=_effect, scenarios=ATTACKED),
    "q_score": MeasureInfo(
        title="Q_score",
        unit="SSIM + PSNR/40",
        compute=MeanOf(lambda r: q_values(r.scores("ssim_purified"), r.scores("psnr_purified"))),
        scenarios=("clean", *ATTACKED),
    ),
    "srocc_clear": MeasureInfo(
        title="SROCC_clear",
        unit="",
        compute=_rank(
            srocc,
            lambda r: r.scores("mos"),
            lambda r: _towards_better(r, "defended_clean"),
            scale="correlation",
            without=srocc_without,
        ),
        scenarios=("clean", "soundness", *ATTACKED),
    ),
    "srocc_adv": MeasureInfo(
        title="SROCC_adv",
        unit="",
        compute=_rank(
            srocc,
            lambda r: r.scores("mos"),
            lambda r: _towards_better(r, "defended_attacked"),
            scale="correlation",
            without=srocc_without,
        ),
        scenarios=ATTACKED,
    ),
    "srocc_shift": MeasureInfo(
        title="SROCC(f(x), f(P(x')))",
        unit="",
        compute=_rank(
            srocc,
            lambda r: r.scores("clean"),
            lambda r: r.scores("defended_attacked"),
            scale="correlation",
            without=srocc_without,
        ),
        scenarios=ATTACKED,
    ),
    "srocc_mixed": MeasureInfo(
        title="SROCC, half of the images attacked",
        unit="",
        compute=lambda r: mixed(r, truth="mos", share=0.5, defended=True),
        scenarios=ATTACKED,
    ),
    "srocc_mixed_shift": MeasureInfo(
        title="SROCC(f(x), reported), half of the images attacked",
        unit="",
        compute=lambda r: mixed(r, truth="clean", share=0.5, defended=True),
        scenarios=ATTACKED,
    ),
    "rank_flips": MeasureInfo(
        title="Swapped pairs",
        unit="share",
        compute=_rank(
            rank_flips,
            lambda r: r.scores("clean"),
            lambda r: r.scores("defended_attacked"),
            scale="share",
            without=rank_flips_without,
        ),
        scenarios=ATTACKED,
        limits=SHARE,
    ),
    "rank_displacement": MeasureInfo(
        title="Climb of a single entrant",
        unit="% of places",
        compute=_displacement,
        scenarios=ATTACKED,
        limits=(-100.0, 100.0),
    ),
    "survives_jpeg": MeasureInfo(
        title="Gain survives JPEG",
        unit="share",
        compute=ShareOf(_surviving("jpeg")),
        scenarios=("nonadaptive",),
        limits=SHARE,
    ),
    "survives_resize": MeasureInfo(
        title="Gain survives resizing",
        unit="share",
        compute=ShareOf(_surviving("resize")),
        scenarios=("nonadaptive",),
        limits=SHARE,
    ),
    "spread": MeasureInfo(
        title="Spread of clean scores",
        unit="% of range",
        compute=_spread,
        scenarios=("clean", "soundness", *ATTACKED),
        limits=NOT_NEGATIVE,
    ),
    "headroom": MeasureInfo(
        title="Headroom",
        unit="% of range",
        compute=MeanOf(_headroom),
        scenarios=("clean", *ATTACKED),
        limits=NOT_NEGATIVE,
    ),
    **CERTIFIED,
}
"""Every measure of a record, by its name in thresholds.yaml."""

_WITH_OPINIONS = ("srocc_clear", "srocc_adv", "srocc_mixed")
_SHARES = ("abstain", "cert_share", "same_class", "survives_jpeg", "survives_resize")
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
_TRAINED_ONLY = ("d_score_own",)


def measure(record: Record) -> dict[str, Measurement]:
    """All measures that apply to a record's scenario, by name."""
    scenario = record.meta["cell"]["scenario"]
    form = record.meta["certificate"]["form"] if record.meta["defense"]["kind"] == "certified" else ""
    trained = "own_range" in record.meta["defense"]
    return {
        name: _measurement(name, info, record)
        for name, info in MEASURES.items()
        if scenario in info.scenarios
        and (name not in CERTIFIED or (form and info.form in ("", form)))
        and (trained or name not in _TRAINED_ONLY)
    }


def _measurement(name: str, info: MeasureInfo, record: Record) -> Measurement:
    needed, images = _needed_images(name, record), len(record.images)
    interval = info.compute(record).within(*info.limits)
    # That nothing at all is certified needs no statistics.
    shown = images >= needed or (name == "abstain" and interval.value == 1)
    note = "" if shown else f"reported only: {images} images, {needed} are needed to gate on it"
    if name in _WITH_OPINIONS and bool(record.images["mos"].isna().any()):
        note = "not applicable: the data set has no opinion scores"
    if name in _OF_CLEAN_SCORES and _compares_with_itself(record):
        note = "not applicable: each image is its own reference, and all clean scores are alike"
    return Measurement(
        name=name,
        title=info.title,
        unit=info.unit,
        interval=interval,
        gated=not note,
        note=note,
        images=images,
    )


def _compares_with_itself(record: Record) -> bool:
    metric, dataset = record.meta["metric"], record.meta["dataset"]
    return bool(metric.get("full_reference")) and not dataset["has_references"]


def _needed_images(name: str, record: Record) -> int:
    if name in _WITH_OPINIONS:
        return SROCC_IMAGES_MINI if record.meta["dataset"]["name"] in ("mini", "ladder") else SROCC_IMAGES
    if name in ("srocc_shift", "srocc_mixed_shift", "rank_flips", "rank_displacement"):
        return RANK_IMAGES
    return ABSTAIN_IMAGES if name in _SHARES else 1
