"""The plan: which cells a run has, how large they are, and that a misspelt name never selects silently nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.attacks import AttackEntry
from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.plan import KINDS, Selection, Sizes, cells, check_selection, parsed_patterns
from iqa_robustness.bench.plan import planned as planned_apart
from iqa_robustness.bench.profiles import Limit, Profile, Transfers
from iqa_robustness.defenses import DefenseEntry
from iqa_robustness.errors import UnknownNameError
from iqa_robustness.metrics import MetricEntry
from iqa_robustness.registry import Family, Registry

PROFILE = Profile(
    name="tiny",
    white_box_images=100,
    query_images=20,
    certified_images=5,
    soundness_images=3,
    size=(8, 9),
    queries=70,
    n0=3,
    n=30,
    draws=4,
    metrics=("slow", "fast"),
    limits={"slow": Limit(images=10, attacks=("ifgsm",), defenses=("none", "jpeg"), strengths=("weak",))},
    transfers=Transfers(defenses=("none", "flip", "jpeg"), strengths=("weak",)),
)
FAST = Selection(metric=("fast",))
ALL = {"none": "none", "flip": "purification", "jpeg": "purification", "ms": "certified", "at": "training"}


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three metrics, five defenses of four kinds, two attacks; what the package registers does not matter here."""
    kinds = {
        metrics: Registry("metric", MetricEntry, "no.such.group"),
        defenses: Registry("defense", DefenseEntry, "no.such.group"),
        attacks: Registry("attack", AttackEntry, "no.such.group"),
    }
    for name in ("fast", "other", "slow"):
        kinds[metrics].register(MetricEntry(name=name, target="nowhere:X"))
    for name, kind in ALL.items():
        kinds[defenses].register(DefenseEntry(name=name, target="nowhere:X", kind=kind))
    kinds[attacks].register(AttackEntry(name="ifgsm", target="nowhere:X", access="white-box"))
    kinds[attacks].register(AttackEntry(name="square", target="nowhere:X", access="black-box"))
    for package, registry in kinds.items():
        monkeypatch.setattr(package, "registry", registry)


def planned(
    scenario: str = "nonadaptive",
    user: Selection = FAST,
    suite: Selection | None = None,
    sizes: Sizes | None = None,
    goal: str = "raise",
) -> list[Cell]:
    return cells(scenario=scenario, profile=PROFILE, sizes=sizes or Sizes(), user=user, suite=suite, goal=goal)


def ids(found: list[Cell]) -> list[str]:
    return [cell.id for cell in found]


# --- which cells ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("clean", ["at", "flip", "jpeg", "ms", "none"]),
        ("nonadaptive", ["at", "flip", "jpeg", "none"]),
        ("adaptive", ["at", "flip", "jpeg", "ms"]),
        ("certified", ["ms"]),
        ("soundness", ["ms"]),
        ("transfer", ["flip", "jpeg", "none"]),
    ],
)
def test_a_scenario_is_about_its_kinds_of_defense(scenario: str, expected: list[str]) -> None:
    found = planned(scenario)
    assert sorted({cell.defense for cell in found}) == expected
    assert {cell.scenario for cell in found} == {scenario}
    assert {ALL[cell.defense] for cell in found} <= set(KINDS[scenario])


def test_a_clean_scenario_has_no_attacks() -> None:
    assert ids(planned("clean")) == ["fast/at", "fast/flip", "fast/jpeg", "fast/ms", "fast/none"]


def test_a_soundness_scenario_names_no_attack_and_has_images_of_its_own() -> None:
    assert ids(planned("soundness")) == ["fast/ms"]
    assert [cell.name for cell in planned("soundness", goal="lower")] == ["soundness:fast/ms:lower"]
    assert [cell.images for cell in planned("soundness")] == [3]
    assert [cell.images for cell in planned("soundness", sizes=Sizes(images=7))] == [7]
    assert planned("soundness", replace(FAST, attack=("ifgsm",))) == []
    assert planned("soundness", replace(FAST, strength=("weak",))) == []


