"""Which records a leaderboard compares: one data set, the same attacks on the same images, for every defense."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.results import is_planted
from iqa_robustness.store import Record

SCENARIOS = ("nonadaptive", "adaptive", "certified")
# Only what all contestants of a task have in common makes it the same task; these name the task, or who takes part.
_AXES = ("metric", "defense", "attack", "strength", "scenario")
# A place where the images lie says nothing of what they are; their digest does.
_PLACES = ("dataset", "images")


class Task(NamedTuple):
    """What every defense is put through: an attack of one strength on one metric."""

    scenario: str
    metric: str
    attack: str
    strength: str

    @property
    def cell(self) -> tuple[str, str]:
        """Attack and strength: the cells that the published tables are means over."""
        return self.attack, self.strength


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A defense with its parameters.

    name: of the defense; with the parameters that tell it from others of that name.
    kind: as of `Defense.kind`.      family: its class.      fields: its parameters.
    """

    name: str
    kind: str
    family: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Board:
    """Records that can be compared.

    dataset: kind of the data set and size of the images.      contestants: `none` first, then by name.
    records: by task and contestant's name.      left_out: how many records are not here, by reason.
    """

    dataset: str
    contestants: tuple[Contestant, ...]
    records: Mapping[tuple[Task, str], Record]
    left_out: Mapping[str, int]

    @cached_property
    def tasks(self) -> dict[str, tuple[Task, ...]]:
        """By scenario, what at least half of the contestants in it were put through.

        A defense that was put through something of its own is not measured by that: it would be chosen to suit it.
        """
        taking: dict[Task, set[str]] = defaultdict(set)
        for task, name in self.records:
            taking[task].add(name)
        found = {}
        for scenario in SCENARIOS:
            own = {task: names for task, names in taking.items() if task.scenario == scenario}
            least = len(set().union(*own.values())) / 2
            found[scenario] = tuple(sorted((t for t, names in own.items() if len(names) >= least), key=_place))
        return found

    def of(self, name: str, scenario: str) -> dict[Task, Record]:
        """A contestant's records of the tasks that count."""
        return {task: self.records[task, name] for task in self.tasks[scenario] if (task, name) in self.records}

    def lacking(self, name: str, scenario: str) -> int:
        """Of how many tasks that count a contestant has no record."""
        return len(self.tasks[scenario]) - len(self.of(name, scenario))

    def taking_part(self, scenario: str) -> list[Contestant]:
        """Contestants with a record that counts."""
        return [one for one in self.contestants if self.of(one.name, scenario)]

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics, sorted."""
        return sorted({task.metric for task, _ in self.records})

    @cached_property
    def pseudo(self) -> bool:
        """Whether some opinion scores are a formula's."""
        return any(record.meta["dataset"]["mos_kind"] != "human" for record in self.records.values())


