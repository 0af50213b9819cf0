"""What a judgement and its reports take from a record: read once and kept, since thresholds change more often."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from iqa_robustness.errors import CorruptEntryError, StoreError
from iqa_robustness.gate.certified import broken_counts
from iqa_robustness.gate.comparisons import Attempt, attempt_of
from iqa_robustness.gate.measurements import MEASURES, Measurement, measure
from iqa_robustness.gate.mixtures import mixtures
from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.gate.worst_case import Harm, harm_of
from iqa_robustness.measures import Interval
from iqa_robustness.reporting.distributions import distribution_of
from iqa_robustness.store import Entry, Key, Record, Store

VERSION = 3
"""Raised with every change of a measure's numbers, of what makes an attack invalid, or of what is kept here."""

_FILE, _RECORD = "reading.json", "record.parquet"
# Measures are said in this order.
_PLACES = {name: place for place, name in enumerate(MEASURES)}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A record as far as verdicts and summaries need it.

    scenario: of the cell.
    measurements: every measure of the record, by name.
    invalid: why its attack does not count.
    facts: what an outcome says of the record beside its measures; JSON.
    attempt, harm: of its attack; None as in `attempt_of` and `harm_of`.
    """

    scenario: str
    measurements: dict[str, Measurement]
    invalid: tuple[str, ...]
    facts: dict[str, Any]
    attempt: Attempt | None
    harm: Harm | None

    @classmethod
    def of(cls, record: Record) -> Reading:
        """Read a record, which takes tens of milliseconds: its intervals are resampled."""
        return cls(
            scenario=record.meta["cell"]["scenario"],
            measurements=measure(record),
            invalid=tuple(invalid_reasons(record)),
            facts=facts_of(record),
            attempt=attempt_of(record),
            harm=harm_of(record),
        )

    def document(self) -> dict[str, Any]:
        """As JSON; infinite bounds are written as JavaScript does, and read back."""
        return {
            "scenario": self.scenario,
            "measurements": {
                name: {"interval": asdict(m.interval), "gated": m.gated, "note": m.note, "images": m.images}
                for name, m in self.measurements.items()
            },
            "invalid": [*self.invalid],
            "facts": self.facts,
            "attempt": None if self.attempt is None else asdict(self.attempt),
            "harm": None if self.harm is None else asdict(self.harm),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Reading:
        """What `document` wrote. Raises KeyError, TypeError or AttributeError for anything else."""
        attempt, harm, measured = document["attempt"], document["harm"], document["measurements"]
        return cls(
            scenario=document["scenario"],
            measurements={
                name: Measurement(
                    name=name,
                    title=MEASURES[name].title,
                    unit=MEASURES[name].unit,
                    interval=Interval(**known["interval"]),
                    gated=known["gated"],
                    note=known["note"],
                    images=known["images"],
                )
                for name, known in sorted(measured.items(), key=lambda item: _PLACES[item[0]])
            },
            invalid=tuple(document["invalid"]),
            facts=document["facts"],
            attempt=None if attempt is None else Attempt(**{**attempt, "target": tuple(attempt["target"])}),
            harm=None if harm is None else Harm(**{**harm, "subject": tuple(harm["subject"])}),
        )


class Readings:
    """Readings by record, kept as entries of the store: by the digest of the record's bytes, and `VERSION`.

    Args:
        store: of the records. One that was opened for reading gets readings where it can be written to all the same:
            they say nothing that its records do not. Where it cannot, they are read off the records every time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keeping: Store | None = None if store.read_only else store
        self._tried = not store.read_only

    def of(self, entry: Entry, read: Callable[[Entry], Record] | None = None) -> Reading:
        """The reading of a record's entry; a damaged one is made anew. Raises what reading the record raises.

        Args:
            entry: that holds the record.
            read: how to get the record where there is no reading of it.
        """
        read = read or _read
        sha256 = entry.manifest["files"].get(_RECORD, {}).get("sha256")
        if sha256 is None:
            return Reading.of(read(entry))
        key = Key({"stage": "reading", "version": VERSION, "record": sha256})
        found = self._kept(key)
        if found is None:
            found = Reading.of(read(entry))
            self._keep(key, found)
            found = _parsed(_text(found))  # as it will be found again: reports of both are equal, byte for byte
        return found

    def _kept(self, key: Key) -> Reading | None:
        try:
            entry = self._store.get(key)
            return None if entry is None else _parsed(entry.read(_FILE))
        except (CorruptEntryError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _keep(self, key: Key, reading: Reading) -> None:
        if not self._tried:
            self._tried = True
            try:
                self._keeping = Store(self._store.url)
            except StoreError:
                return
        if self._keeping is None:
            return
        try:
            self._keeping.put(key, {_FILE: _text(reading)})
        except StoreError:
            self._keeping = None  # it would fail for every other one, too


def _text(reading: Reading) -> bytes:
    return json.dumps(reading.document(), sort_keys=True).encode()


def _parsed(text: bytes) -> Reading:
    return Reading.from_document(json.loads(text))


def _read(entry: Entry) -> Record:
    return Record.from_files(entry.files())


def facts_of(record: Record) -> dict[str, Any]:
    """What an outcome says of a record beside its measures; JSON."""
    return {
        "gains": distribution_of(record),
        "mixtures": [
            {
                "share": mixture.share,
                "truth": mixture.truth,
                "defended": mixture.defended.finite,
                "undefended": mixture.undefended.finite,
            }
            for mixture in mixtures(record)
        ],
        "images": len(record.images),
        "mos_kind": record.meta["dataset"]["mos_kind"],
        "dataset": {name: record.meta["dataset"][name] for name in ("name", "digest")},
        "numerics": record.meta["numerics"],
        "protocol": record.meta["protocol"],
        "budget": _budget(record),
        "certificate": _certificate(record),
        "sources": _sources(record),
        "record": record.meta["key"],
    }


def _budget(record: Record) -> dict[str, Any]:
    """Restriction and limit of the attack, empty without one."""
    return {name: record.meta["attack"][name] for name in ("restriction", "limit")} if "attack" in record.meta else {}


def _certificate(record: Record) -> dict[str, Any]:
    """What the certificates speak of, and of a soundness cell how many there are and are broken; empty without any."""
    facts = dict(record.meta.get("certificate", {}))
    if record.meta["cell"]["scenario"] == "soundness":
        facts |= dict(zip(("broken", "tested"), broken_counts(record), strict=True))
    return facts


def _sources(record: Record) -> dict[str, Any]:
    """Of an adaptive cell: whose image was worst on which share of the images; how many the black-box attack had."""
    if "sources" not in record.meta:
        return {}
    shares = record.images["worst_source"].value_counts(normalize=True)
    queried = record.meta["sources"].get("queried", {"images": 0})
    names = [name for name in ("adaptive", "transferred", "queried") if name in record.meta["sources"]]
    return {
        "shares": {name: float(shares.get(name, 0.0)) for name in names},
        "queried_images": int(queried["images"]),
    }