def test_a_defense_that_a_profile_has_in_one_scenario_is_in_others_where_it_is_named() -> None:
    profile = replace(PROFILE, defenses=("ms", "none"), scenarios={"ms": ("soundness",)})

    def found(of: str, **user: Any) -> set[str]:
        asked = Selection(metric=("fast",), **user)
        return {one.defense for one in cells(scenario=of, profile=profile, sizes=Sizes(), user=asked)}

    assert (found("soundness"), found("certified"), found("clean")) == ({"ms"}, set(), {"none"})
    assert found("certified", defense=("m*",)) == {"ms"}
    assert found("clean", scenario=("clean",)) == {"ms", "none"}


def test_cells_come_by_metric_defense_attack_and_rising_strength() -> None:
    found = planned(user=Selection(metric=("fast", "other"), defense=("none", "flip")))
    assert ids(found) == [
        f"{metric}/{defense}/{attack}/{strength}"
        for metric in ("fast", "other")
        for defense in ("flip", "none")
        for attack in ("ifgsm", "square")
        for strength in ("weak", "medium", "strong")
    ]


def test_without_a_choice_the_profiles_metrics_run() -> None:
    assert [*dict.fromkeys(cell.metric for cell in planned("clean", Selection()))] == ["fast", "slow"]


@pytest.mark.parametrize(
    ("user", "suite", "expected"),
    [
        (Selection(), Selection(metric=("other",)), ["other"]),  # a metric that only the suite names
        (Selection(metric=("fast",)), Selection(metric=("other",)), []),
        (Selection(metric=("*",)), Selection(metric=("other", "fast")), ["fast", "other"]),
        (Selection(metric=("o*", "fast")), None, ["fast", "other"]),
        (Selection(metric=("my.package:Own", "fast")), None, ["fast", "my.package:Own"]),
    ],
)
def test_user_and_suite_must_both_agree_to_a_metric(
    user: Selection, suite: Selection | None, expected: list[str]
) -> None:
    assert sorted({cell.metric for cell in planned(user=user, suite=suite)}) == expected


@pytest.mark.parametrize("axis", ["defense", "attack", "strength", "scenario"])
def test_user_and_suite_must_both_agree_on_every_axis(axis: str) -> None:
    names = {"defense": ("flip", "jpeg"), "attack": ("ifgsm", "square"), "strength": ("weak", "strong")}
    one, other = names.get(axis, ("nonadaptive", "adaptive"))
    mine = Selection(**{"metric": ("fast",), axis: (one,)})
    assert {getattr(cell, axis) for cell in planned(user=mine, suite=Selection(**{axis: (one, other)}))} == {one}
    assert planned(user=mine, suite=Selection(**{axis: (other,)})) == []
    assert {getattr(cell, axis) for cell in planned(suite=Selection(**{axis: (one,)}))} == {one}


def test_patterns_select_by_fnmatch() -> None:
    found = planned(user=Selection(metric=("f*",), defense=("[fj]*",), attack=("*fgsm",), strength=("[wm]*",)))
    assert ids(found) == [f"fast/{d}/ifgsm/{s}" for d in ("flip", "jpeg") for s in ("weak", "medium")]


def test_a_defense_or_attack_of_ones_own_is_taken_by_reference() -> None:
    mine = Selection(metric=("fast",), defense=("my.package:D",), attack=("my.package:A",), strength=("weak",))
    assert ids(planned(user=mine)) == ["fast/my.package:D/my.package:A/weak"]


AXES = {
    "metric": ["fast", "slow", "other", "*"],
    "defense": ["none", "jpeg", "ms", "*p*"],
    "attack": ["ifgsm", "square", "s*"],
    "strength": ["weak", "strong", "*"],
}
SELECTIONS = st.fixed_dictionaries(
    {axis: st.lists(st.sampled_from(names), max_size=2).map(tuple) for axis, names in AXES.items()}
).map(lambda axes: Selection(**axes))


