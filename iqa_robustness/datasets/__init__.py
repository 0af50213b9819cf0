"""Data sets by name. A new one is one file here and one line below."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.datasets.base import Dataset

__all__ = ["DatasetEntry", "list", "load", "registry"]

# `@key=value` and not `?key=value`: a shell expands `?`, and commas part patterns. A path may have an `@` of its own.
_OPTION = re.compile(r"@(?P<key>[a-z]+)=(?P<value>[^@]*)")
# What every data set takes, each in its turn.
_GENERAL = ("list", "rows", "unreadable")


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """A registered data set.

    takes_path: it is written `name:PATH`.
    options: it takes, as `name:PATH@option=value`.
    """

    takes_path: bool = True
    options: tuple[str, ...] = ()


registry = Registry("data set", DatasetEntry, "iqa_robustness.datasets")
for _entry in (
    DatasetEntry(
        name="folder",
        target="iqa_robustness.datasets.folder:Folder",
        summary="folder:PATH, images and a csv or parquet file of their scores",
        options=("scores", "unlisted"),
    ),
    DatasetEntry(
        name="frames",
        target="iqa_robustness.datasets.frames:Frames",
        summary="frames:PATH, clips frame by frame: .y4m files or folders of numbered pictures; @every=",
        options=("every",),
    ),
    DatasetEntry(
        name="kadid",
        target="iqa_robustness.datasets.kadid:Kadid",
        summary="kadid:PATH, KADID-10k: 81 photographs under 25 distortions",
    ),
    DatasetEntry(
        name="koniq",
        target="iqa_robustness.datasets.koniq:Koniq",
        summary="koniq:PATH, the test images of KonIQ-10k; @part=, @release=, @scale=",
        options=("part", "release", "scale"),
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
        name="live-itw",
        target="iqa_robustness.datasets.live_itw:LiveItw",
        summary="live-itw:PATH, LIVE In the Wild: 1,162 photographs",
    ),
    DatasetEntry(
        name="mini",
        target="iqa_robustness.datasets.mini:Mini",
        summary="ten bundled photographs in five quality levels each, with a pseudo MOS",
        takes_path=False,
    ),
    DatasetEntry(
        name="nips2017",
        target="iqa_robustness.datasets.nips2017:Nips2017",
        summary="nips2017:PATH, the competition's development images, without scores",
    ),
    DatasetEntry(
        name="spaq",
        target="iqa_robustness.datasets.spaq:Spaq",
        summary="spaq:PATH, SPAQ: 11,125 photographs of smartphones",
    ),
):
    registry.register(_entry)


def load(reference: str) -> Dataset:
    """A data set by reference: `mini`, `folder:/data/photos`, `package.module:Class`.

    Options follow, each as `@key=value`. Every data set takes `@list=FILE`, the images that a csv names; with
    `@rows=COLUMN:VALUE` only those of the rows whose cell says so; and `@unreadable=skip`, which reads every image
    beforehand and leaves out what cannot be read (`stop`, the default, is an error where the image is needed).

    Raises:
        UnknownNameError: no such data set, or it has no such option.
        ConfigurationError: a path is missing, or given where none is taken.
        DatasetError: the data set is not laid out as expected.
    """
    plain, options = _parted(reference)
    name, colon, path = plain.partition(":")
    if colon and name not in registry and "/" not in path:
        made = cast("Dataset", registry.load(plain)(**_own(name, (), options)))
    else:
        entry = registry.resolve(name)
        if entry.takes_path and not path:
            raise ConfigurationError(f"data set {name!r} needs a path", fix=f"write {name}:/path/to/it")
        if colon and not entry.takes_path:
            raise ConfigurationError(f"data set {name!r} takes no path, got {path!r}", fix=f"write {name}")
        own = _own(name, entry.options, options)
        factory = registry.load(name)
        made = cast("Dataset", factory(path, **own) if entry.takes_path else factory(**own))
    return _part(made, reference, options)


def _parted(reference: str) -> tuple[str, dict[str, str]]:
    """What stands before the options, and these."""
    first = _OPTION.search(reference)
    if first is None:
        return reference, {}
    found = [*_OPTION.finditer(reference)]
    for one in found:
        if not one["value"] or one["key"] in {other["key"] for other in found if other is not one}:
            raise ConfigurationError(
                f"the option {one['key']!r} of {reference!r} is empty or given twice", fix="write @key=value once"
            )
    return reference[: first.start()], {one["key"]: one["value"] for one in found}


def _own(name: str, known: tuple[str, ...], options: Mapping[str, str]) -> dict[str, str]:
    for key in options:
        if key not in (*known, *_GENERAL):
            raise UnknownNameError(f"option of data set {name!r}:", key, (*known, *_GENERAL))
    return {key: value for key, value in options.items() if key in known}


def _part(data: Dataset, reference: str, options: Mapping[str, str]) -> Dataset:
    from iqa_robustness.datasets.parts import listed, readable

    column, _, value = options.get("rows", "").partition(":")
    if column and "list" not in options:
        raise ConfigurationError("the option rows chooses rows of a list", fix="write @list=FILE@rows=COLUMN:VALUE")
    if "list" in options:
        data = listed(data, Path(options["list"]), name=reference, column=column, value=value)
    policy = options.get("unreadable", "stop")
    if policy not in ("skip", "stop"):
        raise ConfigurationError(f"unreadable={policy!r} is neither skip nor stop")
    return readable(data, name=reference) if policy == "skip" else data


def list() -> tuple[DatasetEntry, ...]:
    """All registered data sets, sorted by name."""
    return (*registry,)
