"""The local runner on full-reference metrics: references reach every score, and cells without meaning are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from iqa_robustness import datasets
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import stored_pixels
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import CapabilityError
from iqa_robustness.gate.measurements import measure
from iqa_robustness.images import encode_png, from_uint8, to_uint8
from iqa_robustness.store import Store

SIZE = (48, 64)
BASE: dict[str, Any] = {
    "metric": "ssim",
    "defense": "none",
    "attack": "ifgsm",
    "strength": "medium",
    "scenario": "nonadaptive",
    "dataset": "mini",
    "images": 4,
    "size": SIZE,
    "queries": 12,
    "draws": 2,
    "n0": 5,
    "n": 20,
}


def cell(**change: Any) -> Cell:
    return Cell(**{**BASE, **change})


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> LocalRunner:
    return LocalRunner(Store(tmp_path_factory.mktemp("fr") / "store"), Numerics(device="cpu", micro_batch=3))


def similarities(images: Any, references: Any) -> list[float]:
    return [
        float(structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1))
        for a, b in zip(images, references, strict=True)
    ]


def alone(folder: Path) -> str:
    """Three of the bundled photographs without references."""
    folder.mkdir()
    mini = view(datasets.load("mini"), count=3, size=SIZE)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode_png(to_uint8(mini.batch(range(number, number + 1)))[0]))
    (folder / "mos.csv").write_text("file,mos\n0.png,1\n1.png,2\n2.png,3\n", encoding="utf-8")
    return f"folder:{folder}"


@pytest.mark.parametrize("goal", ["raise", "lower"])
def test_scores_are_against_the_data_sets_references(runner: LocalRunner, goal: str) -> None:
    chosen = cell(goal=goal)
    record = runner.record(chosen)
    data = view(datasets.load("mini"), count=4, size=SIZE)
    references = data.references(range(4))
    assert record.scores("clean").tolist() == pytest.approx(similarities(data.batch(range(4)), references), abs=1e-5)
    pixels = stored_pixels(runner.adversarial(chosen, runner.pair(chosen)))
    attacked = torch.stack([from_uint8(image) for image in pixels])
    assert record.scores("attacked").tolist() == pytest.approx(similarities(attacked, references), abs=1e-5)
    shift = record.scores("attacked") - record.scores("clean")
    assert (shift > 0.005).sum() >= 3 if goal == "raise" else (shift < -0.005).all()
    assert record.meta["metric"]["full_reference"]
    assert record.meta["dataset"]["has_references"]


@pytest.mark.parametrize(
    ("defense", "scenario"), [("jpeg", "nonadaptive"), ("jpeg", "adaptive"), ("ms", "certified"), ("ms", "adaptive")]
)
def test_defenses_change_the_image_and_not_the_reference(runner: LocalRunner, defense: str, scenario: str) -> None:
    record = runner.record(cell(defense=defense, scenario=scenario, images=2))
    assert np.isfinite(record.scores("defended_attacked")).all()
    # The photograph itself scores 1 undefended; behind a defense that changes it, it does not.
    clean = record.scores("defended_clean")[record.scores("clean") == 1]
    assert (clean < 0.999).all()


def test_a_defense_that_moves_pixels_does_not_apply(runner: LocalRunner) -> None:
    with pytest.raises(CapabilityError, match="moves pixels") as caught:
        runner.record(cell(defense="flip"))
    assert (caught.value.where.metric, caught.value.where.defense) == ("ssim", "flip")


def test_an_image_that_is_its_own_reference_is_lowered(runner: LocalRunner, tmp_path: Path) -> None:
    record = runner.record(cell(dataset=alone(tmp_path / "alone"), goal="lower", images=None))
    assert record.scores("clean").tolist() == pytest.approx([1.0] * 3)
    assert (record.scores("attacked") < 0.99).all()
    found = measure(record)
    assert found["d_score"].gated
    assert found["d_score"].value > 1
    for name in ("srocc_clear", "srocc_adv", "srocc_shift", "rank_flips", "spread", "effect_size"):
        assert not found[name].gated
        assert "its own reference" in found[name].note


@pytest.mark.parametrize("change", [{"goal": "raise"}, {"scenario": "clean", "attack": "", "strength": ""}])
def test_nothing_else_is_asked_of_it(runner: LocalRunner, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CapabilityError, match="no references") as caught:
        runner.record(cell(dataset=alone(tmp_path / "alone"), **change))
    assert "lower" in caught.value.fix


def test_with_references_the_clean_cell_ranks_images(runner: LocalRunner) -> None:
    record = runner.record(cell(scenario="clean", attack="", strength="", images=None))
    found = measure(record)
    assert found["srocc_clear"].value > 0.5
    assert found["spread"].value > 20
