"""What a run has in common: its options resolved, its thresholds, and the runner; made when the first suite asks."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iqa_robustness import metrics
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.plan import Selection, Sizes, check_selection, parsed_patterns, planned
from iqa_robustness.bench.profiles import Profile, profile
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.metrics.licences import POLICIES, refusal
from iqa_robustness.plugin import options

if TYPE_CHECKING:
    from iqa_robustness.attacks.strengths import StrengthTable
    from iqa_robustness.bench.runners.local import LocalRunner
    from iqa_robustness.bench.shards import Shard
    from iqa_robustness.gate.baseline import Baseline
    from iqa_robustness.gate.thresholds import Thresholds
    from iqa_robustness.metrics.ranges import Ranges
    from iqa_robustness.reporting.readings import Readings

ATTACHMENTS = ("none", "worst", "all")

_SESSION: pytest.StashKey[RobustnessSession] = pytest.StashKey()


@dataclass(kw_only=True)
class RobustnessSession:
    """The state of one pytest process (the controller or a worker).

    asked: a suite was collected, whether or not it selected any cell.
    cells: every cell that a test was parametrized with, by its name, the not applicable ones included.
    not_applicable: names of cells that are deselected, since their attack needs gradients that the metric has not.
    notes: why items were deselected, for the summary; on the controller, what workers say of theirs.
    error: the configuration error that stops the run, if there is one.
    left_out: metrics that the licence policy leaves out, with the reason.
    """

    config: pytest.Config
    asked: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)
    not_applicable: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    error: ConfigurationError | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def profile(self) -> Profile:
        """Of `--iqa-profile`."""
        return profile(self._value("profile"))

    @cached_property
    def selection(self) -> Selection:
        """What the options select, checked against the registries."""
        axes = ("metric", "defense", "attack", "strength", "scenario")
        selection = Selection(**{axis: parsed_patterns(self._value(axis)) for axis in axes})
        check_selection(selection)
        return selection

    @cached_property
    def sizes(self) -> Sizes:
        """What the options override of the profile."""
        return Sizes(
            dataset=self._value("dataset"),
            images=self._number("images"),
            max_queries=self._number("max-queries"),
            seed=self._number("seed") or 0,
            scoring=self._scoring,
            draws=self._number("draws"),
            doublings=self._number("doublings"),
        )

    @property
    def _scoring(self) -> str:
        """Of `--iqa-scoring`, checked."""
        from iqa_robustness.bench.scoring_protocol import ScoringProtocol

        return ScoringProtocol.parsed(self._value("scoring")).name

    @cached_property
    def thresholds(self) -> Thresholds:
        """Of `--iqa-thresholds`, relative to the root directory."""
        from iqa_robustness.gate.thresholds import Thresholds

        return Thresholds.load(self.config.rootpath / self._value("thresholds"))

    @cached_property
    def today(self) -> datetime.date:
        """The day of the run, UTC: on which waivers hold or have expired."""
        return datetime.datetime.now(tz=datetime.UTC).date()

    @cached_property
    def baseline_url(self) -> str:
        """Of `--iqa-baseline`; a relative path is taken from the root directory. Empty when not given."""
        given = self._value("baseline")
        return given if not given or "://" in given else str(self.config.rootpath / given)

    @cached_property
    def baseline(self) -> Baseline | None:
        """Of `--iqa-baseline`: a store or an exported file; None when not given."""
        if not self.baseline_url:
            return None
        from iqa_robustness.gate.baseline import Baseline

        return Baseline.load(self.baseline_url)

    @cached_property
    def ranges(self) -> Ranges | None:
        """Of `--iqa-ranges`, relative to the root directory, before the package's; None when not given."""
        given = self._value("ranges")
        if not given:
            return None
        from iqa_robustness.metrics.ranges import Ranges

        return Ranges.load(self.config.rootpath / given)

    @cached_property
    def strengths(self) -> StrengthTable:
        """Of `--iqa-strengths`, relative to the root directory, or the profile's."""
        from iqa_robustness.attacks.strengths import StrengthTable

        given = self._value("strengths") or self.profile.strengths
        if given == "own":
            return StrengthTable()
        return StrengthTable.published() if given == "published" else StrengthTable.read(self.config.rootpath / given)

    @cached_property
    def shard(self) -> Shard | None:
        """Of `--iqa-shard`; None for the whole run."""
        given = self._value("shard")
        if not given:
            return None
        from iqa_robustness.bench.shards import Shard

        return Shard.parsed(given)

    @cached_property
    def reports(self) -> Path:
        """Where summaries are written."""
        return self.config.rootpath / self._value("reports")

    @cached_property
    def timeout(self) -> float:
        """Seconds a cell may take, 0 for no limit."""
        try:
            return float(self._value("cell-timeout"))
        except ValueError:
            raise ConfigurationError(f"--iqa-cell-timeout is no number: {self._value('cell-timeout')!r}") from None

    @cached_property
    def attachments(self) -> str:
        """Of `--iqa-attachments`."""
        chosen = self._value("attachments")
        if chosen not in ATTACHMENTS:
            raise UnknownNameError("choice of --iqa-attachments", chosen, ATTACHMENTS)
        return chosen

    @cached_property
    def licence_policy(self) -> str:
        """Of `--iqa-licence-policy`."""
        chosen = self._value("licence-policy")
        if chosen not in POLICIES:
            raise UnknownNameError("choice of --iqa-licence-policy", chosen, POLICIES)
        return chosen

    @cached_property
    def store_url(self) -> str:
        """Where the store is; a relative path is taken from the root directory."""
        url = self._value("store")
        return url if "://" in url else str(self.config.rootpath / url)

    @property
    def facts(self) -> dict[str, str]:
        """What a reader of a report needs to place its numbers."""
        return {
            "profile": self.profile.name,
            "images": self.sizes.dataset,
            "size": " x ".join(str(side) for side in self.profile.size),
            "seed": str(self.sizes.seed),
            "thresholds": self.thresholds.path.name,
            "thresholds-sha256": self.thresholds.sha256,
            # As it was given, without what may stand before an @: reports are published.
            "store": re.sub(r"(?<=://)[^/@]*@", "", self._value("store")),
        }

    @cached_property
    def runner(self) -> LocalRunner:
        """Computes cells; from here on torch is loaded."""
        from iqa_robustness.bench.devices import Numerics, prepared_device
        from iqa_robustness.bench.runners.local import LocalRunner
        from iqa_robustness.plugin.progress import TerminalProgress
        from iqa_robustness.store import Store

        numerics = Numerics(device=prepared_device(self._value("device")), micro_batch=self._number("micro-batch") or 1)
        from_store = options.flag(self.config, "from-store")
        store = Store(self.store_url, read_only=from_store)
        progress = TerminalProgress(self.config)
        return LocalRunner(
            store,
            numerics,
            from_store=from_store,
            progress=progress,
            ranges=self.ranges,
            strengths=self.strengths,
        )

    @cached_property
    def readings(self) -> Readings:
        """Of records of the run's store."""
        from iqa_robustness.reporting.readings import Readings

        return Readings(self.runner.store)

    def collect(self, marker: pytest.Mark) -> list[Cell]:
        """The cells of an `iqa_cells` marker, applicable or not, remembered by name. Raises ConfigurationError."""
        arguments: dict[str, Any] = dict(marker.kwargs)
        try:
            scenario, goal = arguments.pop("scenario"), arguments.pop("goal", "raise")
            between = arguments.pop("between", "defenses")
            sizes = replace(self.sizes, dataset=arguments.pop("dataset", self.sizes.dataset))
            suite = Selection(**{axis: parsed_patterns(patterns) for axis, patterns in arguments.items()})
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"the marker iqa_cells does not take these arguments: {marker.kwargs}") from error
        plan = planned(
            scenario=scenario,
            profile=self.profile,
            sizes=sizes,
            user=self.selection,
            suite=suite,
            goal=goal,
            load=not self.config.option.collectonly,  # a list of ids must not pay for torch
            between=between,
        )
        if not self.config.option.collectonly:
            _ = self.baseline
        _ = (
            self.thresholds,
            self.timeout,
            self.attachments,
            self.ranges,
            self.licence_policy,
            self.strengths,
            self.shard,
        )
        found = [*plan.cells, *plan.not_applicable]
        self.cells |= {cell.name: cell for cell in found}
        self.not_applicable |= {cell.name for cell in plan.not_applicable}
        for metric in {cell.metric for cell in found} - {*self.left_out}:
            reason = refusal(metrics.registry.resolve(metric).licence, self.licence_policy)
            if reason:
                self.left_out[metric] = reason
        return found

    def _value(self, name: str) -> str:
        return options.value(self.config, name)

    def _number(self, name: str) -> int | None:
        text = self._value(name)
        if not text:
            return None
        if not text.isdigit():
            raise ConfigurationError(f"--iqa-{name} is no whole number: {text!r}")
        return int(text)


def robustness_session(config: pytest.Config) -> RobustnessSession:
    """The session's state, made on first use."""
    if _SESSION not in config.stash:
        config.stash[_SESSION] = RobustnessSession(config=config)
    return config.stash[_SESSION]


def started(config: pytest.Config) -> bool:
    """Whether a suite was collected: a run that selects none of them is left alone."""
    return _SESSION in config.stash and config.stash[_SESSION].asked
