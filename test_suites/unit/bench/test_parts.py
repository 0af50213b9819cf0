"""What cells share is done once and before them, and leaves exactly what the cells alone would leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.runners.parts import BARE, CLEAN, WHOLE, Part, parts_of, ready
from iqa_robustness.store import Store

MakeCell = Callable[..., Cell]
FIELDS = {
    "defense": st.sampled_from(["none", "flip", "jpeg"]),
    "attack": st.sampled_from(["ifgsm", "square", "pgd"]),
    "strength": st.sampled_from(["weak", "strong"]),
    "scenario": st.sampled_from(["nonadaptive", "adaptive"]),
    "query_images": st.sampled_from([0, 4]),
}
SOME = st.lists(st.fixed_dictionaries(FIELDS), max_size=25, unique_by=lambda fields: tuple(fields.values())[:4])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(some=SOME)
def test_every_cell_is_there_once_and_what_it_needs_is_shared_and_comes_first(
    some: list[dict[str, str]], make_cell: MakeCell
) -> None:
    cells = [make_cell(**fields) for fields in some]
    parts = parts_of(cells)
    assert [part.cell for part in parts if part.kind == WHOLE] == cells
    users = [number for part in parts for number in part.needs]
    for number, part in enumerate(parts):
        assert all(need < number and parts[need].kind != WHOLE for need in part.needs)
        assert (part.kind == WHOLE) == (number not in users)
        assert part.kind == WHOLE or users.count(number) > 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(some=SOME, random=st.randoms(use_true_random=False))
def test_all_parts_become_ready_whatever_is_done_first(
    some: list[dict[str, str]], random: object, make_cell: MakeCell
) -> None:
    parts = parts_of([make_cell(**fields) for fields in some])
    done: set[int] = set()
    begun: set[int] = set()
    while len(done) < len(parts):
        free = ready(parts, done, begun)
        assert all(done.issuperset(parts[number].needs) for number in free)
        begun |= {*free[:2]}
        done.add(random.choice(sorted(begun - done)))  # type: ignore[attr-defined]


def test_shared_stages_begin_before_cells_and_the_longest_first(make_cell: MakeCell) -> None:
    parts = [
        Part(cell=make_cell(images=1)),
        Part(cell=make_cell(images=9)),
        Part(cell=make_cell(images=1), kind=BARE),
        Part(cell=make_cell(images=1), kind="transferred"),
        Part(cell=make_cell(images=9), needs=(2,)),
    ]
    assert ready(parts, set(), set()) == [3, 2, 1, 0]
    assert ready(parts, {2}, {2, 3}) == [1, 4, 0]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"defense": "jpeg"}, [BARE, "transferred"]),
        ({"defense": "jpeg", "strength": "weak"}, [BARE]),
        ({"strength": "weak"}, [BARE, CLEAN]),
        ({"goal": "lower"}, [BARE, CLEAN]),
        ({"scenario": "adaptive"}, [BARE, CLEAN, "transferred"]),
        ({"defense": "jpeg", "images": 5}, []),
        ({"metric": "lite0"}, []),
        ({"scenario": "transfer", "source": "compact/none"}, [BARE, CLEAN, "transferred"]),
    ],
)
def test_two_cells_share_what_depends_on_nothing_that_they_differ_in(
    change: dict[str, object], kinds: list[str], make_cell: MakeCell
) -> None:
    parts = parts_of([make_cell(), make_cell(**change)])
    assert [part.kind for part in parts if part.kind != WHOLE] == kinds


def test_parts_leave_what_the_cells_alone_leave_and_no_stage_is_left_to_the_cells(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    small = {"metric": "iqa_robustness.metrics.planted:Robust", "images": 2, "size": (48, 64), "queries": 8}
    small |= {"n0": 4, "n": 8}
    cells = [
        make_cell(**small),
        make_cell(**small, defense="random-noise", scenario="adaptive", query_images=1),
        make_cell(
            **small,
            defense="random-noise",
            scenario="transfer",
            source=f"{small['metric']}/random-noise",
        ),
        make_cell(**small, defense="ms", scenario="certified"),
        make_cell(**small, defense="random-noise", attack="square", scenario="adaptive"),
    ]
    numerics = Numerics(device="cpu", micro_batch=2)
    parted, alone = (LocalRunner(Store(tmp_path / name), numerics) for name in ("parted", "alone"))
    parts = parts_of(cells)
    assert {part.kind for part in parts} == {WHOLE, BARE, CLEAN, "adaptive", "transferred"}
    expected = {alone.record(cell).meta["key"] for cell in cells}
    assert {*filter(None, (part.do(parted) for part in parts if part.kind != WHOLE))} == set()
    stages = {*parted.store.digests()}
    assert stages < {*alone.store.digests()}
    assert len(stages) == sum(part.kind != WHOLE for part in parts)
    assert {part.do(parted) for part in parts if part.kind == WHOLE} == expected
    assert parted.store.digests() == alone.store.digests()
