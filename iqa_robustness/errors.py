"""Typed errors: each says what went wrong, where (metric, defense, attack, image) and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """Exit codes of a run; 0 to 5 are pytest's own."""

    PASS = 0
    FAIL = 1
    INTERRUPTED = 2
    INTERNAL = 3
    CONFIGURATION = 4
    NOTHING_SELECTED = 5
    INCONCLUSIVE = 10
    INVALID = 11
    MISSING = 12
    INFRASTRUCTURE = 13


@dataclass(frozen=True, kw_only=True)
class Where:
    """The place an error belongs to; empty fields are unknown or do not apply."""

    metric: str = ""
    defense: str = ""
    attack: str = ""
    scenario: str = ""
    dataset: str = ""
    image: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """The known fields as `name=value`, in a fixed order."""
        known = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ", ".join(f"{name}={value}" for name, value in known if value)

    def completed(self, **more: str | int) -> Where:
        """This place with the still empty fields filled in from `more`."""
        return replace(self, **{name: value for name, value in more.items() if not getattr(self, name)})  # type: ignore[arg-type]


class IqaRobustnessWarning(UserWarning):
    """Something a user should know that does not stop the run."""


class UnreadableImagesWarning(UserWarning):
    """Images were left out because they cannot be read, as was asked for; no sign of a fault of ours."""


class IqaRobustnessError(Exception):
    """Base of all errors of this package.

    Args:
        what: one sentence that names the fault, with the offending value.
        where: the cell, image or file it happened in; `at` completes it on the way up.
        fix: what the reader can do about it.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.MISSING

    def __init__(self, what: str, *, where: Where | None = None, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where or Where()
        self.fix = fix

    def at(self, **where: str | int) -> Self:
        """Add what the caller knows about the place; what is already known stays."""
        self.where = self.where.completed(**where)
        return self

    def __str__(self) -> str:
        """Up to three lines: what, where, what to do."""
        lines = [self.what]
        if str(self.where):
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  what to do: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses take other arguments than Exception keeps; errors travel between processes all the same.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[IqaRobustnessError], args: tuple[object, ...], state: dict[str, object]) -> IqaRobustnessError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(IqaRobustnessError):
    """The request itself cannot be met: an option, a name, a file of settings."""

    exit_code = ExitCode.CONFIGURATION


class UnknownNameError(ConfigurationError):
    """A name that no registry has."""

    def __init__(self, kind: str, name: str, choices: Iterable[str], *, where: Where | None = None) -> None:
        known = sorted(choices)
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}", where=where, fix=hint)
        self.kind, self.name, self.suggestions = kind, name, close


class DuplicateNameError(ConfigurationError):
    """Two things claim one name."""


class ThresholdsFileError(ConfigurationError):
    """thresholds.yaml does not say what it should."""


class BaselineError(ConfigurationError):
    """A run that is to be compared with cannot be read, or its numbers cannot be compared with."""


class VerdictFileError(ConfigurationError):
    """A run's verdict.json cannot be read, or is not what the run wrote."""


class BundleError(ConfigurationError):
    """A bundle of records is not what it says, holds something else, or contradicts the store."""


class CapabilityError(ConfigurationError):
    """An attack needs something its target does not offer (a gradient, for one)."""


class ArtefactError(ConfigurationError):
    """What a training leaves for an attack is missing, unreadable, or was trained for something else."""


class WeightsError(ConfigurationError):
    """Weights are missing, unreadable, or not the ones the manifest names."""


class ChecksumError(WeightsError):
    """A file's size or SHA-256 is not the published one."""


class OfflineError(WeightsError):
    """A file would have to be fetched, and the environment forbids the network."""


class ManualDownloadError(WeightsError):
    """A file is offered on a web page only, so a person has to fetch it."""


class DownloadError(IqaRobustnessError):
    """A file could not be fetched: no answer, an error instead of the file, or a transfer that stopped."""

    exit_code = ExitCode.INFRASTRUCTURE


class RangesFileError(ConfigurationError):
    """A file of score ranges does not say what it should."""


class RangeTooWideError(ConfigurationError):
    """A metric declares a much wider score range than was measured: every shift would look smaller than it is."""


class MetricDeclarationError(ConfigurationError):
    """A metric that is no Python class does not say its score range or its direction."""


class DatasetError(ConfigurationError):
    """A data set is not laid out as its loader expects."""


class ImageContractError(IqaRobustnessError):
    """A tensor is not (N, 3, H, W) float32 in [0, 1]."""


class ImageReadError(IqaRobustnessError):
    """An image file cannot be read whole."""


class MetricContractError(IqaRobustnessError):
    """A metric does not keep its contract, so no number about it would mean anything."""


class ScoreShapeError(MetricContractError):
    """A metric returned something else than one score an image."""


class NonFiniteScoreError(MetricContractError):
    """A metric returned NaN or infinity."""


class BatchDependenceError(MetricContractError):
    """An image's score depends on the other images of its batch."""


class ProgramTimeoutError(MetricContractError):
    """A metric's program did not answer in time."""


class ProgramCrashError(MetricContractError):
    """A metric's program ended with an exit code other than 0, by a signal, or without an answer."""


class ProgramAnswerError(MetricContractError):
    """A metric's program answered something that is not the JSON that was asked for."""


class DefenseContractError(IqaRobustnessError):
    """A defense returned images that break the tensor contract or its own declarations."""


class AttackContractError(IqaRobustnessError):
    """An attack broke its declared budget or returned unusable images."""


class ConformanceError(IqaRobustnessError):
    """A metric, attack or defense breaks a promise that all of its kind must keep."""

    exit_code = ExitCode.FAIL


class CellTimeoutError(IqaRobustnessError):
    """A cell ran longer than --iqa-cell-timeout."""


class MissingCellError(IqaRobustnessError):
    """A cell is not in the store, and nothing may be computed."""


class TimeSpentError(MissingCellError):
    """A cell is not in the store, and --iqa-max-hours are over."""


class DeviceMemoryError(IqaRobustnessError):
    """Memory does not suffice, not even for one image at a time."""

    exit_code = ExitCode.INFRASTRUCTURE


class ClusterError(IqaRobustnessError):
    """A machine, or the process that computed a cell there, was lost; or no cluster can be reached."""

    exit_code = ExitCode.INFRASTRUCTURE


class StoreError(IqaRobustnessError):
    """The store cannot be read or written."""

    exit_code = ExitCode.INFRASTRUCTURE


class CorruptEntryError(StoreError):
    """A store entry does not match its digest."""


class StoreConflictError(StoreError):
    """Two stores have different contents under one key."""


class PromotionError(ConfigurationError):
    """An overlay may not be copied into its base from here."""
