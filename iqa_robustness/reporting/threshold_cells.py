"""Cells as `iqa-robustness thresholds` knows them: by their name in a report, or all that a profile has."""

from __future__ import annotations

from dataclasses import dataclass

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.axes import GOALS, SCENARIOS, Axes
from iqa_robustness.bench.plan import BETWEEN, Selection, Sizes, planned
from iqa_robustness.bench.profiles import Profile
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.gate.thresholds import Match


@dataclass(frozen=True, kw_only=True)
class NamedCell:
    """Where a cell stands, without what it takes to compute it; fields as of `bench.cell.Cell`."""

    metric: str
    defense: str
    attack: str = ""
    strength: str = ""
    scenario: str = "nonadaptive"
    goal: str = "raise"

    @classmethod
    def parsed(cls, name: str) -> NamedCell:
        """From a name as reports print it, for one `adaptive:compact/flip/ifgsm/medium:lower`.

        The scenario is `nonadaptive` (without an attack `clean`) and the goal `raise` where the name does not say.

        Raises:
            ConfigurationError: the name is none.
        """
        scenario, _, rest = name.partition(":")
        rest = rest if scenario in SCENARIOS else name
        head, _, goal = rest.rpartition(":")
        body, goal = (head, goal) if goal in GOALS else (rest, "raise")
        body = body.partition("/from:")[0]
        parts = body.rsplit("/", 3)
        if len(parts) == 4 and parts[-1] in STRENGTHS:
            metric, defense, attack, strength = parts
        else:
            metric, _, defense = body.rpartition("/")
            attack = strength = ""
        if not (metric and defense):
            raise ConfigurationError(
                f"no name of a cell: {name!r}",
                fix="write METRIC/DEFENSE/ATTACK/STRENGTH or METRIC/DEFENSE, after SCENARIO: where it is another one",
            )
        usual = "nonadaptive" if attack else "clean"
        return cls(
            metric=metric,
            defense=defense,
            attack=attack,
            strength=strength,
            scenario=scenario if scenario in SCENARIOS else usual,
            goal=goal,
        )


def named_cells(profile: Profile, match: Match) -> list[Axes]:
    """Every cell that the profile has where a suite or an option names what a rule matches."""
    axes = ("metric", "defense", "attack", "strength", "scenario")
    return profile_cells(profile, Selection(**{axis: tuple(match.given.get(axis, ())) for axis in axes}))


def profile_cells(profile: Profile, user: Selection) -> list[Axes]:
    """Every cell of the profile, or of what the user names, in all scenarios, goals and transfers."""
    found: list[Axes] = []
    for scenario in SCENARIOS:
        for goal in GOALS:
            for between in BETWEEN if scenario == "transfer" else BETWEEN[:1]:
                plan = planned(scenario=scenario, profile=profile, sizes=Sizes(), user=user, goal=goal, between=between)
                found += plan.cells
    return found
