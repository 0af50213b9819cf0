"""The `gate` fixture: compute or fetch a cell's record, judge it, report it, and give the item its outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.watchdog import time_limit
from iqa_robustness.errors import CapabilityError
from iqa_robustness.gate.verdict import Verdict, judge_measured
from iqa_robustness.plugin.session import RobustnessSession
from iqa_robustness.reporting.commands import reproduce_command
from iqa_robustness.reporting.readings import Reading
from iqa_robustness.store import Entry

# Set by the gate, read by `pytest_runtest_makereport`: what the controller needs to know about an item.
OUTCOME: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
# Set by the gate when it skips a cell that turned out to have no meaning.
NOT_APPLICABLE: pytest.StashKey[bool] = pytest.StashKey()


class Gate:
    """Judges cells against thresholds.yaml.

    Args:
        session: of this process.
        request: of the item that asks.
    """

    def __init__(self, session: RobustnessSession, request: pytest.FixtureRequest) -> None:
        self._session = session
        self._request = request

    def verdict(self, cell: Cell, pair: Pair) -> Verdict:
        """The verdict, reported but without consequence: for tests of the harness itself.

        Raises:
            IqaRobustnessError: the cell could not be computed; the item is broken and the cell missing.
            pytest.skip.Exception: the cell has no meaning, for one a white-box attack on a metric without gradients.
        """
        runner = self._session.runner
        computed, repaired = runner.computed, len(runner.repaired)
        try:
            with time_limit(self._session.timeout, cell=cell.name):
                entry = runner.entry(cell, pair)
                reading = self._session.readings.of(entry, lambda entry: runner.read(cell, entry))
        except CapabilityError as error:
            self._request.node.stash[NOT_APPLICABLE] = True
            pytest.skip(f"not applicable: {error.what}")
        today = self._session.today
        records = None
        if self._session.baseline is not None:
            record = runner.read(cell, entry)
            before = self._session.baseline.of(record)
            records = None if before is None else (record, before)
        verdict = judge_measured(
            reading.measurements,
            reading.invalid,
            reading.scenario,
            self._session.thresholds.for_cell(cell),
            today=today,
            records=records,
        )
        mended = runner.repaired[repaired:]
        self._report(cell, pair, entry, reading, verdict, computed=runner.computed > computed, repaired=mended)
        return verdict

    def check(self, cell: Cell, pair: Pair) -> Verdict:
        """The verdict with its consequence: returns on *pass*, *informing*; xfails a declared weakness; else fails."""
        __tracebackhide__ = True
        verdict = self.verdict(cell, pair)
        if verdict.expected:
            pytest.xfail(f"known weakness: {verdict.weakness}")
        if verdict.declared and verdict.status == "pass":
            rule = "known_weakness" if verdict.thresholds.known_weakness else "waiver"
            _fail(
                f"pass: the declared weakness is gone ({verdict.weakness})",
                f"remove the rule at {self._place(verdict, rule)}, so that it stays gone",
            )
        if verdict.waiver_expired and verdict.status in ("pass", "fail", "inconclusive"):
            reasons = [f"the waiver has expired: {verdict.thresholds.waiver}", *verdict.reasons]
            _fail(
                "\n".join([f"{verdict.status}: {cell.name}", *(f"  {reason}" for reason in reasons)]),
                f"remove the waiver at {self._place(verdict, 'waiver')} when the weakness is mended, or renew it",
            )
        if verdict.status not in ("pass", "informing"):
            command = reproduce_command(self._request.node.nodeid, self._request.config)
            _fail(
                "\n".join([f"{verdict.status}: {cell.name}", *(f"  {reason}" for reason in verdict.reasons)]), command
            )
        return verdict

    def _place(self, verdict: Verdict, what: str) -> str:
        return f"{self._session.thresholds.path.name}, line {verdict.thresholds.origin.get(what, 0)}"

    def _report(
        self,
        cell: Cell,
        pair: Pair,
        entry: Entry,
        reading: Reading,
        verdict: Verdict,
        *,
        computed: bool,
        repaired: list[str],
    ) -> None:
        node = self._request.node
        command = reproduce_command(node.nodeid, self._request.config)
        known = outcome(cell, reading, verdict, entry.volatile, computed=computed)
        node.stash[OUTCOME] = {**known, "repaired": repaired, "command": command}
        for name, measurement in verdict.measurements.items():
            if measurement.applicable:
                node.user_properties.append((name, f"{measurement.value:.6g}"))
        node.user_properties += [("verdict", verdict.status), ("record", reading.facts["record"])]
        if self._request.config.pluginmanager.hasplugin("allure_listener"):
            from iqa_robustness.reporting.allure import report_cell
            from iqa_robustness.reporting.attachments import share

            report_cell(
                cell,
                pair,
                self._session.runner.read(cell, entry),
                verdict,
                runner=self._session.runner,
                command=command,
                attachments=self._session.attachments,
                limit=share(self._session.attachments_megabytes, len(self._request.session.items)),
            )


def outcome(
    cell: Cell, reading: Reading, verdict: Verdict, volatile: Mapping[str, Any], *, computed: bool
) -> dict[str, Any]:
    """What summaries are made of: JSON that survives the way from a worker to the controller."""
    return {
        "name": cell.name,
        "id": cell.id,
        **{axis: getattr(cell, axis) for axis in ("metric", "defense", "attack", "strength", "scenario", "goal")},
        "source": cell.source,
        "status": verdict.status,
        "expected": verdict.expected,
        "weakness": verdict.weakness,
        "waiver_expired": verdict.waiver_expired,
        "tier": verdict.thresholds.tier,
        "exit_code": int(verdict.exit_code),
        "reasons": [*verdict.reasons],
        "measures": {name: m.interval.finite for name, m in verdict.measurements.items() if m.applicable},
        "notes": {name: m.note for name, m in verdict.measurements.items() if m.note},
        "checks": {check.name: [check.status, str(check.bound)] for check in verdict.checks},
        "chances": {check.name: check.chance for check in verdict.checks},
        "detects": {check.name: _finite(check.detectable) for check in verdict.checks},
        **reading.facts,
        "computed": computed,
        "seconds": volatile.get("seconds", 0.0),
        "cost": volatile.get("cost", {}),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _fail(message: str, advice: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.fail(f"{message}\n  what to do: {advice}", pytrace=False)
