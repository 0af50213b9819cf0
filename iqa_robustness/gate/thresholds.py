"""thresholds.yaml: what must hold, and every known weakness with its reason."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.axes import GOALS, SCENARIOS, Axes
from iqa_robustness.errors import ThresholdsFileError, UnknownNameError, Where
from iqa_robustness.gate.baseline import RATCHETED
from iqa_robustness.gate.certified import SIGNIFICANCE
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.strict_model import StrictModel
from iqa_robustness.gate.waivers import Waiver
from iqa_robustness.gate.yaml_lines import Lines, parsed

Tier = Literal["blocker", "critical", "normal"]
_PATTERN = frozenset("*?[")
# An adaptive or certified cell without a threshold of its own is held to the non-adaptive one.
_FALLBACK = {"adaptive": "nonadaptive", "certified": "nonadaptive"}


class Bound(StrictModel):
    """The limits of one measure, inclusive; a bound that is not given does not exist.

    max_regression: how much worse than in the baseline (`--iqa-baseline`), in the measure's unit.
    """

    min: float | None = None
    max: float | None = None
    max_regression: float | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Bound:
        if self.min is None and self.max is None and self.max_regression is None:
            raise ValueError("give min, max or max_regression")
        if any(math.isnan(bound) for bound in (self.min, self.max, self.max_regression) if bound is not None):
            raise ValueError("a bound is no number, nothing would ever pass")
        if self.max_regression is not None and self.max_regression < 0:
            raise ValueError("max_regression must not be negative")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def __str__(self) -> str:
        """As it is read aloud: `at most 20`."""
        parts = [f"at least {self.min:g}"] if self.min is not None else []
        parts += [f"at most {self.max:g}"] if self.max is not None else []
        if self.max_regression is not None:
            parts.append(f"at most {self.max_regression:g} worse than the baseline")
        return " and ".join(parts)


def _known(
    kind: str,
    choices: Callable[[], Iterable[str]],
    *,
    patterns: bool = False,
    references: bool = False,
    joined: bool = False,
) -> Callable[[str], str]:
    """A validator: the name is one of the choices.

    Or, where allowed: a pattern of them, `package.module:Class`, or several of all these joined by `+`.
    """

    def check(name: str) -> str:
        known = [*choices()]
        if references and ":" in name:  # a reference or a pattern of references to somebody's own package
            return name
        for part in name.split("+") if joined else [name]:
            if patterns and _PATTERN & set(part):
                if not any(fnmatchcase(choice, part) for choice in known):
                    raise ValueError(f"the pattern {part!r} matches no {kind}; known: {', '.join(sorted(known))}")
            elif part not in known:
                error = UnknownNameError(kind, part, known)
                raise ValueError(f"{error.what}; {error.fix}")
        return name

    return check


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _names(kind: str, choices: Callable[[], Iterable[str]], *, references: bool = False, joined: bool = False) -> Any:
    name = Annotated[str, AfterValidator(_known(kind, choices, patterns=True, references=references, joined=joined))]
    return Annotated[list[name], Field(min_length=1), BeforeValidator(_listed)]


def _ratcheted(bounds: dict[str, Bound]) -> dict[str, Bound]:
    for name, bound in bounds.items():
        if bound.max_regression is not None and name not in RATCHETED:
            raise ValueError(f"no max_regression for {name}; a baseline can be held against {', '.join(RATCHETED)}")
    return bounds


Bounds = Annotated[
    dict[Annotated[str, AfterValidator(_known("measure", lambda: MEASURES))], Bound], AfterValidator(_ratcheted)
]

DECLARATIONS = ("known_weakness", "waiver")
"""Keys of a rule that declare a weakness; `declared: false` takes both back."""


class Match(StrictModel):
    """Which cells a rule is about: names or patterns, one or a list; every key given must match."""

    metric: _names("metric", metrics.registry.names, references=True) | None = None  # type: ignore[valid-type]
    defense: _names("defense", defenses.registry.names, references=True, joined=True) | None = None  # type: ignore[valid-type]
    attack: _names("attack", attacks.registry.names, references=True) | None = None  # type: ignore[valid-type]
    strength: _names("strength", lambda: attacks.STRENGTHS) | None = None  # type: ignore[valid-type]
    scenario: _names("scenario", lambda: SCENARIOS) | None = None  # type: ignore[valid-type]
    goal: _names("goal", lambda: GOALS) | None = None  # type: ignore[valid-type]

    @property
    def given(self) -> dict[str, list[str]]:
        """The keys that are set."""
        return {name: patterns for name, patterns in self if patterns is not None}

    def covers(self, cell: Axes) -> bool:
        """Whether every given key matches the cell."""
        return all(
            any(getattr(cell, name) == pattern or fnmatchcase(getattr(cell, name), pattern) for pattern in patterns)
            for name, patterns in self.given.items()
        )


class Rule(StrictModel):
    """Other thresholds, a tier, a known weakness or a waiver for some cells.

    declared: `false` takes back what rules that this one overrides declare: the cells have to pass again.
    """

    match: Match
    tier: Tier | None = None
    known_weakness: Annotated[str, Field(min_length=10)] | None = None
    waiver: Waiver | None = None
    declared: Literal[False] | None = None
    thresholds: Bounds = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> Rule:
        if (
            all(said is None for said in (self.tier, self.known_weakness, self.waiver, self.declared))
            and not self.thresholds
        ):
            raise ValueError("give thresholds, tier, known_weakness, waiver or declared: false")
        if self.known_weakness is not None and self.waiver is not None:
            raise ValueError("a weakness is known for good or waived for a while; keep known_weakness or waiver")
        if self.declared is False and (self.known_weakness is not None or self.waiver is not None):
            raise ValueError("a rule cannot declare a weakness and take it back; keep one of them")
        return self


class ThresholdsModel(StrictModel):
    """The whole file, as it is written."""

    version: Literal[1]
    defaults: dict[Annotated[str, AfterValidator(_known("scenario", lambda: SCENARIOS))], Bounds]
    rules: list[Rule] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CellThresholds:
    """What holds for one cell.

    bounds: by measure.
    tier: how much a violation weighs.
    known_weakness: the declared reason, empty where none is declared.
    waiver: of the cell, whether or not it has expired; None without one.
    origin: for each measure, the tier, the weakness and the waiver, the line of the file it comes from.
    """

    bounds: Mapping[str, Bound]
    tier: Tier = "critical"
    known_weakness: str = ""
    waiver: Waiver | None = None
    origin: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """A validated thresholds file.

    sha256: of its text, as it was read.
    """

    path: Path
    sha256: str
    defaults: Mapping[str, Mapping[str, Bound]]
    rules: tuple[Rule, ...]
    lines: Lines

    @classmethod
    def load(cls, path: Path) -> Thresholds:
        """Read and validate.

        Raises:
            ThresholdsFileError: missing, no YAML, an unknown key or name, a wrong type; with file and line.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ThresholdsFileError(
                f"the thresholds file cannot be read: {getattr(error, 'strerror', None) or error}",
                where=Where(file=str(path)),
                fix="write one (docs/thresholds.md; `iqa-robustness init` does), or name it with --iqa-thresholds",
            ) from None
        return cls.from_text(text, path)

    @classmethod
    def from_text(cls, text: str, path: Path) -> Thresholds:
        """Validate what a file holds or is about to hold; `path` is what errors name. Raises ThresholdsFileError."""
        data, lines = parsed(text, path)
        try:
            model = ThresholdsModel.model_validate(data)
        except ValidationError as error:
            raise _readable(error, lines, path) from None
        return cls(
            path=path,
            sha256=sha256(text.encode()).hexdigest(),
            defaults=model.defaults,
            rules=tuple(model.rules),
            lines=lines,
        )

    def covering(self, cell: Axes) -> list[int]:
        """Numbers of the rules that cover the cell, in the order in which each overrules those before it."""
        order = sorted(range(len(self.rules)), key=lambda number: (len(self.rules[number].match.given), number))
        return [number for number in order if self.rules[number].match.covers(cell)]

    def for_cell(self, cell: Axes) -> CellThresholds:
        """Defaults of the scenario, then every rule that covers the cell: more keys win, then the later one."""
        # Whether certificates hold is no matter of taste; a file may ask for more evidence or less.
        bounds = {"broken_p": Bound(min=SIGNIFICANCE)} if cell.scenario == "soundness" else {}
        origin: dict[str, int] = {}
        for scenario in (_FALLBACK.get(cell.scenario, cell.scenario), cell.scenario):
            for name, bound in self.defaults.get(scenario, {}).items():
                bounds[name], origin[name] = bound, self.lines.get(("defaults", scenario, name), 0)
        found: dict[str, Any] = {}
        for number in self.covering(cell):
            rule = self.rules[number]
            for name, bound in rule.thresholds.items():
                bounds[name], origin[name] = bound, self.lines.get(("rules", number, "thresholds", name), 0)
            if rule.declared is False:
                for key in DECLARATIONS:
                    found.pop(key, None)
                    origin.pop(key, None)
            for key in ("tier", *DECLARATIONS):
                if getattr(rule, key) is not None:
                    found[key], origin[key] = getattr(rule, key), self.lines.get(("rules", number, key), 0)
        return CellThresholds(bounds=bounds, origin=origin, **found)


