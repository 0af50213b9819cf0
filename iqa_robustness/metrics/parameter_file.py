"""Published parameters that are no checkpoints of torch: found, their digests checked, and named for the spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.metrics.weights import MANIFEST, WeightsEntry, located, sha256_of


@dataclass(frozen=True, kw_only=True)
class ParameterFile:
    """Where a file is, and what a `MetricSpec` says of it."""

    path: Path
    described: WeightsFile


def parameter_file(entry: WeightsEntry, given: str | Path | None = None) -> ParameterFile:
    """One file: the given one, or the published one in `weights.folder()`, whose digest is asked.

    Raises:
        WeightsError: the file is missing, unreadable, or has another digest.
    """
    path = located(entry.owner, given, file=entry.file)
    where = entry.where(path)
    try:
        found = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"cannot read the weights: {error}", where=where, fix="check its permissions") from error
    if given is None and entry.sha256 and found != entry.sha256:
        raise WeightsError(
            f"{entry.file} has sha256 {found}, {entry.sha256} is expected",
            where=where,
            fix=f"get it again from {entry.origin}; for parameters of your own give weights=PATH",
        )
    return ParameterFile(path=path, described=WeightsFile(name=path.name, sha256=found, origin=entry.origin))


def parameter_files(owner: str, given: str | Path | Sequence[str | Path] | None) -> tuple[ParameterFile, ...]:
    """All files that a metric or defense reads by default, in the order of `weights.MANIFEST`.

    The digest of the manifest is asked of the owner's own files only, not of given ones.

    Args:
        owner: registered name.
        given: the file or files, in that order, or a folder that holds them under their names (with or without the
            owner's name and an underscore before them); None for those in `weights.folder()`.

    Raises:
        WeightsError: a file is missing, unreadable, or has another digest; too few or too many are given.
    """
    entries = MANIFEST[owner]
    paths = _given_paths(entries, given)
    return tuple(parameter_file(entry, path) for entry, path in zip(entries, paths, strict=True))


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
            f"weights= names {len(given)} of the {len(entries)} files that {entries[0].owner} reads: "
            f"{', '.join(map(str, given))}",
            where=entries[0].where(),
            fix=f"give a folder with {names}, or the files themselves in this order",
        )
    return [Path(path) for path in given]


def _in_folder(folder: Path, entry: WeightsEntry) -> Path:
    short = folder / entry.file.removeprefix(f"{entry.owner}_")
    return short if short.is_file() else folder / entry.file
