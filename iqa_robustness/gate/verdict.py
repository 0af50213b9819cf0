"""The verdict on a cell: its measures' intervals against their thresholds, and what the outcome of the item is."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from iqa_robustness.errors import ExitCode
from iqa_robustness.gate.baseline import Regression, regression
from iqa_robustness.gate.measurements import Measurement, measure
from iqa_robustness.gate.power import chance, deciding_images, detectable
from iqa_robustness.gate.thresholds import Bound, CellThresholds
from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.store import Record

Status = Literal["pass", "fail", "inconclusive", "invalid", "missing", "informing"]
# Of several outcomes in one run, the first in this order decides the exit code.
PRECEDENCE = (
    ExitCode.FAIL,
    ExitCode.INFRASTRUCTURE,
    ExitCode.MISSING,
    ExitCode.INVALID,
    ExitCode.INCONCLUSIVE,
)
EXIT_CODES: dict[Status, ExitCode] = {
    "pass": ExitCode.PASS,
    "fail": ExitCode.FAIL,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "invalid": ExitCode.INVALID,
    "missing": ExitCode.MISSING,
    "informing": ExitCode.PASS,
}
# Scenarios that report: without a threshold of their own, nothing is required of their cells.
INFORMING = ("transfer",)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One measure against its threshold, or (`regression`) against a baseline."""

    measurement: Measurement
    bound: Bound
    status: Status
    regression: Regression | None = None

    @property
    def name(self) -> str:
        """The measure's name; that of a regression is its own."""
        return f"{self.measurement.name}{'' if self.regression is None else '_regression'}"

    @property
    def finding(self) -> str:
        """What was measured: `D_score 63.1 [55.0, 71.9] % of range`, or how much worse it is than in the baseline."""
        found = self.regression
        if found is None:
            return described(self.measurement)
        worse = described(dataclasses.replace(self.measurement, interval=found.interval))
        digits = 1 if self.measurement.unit.startswith("%") else 3
        return f"{worse} worse than the baseline ({found.before:.{digits}f} there, {found.after:.{digits}f} here)"

    def __str__(self) -> str:
        """`fail: D_score 63.1 [55.0, 71.9] % of range; at most 20 is required`."""
        unused = {"max_regression": None} if self.regression is None else {"min": None, "max": None}
        said = f"{self.status}: {self.finding}; {self.bound.model_copy(update=unused)} is required"
        return f"{said}; {self.deciding}" if self.status == "inconclusive" else said

    @property
    def deciding(self) -> str:
        """How many images would decide an inconclusive check, were its estimate true."""
        count, now = self.measurement.images, self.measurement.interval.clusters
        needed = deciding_images(self.measurement.interval, self.bound, count)
        if needed is None:
            return "no number of images is known to decide this"
        return f"about {needed} images would decide (now {count} of {now} contents)"

    @property
    def chance(self) -> float | None:
        """How likely such a failure is if the measure lies on its threshold; None where the check did not fail."""
        if self.status != "fail" or not self.measurement.applicable:
            return None
        if self.regression is not None and self.bound.max_regression is not None:
            return chance(self.regression.interval, Bound(max=self.bound.max_regression))
        return chance(self.measurement.interval, self.bound)

    @property
    def detectable(self) -> float:
        """How far beyond the threshold is found in four runs of five, in the measure's unit."""
        return detectable(self.measurement.interval if self.regression is None else self.regression.interval)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is concluded about a cell.

    status: `pass`, `fail`, `inconclusive` (an interval lies across its threshold), `invalid` (the attack was not able
        to work). Only `pass` is green; `informing` cells are reported, and nothing is required of them.
    checks: every gated measure; measurements: every measure.
    reasons: why it is not a pass.
    today: the day of the judgement, on which waivers hold or have expired; None, and every waiver holds.
    """

    status: Status
    checks: tuple[Check, ...]
    measurements: dict[str, Measurement]
    reasons: tuple[str, ...]
    thresholds: CellThresholds
    today: datetime.date | None = None

    @property
    def weakness(self) -> str:
        """Why thresholds.yaml expects the cell not to pass: a known weakness, or a waiver that holds; empty if not."""
        waiver = self.thresholds.waiver
        waived = str(waiver) if waiver is not None and not self.waiver_expired else ""
        return self.thresholds.known_weakness or waived

    @property
    def waiver_expired(self) -> bool:
        """Whether the cell has a waiver whose last day is over."""
        waiver = self.thresholds.waiver
        return waiver is not None and self.today is not None and waiver.expired(self.today)

    @property
    def declared(self) -> bool:
        """Whether thresholds.yaml expects the cell not to pass."""
        return bool(self.weakness)

    @property
    def expected(self) -> bool:
        """A declared weakness that shows: the item is xfailed."""
        return self.declared and self.status in ("fail", "inconclusive")

    @property
    def exit_code(self) -> ExitCode:
        """What this cell alone would end a run with.

        A weakness that is gone and a waiver that has expired are failures until their rule is removed. Of tier
        `blocker`, what is undecided does not go out: it ends a run as a failure does. Of tier `normal`, a failure
        blocks nothing: it ends a run as what is undecided does.
        """
        if self.expected:
            return ExitCode.PASS
        if self.status in ("pass", "fail", "inconclusive") and self.waiver_expired:
            return ExitCode.FAIL
        if self.declared and self.status == "pass":
            return ExitCode.FAIL
        if self.thresholds.tier == "blocker" and self.status == "inconclusive":
            return ExitCode.FAIL
        if self.thresholds.tier == "normal" and self.status == "fail":
            return ExitCode.INCONCLUSIVE
        return EXIT_CODES[self.status]


def judge(
    record: Record,
    thresholds: CellThresholds,
    *,
    today: datetime.date | None = None,
    baseline: Record | None = None,
) -> Verdict:
    """Judge a record. Invalid before fail before inconclusive before pass: what proves nothing cannot be waived.

    Args:
        record: of the cell.
        thresholds: that hold for it.
        today: on which waivers hold or have expired.
        baseline: the same cell's record in the run that `max_regression` compares with; None where there is none.
    """
    return judge_measured(
        measure(record),
        invalid_reasons(record),
        record.meta["cell"]["scenario"],
        thresholds,
        today=today,
        records=None if baseline is None else (record, baseline),
    )


def judge_measured(
    measurements: dict[str, Measurement],
    invalid: Sequence[str],
    scenario: str,
    thresholds: CellThresholds,
    *,
    today: datetime.date | None = None,
    records: tuple[Record, Record] | None = None,
) -> Verdict:
    """Judge what was read off a record.

    Args:
        measurements: of the record, by name.
        invalid: why its attack does not count.
        scenario: of the cell.
        thresholds: that hold for it.
        today: on which waivers hold or have expired.
        records: the record itself and that of the run which `max_regression` compares with; None where there is none.
    """
    checks = tuple(
        Check(measurement=measurements[name], bound=bound, status=_status(measurements[name], bound))
        for name, bound in _standing_in(thresholds.bounds, measurements).items()
        if (bound.min is not None or bound.max is not None)
        and name in measurements
        and measurements[name].gated
        and _applies(measurements, name)
    )
    if records is not None:
        checks += tuple(_regressions(*records, measurements, thresholds))
    reasons = [*invalid]
    found = {check.status for check in checks}
    status: Status
    if reasons:
        status = "invalid"
    elif "fail" in found:
        status = "fail"
    elif not checks and scenario in INFORMING:
        status = "informing"
    elif "inconclusive" in found or not checks:
        status = "inconclusive"
    else:
        status = "pass"
    why = reasons or [str(check) for check in checks if check.status != "pass"]
    if not checks and not reasons and status != "informing":
        why = ["no threshold applies to this cell; add one to thresholds.yaml"]
    return Verdict(
        status=status,
        checks=checks,
        measurements=measurements,
        reasons=tuple(why),
        thresholds=thresholds,
        today=today,
    )


def _standing_in(bounds: Mapping[str, Bound], measurements: Mapping[str, Measurement]) -> Mapping[str, Bound]:
    """The bounds, where SROCC with opinion scores cannot gate with that of the scores before and after in its place.

    Opinion scores are missing, or the images too few for them; what an attack does to the order is seen with fewer.
    """
    asked, own = bounds.get("srocc_adv"), bounds.get("srocc_shift")
    if asked is None or asked.min is None or (own is not None and own.min is not None):
        return bounds
    if "srocc_adv" not in measurements or measurements["srocc_adv"].gated or not measurements["srocc_shift"].gated:
        return bounds
    return {**bounds, "srocc_shift": Bound(min=asked.min)}


def _regressions(
    record: Record, baseline: Record, measurements: Mapping[str, Measurement], thresholds: CellThresholds
) -> Iterator[Check]:
    """What has become worse: a failure where it is more than allowed and the interval excludes that nothing has."""
    for name, bound in thresholds.bounds.items():
        if bound.max_regression is None or name not in measurements or not measurements[name].gated:
            continue
        found = regression(name, baseline, record)
        worse = found.proven and found.interval.value > bound.max_regression
        status: Status = "fail" if worse else "pass"
        yield Check(measurement=measurements[name], bound=bound, status=status, regression=found)


def described(measurement: Measurement) -> str:
    """A measurement for people: title, value, interval, unit."""
    interval = measurement.interval
    if not measurement.applicable:
        return f"{measurement.title} is undefined"
    digits = 1 if measurement.unit.startswith("%") else 3
    bounds = (
        f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
        if math.isfinite(interval.low) and math.isfinite(interval.high)
        else " (no interval: too few contents)"
    )
    return f"{measurement.title} {interval.value:.{digits}f}{bounds} {measurement.unit}".rstrip()


def _applies(measurements: Mapping[str, Measurement], name: str) -> bool:
    """A number that cannot exist here (Q_score where pixels do not correspond) is not checked.

    A rank correlation that a constant score leaves undefined, or Cert.RD where every image abstains, is.
    """
    if name == "cert_rd" and measurements["abstain"].value == 1:
        return True
    return measurements[name].applicable or name.startswith("srocc_") or name == "rank_flips"


def _status(measurement: Measurement, bound: Bound) -> Status:
    """Pass when the whole interval is allowed, fail when none of it is, inconclusive otherwise."""
    interval = measurement.interval
    if not measurement.applicable:
        return "fail"
    below = bound.max is None or interval.high <= bound.max
    above = bound.min is None or interval.low >= bound.min
    if below and above:
        return "pass"
    outside = (bound.max is not None and interval.low > bound.max) or (
        bound.min is not None and interval.high < bound.min
    )
    return "fail" if outside else "inconclusive"
