"""Shards: every cell in exactly one, groups whole, loads even, and the same split on every machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.estimate import Passes, attack_passes, group_of, grouped, images_of, passes_of
from iqa_robustness.bench.shards import Shard, shares
from iqa_robustness.errors import ConfigurationError

MakeCell = Callable[..., Cell]
FIELDS = {
    "metric": st.sampled_from(["compact", "lite0", "niqe"]),
    "defense": st.sampled_from(["none", "flip", "jpeg"]),
    "attack": st.sampled_from(["ifgsm", "square", "pgd"]),
    "strength": st.sampled_from(["weak", "strong"]),
    "scenario": st.sampled_from(["nonadaptive", "adaptive"]),
}
SOME = st.lists(st.fixed_dictionaries(FIELDS), max_size=40, unique_by=lambda fields: tuple(fields.values()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(some=SOME, count=st.integers(1, 6))
def test_every_cell_is_in_exactly_one_shard_and_groups_stay_whole(
    some: list[dict[str, str]], count: int, make_cell: MakeCell
) -> None:
    cells = [make_cell(**fields) for fields in some]
    parts = [Shard(number=number + 1, count=count).of(cells) for number in range(count)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(cell.name for cell in cells)
    homes: dict[tuple[str, ...], set[int]] = {}
    for number, part in enumerate(parts):
        for cell in part:
            homes.setdefault(group_of(cell), set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(some=SOME, count=st.integers(1, 6), seed=st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_the_cells(
    some: list[dict[str, str]], count: int, seed: object, make_cell: MakeCell
) -> None:
    cells = [make_cell(**fields) for fields in some]
    shuffled = [*cells]
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    for number in range(1, count + 1):
        shard = Shard(number=number, count=count)
        assert {cell.name for cell in shard.of(cells)} == {cell.name for cell in shard.of(shuffled)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(some=SOME.filter(len), count=st.integers(2, 6))
def test_no_machine_has_more_than_its_share_and_one_group(
    some: list[dict[str, str]], count: int, make_cell: MakeCell
) -> None:
    cells = [make_cell(**fields) for fields in some]
    weights = [passes_of(group).weight for group in grouped(cells).values()]
    loads = [sum(passes_of(group).weight for group in part) for part in shares(cells, count)]
    assert sum(loads) == sum(weights)
    # What Graham's rule of the longest first guarantees of any list.
    assert max(loads) <= sum(weights) / count + max(weights)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/2", "1/", "-1/2", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no shard"):
        Shard.parsed(text)


def test_a_shard_reads_back() -> None:
    assert str(Shard.parsed("2/5")) == "2/5"


# --- estimates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("fgsm", Passes(forwards=2, backwards=1)),
        ("ifgsm", Passes(forwards=11, backwards=10)),
        ("pgd", Passes(forwards=11, backwards=10)),
        ("square", Passes(forwards=300)),
    ],
)
def test_an_attack_costs_its_steps_or_its_queries(name: str, passes: Passes) -> None:
    assert attack_passes(name, 300) == passes


def test_the_attack_on_the_metric_is_paid_for_once_and_adaptive_ones_each(make_cell: MakeCell) -> None:
    one, other = make_cell(defense="flip", images=10), make_cell(defense="jpeg", images=10)
    alone, together = passes_of([one]), passes_of([one, other])
    assert together.backwards == alone.backwards == 100
    assert together.forwards - alone.forwards == 10 * 6  # two undefended scores, four defended ones
    adaptive = make_cell(defense="flip", images=10, scenario="adaptive")
    assert passes_of([adaptive]).backwards == 100 + 100 + 2 * 60
    longer = make_cell(defense="flip", images=10, scenario="adaptive", doublings=1)
    assert passes_of([longer]).backwards == 100 + 2 * (100 + 2 * 60)


def test_random_defenses_multiply_the_draws_and_certified_ones_the_samples(make_cell: MakeCell) -> None:
    noisy = make_cell(defense="random-noise", images=10, scenario="adaptive", draws=4)
    assert passes_of([noisy]).backwards == 100 + 4 * (100 + 2 * 60)
    certified = make_cell(defense="ms", scenario="certified", images=10, n0=20, n=200)
    assert passes_of([certified]).forwards == 110 + 10 * (2 + 4 * 220)


def test_a_cell_has_no_more_images_than_its_data_set(make_cell: MakeCell) -> None:
    assert [images_of(make_cell(images=count)) for count in (None, 7, 1_000)] == [50, 7, 50]
    assert Passes(forwards=3, backwards=2).weight == 7
