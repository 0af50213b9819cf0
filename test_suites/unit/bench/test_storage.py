"""Space of cells: adversarial images once for all that share them, records for each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.storage import Space, space_by_cell

MakeCell = Callable[..., Cell]
SET = 2.2 * 10 * 32 * 40 / 2**20


@pytest.fixture
def cell(make_cell: MakeCell) -> MakeCell:
    def make(**fields: object) -> Cell:
        return make_cell(**{"images": 10, "size": (32, 40), "n": 200, "draws": 1, "strength": "weak", **fields})

    return make


def images_of(*cells: Cell) -> list[float]:
    return [space.images for space in space_by_cell(cells).values()]


def test_defenses_share_the_images_of_the_bare_metric(cell: MakeCell) -> None:
    cells = [cell(defense=defense) for defense in ("none", "flip", "jpeg")]
    assert images_of(*cells) == [pytest.approx(SET), 0, 0]
    assert images_of(cell(), cell(strength="strong"), cell(goal="lower")) == [pytest.approx(SET)] * 3


def test_an_adaptive_cell_has_its_own_images_and_those_of_the_bare_metric(cell: MakeCell) -> None:
    adaptive = [cell(defense=defense, scenario="adaptive") for defense in ("flip", "jpeg")]
    assert images_of(*adaptive) == [pytest.approx(2 * SET), pytest.approx(SET)]
    assert images_of(cell(), *adaptive) == [pytest.approx(SET)] * 3


def test_a_transfer_takes_its_source_s_images(cell: MakeCell) -> None:
    adaptive = cell(defense="flip", scenario="adaptive")
    from_defended = cell(defense="jpeg", scenario="transfer", source="compact/flip")
    from_bare = cell(metric="lite0", defense="none", scenario="transfer", source="compact/none")
    assert images_of(adaptive, from_defended, from_bare) == [pytest.approx(2 * SET), 0, 0]
    assert images_of(from_defended, from_bare) == [pytest.approx(SET)] * 2


def test_records_grow_with_images_and_with_the_draws_of_certificates(cell: MakeCell) -> None:
    clean = {"attack": "", "strength": "", "scenario": "clean"}
    (plain,) = space_by_cell([cell(**clean)]).values()
    assert plain.images == 0
    assert plain.records == pytest.approx((42_000 + 10 * 200) / 2**20)
    (certified,) = space_by_cell([cell(**clean, defense="ms")]).values()
    (attacked,) = space_by_cell([cell(defense="ms", scenario="certified")]).values()
    assert certified.records - plain.records == pytest.approx(10 * 200 * 10 / 2**20)
    assert attacked.records - plain.records == pytest.approx(4 * 10 * 200 * 10 / 2**20)
    assert plain + attacked == Space(images=attacked.images, records=plain.records + attacked.records)
