"""The proof of an attack: its gain on the metric that is vulnerable by construction, at the cell's own budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Pixels
from iqa_robustness.attacks.square import Square
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.proof import PROOF_IMAGES, prove, reference_for
from iqa_robustness.bench.sources import Clean, stored_pixels
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets.base import view
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store
from iqa_robustness.streams import Streams

CELL = Cell(
    metric="compact",
    defense="none",
    attack="ifgsm",
    strength="medium",
    scenario="nonadaptive",
    dataset="mini",
    images=3,
    size=(48, 64),
    queries=60,
    draws=2,
    n0=5,
    n=10,
)


@pytest.fixture(scope="module")
def clean() -> Clean:
    return Clean(view(datasets.load("mini"), count=3, size=(48, 64)))


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(store=Store(tmp_path / "store"), numerics=Numerics(device="cpu", micro_batch=2))


@pytest.mark.parametrize(("strength", "optimum"), [("weak", 25.0), ("medium", 50.0), ("strong", 100.0)])
def test_gradient_attacks_gain_nearly_the_closed_form_optimum(
    clean: Clean, stages: Stages, strength: str, optimum: float
) -> None:
    proof = prove(attacks.create("ifgsm", strength=strength), CELL, clean, stages)
    assert all(0.8 * optimum < gain <= optimum + 1e-3 for gain in proof["gains"])


def test_query_attacks_gain_what_the_cells_queries_allow(clean: Clean, stages: Stages) -> None:
    few, many = (prove(Square(queries=queries), CELL, clean, stages) for queries in (10, 60))
    assert all(more > fewer > 0 for fewer, more in zip(few["gains"], many["gains"], strict=True))


def test_the_gains_are_those_of_the_stored_images(clean: Clean, stages: Stages) -> None:
    proof = prove(attacks.create("ifgsm"), CELL, clean, stages)
    (entry,) = [e for e in entries(stages.store) if e.digest == proof["entry"]]
    attacked = torch.stack([from_uint8(pixels) for pixels in stored_pixels(entry)])
    metric = Vulnerable()
    gains = metric(attacked) - metric(clean.batch(range(3)))  # the range is 100 wide: points are per cent
    assert proof["gains"] == pytest.approx(gains.tolist(), abs=1e-3)
    assert proof["contents"] == [item.content for item in clean.view.items]
    assert proof["reference"] == "planted-vulnerable"
    json.dumps(proof, allow_nan=False)


def test_lowering_is_proved_by_lowering(clean: Clean, stages: Stages) -> None:
    attack = attacks.create("ifgsm")
    raised, lowered = (prove(attack, change(goal=goal), clean, stages) for goal in ("raise", "lower"))
    assert raised["entry"] != lowered["entry"]
    assert min(raised["gains"] + lowered["gains"]) > 40


def test_the_same_attack_on_the_same_images_is_proved_once(
    clean: Clean, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prove(attacks.create("ifgsm"), CELL, clean, stages)

    def refuse(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(Vulnerable, "forward", refuse)
    other = change(metric="lite0", defense="jpeg", scenario="adaptive", draws=8, n=99)
    assert prove(attacks.create("ifgsm"), other, clean, stages) == first


def test_an_attack_that_does_nothing_proves_nothing(clean: Clean, stages: Stages) -> None:
    proof = prove(attacks.create("ifgsm", epsilon=0.0), CELL, clean, stages)
    assert proof["gains"] == [0.0, 0.0, 0.0]


def test_the_reference_is_named_and_few_images_are_enough() -> None:
    assert reference_for(attacks.create("ifgsm")) == "iqa_robustness.metrics.planted:Vulnerable"
    assert 1 < PROOF_IMAGES <= 16


@dataclass(frozen=True, kw_only=True)
class FewPixels(Attack):
    """Paints ten pixels in the colours that raise the planted scores."""

    name: ClassVar[str] = "few-pixels"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"
    restriction: ClassVar[str] = "l0"
    varied_parameter: ClassVar[str] = "paper"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def budget(self) -> Pixels:
        return Pixels(count=10)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        painted = images.clone()
        colours = (Vulnerable().signs[0, :, 0, 0] > 0).to(images.dtype)
        painted[:, :, 0, :10] = colours[:, None]
        objective.values(painted)
        return painted


def test_an_attack_on_a_few_pixels_is_proved_on_a_sum_since_no_mean_can_show_it(clean: Clean, stages: Stages) -> None:
    attack = FewPixels()
    assert reference_for(attack) == "iqa_robustness.metrics.planted:VulnerableToPixels"
    proof = prove(attack, CELL, clean, stages)
    assert proof["reference"] == "planted-vulnerable-to-pixels"
    assert min(proof["gains"]) > 3  # per cent; the gate asks for 1
    mean = attack(Vulnerable(), clean.batch(range(3)))
    assert float((mean.values - mean.clean_values).max()) < 0.1


def change(**fields: Any) -> Cell:
    return Cell(**{**{name: getattr(CELL, name) for name in Cell.__dataclass_fields__}, **fields})


def entries(store: Store) -> list[Any]:
    from iqa_robustness.store import Key

    manifests = Path(store.root).glob("entries/*/*/manifest.json")
    return [store.get(Key(json.loads(path.read_text())["key"])) for path in manifests]
