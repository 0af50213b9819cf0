"""Power, deciding numbers of images and standing failures, against simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iqa_robustness.gate.power import chance, deciding_images, detectable, run_failures, standing
from iqa_robustness.gate.thresholds import Bound
from iqa_robustness.measures import Interval, mean_interval


def interval(value: float, low: float, high: float, clusters: int = 30) -> Interval:
    return Interval(value=value, low=low, high=high, clusters=clusters)


@pytest.mark.parametrize("contents", [10, 40])
def test_what_is_detectable_is_found_in_four_runs_of_five(contents: int) -> None:
    # Normal shifts with a standard deviation of 10; the threshold is 20. What one cell says of its own power varies
    # with its error, so the mean of many is planted.
    random = np.random.RandomState(3)
    said = [detectable(mean_interval(random.normal(15, 10, contents), range(contents))) for _ in range(100)]
    beyond, red = float(np.mean(said)), 0
    for _ in range(400):
        red += mean_interval(random.normal(20 + beyond, 10, contents), range(contents)).low > 20
    assert 0.74 <= red / 400 <= 0.88


def test_nothing_is_detectable_where_nothing_is_known() -> None:
    assert detectable(Interval.unknown(3.0, 1)) == math.inf
    assert detectable(interval(5, 5, 5)) == 0


def test_so_many_images_do_decide() -> None:
    random = np.random.RandomState(4)
    values = random.normal(17, 10, 40)
    found = mean_interval(values + 17 - values.mean(), range(40))  # 17 and about 3.2 to either side
    needed = deciding_images(found, Bound(max=19), 40)
    assert needed is not None
    assert needed > 40
    decided = undecided = 0
    for _ in range(200):
        more = random.normal(0, 10, needed)
        decided += mean_interval(more + 17 - more.mean(), range(needed)).high <= 19
        fewer = random.normal(0, 10, needed // 2)
        undecided += mean_interval(fewer + 17 - fewer.mean(), range(needed // 2)).high > 19
    # Half of the runs have more error than this one had.
    assert decided > 60
    assert undecided > 180


def test_quarter_the_distance_wants_sixteen_times_the_images() -> None:
    far = deciding_images(interval(10, 6, 14, clusters=1000), Bound(max=12), 1000)
    near = deciding_images(interval(10, 6, 14, clusters=1000), Bound(max=10.5), 1000)
    assert far == pytest.approx(4000, rel=0.06)
    assert near == pytest.approx(64000, rel=0.06)


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        (interval(10, 6, 14), Bound(max=10)),
        (Interval.unknown(10, 1), Bound(max=12)),
        (interval(10, 6, 14), Bound(max=20)),
        (interval(10, 6, math.inf), Bound(max=20)),
    ],
    ids=["on the threshold", "one content", "decided", "not bounded"],
)
def test_no_number_is_named_where_none_is_known(found: Interval, bound: Bound) -> None:
    assert deciding_images(found, bound, 50) is None


def test_the_nearest_threshold_decides() -> None:
    both = deciding_images(interval(10, 6, 14), Bound(min=9, max=13), 50)
    assert both == deciding_images(interval(10, 6, 14), Bound(min=9), 50)


def test_a_failure_at_the_edge_of_its_interval_is_as_likely_as_the_level_says() -> None:
    assert chance(interval(24, 20, 28), Bound(max=20)) == pytest.approx(0.025)
    assert chance(interval(0.1, 0.0, 0.2), Bound(min=0.2)) == pytest.approx(0.025)
    assert chance(interval(40, 36, 44), Bound(max=20)) < 1e-9
    assert chance(interval(40, 40, 40), Bound(max=20)) == 0
    assert chance(Interval.unknown(40, 1), Bound(max=20)) == 1


def test_one_failure_in_a_hundred_at_the_edge_does_not_stand_and_a_clear_one_does() -> None:
    assert standing({"edge": 0.02}, 1) == {"edge": True}
    assert standing({"edge": 0.02, "clear": 1e-6}, 100) == {"edge": False, "clear": True}
    assert standing({}, 100) == {}


def test_a_run_of_metrics_on_their_thresholds_rarely_has_a_standing_failure() -> None:
    # Twenty-five checks on the threshold: about half of such runs have a failure, and one in twenty one that stands.
    random, any_red, any_stands = np.random.RandomState(8), 0, 0
    for _ in range(100):
        found = [mean_interval(random.normal(20, 10, 30), range(30)) for _ in range(25)]
        red = {str(n): chance(one, Bound(max=20)) for n, one in enumerate(found) if one.low > 20}
        any_red += bool(red)
        any_stands += any(standing(red, 25).values())
    assert any_red / 100 > 0.3
    assert any_stands / 100 <= 0.1


def cells(**chances: float | None) -> list[dict[str, object]]:
    """A hundred of them, with one check each; those that are not named pass."""
    passing = {f"cell-{number}": None for number in range(100 - len(chances))}
    return [{"name": name, "chances": {"d_score": p}} for name, p in (passing | chances).items()]


def test_a_run_tells_which_failures_may_be_chance() -> None:
    assert run_failures(cells()) is None
    assert run_failures([]) is None
    found = run_failures(cells(edge=0.02, clear=1e-6))
    assert found is not None
    assert str(found) == "1 of 2 failed checks stand at 5 % for all 100 checks of the run (Holm)"
    assert found.doubtful == ("edge (d_score)",)


def test_what_is_declared_is_no_failure_but_one_of_the_checks() -> None:
    found = cells(edge=0.02, clear=1e-6)
    declared = [{**cell, "expected": cell["name"] == "edge"} for cell in found]
    known = run_failures(declared)
    assert known is not None
    assert (known.failed, known.doubtful, known.checks) == (1, (), 100)
    assert run_failures([{**cell, "expected": True} for cell in found]) is None


def test_a_cell_that_is_missing_has_no_checks() -> None:
    found = run_failures([*cells(clear=1e-6), {"name": "missing"}])
    assert found is not None
    assert found.checks == 100
