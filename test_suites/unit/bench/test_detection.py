"""Detection experiments: whose images, which numbers, and what the store keeps; thresholds leak nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate

from iqa_robustness import datasets
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.detection import Detection, detections
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.leakage import share_contents
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean, stored_pixels
from iqa_robustness.bench.stages import stored_images
from iqa_robustness.datasets.base import view
from iqa_robustness.defenses import detectors
from iqa_robustness.defenses.detect_then_purify import DetectThenPurify
from iqa_robustness.errors import CapabilityError, ConfigurationError, MissingCellError
from iqa_robustness.images import from_uint8
from iqa_robustness.measures import auc, held_out
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"
DETECTORS = [detectors.create(name) for name in ("score-change:gaussian-blur", "feature-squeezing")]


@pytest.fixture(scope="module")
def cell(make_cell: Callable[..., Cell]) -> Cell:
    return make_cell(metric=PLANTED, defense="none", images=12, size=(48, 64), queries=40)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detection")


def runner_at(path: Path, **options: bool) -> LocalRunner:
    return LocalRunner(Store(path / "store"), Numerics(device="cpu", micro_batch=4), **options)


@pytest.fixture(scope="module")
def found(store: Path, cell: Cell) -> list[Detection]:
    cells = [cell, replace(cell, attack="square")]
    return [*detections(runner_at(store), cells, DETECTORS, rate=0.1)]


def test_a_row_for_each_attack_and_detector(found: list[Detection]) -> None:
    assert [(one.attack, one.detector) for one in found] == [
        (attack, detector.name) for attack in ("ifgsm", "square") for detector in DETECTORS
    ]
    for one in found:
        assert (one.metric, one.strength, one.clean, one.attacked) == (PLANTED, "medium", 50, 12)
        assert one.auc.low <= one.auc.value <= one.auc.high
        assert one.auc.clusters == 10
        area = integrate.trapezoid(one.roc.true_positive_rates, one.roc.false_positive_rates)
        assert one.auc.value == pytest.approx(area, abs=1e-12)
    assert [one.forwards for one in found] == [2, 3, 2, 3]


def test_numbers_are_those_of_the_stored_images(found: list[Detection], store: Path, cell: Cell) -> None:
    runner = runner_at(store, from_store=True)
    entry = runner.adversarial(cell, runner.pair(cell))
    attacked = torch.stack([from_uint8(pixels) for pixels in stored_pixels(entry)])
    every, some = (view(datasets.load("mini"), count=count, size=(48, 64)) for count in (50, 12))
    clean = every.batch(range(50))
    gain = (Vulnerable()(attacked) - Vulnerable()(some.batch(range(12)))).mean()
    for one, detector in zip(found, DETECTORS, strict=False):
        before, after = (detector.suspicion(Vulnerable(), images) for images in (clean, attacked))
        assert one.auc.value == pytest.approx(auc(before, after), abs=0.005)
        rates = held_out(
            before,
            after,
            clean_contents=[item.content for item in every.items],
            attacked_contents=[item.content for item in some.items],
            rate=0.1,
        )
        assert one.rates.true_positive_rate.value == pytest.approx(rates.true_positive_rate.value, abs=0.09)
        assert one.gain == pytest.approx(float(gain), rel=1e-3)


def test_everything_comes_from_the_store_the_attack_from_that_of_a_run(
    found: list[Detection], store: Path, tmp_path: Path, cell: Cell
) -> None:
    again = [*detections(runner_at(store, from_store=True), [cell], DETECTORS, rate=0.1)]
    assert [one.auc for one in again] == [one.auc for one in found[:2]]
    with pytest.raises(MissingCellError):
        next(detections(runner_at(tmp_path, from_store=True), [cell], DETECTORS, rate=0.1))
    runner = runner_at(tmp_path)
    runner.record(cell)  # as pytest does
    entry = runner.adversarial(cell, runner.pair(cell))
    other = runner_at(store, from_store=True)
    assert entry.digest == other.adversarial(cell, other.pair(cell)).digest


def test_a_detector_image_or_seed_has_a_stage_of_its_own(store: Path, cell: Cell, found: list[Detection]) -> None:
    runner = runner_at(store)
    pair, clean = runner.pair(cell), runner.clean(cell)
    columns = [
        runner.stages.suspicions(detector, pair.subject, source, clean, seed=0)["suspicion"]
        for detector in DETECTORS
        for source in (clean, stored_images(runner.adversarial(cell, pair), clean))
    ]
    assert len({column.tobytes() for column in columns}) == 4
    assert all(column.shape == (12,) and column.dtype == np.float64 for column in columns)


def test_a_pair_without_meaning_is_refused(tmp_path: Path, cell: Cell) -> None:
    asked = replace(cell, metric="exec:./score")
    runner = runner_at(tmp_path)
    with pytest.raises((CapabilityError, ConfigurationError)):
        next(detections(runner, [asked], DETECTORS, rate=0.1))


# --- detect-then-purify in a cell -----------------------------------------------------------------------------------


def test_a_cell_behind_a_detector_scores_what_is_not_suspected_as_it_is(store: Path, cell: Cell) -> None:
    runner = runner_at(store)
    for scenario, protocol in (("nonadaptive", "direct"), ("adaptive", "bpda-branch-taken")):
        asked = replace(cell, defense="detect-then-purify:score-change:gaussian-blur:flip", scenario=scenario)
        pair = runner.pair(asked)
        pair.__dict__["defense"] = replace(pair.defense, threshold=0.004)  # to choose one takes its time
        record = runner.record(asked, pair)
        clean = runner.clean(asked).batch(range(12))
        found = pair.guarded.detected(clean).numpy()  # type: ignore[operator]
        same = record.scores("clean") == record.scores("defended_clean")
        assert same[~found].all()
        assert 0 < found.sum() < 12
        assert not same[found].any()
        assert record.meta["protocol"]["attack"] == protocol
        assert record.meta["defense"]["kind"] == "detection"


def test_a_threshold_is_not_chosen_on_what_is_judged(tmp_path: Path, cell: Cell) -> None:
    runner = runner_at(tmp_path)
    asked = replace(cell, defense="detect-then-purify", scenario="nonadaptive")
    pair = runner.pair(asked)
    pair.__dict__["defense"] = DetectThenPurify(dataset="ladder")  # the photographs of mini
    with pytest.raises(ConfigurationError, match="on the images that it is judged on"):
        runner.record(asked, pair)


def test_bundled_sets_share_photographs_by_name_folders_by_content() -> None:
    mini, ladder, leaves = (datasets.load(name) for name in ("mini", "ladder", "leaves"))
    judged = Clean(view(mini, size=(48, 64))).view
    assert share_contents(mini, judged)
    assert share_contents(ladder, judged)
    assert share_contents(view(mini, count=3, size=(9, 9)), judged)
    assert not share_contents(leaves, judged)
