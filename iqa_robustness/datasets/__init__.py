"""Data sets by name. A new one is one file here and one line below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.datasets.base import Dataset

__all__ = ["DatasetEntry", "list", "load", "registry"]


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """A registered data set.

    takes_path: it is written `name:PATH`.
    """

    takes_path: bool = True


registry = Registry("data set", DatasetEntry, "iqa_robustness.datasets")
for _entry in (
    DatasetEntry(
        name="folder",
        target="iqa_robustness.datasets.folder:Folder",
        summary="folder:PATH, images and a csv of their scores",
    ),
    DatasetEntry(
        name="ladder",
        target="iqa_robustness.datasets.ladder:Ladder",
        summary="the photographs of mini in five contrasts, for the harness' own controls",
        takes_path=False,
    ),
    DatasetEntry(
        name="leaves",
        target="iqa_robustness.datasets.leaves:Leaves",
        summary="forty painted pictures in five quality levels, which attacks are trained on",
        takes_path=False,
    ),
    DatasetEntry(
        name="mini",
        target="iqa_robustness.datasets.mini:Mini",
        summary="ten bundled photographs in five quality levels each, with a pseudo MOS",
        takes_path=False,
    ),
):
    registry.register(_entry)


def load(reference: str) -> Dataset:
    """A data set by reference: `mini`, `folder:/data/photos`, `package.module:Class`.

    Raises:
        UnknownNameError: no such data set.
        ConfigurationError: a path is missing, or given where none is taken.
        DatasetError: the data set is not laid out as expected.
    """
    name, colon, path = reference.partition(":")
    if colon and name not in registry and "/" not in path:
        return cast("Dataset", registry.load(reference)())
    entry = registry.resolve(name)
    if entry.takes_path and not path:
        raise ConfigurationError(f"data set {name!r} needs a path", fix=f"write {name}:/path/to/it")
    if colon and not entry.takes_path:
        raise ConfigurationError(f"data set {name!r} takes no path, got {path!r}", fix=f"write {name}")
    factory = registry.load(name)
    return cast("Dataset", factory(path) if entry.takes_path else factory())


def list() -> tuple[DatasetEntry, ...]:
    """All registered data sets, sorted by name."""
    return (*registry,)
