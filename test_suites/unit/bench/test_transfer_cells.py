"""Cells of scenario `transfer`: whose images they score, what they share with white-box cells, what their key holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iqa_robustness import defenses
from iqa_robustness.attacks.strengths import StrengthRow, StrengthTable
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import stored_pixels
from iqa_robustness.errors import CapabilityError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.planted import Robust, Vulnerable
from iqa_robustness.store import Record, Store

ROBUST, VULNERABLE = (f"iqa_robustness.metrics.planted:{name}" for name in ("Robust", "Vulnerable"))
OWN = "transferred_to"


class Queried(Vulnerable):
    """Answers queries only."""

    spec = MetricSpec(name="queried", score_range=Vulnerable.spec.score_range, access="query-only")


def transfer(metric: str, defense: str, source: str, **more: Any) -> Cell:
    fields: dict[str, Any] = {"scenario": "transfer", "source": source, "attack": "ifgsm", "strength": "medium"}
    fields |= {"dataset": "mini", "images": 3, "size": (48, 64), "queries": 12, "draws": 2, "n0": 5, "n": 40, **more}
    return Cell(metric=metric, defense=defense, **fields)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, OWN, sys.modules[__name__])


@pytest.fixture
def runner(tmp_path: Path) -> LocalRunner:
    return LocalRunner(Store(tmp_path / "store"), Numerics(device="cpu", micro_batch=2))


def images_of(runner: LocalRunner, cell: Cell) -> torch.Tensor:
    return from_uint8(np.stack(stored_pixels(runner.adversarial(cell, runner.pair(cell)))))


@pytest.mark.parametrize(("source", "scenario"), [("none", "nonadaptive"), ("flip", "adaptive"), ("jpeg", "adaptive")])
def test_the_images_are_those_of_the_white_box_attack_on_the_source(
    source: str, scenario: str, runner: LocalRunner
) -> None:
    cell = transfer(VULNERABLE, "unsharp", f"{VULNERABLE}/{source}")
    white_box = transfer(VULNERABLE, source, "", scenario=scenario)
    runner.record(white_box)
    entry = runner.adversarial(white_box, runner.pair(white_box))
    assert runner.adversarial(cell, runner.pair(cell)).digest == entry.digest
    record = runner.record(cell)
    assert record.meta["attack"]["entry"] == entry.digest
    purify, attacked = defenses.create("unsharp").purify, images_of(runner, cell)
    np.testing.assert_allclose(record.scores("defended_attacked"), Vulnerable()(purify(attacked)), rtol=1e-5)
    np.testing.assert_allclose(record.scores("attacked"), Vulnerable()(attacked), rtol=1e-5)


def test_between_metrics_each_scores_in_its_own_units(runner: LocalRunner) -> None:
    record = runner.record(transfer(ROBUST, "none", f"{VULNERABLE}/none"))
    attacked = images_of(runner, transfer(ROBUST, "none", f"{VULNERABLE}/none"))
    np.testing.assert_allclose(record.scores("defended_attacked"), Robust()(attacked), rtol=1e-5)
    assert record.meta["metric"]["name"] == ROBUST
    assert record.meta["cell"]["source"] == f"{VULNERABLE}/none"


def moved(record: Record) -> float:
    return float(np.abs(record.scores("defended_attacked") - record.scores("defended_clean")).mean())


def test_from_itself_it_is_the_white_box_cell_and_gains_more_than_from_elsewhere(runner: LocalRunner) -> None:
    own = runner.record(transfer(VULNERABLE, "flip", f"{VULNERABLE}/flip"))
    white_box = runner.record(transfer(VULNERABLE, "flip", "", scenario="adaptive"))
    for column in ("clean", "attacked", "defended_clean", "defended_attacked", "placebo", "linf"):
        np.testing.assert_array_equal(own.scores(column), white_box.scores(column), err_msg=column)
    assert moved(own) > moved(runner.record(transfer(VULNERABLE, "flip", f"{ROBUST}/none")))


def test_a_strength_is_what_it_is_on_the_source(tmp_path: Path) -> None:
    """Tables of strengths are aligned for each metric; the images are to be those of the source's own cell."""
    strengths = StrengthTable()
    for metric, epsilon in ((VULNERABLE, 0.01), (ROBUST, 0.03)):
        fields = {"epsilon": epsilon}
        strengths = strengths.completed(
            StrengthRow(attack="ifgsm", metric=metric, weak=fields, medium=fields, strong=fields)
        )
    runner = LocalRunner(Store(tmp_path / "store"), Numerics(device="cpu", micro_batch=2), strengths=strengths)
    for metric in (VULNERABLE, ROBUST):
        expected = runner.attack(transfer(metric, "none", "", scenario="nonadaptive"))
        assert runner.attack(transfer(VULNERABLE, "none", f"{metric}/none")) == expected
    assert runner.attack(transfer(VULNERABLE, "none", f"{ROBUST}/none")).budget.limit == 0.03  # type: ignore[union-attr]


def test_sources_are_in_the_key_and_cells_without_one_keep_theirs(runner: LocalRunner) -> None:
    cells = [transfer(VULNERABLE, "flip", f"{metric}/{d}") for metric in (VULNERABLE, ROBUST) for d in ("none", "flip")]
    keys = [runner.key(cell, runner.pair(cell)) for cell in cells]
    assert len({key.digest for key in keys}) == len(cells)
    assert keys[0].document["source"] == runner.pair(transfer(VULNERABLE, "none", "")).document
    plain = transfer(VULNERABLE, "flip", "", scenario="adaptive")
    assert "source" not in runner.key(plain, runner.pair(plain)).document


@pytest.mark.parametrize(
    ("source", "target", "protocol"),
    [("none", "jpeg", "direct"), ("jpeg", "none", "bpda-diffjpeg"), ("random-noise", "jpeg", "eot-2")],
)
def test_the_protocol_is_that_of_the_attack_on_the_source(
    source: str, target: str, protocol: str, runner: LocalRunner
) -> None:
    record = runner.record(transfer(VULNERABLE, target, f"{VULNERABLE}/{source}", images=1))
    assert record.meta["protocol"] == {"scoring": "one-shot", "attack": protocol}


def test_who_answers_queries_only_can_score_but_not_be_attacked_by_gradients(runner: LocalRunner) -> None:
    record = runner.record(transfer(f"{OWN}:Queried", "none", f"{VULNERABLE}/none"))
    assert moved(record) > 0
    with pytest.raises(CapabilityError, match="answers queries only"):
        runner.record(transfer(VULNERABLE, "none", f"{OWN}:Queried/none"))


def test_a_full_reference_source_is_held_to_what_it_needs(runner: LocalRunner) -> None:
    with pytest.raises(CapabilityError, match="flip moves pixels"):
        runner.record(transfer(VULNERABLE, "none", "ssim/flip"))