@given(SELECTIONS, SELECTIONS, st.sampled_from(SCENARIOS), st.sampled_from(GOALS))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_are_unique_and_a_suite_only_takes_away(
    user: Selection, suite: Selection, scenario: str, goal: str
) -> None:
    found = planned(scenario, user, suite, goal=goal)
    names = [cell.name for cell in found]
    assert len(set(names)) == len(names)
    assert {cell.goal for cell in found} <= {goal}
    if user.metric:
        whole = {cell.name for cell in planned(scenario, user, goal=goal)}
        assert set(names) <= whole


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_cell_has_the_profiles_sizes() -> None:
    (cell,) = planned(user=Selection(metric=("fast",), defense=("flip",), attack=("ifgsm",), strength=("weak",)))
    assert cell == Cell(
        metric="fast",
        defense="flip",
        attack="ifgsm",
        strength="weak",
        scenario="nonadaptive",
        dataset="mini",
        images=100,
        size=(8, 9),
        queries=70,
        draws=4,
        n0=3,
        n=30,
    )


def test_images_follow_from_attack_and_defense() -> None:
    found = planned("adaptive", Selection(metric=("fast",), defense=("flip", "ms"), strength=("weak",)))
    assert {(cell.defense, cell.attack): cell.images for cell in found} == {
        ("flip", "ifgsm"): 100,
        ("flip", "square"): 20,
        ("ms", "ifgsm"): 5,
        ("ms", "square"): 5,
    }
    assert {cell.images for cell in planned("clean", Selection(metric=("fast",), defense=("flip",)))} == {100}


def test_options_override_the_profile() -> None:
    sizes = Sizes(dataset="folder:/x", images=7, max_queries=50, seed=3)
    for cell in planned(sizes=sizes):
        assert (cell.dataset, cell.images, cell.seed) == ("folder:/x", 7, 3)
        assert (cell.queries, cell.max_forwards) == (50, 50)


def test_more_queries_than_the_profile_has_are_a_limit_not_a_budget() -> None:
    cell = planned(sizes=Sizes(max_queries=1000))[0]
    assert (cell.queries, cell.max_forwards) == (70, 1000)
    assert planned()[0].max_forwards is None


@pytest.mark.parametrize("goal", GOALS)
def test_the_goal_is_the_suites(goal: str) -> None:
    assert {cell.goal for cell in planned(goal=goal)} == {goal}


# --- slow metrics ---------------------------------------------------------------------------------------------------


def test_a_slow_metric_is_cut_down_on_every_axis() -> None:
    found = [cell for cell in planned(user=Selection()) if cell.metric == "slow"]
    assert ids(found) == ["slow/jpeg/ifgsm/weak", "slow/none/ifgsm/weak"]
    assert {cell.images for cell in found} == {10}
    assert ids([c for c in planned("clean", Selection()) if c.metric == "slow"]) == ["slow/jpeg", "slow/none"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (Selection(metric=("slow",)), ["slow/jpeg/ifgsm/weak", "slow/none/ifgsm/weak"]),
        (Selection(metric=("slow",), defense=("flip",)), ["slow/flip/ifgsm/weak"]),
        (
            Selection(metric=("slow",), attack=("square",)),
            ["slow/jpeg/square/weak", "slow/none/square/weak"],
        ),
        (
            Selection(metric=("slow",), defense=("none",), strength=("medium", "strong")),
            ["slow/none/ifgsm/medium", "slow/none/ifgsm/strong"],
        ),
    ],
)
def test_what_the_user_names_on_an_axis_is_not_cut(user: Selection, expected: list[str]) -> None:
    assert ids(planned(user=user)) == expected


def test_what_only_the_suite_names_is_cut() -> None:
    assert planned(user=Selection(metric=("slow",)), suite=Selection(attack=("square",))) == []


def test_images_that_the_user_asks_for_are_given_to_slow_metrics_too() -> None:
    assert {cell.images for cell in planned(user=Selection(), sizes=Sizes(images=50))} == {50}


# --- misspelt names -------------------------------------------------------------------------------------------------

MISSPELT = {
    "metric": ("fsat", "metric", "fast"),
    "defense": ("jpg", "defense", "jpeg"),
    "attack": ("squar", "attack", "square"),
    "strength": ("mediun", "strength", "medium"),
    "scenario": ("cleen", "scenario", "clean"),
}


