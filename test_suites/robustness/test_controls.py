"""Controls of the harness itself: what is weak or degenerate by construction is never green, what is robust is.

The subjects are planted (`iqa_robustness.metrics.planted`, `iqa_robustness.defenses.planted`); they judge the gate, so
they run with the thresholds that judge everybody else.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.gate.verdict import judge
from iqa_robustness.metrics import planted_family
from iqa_robustness.plugin.judging import Gate
from iqa_robustness.plugin.session import RobustnessSession, robustness_session

PLANTED = "iqa_robustness.metrics.planted:"
DEGENERATE = [f"{PLANTED}{name}" for name in ("Constant", "Rounded", "Clamped", "MaskedGradient")]
VULNERABLE, ROBUST = f"{PLANTED}Vulnerable", f"{PLANTED}Robust"
CONSTANT_PURIFIER = "iqa_robustness.defenses.planted:ConstantPurifier"


@pytest.mark.iqa_cells(
    scenario="nonadaptive",
    dataset="ladder",
    metric=VULNERABLE,
    defense="none",
    attack="ifgsm",
    strength="medium,strong",
)
def test_a_vulnerable_metric_is_red(cell: Cell, pair: Pair, gate: Gate) -> None:
    """By gradients."""
    assert gate.verdict(cell, pair).status == "fail"


# The few queries of the smoke profile find a seventh of what gradients find: at medium strength that is less than noise
# of the strongest size does to other metrics, and so within what thresholds.yaml grants.
@pytest.mark.iqa_cells(
    scenario="nonadaptive", dataset="ladder", metric=VULNERABLE, defense="none", attack="square", strength="strong"
)
def test_a_vulnerable_metric_is_red_by_queries_alone(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Without a gradient."""
    assert gate.verdict(cell, pair).status == "fail"


@pytest.mark.iqa_cells(
    scenario="adaptive", dataset="ladder", metric=VULNERABLE, defense="flip,jpeg", attack="ifgsm", strength="medium"
)
def test_a_vulnerable_metric_is_red_behind_a_defense_the_attack_knows(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Through a flip directly, through JPEG by the slope of its differentiable stand-in.

    The flip alone changes the planted scores by so much that the interval is wide: red, if only as inconclusive.
    """
    assert gate.verdict(cell, pair).status != "pass"


@pytest.mark.iqa_cells(
    scenario="nonadaptive",
    dataset="ladder",
    metric=DEGENERATE,
    defense="none",
    attack="ifgsm,square",
    strength="medium",
)
def test_a_degenerate_metric_is_never_green(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Constant, rounded, clamped or masked scores resist attacks because they measure nothing, or hide the way."""
    assert gate.verdict(cell, pair).status != "pass"


# Five steps of the range still rank and spread: only the attack cells find that the rounded score is flat.
@pytest.mark.iqa_cells(
    scenario="clean", dataset="ladder", metric=[name for name in DEGENERATE if "Rounded" not in name], defense="none"
)
def test_a_degenerate_metric_fails_on_clean_images(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Before any attack: ranking, spread or headroom is missing."""
    assert gate.verdict(cell, pair).status != "pass"


@pytest.mark.iqa_cells(
    scenario="nonadaptive", dataset="ladder", metric=ROBUST, defense=CONSTANT_PURIFIER, strength="medium"
)
def test_a_constant_purifier_is_never_green(cell: Cell, pair: Pair, gate: Gate) -> None:
    """A defense that deletes the image moves no score under attack."""
    assert gate.verdict(cell, pair).status != "pass"


@pytest.mark.iqa_cells(scenario="nonadaptive", dataset="ladder", metric=ROBUST, defense="none")
def test_a_robust_metric_is_green(cell: Cell, pair: Pair, gate: Gate) -> None:
    """RMS contrast cannot move by more than the perturbation: a gate nobody can pass would say nothing."""
    assert gate.verdict(cell, pair).status == "pass"


@pytest.mark.iqa_cells(scenario="adaptive", dataset="ladder", metric=ROBUST, defense="flip", strength="medium")
def test_a_robust_metric_is_green_behind_a_defense(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Nor does a harmless defense make a robust metric red."""
    assert gate.verdict(cell, pair).status == "pass"


# --- how often the gate errs ----------------------------------------------------------------------------------------

FAMILY = "iqa_robustness.metrics.planted_family:"
# At most one in twenty.
MOST_FALSE_REDS = 0.05


def subject_verdict(session: RobustnessSession, metric: str, defense: str = "none") -> str:
    """Of a subject's two cells, clean and attacked, together: pass only if both do, fail if one does.

    All of `ladder`, at a size at which sixty cells take seconds; kept in the run's store.
    """
    shared = {"metric": metric, "defense": defense, "dataset": "ladder", "images": None, "size": (48, 64)}
    shared |= {"queries": 100, "draws": 1, "n0": 20, "n": 200, "seed": session.sizes.seed}
    found = []
    for attack in ({"scenario": "nonadaptive", "attack": "ifgsm", "strength": "medium"}, {"scenario": "clean"}):
        cell = Cell(**shared, **attack)
        found.append(judge(session.runner.record(cell), session.thresholds.for_cell(cell)).status)
        if found[-1] not in ("pass", "inconclusive"):
            break  # red, or not counted: nothing makes the subject green any more
    return "fail" if "fail" in found else "pass" if found == ["pass", "pass"] else "undecided"


@pytest.fixture
def whole_run(request: pytest.FixtureRequest) -> RobustnessSession:
    """The session of a run that nobody narrowed: these tests judge the gate, which a run for one metric need not."""
    return robustness_session(request.config)


@pytest.mark.iqa_whole_run
def test_no_weak_or_degenerate_subject_is_green(whole_run: RobustnessSession) -> None:
    """Twenty-four of them: known directions, hidden gradients, steps, ceilings, constants, a constant purifier."""
    names = [f"{FAMILY}{name}" for name in (*planted_family.WEAK, *planted_family.DEGENERATE)]
    verdicts = {name: subject_verdict(whole_run, name) for name in names}
    verdicts["constant purifier"] = subject_verdict(whole_run, ROBUST, CONSTANT_PURIFIER)
    assert len(verdicts) >= 20
    assert [name for name, verdict in verdicts.items() if verdict == "pass"] == []


@pytest.mark.iqa_whole_run
def test_hardly_any_robust_subject_is_red(whole_run: RobustnessSession) -> None:
    """Twenty-two whose largest possible shift is known, and allowed."""
    verdicts = {name: subject_verdict(whole_run, f"{FAMILY}{name}") for name in planted_family.ROBUST}
    allowed = (
        whole_run.thresholds.for_cell(
            Cell(
                metric=ROBUST,
                defense="none",
                attack="ifgsm",
                strength="medium",
                scenario="nonadaptive",
                dataset="ladder",
                images=None,
                size=(48, 64),
                queries=100,
                draws=1,
                n0=20,
                n=200,
            )
        )
        .bounds["d_score_excess"]
        .max
    )
    assert allowed is not None
    assert all(made().most_moved <= allowed for made in planted_family.ROBUST.values())
    assert len(verdicts) >= 20
    red = [name for name, verdict in verdicts.items() if verdict == "fail"]
    assert len(red) <= MOST_FALSE_REDS * len(verdicts), red
    # Nor are they all undecided: a gate that nobody can pass would say nothing.
    assert sum(verdict == "pass" for verdict in verdicts.values()) >= 0.9 * len(verdicts)
