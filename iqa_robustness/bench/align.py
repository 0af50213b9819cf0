"""Solves for the parameter at which an attack on a metric is just as visible as a target says."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from iqa_robustness import attacks
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.objectives import RAISE, Goal
from iqa_robustness.attacks.strengths import StrengthRow
from iqa_robustness.bench.sources import Clean
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.similarity import l0, linf, psnr, ssim


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the three strengths look like, and how near is near enough, in the measure's unit."""

    measure: str
    weak: float
    medium: float
    strong: float
    tolerance: float


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "linf": Target(measure="linf", weak=2 / 255, medium=4 / 255, strong=8 / 255, tolerance=0.1 / 255),
        "psnr": Target(measure="psnr", weak=40, medium=35, strong=30, tolerance=0.25),
        "ssim": Target(measure="ssim", weak=0.90, medium=0.85, strong=0.75, tolerance=0.005),
        "l0": Target(measure="l0", weak=10, medium=20, strong=40, tolerance=0.5),
    }
)
# Factors around the attack's own strengths that are tried first.
GRID = (1 / 4, 1 / 2, 1, 2, 4)
_REFINEMENTS, _EXTENSIONS = 8, 6
_MICRO_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting of the attack and what was measured there, means over the images.

    fields: of the attack, the varied parameter among them.
    linf, l0, psnr, ssim: of the attacked image to the clean one; `gain` as a share of the range.
    """

    fields: Mapping[str, Any]
    linf: float
    l0: float
    psnr: float
    ssim: float
    gain: float

    @property
    def measured(self) -> dict[str, float]:
        """The numbers by name."""
        return {name: round(getattr(self, name), 6) for name in ("linf", "l0", "psnr", "ssim", "gain")}


Progress = Callable[[str], None]


def align(
    name: str,
    metric: Metric,
    clean: Clean,
    *,
    metric_name: str = "",
    measure: str = "",
    values: Sequence[float] = (),
    others: Mapping[str, Sequence[Any]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    goal: Goal = RAISE,
    seed: int = 0,
    progress: Progress = lambda _line: None,
) -> StrengthRow:
    """The table's row for an attack on a metric.

    The varied parameter is measured on a grid; between the two neighbours of a target it is interpolated, measured
    again there, and interpolated anew until the target is met. Images have 8 bits, so what can be reached may be steps:
    the nearest is taken then, and `measured` says what it is. With `others`, every combination of them is solved, and
    the one that gains most is taken.

    Args:
        name: of the attack.
        metric: the target.
        clean: the images.
        metric_name: as cells call the metric; the spec's name when empty.
        measure: `linf`, `psnr`, `ssim` or `l0`; the attack's restriction when empty (`ssim` for `l2` and `none`).
        values: of the varied parameter, to begin with; the attack's own strengths and some around them when empty.
        others: values of further parameters.
        fixed: fields that stay.
        goal: of the attacker.
        seed: of everything random.
        progress: told every measured point.

    Raises:
        ConfigurationError: no such measure or field; no value of the parameter is as visible as a target; or two
            strengths come out the same.
    """
    kind = type(attacks.create(name))
    target = _target(measure or kind.restriction, measure)
    fields = {field.name for field in dataclasses.fields(kind)}
    for unknown in {*(others or {}), *(fixed or {})} - fields:
        raise ConfigurationError(
            f"the attack {name} has no field {unknown!r}",
            where=Where(attack=name),
            fix=f"it has {', '.join(sorted(fields))}",
        )
    solver = _Solver(name, kind, metric, clean, target.measure, goal, seed, progress)
    found: dict[str, Point] = {}
    names = [*(others or {})]
    for combination in itertools.product(*(others or {}).values()):
        start = {**(fixed or {}), **dict(zip(names, combination, strict=True))}
        for strength in attacks.STRENGTHS:
            point = solver.solved(getattr(target, strength), target.tolerance, start, values)
            if strength not in found or point.gain > found[strength].gain:
                found[strength] = point
    for first, second in itertools.pairwise(attacks.STRENGTHS):
        if found[first].measured == found[second].measured:
            raise ConfigurationError(
                f"{first} and {second} come out the same: 8-bit images have nothing between them",
                where=Where(metric=metric.spec.name, attack=name),
                fix="choose another measure with --target",
            )
    return StrengthRow(
        attack=name,
        metric=metric_name or metric.spec.name,
        **{strength: dict(point.fields) for strength, point in found.items()},
        measured={strength: point.measured for strength, point in found.items()},
        source=f"iqa-robustness align on {len(clean)} images of {clean.view.name.partition(':')[0]}, "
        f"{target.measure} targets, seed {seed}",
    )


def _target(measure: str, asked: str) -> Target:
    if measure in TARGETS:
        return TARGETS[measure]
    if asked:
        raise ConfigurationError(f"{asked!r} is no measure of visibility", fix=f"choose one of {', '.join(TARGETS)}")
    return TARGETS["ssim"]


class _Solver:
    """Measures an attack's visibility as a function of its varied parameter; every point once."""

    def __init__(
        self,
        name: str,
        kind: type[Attack],
        metric: Metric,
        clean: Clean,
        measure: str,
        goal: Goal,
        seed: int,
        progress: Progress,
    ) -> None:
        self.name, self.kind, self.metric, self.clean = name, kind, metric, clean
        self.measure, self.goal, self.seed, self.progress = measure, goal, seed, progress
        self.whole = isinstance(next(iter(self._own_values())), int)
        self._points: dict[tuple[tuple[str, Any], ...], Point] = {}

    def solved(self, wanted: float, tolerance: float, start: Mapping[str, Any], values: Sequence[float]) -> Point:
        """The point that is as visible as wanted."""
        points = [self.at(value, start) for value in self._grid(values)]
        for _ in range(_EXTENSIONS):
            if self._reached(points, wanted):
                break
            ends = sorted(self._value(point) for point in points)
            grown = [self.at(ends[0] / 2, start), self.at(ends[-1] * 2, start)]
            points += [point for point in grown if point not in points]
        best = self._nearest(points, wanted)
        if not self._reached(points, wanted) and abs(self._seen(best) - wanted) > tolerance:
            raise ConfigurationError(
                f"no {self.kind.varied_parameter} of {self.name} gives {self.measure} {wanted:.4g}: "
                f"{self._value(best):.4g} gives {self._seen(best):.4g}",
                where=Where(metric=self.metric.spec.name, attack=self.name),
                fix="give other values with --grid, or another measure with --target",
            )
        for _ in range(_REFINEMENTS):
            bracket = self._neighbours(points, wanted)
            if bracket is None or abs(self._seen(best) - wanted) <= tolerance:
                break
            point = self.at(self._interpolated(*bracket, wanted), start)
            if point in points:
                break  # whole numbers have nothing between two neighbours
            points.append(point)
            best = self._nearest(points, wanted)
        return best

    def at(self, value: float, start: Mapping[str, Any]) -> Point:
        """Attack all images at a value of the varied parameter."""
        value = max(1, round(value)) if self.whole else float(f"{value:.6g}")
        fields = {**start, self.kind.varied_parameter: value}
        key = tuple(sorted(fields.items()))
        if key not in self._points:
            self._points[key] = self._measured(fields)
            numbers = "  ".join(f"{name} {number:.4g}" for name, number in self._points[key].measured.items())
            self.progress(f"{self.name}: {', '.join(f'{k} {v:.6g}' for k, v in fields.items())}: {numbers}")
        return self._points[key]

    def _measured(self, fields: Mapping[str, Any]) -> Point:
        attack, device = attacks.create(self.name, **fields).on_every_image(), _device(self.metric)
        sums = dict.fromkeys(("linf", "l0", "psnr", "ssim", "gain"), 0.0)
        for first in range(0, len(self.clean), _MICRO_BATCH):
            rows = range(first, min(first + _MICRO_BATCH, len(self.clean)))
            references = self.clean.references(rows).to(device) if self.metric.spec.full_reference else None
            found = attack(
                self.metric,
                self.clean.batch(rows).to(device),
                ids=[self.clean.ids[row] for row in rows],
                seed=self.seed,
                goal=self.goal,
                micro_batch=_MICRO_BATCH,
                references=references,
            )
            seen = {
                "linf": linf(found.clean, found.images),
                "l0": l0(found.clean, found.images),
                # An image that was not changed has an infinite PSNR; 100 dB is below half a level in one value.
                "psnr": psnr(found.clean, found.images).clamp(max=100),
                "ssim": ssim(found.clean, found.images),
                "gain": found.values - found.clean_values,
            }
            for name, numbers in seen.items():
                sums[name] += float(numbers.double().sum())
        return Point(fields=fields, **{name: total / len(self.clean) for name, total in sums.items()})

    def _grid(self, values: Sequence[float]) -> list[float]:
        if values:
            return [*values]
        own = self._own_values()
        return sorted({value * factor for value in own for factor in GRID})

    def _own_values(self) -> list[Any]:
        return [self.kind.strengths[strength][self.kind.varied_parameter] for strength in attacks.STRENGTHS]

    def _seen(self, point: Point) -> float:
        return float(getattr(point, self.measure))

    def _nearest(self, points: Sequence[Point], wanted: float) -> Point:
        return min(points, key=lambda point: abs(self._seen(point) - wanted))

    def _reached(self, points: Sequence[Point], wanted: float) -> bool:
        return _between(wanted, [self._seen(point) for point in points])

    def _value(self, point: Point) -> float:
        return float(point.fields[self.kind.varied_parameter])

    def _neighbours(self, points: Sequence[Point], wanted: float) -> tuple[Point, Point] | None:
        """Of points next to each other in the parameter, the nearest pair with the target between them."""
        ordered = sorted(points, key=self._value)
        pairs = [
            pair for pair in itertools.pairwise(ordered) if _between(wanted, [self._seen(point) for point in pair])
        ]
        return min(pairs, key=lambda pair: abs(self._seen(pair[0]) - self._seen(pair[1])), default=None)

    def _interpolated(self, first: Point, second: Point, wanted: float) -> float:
        """On a logarithmic scale of the parameter; kept off the ends, so that every step narrows the bracket."""
        share = (wanted - self._seen(first)) / (self._seen(second) - self._seen(first))
        share = min(max(share, 0.1), 0.9)
        low, high = math.log(self._value(first)), math.log(self._value(second))
        return math.exp(low + share * (high - low))


def _between(wanted: float, seen: Sequence[float]) -> bool:
    return min(seen) <= wanted <= max(seen)


def _device(metric: Metric) -> Any:
    tensors = itertools.chain(metric.parameters(), metric.buffers())
    return next((tensor.device for tensor in tensors), "cpu")