@pytest.mark.parametrize("axis", MISSPELT)
def test_a_misspelt_name_is_an_error_whoever_wrote_it(axis: str) -> None:
    wrong, kind, close = MISSPELT[axis]
    selection = Selection(**{axis: (wrong,)})
    for attempt in (lambda: check_selection(selection), lambda: planned(suite=selection)):
        with pytest.raises(UnknownNameError, match=f"unknown {kind} '{wrong}'") as caught:
            attempt()
        assert close in caught.value.suggestions


@pytest.mark.parametrize("axis", MISSPELT)
def test_a_pattern_that_selects_nothing_is_an_error(axis: str) -> None:
    with pytest.raises(UnknownNameError, match=r"'qqq\*'"):
        check_selection(Selection(**{axis: ("qqq*",)}))


def test_a_suite_of_an_unknown_scenario_or_goal_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown scenario 'adaptve'"):
        planned("adaptve")
    with pytest.raises(UnknownNameError, match="unknown goal 'rise'"):
        planned(goal="rise")


def test_names_patterns_and_references_pass_the_check() -> None:
    check_selection(Selection())
    check_selection(
        Selection(
            metric=("fast", "my.package:Own"),
            defense=("*",),
            attack=("square",),
            strength=("w*", "strong"),
            scenario=("*adaptive",),
        )
    )


# --- option texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("flip, jpeg", ("flip", "jpeg")),
        (" flip ,, jpeg ,", ("flip", "jpeg")),
        (["flip,jpeg", "none"], ("flip", "jpeg", "none")),
        (("a:B",), ("a:B",)),
        ("exec:score '--sizes=3,4', flip", ("exec:score '--sizes=3,4'", "flip")),
        ('exec:score "a,b"', ('exec:score "a,b"',)),
        ("it's, flip", ("it's", "flip")),
        ("", ()),
        (" , ", ()),
        ([], ()),
        (None, ()),
    ],
)
def test_a_comma_list_is_split_and_blanks_are_dropped(text: object, patterns: tuple[str, ...]) -> None:
    assert parsed_patterns(text) == patterns  # type: ignore[arg-type]


# --- metrics that answer queries only -------------------------------------------------------------------------------


@pytest.fixture
def queries_only() -> Selection:
    metrics.registry.register_family(Family(entry=MetricEntry(name="exec", target="nowhere:X", access="query-only")))
    return Selection(metric=("exec:./score --all", "fast"), defense=("none", "flip", "ms"), strength=("weak",))


@pytest.mark.parametrize("scenario", ["nonadaptive", "adaptive", "certified"])
def test_white_box_attacks_on_queries_do_not_apply(scenario: str, queries_only: Selection) -> None:
    plan = planned_apart(scenario=scenario, profile=PROFILE, sizes=Sizes(), user=queries_only)
    assert {(cell.metric, cell.attack) for cell in plan.cells} == {
        ("exec:./score --all", "square"),
        ("fast", "ifgsm"),
        ("fast", "square"),
    }
    assert {(cell.metric, cell.attack) for cell in plan.not_applicable} == {("exec:./score --all", "ifgsm")}


def test_gradients_inside_a_radius_are_gradients(queries_only: Selection) -> None:
    user = replace(queries_only, strength=())
    plan = planned_apart(scenario="soundness", profile=PROFILE, sizes=Sizes(), user=user)
    assert ids(plan.cells) == ["fast/ms"]
    assert ids(plan.not_applicable) == ["exec:./score --all/ms"]


def test_clean_cells_of_queries_apply(queries_only: Selection) -> None:
    user = replace(queries_only, strength=())
    plan = planned_apart(scenario="clean", profile=PROFILE, sizes=Sizes(), user=user)
    assert "exec:./score --all/none" in ids(plan.cells)
    assert not plan.not_applicable


