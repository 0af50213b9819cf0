"""The scheduler against made-up workers: every item is run once, in the order that is wanted, whoever dies when."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.plugin.scheduler import CellScheduling, Unit


class Worker:
    """Runs what it is sent, one step at a time, as pytest-xdist's do: an item waits until the next one is known."""

    def __init__(self, scheduling: CellScheduling, names: list[str]) -> None:
        self.scheduling, self.names = scheduling, names
        self.queue: deque[int] = deque()
        self.shutting_down = False
        self.sent: list[list[int]] = []
        self.ran: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        assert indices, "an empty send makes a worker hang"
        assert not self.shutting_down
        self.sent.append(list(indices))
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) > 1 or (bool(self.queue) and self.shutting_down)

    def begin(self) -> int:
        self.scheduling.started(self.names[self.queue[0]])
        return self.queue.popleft()

    def run(self) -> int:
        item = self.begin()
        self.ran.append(item)
        self.scheduling.finished(self.names[item])
        self.scheduling.mark_test_complete(self, item)
        return item


def started(units: list[list[tuple[int, float]]], workers: int = 2) -> tuple[CellScheduling, list[Worker]]:
    names = [f"test.py::t[{number}]" for number in range(sum(map(len, units)))]
    scheduling = CellScheduling(workers, lambda _: units, lambda *_: pytest.fail("collections differ"))
    found = [Worker(scheduling, names) for _ in range(workers)]
    for worker in found:
        scheduling.add_node(worker)
    for worker in found:
        assert not scheduling.collection_is_completed
        scheduling.add_node_collection(worker, names)
    scheduling.schedule()
    return scheduling, found


def finish(scheduling: CellScheduling, workers: list[Worker]) -> list[int]:
    """Let all workers run in turn until nothing is left; what they ran."""
    ran = []
    while any(worker.can_run for worker in workers):
        ran += [worker.run() for worker in workers if worker.can_run]
        if scheduling.tests_finished:
            for worker in workers:
                worker.shutdown()
    return ran


def test_a_unit_hands_out_its_longest_item_first() -> None:
    unit = Unit([(0, 1.0), (1, 5.0), (2, 3.0)])
    assert [*unit.left] == [1, 2, 0]
    assert unit.cost == 9.0
    unit.left.popleft()
    assert unit.cost == 4.0


def test_the_dearest_units_begin_and_each_worker_stays_with_its_own() -> None:
    cheap, dear, middle = [(0, 1.0), (1, 1.0)], [(2, 50.0), (3, 60.0), (4, 5.0)], [(5, 20.0), (6, 30.0)]
    scheduling, (first, second) = started([cheap, dear, middle])
    assert first.sent == [[3, 2]]
    assert second.sent == [[6, 5]]
    second.run()
    assert second.sent[1:] == [[0]], "its own unit is empty: it takes one that nobody is at"
    assert first.run() == 3
    assert first.sent[1:] == [[4]]
    assert sorted(finish(scheduling, [first, second]) + first.ran[:1] + second.ran[:1]) == [*range(7)]
    assert scheduling.tests_finished


def test_who_has_nothing_left_helps_with_the_dearest_unit() -> None:
    scheduling, (first, second) = started([[(number, 10.0) for number in range(8)], [(8, 1.0)]])
    assert second.sent == [[8, 2]], "one of the other's items: a worker must know two"
    ran = finish(scheduling, [first, second])
    assert sorted(ran) == [*range(9)]
    assert abs(len(first.ran) - len(second.ran)) <= 1


def test_no_worker_ever_knows_more_than_two_items() -> None:
    scheduling, workers = started([[(number, 1.0) for number in range(30)]], workers=3)
    while any(worker.can_run for worker in workers):
        assert all(len(worker.queue) <= 2 for worker in workers)
        for worker in workers:
            if worker.can_run:
                worker.run()
    assert not scheduling.has_pending


def test_the_item_that_lost_its_worker_is_named_and_never_handed_on() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(6)]])
    item = first.begin()
    assert scheduling.remove_node(first) == f"test.py::t[{item}]"
    assert item not in finish(scheduling, [second])
    assert sorted(second.ran) == sorted({*range(6)} - {item})
    assert scheduling.not_run == []


def test_what_a_worker_had_only_in_its_queue_goes_to_another() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(6)]])
    first.run()
    assert scheduling.remove_node(first) is None
    finish(scheduling, [second])
    assert sorted(first.ran + second.ran) == [*range(6)]


