"""A stored run that another one is compared with: its records by cell, and what has become worse since."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iqa_robustness.errors import BaselineError, Where
from iqa_robustness.measures import Interval, mean_interval, srocc, statistic_interval
from iqa_robustness.measures.disparity import shifts
from iqa_robustness.measures.intervals import LEVEL
from iqa_robustness.store import SCHEMA_VERSION, Record, Store
from iqa_robustness.store.store import existing

SUFFIX = ".parquet"
_META, _CELL, _KIND = b"iqa_robustness_baseline", "cell", "record.parquet"


def logical_key(cell: Mapping[str, Any]) -> str:
    """What makes two cells the same in two runs: all that was asked for, and not which version of the metric it was."""
    return json.dumps(cell, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Records of a run.

    url: where they come from.      records: by `logical_key` of their cell.
    """

    url: str
    records: Mapping[str, Record]

    @classmethod
    def load(cls, url: str, *, below: str | None = None) -> Baseline:
        """From a file that `store export-baseline` wrote, or all records of a store.

        Args:
            url: of either.
            below: a store that the first one is an overlay of. It gives the cells that the overlay lacks, but none of
                a metric that the overlay knows in another version alone.

        Raises:
            BaselineError: there is nothing, or it cannot be read.
            ConfigurationError: there is no store below.
        """
        if url.endswith(SUFFIX):
            if below is not None:
                raise BaselineError(f"an exported file has no store below it: {url}", fix="name the overlay itself")
            return cls(url=url, records=_read(url))
        found = _newest(stored_records(Store(url, read_only=True)))
        if below is not None:
            versions: dict[str, list[Any]] = {}
            for record in found.values():
                for metric, version in _versions(record):
                    versions.setdefault(metric, []).append(version)
            same = (
                record
                for record in stored_records(existing(below))
                if all(version in versions.get(metric, [version]) for metric, version in _versions(record))
            )
            found = _newest(same) | found
        if not found:
            raise BaselineError(
                f"the baseline {url!r} holds no record", fix="name a store, or an exported .parquet file"
            )
        return cls(url=url, records=found)

    @cached_property
    def data(self) -> bytes:
        """As a file: one table of all images, what is known of each cell in its metadata."""
        tables = []
        for key, record in sorted(self.records.items()):
            table = pq.read_table(io.BytesIO(record.files()[_KIND]))
            tables.append(table.append_column(_CELL, pa.array([key] * len(table), pa.string())))
        metas = {key: record.meta for key, record in self.records.items()}
        document = json.dumps({"schema_version": SCHEMA_VERSION, "cells": metas}, sort_keys=True)
        whole = pa.concat_tables(tables).replace_schema_metadata({_META: document.encode()})
        buffer = io.BytesIO()
        pq.write_table(whole, buffer, compression="zstd")
        return buffer.getvalue()

    def of(self, record: Record) -> Record | None:
        """The same cell's record in the baseline; None where it has none.

        Raises:
            BaselineError: it is about other images, or its numbers were made by other means, so that a difference
                would say nothing of the metric.
        """
        found = self.records.get(logical_key(record.meta["cell"]))
        if found is None:
            return None
        for what, path in (("images", ("dataset", "digest")), ("numerics", ("numerics",))):
            before, after = (_at(one.meta, path) for one in (found, record))
            if before != after:
                raise BaselineError(
                    f"the baseline {self.url!r} was made with other {what}: {_spoken(before)} there, "
                    f"{_spoken(after)} here",
                    fix="export a baseline from a run on the same images and the same kind of machine",
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Regression:
    """How much worse a measure of a cell is than in the baseline, on the baseline's range and paired by image.

    measure: as in thresholds.yaml.      before, after: of the same images.
    interval: of the difference in the measure's unit, above zero where it is worse.
    """

    measure: str
    before: float
    after: float
    interval: Interval

    @property
    def proven(self) -> bool:
        """Whether the interval excludes that nothing has become worse."""
        return self.interval.low > 0


def _shift(record: Record, column: str, *, since: str, diam: float) -> np.ndarray:
    moved: np.ndarray = np.abs(shifts(record.scores(since), record.scores(column), diam=diam))
    return moved


_Values = Callable[[Record, float], np.ndarray]
_MEANS: dict[str, _Values] = {
    "d_score": lambda r, diam: _shift(r, "defended_attacked", since="clean", diam=diam),
    "d_score_defended": lambda r, diam: _shift(r, "defended_attacked", since="defended_clean", diam=diam),
    "d_score_excess": lambda r, diam: (
        _shift(r, "defended_attacked", since="clean", diam=diam) - _shift(r, "placebo", since="clean", diam=diam)
    ),
}
_CORRELATIONS = {"srocc_clear": "defended_clean", "srocc_adv": "defended_attacked"}
RATCHETED = (*_MEANS, *_CORRELATIONS)
"""Measures that a baseline can be held against: per image, or a correlation over the same images."""


def regression(measure: str, before: Record, after: Record, *, level: float = LEVEL) -> Regression:
    """How much worse the second record is than the first; shifts are in per cent of the first one's range.

    Args:
        measure: one of `RATCHETED`.
        before, after: the cell in two runs.
        level: two-sided coverage of the interval.

    Raises:
        BaselineError: the records are not about the same images.
    """
    rows = _rows(before, after)
    if measure in _MEANS:
        diam, values = before.diam, _MEANS[measure]
        first, second = values(before, diam), values(after, diam)[rows]
        interval = mean_interval(second - first, before.contents, level=level)
        return Regression(measure=measure, before=float(first.mean()), after=float(second.mean()), interval=interval)
    column, mos = _CORRELATIONS[measure], before.scores("mos")
    scores = [record.scores(column) * (1 if record.higher_is_better else -1) for record in (before, after)]
    first, second = scores[0], scores[1][rows]
    interval = statistic_interval(
        lambda chosen: srocc(mos[chosen], first[chosen]) - srocc(mos[chosen], second[chosen]),
        before.contents,
        level=level,
    )
    return Regression(
        measure=measure, before=srocc(mos, first), after=srocc(mos, second), interval=interval.within(-2.0, 2.0)
    )


def stored_records(store: Store) -> Iterator[Record]:
    """Every record of a store, without the draws behind it."""
    for digest in store.digests(holding=_KIND):
        entry = store.find(digest)
        if entry is not None:
            yield Record.from_files({_KIND: entry.read(_KIND)}, volatile=entry.volatile)


def _newest(records: Iterable[Record]) -> dict[str, Record]:
    """By `logical_key`, the newest of each cell."""
    found: dict[str, Record] = {}
    for record in records:
        key = logical_key(record.meta["cell"])
        if key not in found or _created(found[key]) <= _created(record):
            found[key] = record
    return found


def _versions(record: Record) -> list[tuple[str, Any]]:
    """The metrics of a record, the attacked one of a transfer included: name, and what identifies it in the key."""
    cell, source = record.meta["cell"], str(record.meta["cell"].get("source", ""))
    found = [(cell["metric"], _at(record.meta, ("key_document", "target", "metric")))]
    if source:
        found.append((source.rpartition("/")[0], _at(record.meta, ("key_document", "source", "metric"))))
    return found


def _rows(before: Record, after: Record) -> np.ndarray:
    """Where the first record's images are in the second."""
    places = {image: row for row, image in enumerate(after.images["id"])}
    ids = before.images["id"].tolist()
    if {*ids} != {*places}:
        raise BaselineError("a cell of the baseline is about other images", fix="export the baseline again")
    return np.array([places[image] for image in ids])


def _read(url: str) -> dict[str, Record]:
    where = Where(file=url)
    try:
        with fsspec.open(url, "rb") as file:
            table = pq.read_table(io.BytesIO(file.read()))
        document = json.loads(table.schema.metadata[_META])
    except (OSError, ImportError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise BaselineError(
            f"the baseline cannot be read: {error}", where=where, fix="iqa-robustness store export-baseline writes one"
        ) from error
    if document["schema_version"] != SCHEMA_VERSION:
        raise BaselineError(
            f"the baseline has records of schema {document['schema_version']}, this version reads {SCHEMA_VERSION}",
            where=where,
            fix="export it again with this version of iqa-robustness",
        )
    frame = table.to_pandas()
    parts: Iterable[tuple[Any, Any]] = frame.groupby(_CELL, sort=False)
    return {
        str(key): Record(images=part.drop(columns=_CELL).reset_index(drop=True), meta=document["cells"][key])
        for key, part in parts
    }


def written(baseline: Baseline, path: Path) -> Path:
    """Write the baseline's file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_bytes(baseline.data)
    return scratch.replace(path)


def _created(record: Record) -> str:
    return str(record.volatile.get("created", ""))


def _at(meta: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = meta
    for name in path:
        found = found.get(name, {})
    return found


def _spoken(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)[:12]
