"""Compositions of purifications in a run: planned under one name, recorded under one key, attacked part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iqa_robustness import defenses
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.plan import Selection, Sizes, cells, check_selection
from iqa_robustness.bench.profiles import profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.store import Record, Store, document_of

VULNERABLE = "iqa_robustness.metrics.planted:Vulnerable"


def planned(scenario: str, *chosen: str) -> list[Cell]:
    user = Selection(metric=("compact",), defense=chosen, attack=("ifgsm",), strength=("weak",))
    return cells(scenario=scenario, profile=profile("smoke"), sizes=Sizes(), user=user)


@pytest.mark.parametrize("scenario", ["nonadaptive", "adaptive"])
def test_a_composition_is_planned_as_one_purification_under_one_name(scenario: str) -> None:
    found = [cell.id for cell in planned(scenario, "flip", "gaussian-blur + unsharp")]
    assert found == ["compact/flip/ifgsm/weak", "compact/gaussian-blur+unsharp/ifgsm/weak"]


def test_it_has_no_certified_cells_and_no_pattern_selects_it() -> None:
    assert planned("certified", "flip+jpeg") == []
    assert not any("+" in cell.defense for cell in planned("adaptive", "*"))


def test_a_misspelt_part_is_named_and_only_purifications_are_joined() -> None:
    with pytest.raises(UnknownNameError, match="unknown defense 'jepg'") as caught:
        check_selection(Selection(defense=("flip+jepg",)))
    assert caught.value.suggestions[0] == "jpeg"
    for refused in ("flip+ms", "none+flip"):
        with pytest.raises(ConfigurationError, match="is no purification"):
            check_selection(Selection(defense=(refused,)))


def test_the_key_is_that_of_the_parts_and_not_of_how_the_name_was_written() -> None:
    subject = Subject(VULNERABLE, device="cpu")
    one, two = (Pair(subject, name, n0=1, n=1) for name in ("flip+jpeg", "flip + jpeg"))
    assert one.document == two.document
    parts = one.document["defense"]["fields"]["parts"]
    assert parts == [document_of(defenses.create("flip")), document_of(defenses.create("jpeg"))]


# --- records --------------------------------------------------------------------------------------------------------


def record_of(folder: Path, defense: str) -> Record:
    fields: dict[str, Any] = {
        "metric": VULNERABLE,
        "defense": defense,
        "attack": "ifgsm",
        "strength": "medium",
        "scenario": "adaptive",
        "dataset": "mini",
        "images": 3,
        "size": (48, 64),
        "queries": 12,
        "draws": 2,
        "n0": 5,
        "n": 40,
    }
    runner = LocalRunner(Store(folder / "store"), Numerics(device="cpu", micro_batch=2))
    return runner.record(Cell(**fields))


@pytest.mark.parametrize(
    ("defense", "protocol", "correspond"),
    [
        ("gaussian-blur+unsharp", "direct", True),
        ("random-noise+jpeg", "bpda-diffjpeg+eot-2", True),
        ("color-quantization+jpeg", "bpda-identity+bpda-diffjpeg", True),
        ("resize+random-noise", "eot-2", False),
        ("upscale+flip", "direct", False),
    ],
)
def test_a_record_names_the_protocol_and_whether_pixels_correspond(
    tmp_path: Path, defense: str, protocol: str, correspond: bool
) -> None:
    record = record_of(tmp_path, defense)
    assert record.meta["cell"]["defense"] == defense
    assert record.meta["protocol"]["attack"] == protocol
    assert record.meta["defense"]["keeps_geometry"] is correspond
    assert bool(np.isfinite(record.images["ssim_purified"]).all()) is correspond
    assert (record.images["defended_attacked"] - record.images["defended_clean"]).mean() > 10


def test_a_crop_larger_than_the_image_names_the_cell(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"crop of 128 pixels takes images from 128 × 128 .* 48 × 64"
    ) as caught:
        record_of(tmp_path, "flip+crop")
    where = caught.value.where
    assert (where.defense, where.attack, where.scenario) == ("crop", "ifgsm", "adaptive")
