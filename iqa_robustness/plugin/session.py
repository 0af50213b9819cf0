"""What a run has in common: its options resolved, its thresholds, and the runner; made when the first suite asks."""

from __future__ import annotations

import datetime
import math
import time
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
    from iqa_robustness.bench.runners.cluster import Cluster
    from iqa_robustness.bench.runners.local import LocalRunner
    from iqa_robustness.bench.shards import Shard
    from iqa_robustness.gate.baseline import Baseline
    from iqa_robustness.gate.thresholds import Thresholds
    from iqa_robustness.metrics.ranges import Ranges
    from iqa_robustness.reporting.readings import Readings
    from iqa_robustness.store import Store

# In a worker's input: what its controller has left of --iqa-max-hours.
SECONDS_LEFT = "iqa_seconds_left"
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
    began: when, by `time.monotonic()`.
    device_lost: the error after which this process gets nothing from its GPU any more; empty before.
    """

    config: pytest.Config
    asked: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)
    not_applicable: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    error: ConfigurationError | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    device_lost: str = ""

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
    def cluster(self) -> Cluster | None:
        """Of `--iqa-runner ray`; None where cells are computed here, or nothing is."""
        from iqa_robustness.bench.runners.cluster import RUNNERS, Cluster, Share

        chosen = self._value("runner")
        if chosen not in RUNNERS:
            raise UnknownNameError("choice of --iqa-runner", chosen, RUNNERS)
        share = Share.parsed(self._value("ray-share"))
        if chosen == "local" or options.flag(self.config, "from-store"):
            return None
        if hasattr(self.config, "workerinput"):
            raise ConfigurationError(
                "--iqa-runner ray and pytest-xdist's workers cannot be combined: Ray's tasks are the workers",
                fix="run without -n and --tx, or with --iqa-runner local",
            )
        return Cluster(address=self._value("ray-address"), share=share)

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
    def deadline(self) -> float | None:
        """Of `--iqa-max-hours`, by `time.monotonic()`; a worker goes by what its controller has left."""
        given = self._value("max-hours")
        if not given:
            return None
        try:
            hours = float(given)
        except ValueError:
            hours = math.nan
        if not hours > 0:
            raise ConfigurationError(f"--iqa-max-hours is no number of hours: {given!r}", fix="write 2, or 0.5")
        left: float = getattr(self.config, "workerinput", {}).get(SECONDS_LEFT, 3600 * hours)
        return self.began + left

    @property
    def micro_batch(self) -> int:
        """Of `--iqa-micro-batch`."""
        return self._number("micro-batch") or 1

    @cached_property
    def attachments(self) -> str:
        """Of `--iqa-attachments`."""
        chosen = self._value("attachments")
        if chosen not in ATTACHMENTS:
            raise UnknownNameError("choice of --iqa-attachments", chosen, ATTACHMENTS)
        return chosen

    @cached_property
    def attachments_megabytes(self) -> float:
        """Of `--iqa-attachments-megabytes`, 0 for no limit."""
        text = self._value("attachments-megabytes")
        try:
            megabytes = float(text)
        except ValueError:
            megabytes = math.nan
        if not 0 <= megabytes < math.inf:
            raise ConfigurationError(f"--iqa-attachments-megabytes is no number from 0 on: {text!r}")
        return megabytes

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
        return self._placed("store")

    def open_store(self, *, read_only: bool) -> Store:
        """The store of the run, above its base if there is one. Raises ConfigurationError, StoreError."""
        from iqa_robustness.store import Store

        return Store(self.store_url, read_only=read_only, base=self.store_base)

    @cached_property
    def store_base(self) -> str | None:
        """Of `--iqa-store-base`, looked for; a relative path is taken from the root directory. None when not given."""
        url = self._placed("store-base")
        if not url:
            return None
        from iqa_robustness.store.store import existing

        return existing(url).url

    @property
    def facts(self) -> dict[str, str]:
        """What a reader of a report needs to place its numbers."""
        from iqa_robustness.store.places import without_secrets

        base = self._value("store-base")
        return {
            "profile": self.profile.name,
            "images": self.sizes.dataset,
            "size": " x ".join(str(side) for side in self.profile.size),
            "seed": str(self.sizes.seed),
            "thresholds": self.thresholds.path.name,
            "thresholds-sha256": self.thresholds.sha256,
            # As they were given, without what may stand before an @: reports are published.
            "store": without_secrets(self._value("store")),
            **({"store-base": without_secrets(base)} if base else {}),
        }

    @cached_property
    def runner(self) -> LocalRunner:
        """Computes cells; from here on torch is loaded."""
        if self.cluster is not None:
            return self._on(self.cluster)
        return self.local_runner(from_store=options.flag(self.config, "from-store"))

    def local_runner(self, *, from_store: bool) -> LocalRunner:
        """A runner of this process; one that writes nothing with `from_store`."""
        from iqa_robustness.bench.devices import Numerics, prepared_device
        from iqa_robustness.bench.runners.local import LocalRunner
        from iqa_robustness.plugin.progress import TerminalProgress

        numerics = Numerics(device=prepared_device(self._value("device")), micro_batch=self.micro_batch)
        return LocalRunner(
            self.open_store(read_only=from_store),
            numerics,
            from_store=from_store,
            progress=TerminalProgress(self.config),
            ranges=self.ranges,
            strengths=self.strengths,
            deadline=self.deadline,
        )

    def _on(self, cluster: Cluster) -> LocalRunner:
        """A runner whose cells are computed elsewhere."""
        from iqa_robustness.bench.runners.ray import RayRunner
        from iqa_robustness.bench.runners.recipe import Recipe

        recipe = Recipe(
            store=self.store_url,
            base=self.store_base,
            device=self._value("device"),
            micro_batch=self.micro_batch,
            until=None if self.deadline is None else time.time() + self.deadline - time.monotonic(),
            ranges=self.ranges.to_yaml() if self.ranges is not None else "",
            strengths=self.strengths.to_yaml(),
        )
        return RayRunner(recipe, cluster)

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
            _ = self.baseline, self.store_base
        _ = (
            self.thresholds,
            self.timeout,
            self.attachments,
            self.attachments_megabytes,
            self.ranges,
            self.licence_policy,
            self.strengths,
            self.shard,
            self.deadline,
            self.cluster,
        )
        found = [*plan.cells, *plan.not_applicable]
        self.cells |= {cell.name: cell for cell in found}
        self.not_applicable |= {cell.name for cell in plan.not_applicable}
        for metric in {cell.metric for cell in found} - {*self.left_out}:
            reason = refusal(metrics.registry.resolve(metric).licence, self.licence_policy)
            if reason:
                self.left_out[metric] = reason
        return found

    def _placed(self, name: str) -> str:
        """A store's URL; a relative path is taken from the root directory."""
        url = self._value(name)
        return url if not url or "://" in url else str(self.config.rootpath / url)

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
