"""Which cells a run consists of: registered names, a profile, and what the user selected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import BLACK_BOX, Cell
from iqa_robustness.bench.profiles import Profile
from iqa_robustness.errors import UnknownNameError
from iqa_robustness.registry import Registry

Patterns = tuple[str, ...]
# A comma between quotation marks belongs to a command (`exec:score "--sizes=3,4"`).
_PIECE = re.compile(r"""(?:'[^']*'|"[^"]*"|[^,])+""")
# Which kinds of defense a scenario is about.
KINDS = {
    "clean": ("none", "purification", "detection", "certified", "training"),
    "nonadaptive": ("none", "purification", "detection", "training"),
    "adaptive": ("purification", "detection", "certified", "training"),
    "certified": ("certified",),
    "soundness": ("certified",),
    "transfer": ("none", "purification", "training"),
}
# Scenarios whose cells name no attack: none there is, or the certificate itself says what it is held to.
_WITHOUT_ATTACK = ("clean", "soundness")
BETWEEN = ("defenses", "metrics")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user asked for: names or fnmatch patterns for each axis; empty is everything the profile has."""

    metric: Patterns = ()
    defense: Patterns = ()
    attack: Patterns = ()
    strength: Patterns = ()
    scenario: Patterns = ()


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What options override of the profile; None keeps the profile's number.

    dataset: reference of the images.
    images: images a cell.
    max_queries: forwards an image, for every attack.
    seed: of everything random.
    scoring: how random pairs are scored.
    draws: forward passes averaged for one value of a stochastic target (EOT).
    doublings: how often the iterations of adaptive attacks are doubled.
    """

    dataset: str = "mini"
    images: int | None = None
    max_queries: int | None = None
    seed: int = 0
    scoring: str = "one-shot"
    draws: int | None = None
    doublings: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cells of one scenario.

    cells: to be run.
    not_applicable: selected, but without meaning: a white-box attack on a metric that answers queries only.
    """

    cells: list[Cell] = field(default_factory=list)
    not_applicable: list[Cell] = field(default_factory=list)


def check_selection(selection: Selection) -> None:
    """Raise UnknownNameError for a name or pattern that can select nothing."""
    _matching(metrics.registry, selection.metric)
    _matching(defenses.registry, selection.defense)
    _matching(attacks.registry, selection.attack)
    for patterns, kind, choices in (
        (selection.strength, "strength", attacks.STRENGTHS),
        (selection.scenario, "scenario", SCENARIOS),
    ):
        for pattern in patterns:
            if not any(fnmatchcase(choice, pattern) for choice in choices):
                raise UnknownNameError(kind, pattern, choices)


def cells(
    *,
    scenario: str,
    profile: Profile,
    sizes: Sizes,
    user: Selection,
    suite: Selection | None = None,
    goal: str = "raise",
) -> list[Cell]:
    """The cells of one scenario that are to be run; see `planned`."""
    return planned(scenario=scenario, profile=profile, sizes=sizes, user=user, suite=suite, goal=goal).cells


def planned(
    *,
    scenario: str,
    profile: Profile,
    sizes: Sizes,
    user: Selection,
    suite: Selection | None = None,
    goal: str = "raise",
    load: bool = False,
    between: str = "defenses",
) -> Plan:
    """One scenario's cells, sorted by metric, defense, attack and strength.

    Args:
        scenario: one of `SCENARIOS`.
        profile: sizes and default metrics.
        sizes: what overrides them.
        user: from the command line or ini file.
        suite: what the test function is about; both must be met. A metric that only the suite names is taken too.
        goal: `raise` or `lower`.
        load: import somebody's own metrics to learn which of them answer queries only; the others say so by name.
        between: of scenario `transfer`: each of the `defenses` of one metric, or each of the undefended `metrics`, is
            attacked, and all of them score the images.

    Raises:
        UnknownNameError: a name that no registry has, also one of the suite's.
    """
    suite = suite or Selection()
    for kind, name, choices in (
        ("scenario", scenario, SCENARIOS),
        ("goal", goal, GOALS),
        ("choice of between", between, BETWEEN),
    ):
        if name not in choices:
            raise UnknownNameError(kind, name, choices)
    check_selection(suite)
    if not _chosen(scenario, user.scenario) or not _chosen(scenario, suite.scenario):
        return Plan()
    if scenario == "transfer":
        return Plan(cells=_transfers(between, profile, sizes, user, suite, goal, load=load))
    result = Plan()
    for metric in _metrics(profile, user, suite):
        queries_only = scenario != "clean" and metrics.access(metric, load=load) == "query-only"
        for defense in _both(defenses.registry, user.defense, suite.defense, profile.defenses):
            kind = defenses.registry.resolve(defense).kind
            if kind not in KINDS[scenario] or _not_taken(profile, user, defense, scenario):
                continue
            for attack, strength in _attacks(scenario, profile, user, suite):
                dear = kind == "certified" and _cut_certified(profile, user, strength)
                if dear or _cut(profile, user, metric, defense, attack, strength):
                    continue
                useless = queries_only and (
                    scenario == "soundness" or attacks.registry.resolve(attack).access == "white-box"
                )
                chosen = result.not_applicable if useless else result.cells
                chosen.append(_cell(metric, defense, attack, strength, kind, scenario, goal, profile, sizes))
    return result


def _cell(
    metric: str,
    defense: str,
    attack: str,
    strength: str,
    kind: str,
    scenario: str,
    goal: str,
    profile: Profile,
    sizes: Sizes,
) -> Cell:
    access = attacks.registry.resolve(attack).access if attack else "white-box"
    images = _images(metric, access, kind, scenario, profile, sizes)
    queries = profile.queries if sizes.max_queries is None else min(profile.queries, sizes.max_queries)
    # The images of a transfer from a defense are those of the adaptive cell.
    knows_defense = scenario == "adaptive" or (scenario == "transfer" and kind != "none")
    return Cell(
        metric=metric,
        defense=defense,
        attack=attack,
        strength=strength,
        scenario=scenario,
        goal=goal,
        dataset=sizes.dataset,
        images=images,
        size=profile.size,
        queries=queries,
        max_forwards=sizes.max_queries,
        draws=profile.draws if sizes.draws is None else sizes.draws,
        n0=profile.n0,
        n=profile.n,
        seed=sizes.seed,
        scoring=sizes.scoring,
        doublings=_doublings(metric, attack, profile, sizes) if knows_defense else 0,
        query_images=_query_images(metric, strength, kind, profile, sizes) if scenario == "adaptive" else 0,
    )


def _images(metric: str, access: str, kind: str, scenario: str, profile: Profile, sizes: Sizes) -> int | None:
    """Images of a cell, None for the whole data set."""
    images = profile.images(access=access, certified=kind == "certified")
    if scenario == "soundness":
        images = profile.soundness_images
    if sizes.images is not None:
        return sizes.images
    if metric in profile.limits:
        return min(images or profile.limits[metric].images, profile.limits[metric].images)
    return images


def _doublings(metric: str, attack: str, profile: Profile, sizes: Sizes) -> int:
    if sizes.doublings is not None:
        return sizes.doublings
    own = profile.limits[metric].doublings if metric in profile.limits else {}
    return {**profile.doublings, **own}.get(attack, 0)


def _query_images(metric: str, strength: str, kind: str, profile: Profile, sizes: Sizes) -> int:
    """Images of the black-box part of an adaptive cell: those of the pair's black-box cell, where the profile has it.

    What the user selects makes no difference: a cell's record must not depend on which other cells are run.
    """
    limit = profile.limits.get(metric)
    if (profile.attacks and BLACK_BOX not in profile.attacks) or (
        limit is not None and (BLACK_BOX not in limit.attacks or strength not in limit.strengths)
    ):
        return 0
    return _images(metric, "black-box", kind, "adaptive", profile, sizes) or 0


def _transfers(
    between: str, profile: Profile, sizes: Sizes, user: Selection, suite: Selection, goal: str, *, load: bool
) -> list[Cell]:
    """From each to each of what is selected, itself included: the white-box attack that the others are compared with.

    A metric that answers queries only is scored under white-box attacks on others, and is no source of them.
    """
    usual = profile.transfers
    if usual is None:
        return []
    names = _metrics(profile, user, suite)
    kept = [
        name
        for name in _both(defenses.registry, user.defense, suite.defense, usual.defenses)
        if defenses.registry.resolve(name).kind in KINDS["transfer"]
    ]
    if between == "defenses":
        groups = [[(metric, defense) for defense in kept] for metric in names]
    else:
        groups = [[(metric, "none") for metric in names if "none" in kept]]
    strengths = [s for s in attacks.STRENGTHS if _chosen(s, user.strength or usual.strengths)]
    found = []
    for group in groups:
        for attack in _both(attacks.registry, user.attack, suite.attack, usual.attacks):
            for strength in (s for s in strengths if _chosen(s, suite.strength)):
                members = [pair for pair in group if not _cut(profile, user, *pair, attack, strength)]
                gradients = attacks.registry.resolve(attack).access == "white-box"
                sources = [m for m in members if not (gradients and metrics.access(m[0], load=load) == "query-only")]
                for source in sources if len(members) > 1 else []:
                    kind = defenses.registry.resolve(source[1]).kind
                    made = _cell(*source, attack, strength, kind, "transfer", goal, profile, sizes)
                    # The images are the source's: its white-box attack has made them, and whoever scores them is cheap.
                    found += [replace(made, metric=m, defense=d, source="/".join(source)) for m, d in members]
    return sorted(found, key=lambda cell: (cell.pair, cell.attack, strengths.index(cell.strength), cell.source))


def _metrics(profile: Profile, user: Selection, suite: Selection) -> list[str]:
    if user.metric:
        named = _matching(metrics.registry, user.metric)
        return [name for name in named if _chosen(name, suite.metric)]
    return _matching(metrics.registry, suite.metric) if suite.metric else sorted(profile.metrics)


def _attacks(scenario: str, profile: Profile, user: Selection, suite: Selection) -> list[tuple[str, str]]:
    if scenario in _WITHOUT_ATTACK:
        # Whoever names an attack or a strength asks for cells that have one.
        return [] if user.attack or user.strength else [("", "")]
    return [
        (attack, strength)
        for attack in _both(attacks.registry, user.attack, suite.attack, profile.attacks)
        for strength in attacks.STRENGTHS
        if _chosen(strength, user.strength) and _chosen(strength, suite.strength)
    ]


def _cut(profile: Profile, user: Selection, metric: str, defense: str, attack: str, strength: str) -> bool:
    """Whether the profile leaves a cell of a slow metric out; what the user names is never left out."""
    limit = profile.limits.get(metric)
    if limit is None:
        return False
    return (
        (not user.defense and defense not in limit.defenses)
        or (bool(attack) and not user.attack and attack not in limit.attacks)
        or (bool(strength) and not user.strength and strength not in limit.strengths)
    )


def _not_taken(profile: Profile, user: Selection, defense: str, scenario: str) -> bool:
    """Whether the profile has this defense in other scenarios only; what the user names is never left out."""
    return not (user.scenario or user.defense) and scenario not in profile.scenarios.get(defense, (scenario,))


def _cut_certified(profile: Profile, user: Selection, strength: str) -> bool:
    """Whether the profile leaves this strength out for certified defenses."""
    return bool(profile.certified_strengths and strength) and not (
        user.strength or strength in profile.certified_strengths
    )


def _both(registry: Registry, user: Patterns, suite: Patterns, usual: Patterns) -> list[str]:  # type: ignore[type-arg]
    """Names that the user's patterns select and the suite's admit; the profile's usual ones where neither names any."""
    named = _matching(registry, user or suite or usual)
    return [name for name in named if _chosen(name, suite)]


def _chosen(name: str, patterns: Patterns) -> bool:
    return not patterns or any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _matching(registry: Registry, patterns: Patterns) -> list[str]:  # type: ignore[type-arg]
    """Names that match, and `package.module:Class` references as they are; all registered names without patterns."""
    if not patterns:
        return registry.names()
    chosen: set[str] = set()
    for pattern in patterns:
        found = {*registry.matching(pattern)}
        if not found:
            found = {registry.resolve(pattern).name}
        chosen |= found
    return sorted(chosen)


def parsed_patterns(text: Sequence[str] | str | None) -> Patterns:
    """`"flip, jpeg"` to `("flip", "jpeg")`; lists are flattened, blanks dropped, quoted commas kept."""
    if not text:
        return ()
    parts = [text] if isinstance(text, str) else text
    return tuple(name for part in parts for name in (piece.strip() for piece in _PIECE.findall(part)) if name)
