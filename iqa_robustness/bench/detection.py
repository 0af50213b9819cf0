"""Which attacks a detector sees: suspicions of clean and of attacked images, by metric, attack, strength, detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from iqa_robustness.bench.applicable import check_applicable
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Source
from iqa_robustness.bench.stages import stored_images
from iqa_robustness.defenses.detectors.base import Detector
from iqa_robustness.measures.detection import HeldOut, Roc, auc_interval, held_out, roc
from iqa_robustness.measures.intervals import Interval

# Clean images beyond those that are attacked cost a few forwards, and a threshold at 5 % needs many.
CLEAN_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well one detector sees one attack on one metric.

    auc: 0.5 is a coin, 1 is perfect.          rates: at thresholds from other contents.
    roc: of all images together.
    forwards: of the metric, an image.          gain: of the attack, mean, in per cent of diam.
    clean, attacked: numbers of images.
    """

    metric: str
    detector: str
    attack: str
    strength: str
    auc: Interval
    rates: HeldOut
    roc: Roc
    forwards: int
    gain: float
    clean: int
    attacked: int


def detections(
    runner: LocalRunner, cells: Sequence[Cell], detectors: Sequence[Detector], *, rate: float
) -> Iterator[Detection]:
    """Attack, or take the adversarial images that the store holds, and let every detector look at them.

    The clean images are those of the cell and, where the data set has more, up to `CLEAN_IMAGES`.

    Args:
        runner: computes, or reads the store.
        cells: nonadaptive and undefended.
        detectors: what looks at the images.
        rate: false positive rate that thresholds aim at.
    """
    for cell in cells:
        pair = runner.pair(cell)
        clean = runner.clean(cell)
        check_applicable(cell, pair, pair, has_references=clean.view.has_references)
        every = clean if cell.images is None else runner.clean(replace(cell, images=max(cell.images, CLEAN_IMAGES)))
        entry = runner.adversarial(cell, pair)
        found = runner.stages.values(entry)
        attacked: Source = stored_images(entry, clean)
        clean_contents, attacked_contents = ([item.content for item in one.view.items] for one in (every, clean))
        for detector in detectors:
            before = runner.stages.suspicions(detector, pair.subject, every, every, seed=cell.seed)["suspicion"]
            after = runner.stages.suspicions(detector, pair.subject, attacked, clean, seed=cell.seed)["suspicion"]
            yield Detection(
                metric=cell.metric,
                detector=detector.name,
                attack=cell.attack,
                strength=cell.strength,
                auc=auc_interval(before, after, clean_contents=clean_contents, attacked_contents=attacked_contents),
                rates=held_out(
                    before,
                    after,
                    clean_contents=clean_contents,
                    attacked_contents=attacked_contents,
                    rate=rate,
                ),
                roc=roc(before, after),
                forwards=detector.forwards,
                gain=100 * float(np.mean(found["values"] - found["clean_values"])),
                clean=len(before),
                attacked=len(after),
            )
