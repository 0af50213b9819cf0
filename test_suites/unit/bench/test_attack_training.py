"""The stage that trains an attack: what it depends on, who shares it, and that it goes on where it was stopped."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.attacks.uap import UAP
from iqa_robustness.bench.attack_training import AttackTraining, artefact_of
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.proof import prove
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets import leaves
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import encode_png
from iqa_robustness.metrics.planted import Robust, Vulnerable
from iqa_robustness.store import Store, document_of

PLANTED = "iqa_robustness.metrics.planted:"
NUMERICS = Numerics(device="cpu", micro_batch=2)
CELL = Cell(
    metric=f"{PLANTED}Robust",
    defense="none",
    attack="uap",
    strength="medium",
    scenario="nonadaptive",
    dataset="mini",
    images=2,
    size=(48, 64),
    queries=12,
    draws=2,
    n0=5,
    n=40,
)
PICTURES, EPOCHS = 5, 20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few small pictures to train on."""
    for name, value in (("PICTURES", PICTURES), ("HEIGHT", 48), ("WIDTH", 64), ("_SHAPES", 30)):
        monkeypatch.setattr(leaves, name, value)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of somebody's own attacks."""
    module = ModuleType("own_trained_attacks")
    monkeypatch.setitem(importlib.import_module("sys").modules, module.__name__, module)
    return module


def runner_at(path: Path, **options: Any) -> LocalRunner:
    return LocalRunner(Store(path / "store"), NUMERICS, **options)


def training(path: Path, attack: TrainedAttack | None = None, **change: Any) -> AttackTraining:
    """A training as the runner of a cell makes it; keyword arguments replace what the cell says."""
    facts = {"metric": "Robust", "defense": "none", "adaptive": False, "goal": "raise", "size": (48, 64), "seed": 0}
    facts |= change
    pair = Pair(Subject(f"{PLANTED}{facts.pop('metric')}", device="cpu"), facts.pop("defense"), n0=5, n=40)
    stages = Stages(store=Store(path / "store"), numerics=facts.pop("numerics", NUMERICS))
    return stages.training(attack or UAP(), pair, **facts)


def trained_for(store: Store) -> list[str]:
    """Of each artefact in a store: metric, defense if any, goal, epsilon in levels."""
    found = []
    for path in Path(store.root).glob("entries/*/*/manifest.json"):
        key = json.loads(path.read_text())["key"]
        if key["stage"] == "trained-attack":
            target = key["target"]
            defense = target.get("defense", {"class": "."})["class"].rpartition(".")[2]
            epsilon = round(255 * key["attack"]["fields"]["epsilon"])
            metric = target["metric"]["name"].removeprefix(PLANTED)
            found.append(" ".join(filter(None, (metric, defense, key["goal"], str(epsilon)))))
    return sorted(found)