def test_an_item_that_was_reported_is_done_though_its_worker_died_after_it() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(6)]])
    item = first.begin()
    scheduling.finished(f"test.py::t[{item}]")
    assert scheduling.remove_node(first) is None
    assert item not in finish(scheduling, [second])


def test_an_item_that_two_workers_died_before_is_not_given_to_a_third() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(6)]])
    assert scheduling.remove_node(first) is None
    assert [second.run(), second.run()] == [2, 3]
    assert [*second.queue] == [0, 1]
    assert scheduling.remove_node(second) == "test.py::t[0]"


def test_the_last_item_of_a_run_may_be_lost_as_well() -> None:
    scheduling, (first, second) = started([[(0, 1.0), (1, 1.0), (2, 1.0)]])
    finish(scheduling, [second])
    finish(scheduling, [first])
    assert scheduling.tests_finished
    scheduling, (first, second) = started([[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]])
    first.run()
    first.shutdown()
    first.begin()
    assert scheduling.remove_node(first) == "test.py::t[1]"
    finish(scheduling, [second])
    assert not scheduling.has_pending


def test_a_replacement_takes_part_and_what_was_given_back_is_run() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(8)]])
    first.begin()
    scheduling.remove_node(first)
    fresh = Worker(scheduling, second.names)
    scheduling.add_node(fresh)
    assert fresh.sent == [], "it has not collected yet"
    scheduling.add_node_collection(fresh, second.names)
    scheduling.schedule()
    ran = finish(scheduling, [second, fresh])
    assert len(ran) == 7
    assert fresh.ran


def test_what_is_left_without_workers_is_named() -> None:
    scheduling, (first, second) = started([[(number, 1.0) for number in range(8)]])
    first.begin()
    scheduling.remove_node(first)
    second.run()
    second.begin()
    scheduling.remove_node(second)
    assert len(scheduling.not_run) == 8 - 3
    assert not scheduling.tests_finished


def test_a_replacement_that_collects_something_else_ends_the_run_instead_of_hanging_it() -> None:
    told: list[Any] = []
    names = [f"t{number}" for number in range(6)]
    scheduling = CellScheduling(1, lambda _: [[(number, 1.0) for number in range(6)]], lambda *all_: told.append(all_))
    first = Worker(scheduling, names)
    scheduling.add_node(first)
    scheduling.add_node_collection(first, names)
    scheduling.schedule()
    first.begin()
    scheduling.remove_node(first)
    other = Worker(scheduling, names)
    scheduling.add_node(other)
    scheduling.add_node_collection(other, names[:-1])
    scheduling.schedule()
    assert len(told) == 1
    assert other.shutting_down
    assert other.sent == []
    assert scheduling.tests_finished
    assert len(scheduling.not_run) == 5


def test_workers_that_collected_different_tests_get_none() -> None:
    told: list[Any] = []
    scheduling = CellScheduling(2, lambda _: [], lambda *all_: told.append(all_))
    first, second = Worker(scheduling, ["a"]), Worker(scheduling, ["b"])
    for worker, names in ((first, ["a"]), (second, ["b"])):
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, names)
    scheduling.schedule()
    assert len(told) == 1
    assert first.sent == second.sent == []


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    costs=st.lists(st.floats(0, 100), min_size=36, max_size=36),
    workers=st.integers(1, 4),
    events=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["run", "run", "run", "crash", "die idle"])), max_size=80
    ),
)
def test_every_item_is_run_or_lost_exactly_once(
    sizes: list[int], costs: list[float], workers: int, events: list[tuple[int, str]]
) -> None:
    units, number = [], 0
    for size in sizes:
        units.append([(item, costs[item]) for item in range(number, number + size)])
        number += size
    scheduling, found = started(units, workers)
    names, lost, everyone = found[0].names, [], [*found]
    for which, what in events:
        worker = found[which % len(found)]
        if what == "run" and worker.can_run:
            worker.run()
        elif what != "run":
            if what == "crash" and worker.can_run:
                worker.begin()
            name = scheduling.remove_node(worker)
            lost += [name] if name else []
            fresh = Worker(scheduling, names)
            found[which % len(found)] = fresh
            everyone.append(fresh)
            scheduling.add_node(fresh)
            scheduling.add_node_collection(fresh, names)
            scheduling.schedule()
    finish(scheduling, found)
    ran = [item for worker in everyone for item in worker.ran]
    assert len(ran) == len({*ran})
    assert len(lost) == len({*lost})
    assert sorted([*(names[item] for item in ran), *lost]) == sorted(names)
    assert scheduling.not_run == []
    assert scheduling.tests_finished
