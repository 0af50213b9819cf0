"""Published parameters that are no checkpoints of torch: found, their digests checked, and named for the spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.metrics.weights import MANIFEST, WeightsEntry, located, sha256_of


@dataclass(frozen=True, kw_only=True)
class ParameterFile:
    """Where a file is, and what a `MetricSpec` says of it."""

    path: Path
    described: WeightsFile


def parameter_files(metric: str, given: str | Path | Sequence[str | Path] | None) -> tuple[ParameterFile, ...]:
    """All files that a metric reads, in the order of `weights.MANIFEST`.

    The digest of the manifest is asked of the metric's own files only, not of given ones.

    Args:
        metric: registered name.
        given: the file or files, in that order, or a folder that holds them under their names (with or without the
            metric's name and an underscore before them); None for those in `weights.folder()`.

    Raises:
        WeightsError: a file is missing, unreadable, or has another digest; too few or too many are given.
    """
    entries = MANIFEST[metric]
    paths = _given_paths(entries, given)
    return tuple(
        _checked(entry, located(metric, path, file=entry.file), own=given is None)
        for entry, path in zip(entries, paths, strict=True)
    )


def _given_paths(
    entries: Sequence[WeightsEntry], given: str | Path | Sequence[str | Path] | None
) -> list[Path] | list[None]:
    if given is None:
        return [None] * len(entries)
    if isinstance(given, str | Path):
        folder = Path(given).expanduser()
        if folder.is_dir():
            return [_in_folder(folder, entry) for entry in entries]
        given = [given]
    if len(given) != len(entries):
        names = ", ".join(entry.file for entry in entries)
        raise WeightsError(
            f"weights= names {len(given)} of the {len(entries)} files that {entries[0].metric} reads: "
            f"{', '.join(map(str, given))}",
            where=Where(metric=entries[0].metric),
            fix=f"give a folder with {names}, or the files themselves in this order",
        )
    return [Path(path) for path in given]


def _in_folder(folder: Path, entry: WeightsEntry) -> Path:
    short = folder / entry.file.removeprefix(f"{entry.metric}_")
    return short if short.is_file() else folder / entry.file


def _checked(entry: WeightsEntry, path: Path, *, own: bool) -> ParameterFile:
    where = Where(metric=entry.metric, file=str(path))
    try:
        found = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"cannot read the weights: {error}", where=where, fix="check its permissions") from error
    if own and entry.sha256 and found != entry.sha256:
        raise WeightsError(
            f"{entry.file} has sha256 {found}, {entry.sha256} is expected",
            where=where,
            fix=f"get it again from {entry.origin}; for parameters of your own give weights=PATH",
        )
    return ParameterFile(path=path, described=WeightsFile(name=path.name, sha256=found, origin=entry.origin))