# --- what it depends on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "Vulnerable"},
        {"adaptive": True, "defense": "flip"},
        {"goal": "lower"},
        {"size": (48, 48)},
        {"seed": 1},
        {"numerics": Numerics(device="cpu", micro_batch=3)},
        {"attack": UAP(epochs=3)},
        {"attack": UAP(batch=3)},
        {"attack": UAP(dataset="ladder")},
        {"attack": UAP(epsilon=2 / 255)},
        {"attack": UAP(paper=True)},
        {"attack": attacks.create("cumulative-uap")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_cause_of_another_artefact_is_in_the_key(change: dict[str, Any], tmp_path: Path) -> None:
    assert training(tmp_path, **change).key.digest != training(tmp_path).key.digest


def test_a_metric_that_changes_has_another_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = training(tmp_path).key.digest
    monkeypatch.setattr(Robust, "spec", replace(Robust.spec, version="2"))
    assert training(tmp_path).key.digest != before


def test_what_makes_no_difference_to_the_training_is_not_in_the_key(tmp_path: Path) -> None:
    usual = training(tmp_path).key.digest
    learned = UAP().train(Robust(), torch.rand(2, 3, 48, 64))
    assert training(tmp_path, UAP(artefact=learned)).key.digest == usual
    # Without knowledge of the defense, the target is the metric alone.
    assert training(tmp_path, defense="flip").key.digest == usual
    published = [
        training(tmp_path, UAP(paper=True, epsilon=e / 255), size=s) for e, s in ((2, (48, 64)), (8, (64, 64)))
    ]
    assert published[0].key.digest == published[1].key.digest


def test_it_trains_what_the_attack_trains(tmp_path: Path) -> None:
    one = training(tmp_path, goal="lower", metric="Vulnerable")
    stages = Stages(store=Store(tmp_path / "store"), numerics=NUMERICS)
    artefact = Artefact(data=artefact_of(stages.trained(one)))
    assert artefact.facts == {"attack": "uap", "version": 1, "direction": "lower"}
    (values,) = artefact.tensors().values()
    assert float(Vulnerable()(0.5 + 0.1 * values)) < float(Vulnerable()(0.5 - 0.1 * values)) - 300


# --- in cells -------------------------------------------------------------------------------------------------------


def test_cells_share_what_was_trained_for_the_same_target(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    runner.record(CELL)
    expected = ["Robust raise 4", "Vulnerable raise 4"]  # the second one is the proof's
    assert trained_for(runner.store) == expected
    runner.record(replace(CELL, defense="flip"))
    runner.record(replace(CELL, images=3))
    assert trained_for(runner.store) == expected
    runner.record(replace(CELL, defense="flip", scenario="adaptive"))
    assert trained_for(runner.store) == sorted([*expected, "Robust Flip raise 4"])
    runner.record(replace(CELL, goal="lower", strength="weak"))
    assert trained_for(runner.store) == sorted(
        [*expected, "Robust Flip raise 4", "Robust lower 2", "Vulnerable lower 2"]
    )


@pytest.mark.parametrize("goal", ["raise", "lower"])
@pytest.mark.parametrize("attack", ["uap", "cumulative-uap", "facpa"])
def test_a_record_shows_a_working_attack_and_its_evidence(attack: str, goal: str, tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(
        replace(CELL, attack=attack, goal=goal, metric=f"{PLANTED}Vulnerable", images=3)
    )
    shift = record.scores("attacked") - record.scores("clean")
    assert ((shift if goal == "raise" else -shift) > 5).all()
    assert record.images["gradient_nonzero"].all()
    assert record.images["backwards"].tolist() == [1, 1, 1]
    assert record.scores("linf").max() == pytest.approx(4 / 255, abs=1e-7)
    assert min(record.meta["proof"]["gains"]) > 5
    assert record.meta["attack"]["access"] == "white-box"


def test_the_training_is_part_of_the_cells_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_at(tmp_path)
    key = runner.key(CELL, runner.pair(CELL))
    assert key.document["training"] == training(tmp_path).key.digest
    assert "training" not in runner.key(replace(CELL, attack="ifgsm"), runner.pair(CELL)).document
    monkeypatch.setattr(leaves, "VERSION", leaves.VERSION + 1)
    other = runner_at(tmp_path)
    assert other.key(CELL, other.pair(CELL)).digest != key.digest


def test_a_stored_record_is_read_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runner_at(tmp_path).record(CELL)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(UAP, "learner", refuse)
    assert runner_at(tmp_path).record(CELL).files() == first.files()
    assert runner_at(tmp_path, from_store=True).record(CELL).files() == first.files()


def test_a_stopped_training_goes_on_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    total, told = PICTURES * EPOCHS, []

    def note(stage: str, done: int, total: int) -> None:
        if stage == "training of uap against planted-robust":
            told.append((done, total))

    def stop(stage: str, done: int, total: int) -> None:
        note(stage, done, total)
        if told and told[-1][0] >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner_at(tmp_path, progress=stop).record(CELL)
    assert len(list((tmp_path / "store").glob("v1/unfinished/*/checkpoint.safetensors"))) == 1
    stopped = told[-1]
    resumed = runner_at(tmp_path, progress=note).record(CELL)
    again = told[told.index(stopped) + 1 :]
    # The step it was stopped at was not saved yet.
    assert again[0] == stopped
    assert again[-1] == (total, total)
    assert len(again) < 0.6 * 2 * EPOCHS
    assert not list((tmp_path / "store").glob("v1/unfinished/*"))
    assert resumed.files() == runner_at(tmp_path / "whole").record(CELL).files()


def test_a_file_of_ones_own_is_used_and_only_the_proof_is_trained(tmp_path: Path, own: ModuleType) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(UAP().train(Robust(), torch.rand(4, 3, 48, 64, generator=torch.Generator().manual_seed(0))))

    class Mine(UAP):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**{"artefact": path, **fields})

    own.Mine = Mine  # type: ignore[attr-defined]
    runner = runner_at(tmp_path)
    record = runner.record(replace(CELL, attack="own_trained_attacks:Mine"))
    assert trained_for(runner.store) == ["Vulnerable raise 4"]
    sha256 = Artefact.read(path).sha256
    assert record.meta["attack"]["fields"]["artefact"]["fields"] == {"sha256": sha256}
    assert "training" not in record.meta["key_document"]


@pytest.mark.parametrize("dataset", ["mini", "ladder"])
def test_the_photographs_that_are_judged_are_not_learned_from(dataset: str, tmp_path: Path) -> None:
    attack = UAP(dataset=dataset)  # ladder is made of the photographs of mini
    runner = runner_at(tmp_path)
    with pytest.raises(ConfigurationError, match="trained on the images that it is judged on") as caught:
        prove(attack, CELL, runner.clean(CELL), runner.stages)
    assert (caught.value.where.attack, caught.value.where.dataset) == ("uap", dataset)
    assert trained_for(runner.store) == []


def test_names_that_two_folders_share_are_no_leak_and_one_folder_is(tmp_path: Path) -> None:
    folders = []
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        pixels = np.random.RandomState(seed).randint(0, 256, (48, 64, 3)).astype(np.uint8)
        (tmp_path / name / "a.png").write_bytes(encode_png(pixels))
        (tmp_path / name / "mos.csv").write_text("file,mos\na.png,1\n", encoding="utf-8")
        folders.append(f"folder:{tmp_path / name}")
    judged = runner_at(tmp_path).clean(replace(CELL, dataset=folders[0]))
    training(tmp_path, UAP(dataset=folders[1])).refuse_leakage(judged)
    with pytest.raises(ConfigurationError, match="judged on"):
        training(tmp_path, UAP(dataset=folders[0])).refuse_leakage(judged)


def test_a_trained_attack_is_a_key_document_with_and_without_its_artefact() -> None:
    learned = UAP().train(Robust(), torch.rand(2, 3, 16, 16))
    assert document_of(UAP())["fields"]["artefact"] is None
    assert document_of(UAP(artefact=learned))["fields"]["artefact"]["fields"] == {
        "sha256": Artefact(data=learned).sha256
    }