def board_of(records: Iterable[Record], *, dataset: str = "") -> Board:
    """The records of one data set that can be compared with each other.

    Left out are planted subjects, attacks that lower the score, transfers, certificates attacked inside their radii,
    other data sets, older versions of a defense, and what was made under other conditions (images, budgets, draws,
    versions of the metric or attack) than most defenses have it; among equals the conditions with more images count.

    Args:
        records: of one or more stores.
        dataset: as in `Board.dataset`; empty takes the one with most records.

    Raises:
        ConfigurationError: no record is left.
    """
    left_out: Counter[str] = Counter()
    usable = []
    for record in {str(record.meta["key"]): record for record in records}.values():
        reason = _unusable(record)
        if reason:
            left_out[reason] += 1
        else:
            usable.append(record)
    counts = Counter(dataset_of(record) for record in usable)
    chosen = dataset or max(sorted(counts), key=lambda name: counts[name], default="")
    if not counts[chosen]:
        known = ", ".join(f"{name!r} ({count})" for name, count in sorted(counts.items())) or "no records of attacks"
        raise ConfigurationError(
            f"there is nothing to compare on the data set {chosen!r}" if chosen else "there is nothing to compare",
            fix=f"the stores hold {known}; a run with --iqa-store=URL fills one",
        )
    for name, count in counts.items():
        if name != chosen:
            left_out[f"data set {name}"] += count
    usable = [record for record in usable if dataset_of(record) == chosen]
    usable, old = _newest_versions(usable)
    names = _names(usable)
    groups: dict[Task, dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in sorted(usable, key=lambda r: (str(r.volatile.get("created", "")), str(r.meta["key"]))):
        groups[_task(record)][_conditions(record)][names[_identity(record)]] = record
    found: dict[tuple[Task, str], Record] = {}
    for task, conditions in groups.items():
        best = max(sorted(conditions), key=lambda c: (len(conditions[c]), _images(conditions[c])))
        found |= {(task, name): record for name, record in conditions[best].items()}
    left_out["older version of a defense"] += old
    left_out["other conditions than most have, or computed twice"] += len(usable) - len(found)
    contestants = {names[_identity(r)]: _contestant(r, names[_identity(r)]) for r in found.values()}
    return Board(
        dataset=chosen,
        contestants=tuple(sorted(contestants.values(), key=lambda one: (one.kind != "none", one.name))),
        records=found,
        left_out={reason: count for reason, count in sorted(left_out.items()) if count},
    )


def dataset_of(record: Record) -> str:
    """Kind of a record's data set (what stands before a path) and size of its images: `koniq 384×512`."""
    height, width = record.meta["cell"]["size"]
    return f"{str(record.meta['dataset']['name']).partition(':')[0]} {height}×{width}"


def _unusable(record: Record) -> str:
    cell = record.meta["cell"]
    if is_planted(cell["metric"]) or str(cell["defense"]).startswith("iqa_robustness.defenses.planted:"):
        return "planted subject"
    if cell["scenario"] not in SCENARIOS:
        return f"scenario {cell['scenario']}"
    return "" if cell["goal"] == "raise" else "attack that lowers the score"


def _task(record: Record) -> Task:
    cell = record.meta["cell"]
    return Task(*(str(cell[axis]) for axis in ("scenario", "metric", "attack", "strength")))


def _conditions(record: Record) -> str:
    """All that makes two records of one task comparable, as text."""
    meta = record.meta
    asked = {name: value for name, value in meta["cell"].items() if name not in (*_AXES, *_PLACES)}
    metric = {name: meta["metric"].get(name) for name in ("version", "score_range", "higher_is_better")}
    attack = {name: meta["attack"].get(name) for name in ("class", "version", "fields")}
    made = {"images": meta["dataset"]["digest"], "metric": metric, "attack": attack}
    weights = meta.get("key_document", {}).get("target", {}).get("metric", {})
    return json.dumps([asked, made, weights.get("weights"), weights.get("fingerprint")], sort_keys=True)


def _images(records: Mapping[str, Record]) -> int:
    return len(next(iter(records.values())).images)


def _identity(record: Record) -> str:
    """The defense with all of its parameters, as text."""
    defense = record.meta["defense"]
    return json.dumps([record.meta["cell"]["defense"], defense["class"], defense["fields"]], sort_keys=True)


def _newest_versions(records: list[Record]) -> tuple[list[Record], int]:
    """Without the records of a defense that has others of a higher version, and how many these were."""
    newest: dict[str, int] = defaultdict(int)
    for record in records:
        newest[_identity(record)] = max(newest[_identity(record)], int(record.meta["defense"]["version"]))
    kept = [record for record in records if record.meta["defense"]["version"] == newest[_identity(record)]]
    return kept, len(records) - len(kept)


def _names(records: Iterable[Record]) -> dict[str, str]:
    """By identity, the defense's name, with the parameters that tell it from others of that name."""
    variants: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        variants[str(record.meta["cell"]["defense"])][_identity(record)] = record
    names = {}
    for name, found in variants.items():
        fields = [record.meta["defense"]["fields"] for record in found.values()]
        differing = differing_fields(fields)
        for identity, record in found.items():
            own = record.meta["defense"]["fields"]
            said = ", ".join(f"{field}={_spoken(own.get(field))}" for field in differing)
            names[identity] = f"{name} ({said})" if said else name
    return names


def differing_fields(fields: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of parameters that do not have one value everywhere, sorted."""
    listed = [*fields]
    every = sorted({name for one in listed for name in one})
    return [name for name in every if len({json.dumps(one.get(name), sort_keys=True) for one in listed}) > 1]


def _spoken(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _contestant(record: Record, name: str) -> Contestant:
    defense = record.meta["defense"]
    return Contestant(name=name, kind=defense["kind"], family=defense["class"], fields=defense["fields"])


def _place(task: Task) -> tuple[str, int, str, str]:
    strengths = [*STRENGTHS]
    place = strengths.index(task.strength) if task.strength in strengths else len(strengths)
    return task.attack, place, task.strength, task.metric