def _readable(error: ValidationError, lines: Mapping[tuple[str | int, ...], int], path: Path) -> ThresholdsFileError:
    def place_of(found: ErrorDetails) -> tuple[tuple[Any, ...], int]:
        location = tuple(part for part in found["loc"] if part != "[key]")
        return location, next((lines[location[:n]] for n in range(len(location), -1, -1) if location[:n] in lines), 0)

    # Unknown keys first: what they were meant to say is often what else is missing.
    first, *others = sorted(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", place_of(e)[1]))
    location, line = place_of(first)
    place = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        allowed = _allowed_keys(location)
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        what = f"unknown key {location[-1]!r} in {'.'.join(map(str, location[:-1])) or 'the file'}"
        fix = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(allowed)}"
    elif first["type"] == "missing":
        what, fix = f"the key {place!r} is missing", "add it (docs/thresholds.md)"
    else:
        message, _, fix = first["msg"].removeprefix("Value error, ").partition("; ")
        if first["type"] in ("model_type", "dict_type"):
            message = "keys with values are expected"
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        what, fix = f"{place or 'the file'}: {message}{got}", fix or "correct it (docs/thresholds.md)"
    if others:
        fix += f"; {len(others)} more error{'s' if len(others) > 1 else ''} after this one"
    return ThresholdsFileError(what, where=Where(file=str(path), line=line), fix=fix)


def _allowed_keys(location: tuple[Any, ...]) -> list[str]:
    if len(location) == 1:
        return [*ThresholdsModel.model_fields]
    if location[0] == "rules" and len(location) == 3:
        return [*Rule.model_fields]
    if location[0] == "rules" and location[2] in ("match", "waiver"):
        return [*(Match if location[2] == "match" else Waiver).model_fields]
    return [*Bound.model_fields]