def test_a_metric_of_somebodys_module_is_asked_when_it_may_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("own_queries")
    own.Thing = SimpleNamespace(spec=SimpleNamespace(access="query-only"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_queries", own)
    for load, count in ((False, 0), (True, 12)):
        user = Selection(metric=("own_queries:Thing",))
        plan = planned_apart(scenario="nonadaptive", profile=PROFILE, sizes=Sizes(), user=user, load=load)
        assert len(plan.not_applicable) == count


# --- certified defenses ---------------------------------------------------------------------------------------------


def test_a_profile_attacks_dear_defenses_at_some_strengths_only() -> None:
    cut = replace(PROFILE, certified_strengths=("strong",))
    for user, expected in (
        (Selection(metric=("fast",), defense=("ms",)), {"strong"}),
        (Selection(metric=("fast",), defense=("ms",), strength=("weak",)), {"weak"}),
        (Selection(metric=("fast",), defense=("flip",)), {"weak", "medium", "strong"}),
    ):
        found = cells(scenario="adaptive", profile=cut, sizes=Sizes(), user=user)
        assert {cell.strength for cell in found} == expected
    assert (
        len(cells(scenario="clean", profile=cut, sizes=Sizes(), user=Selection(metric=("fast",), defense=("ms",)))) == 1
    )


def test_a_pattern_of_a_collection_is_matched_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = ModuleType("lab_catalogue")
    vars(catalogue).update(check=lambda name: None, names=lambda: ["blur", "blur+", "noise"])
    monkeypatch.setitem(sys.modules, "lab_catalogue", catalogue)
    family = MetricEntry(name="lab", target="nowhere:X")
    metrics.registry.register_family(Family(entry=family, catalogue="lab_catalogue"))
    for asked, found in ((("lab:blur*",), {"lab:blur", "lab:blur+"}), (("lab:noise", "fast"), {"lab:noise", "fast"})):
        assert {cell.metric for cell in planned(user=Selection(metric=asked))} == found
    assert not any(":" in cell.metric for cell in planned(user=Selection(metric=("*",))))
    with pytest.raises(UnknownNameError, match="nothing"):
        check_selection(Selection(metric=("nothing:like+this",)))


# --- adaptive cells -------------------------------------------------------------------------------------------------


def test_the_black_box_part_takes_the_images_of_the_pairs_own_query_cell() -> None:
    for sizes in (Sizes(), Sizes(images=7)):
        found = {(one.defense, one.attack): one for one in planned("adaptive", sizes=sizes)}
        for (defense, _), one in found.items():
            assert one.query_images == found[defense, "square"].images
    assert {one.query_images for one in planned("adaptive")} == {20, 5}  # certified cells are dearer


@pytest.mark.parametrize("scenario", ["clean", "nonadaptive", "certified"])
def test_other_scenarios_have_no_such_part_and_double_nothing(scenario: str) -> None:
    found = planned(scenario, sizes=Sizes(doublings=3))
    assert {(one.query_images, one.doublings) for one in found} == {(0, 0)}


@pytest.mark.parametrize("attack", ["ifgsm", "square"])
def test_a_profile_without_the_black_box_attack_has_no_such_part_whatever_is_selected(attack: str) -> None:
    user = Selection(metric=("slow", "fast"), attack=(attack,), defense=("jpeg",), strength=("weak",))
    slow_and_fast = {one.metric: one.query_images for one in planned("adaptive", user)}
    assert slow_and_fast == {"slow": 0, "fast": 20}
    without = replace(PROFILE, attacks=("ifgsm",))
    found = cells(scenario="adaptive", profile=without, sizes=Sizes(), user=user)
    assert {one.query_images for one in found} == {0}


def test_iterations_are_doubled_as_the_profile_says_and_the_option_says_more() -> None:
    limit = replace(PROFILE.limits["slow"], doublings={"ifgsm": 2})
    doubling = replace(PROFILE, doublings={"ifgsm": 1}, limits={"slow": limit})

    def found(sizes: Sizes) -> dict[tuple[str, str], int]:
        user = Selection(metric=("slow", "fast"), attack=("ifgsm", "square"), defense=("jpeg",), strength=("weak",))
        planned_cells = cells(scenario="adaptive", profile=doubling, sizes=sizes, user=user)
        return {(one.metric, one.attack): one.doublings for one in planned_cells}

    assert found(Sizes()) == {
        ("fast", "ifgsm"): 1,
        ("fast", "square"): 0,
        ("slow", "ifgsm"): 2,
        ("slow", "square"): 0,
    }
    assert set(found(Sizes(doublings=0)).values()) == {0}


def test_draws_and_scoring_are_the_options() -> None:
    (one, *_) = planned("adaptive")
    assert (one.draws, one.scoring) == (4, "one-shot")
    (other, *_) = planned("adaptive", sizes=Sizes(draws=16, scoring="mean-of-8"))
    assert (other.draws, other.scoring) == (16, "mean-of-8")


# --- transfers ------------------------------------------------------------------------------------------------------


def transferred(user: Selection, *, between: str = "defenses", **more: Any) -> list[Cell]:
    given = {"profile": PROFILE, "sizes": Sizes(), **more}
    return planned_apart(scenario="transfer", user=user, between=between, **given).cells


def test_every_defense_scores_the_attacks_on_every_other_and_its_own() -> None:
    found = transferred(Selection(metric=("fast", "other"), defense=("none", "flip")))
    assert ids(found) == [
        f"{metric}/{defense}/ifgsm/weak/from:{metric}/{source}"
        for metric in ("fast", "other")
        for defense in ("flip", "none")
        for source in ("flip", "none")
    ]


def test_every_undefended_metric_scores_the_attacks_on_every_other_and_its_own() -> None:
    found = transferred(Selection(metric=("fast", "other")), between="metrics")
    assert ids(found) == [
        f"{metric}/none/ifgsm/weak/from:{source}/none" for metric in ("fast", "other") for source in ("fast", "other")
    ]
    assert transferred(Selection(metric=("fast", "other"), defense=("jpeg",)), between="metrics") == []


def test_the_white_box_cell_of_both_kinds_is_one() -> None:
    """Both suites have an item of this name, which stands for one cell."""
    user = Selection(metric=("fast", "slow"))
    defenses_, metrics_ = (transferred(user, between=between) for between in ("defenses", "metrics"))
    common = {cell.name: cell for cell in defenses_}.keys() & {cell.name for cell in metrics_}
    assert sorted(common) == [f"transfer:{m}/none/ifgsm/weak/from:{m}/none" for m in ("fast", "slow")]
    assert {c for c in defenses_ if c.name in common} == {c for c in metrics_ if c.name in common}


def test_images_are_those_of_the_source_whose_attack_exists() -> None:
    for cell in transferred(Selection(metric=("fast", "slow")), between="metrics"):
        assert cell.images == (10 if cell.attacked[0] == "slow" else 100)


def test_a_single_defense_or_metric_transfers_nothing() -> None:
    assert transferred(Selection(metric=("fast",), defense=("flip",))) == []
    assert transferred(Selection(metric=("fast",)), between="metrics") == []


def test_axes_are_the_users_and_the_suites_and_slow_metrics_are_cut() -> None:
    user = Selection(metric=("fast",), attack=("square",), strength=("medium", "strong"))
    assert {(cell.attack, cell.strength) for cell in transferred(user)} == {("square", "medium"), ("square", "strong")}
    assert transferred(user, suite=Selection(strength=("weak",))) == []
    assert transferred(user, suite=Selection(attack=("ifgsm",))) == []
    slow = transferred(Selection(metric=("slow",)))
    assert {cell.defense for cell in slow} == {"jpeg", "none"}


def test_who_answers_queries_only_scores_and_is_no_source_of_gradients(queries_only: Selection) -> None:
    user = replace(queries_only, defense=())
    found = transferred(user, between="metrics")
    assert {(cell.metric, cell.attacked[0]) for cell in found} == {("exec:./score --all", "fast"), ("fast", "fast")}
    assert len(transferred(replace(user, attack=("square",)), between="metrics")) == 4


def test_a_profile_without_transfers_has_none_and_a_misspelt_choice_is_an_error() -> None:
    assert transferred(FAST, profile=replace(PROFILE, transfers=None)) == []
    with pytest.raises(UnknownNameError, match="'defences'"):
        transferred(FAST, between="defences")
