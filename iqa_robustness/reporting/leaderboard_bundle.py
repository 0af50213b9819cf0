"""A bundle: records of a store with their hashes in one file, to hand in to a leaderboard. Data only, never code."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from iqa_robustness import attacks, defenses
from iqa_robustness.errors import BundleError, IqaRobustnessError, Where
from iqa_robustness.gate.baseline import stored_records
from iqa_robustness.registry import Registry
from iqa_robustness.reporting.results import is_planted
from iqa_robustness.store import SCHEMA_VERSION, Entry, Key, Record, Store

FORMAT = "iqa-robustness-bundle"
VERSION = 1
MANIFEST = "manifest.json"
_FILES = ("record.parquet", "draws.parquet")
_MEMBER = re.compile(r"records/(?P<digest>[0-9a-f]{64})/(?P<name>record|draws)\.parquet")
# What of a run's circumstances is of use to others: no host, no worker.
_FACTS = ("cost", "seconds", "created")
_MEBIBYTE = 2**20
_LARGEST_FILE, _MOST_RECORDS, _MOST_ROWS = 64 * _MEBIBYTE, 100_000, 1_000_000
# What a name in a table may be made of; the first character is none that a spreadsheet takes for a formula.
_NAME = re.compile(r"[A-Za-z0-9(][\w.:+\-/, =()\[\]'\"]{0,299}")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A record as a bundle holds it, verified.

    key: its address.      files: as the store keeps them.      facts: time and cost that the submitter measured.
    """

    key: Key
    files: Mapping[str, bytes]
    facts: Mapping[str, Any]

    @property
    def record(self) -> Record:
        """Read from its files."""
        return Record.from_files(dict(self.files), volatile=dict(self.facts))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What a verified file holds.

    submitter: who handed it in, by their own word.      submissions: sorted by key.
    """

    submitter: str
    submissions: tuple[Submission, ...]


def bundle_bytes(store: Store, *, submitter: str, defense: str = "", metric: str = "") -> bytes:
    """A store's records as a bundle; equal records give equal bytes.

    Args:
        store: where they are.
        submitter: name to appear beside them.
        defense, metric: only records of these, by their names; empty takes all but planted subjects.

    Raises:
        BundleError: no such record, or the submitter's name cannot be one.
    """
    _check_name("submitter", submitter)
    entries: dict[str, Entry] = {}
    for record in stored_records(store):
        cell = record.meta["cell"]
        wanted = cell["defense"] in (defense, "none") if defense else True
        if wanted and (not metric or cell["metric"] == metric) and not is_planted(cell["metric"]):
            entry = store.find(str(record.meta["key"]))
            if entry is not None:
                entries[entry.digest] = entry
    if not entries:
        raise BundleError(
            f"the store {store.url} holds no such record", fix="run the suites with --iqa-store, then name that store"
        )
    files: dict[str, bytes] = {}
    records: dict[str, Any] = {}
    for digest, entry in sorted(entries.items()):
        held = {name: entry.read(name) for name in _FILES if name in entry.manifest["files"]}
        files |= {f"records/{digest}/{name}": data for name, data in held.items()}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}
        facts = {name: value for name, value in entry.volatile.items() if name in _FACTS}
        records[digest] = {"files": hashes, "facts": facts}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "schema_version": SCHEMA_VERSION,
        "submitter": submitter,
        "records": records,
    }
    text = json.dumps(manifest, sort_keys=True, indent=1).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in {MANIFEST: text, **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def read_bundle(path: Path) -> Bundle:
    """A bundle's records, each verified; nothing is written to disk and nothing in it is run.

    Verified are names, sizes and SHA-256 of the files, the record's schema, that its key is the digest of its key
    document, and that this document is about what the record says it is. That the scores are what a computation would
    give cannot be seen from them: compute some cells again for that.

    Raises:
        BundleError: something is not as it must be, named.
    """
    where = Where(file=str(path))
    try:
        members = _members(path)
        manifest = _manifest(members.pop(MANIFEST, None))
        submissions = tuple(
            _submission(digest, listed, members) for digest, listed in sorted(manifest["records"].items())
        )
    except (OSError, tarfile.TarError) as error:
        raise BundleError(f"the bundle cannot be read: {error}", where=where, fix=_MADE_BY) from error
    except BundleError as error:
        raise error.at(file=str(path)) from error.__cause__
    if members:
        raise BundleError(f"the bundle holds {sorted(members)[0]!r}, which its manifest does not list", where=where)
    return Bundle(submitter=manifest["submitter"], submissions=submissions)


def admitted(bundle: Bundle, store: Store) -> tuple[int, int]:
    """Put a bundle's records into a store; all of them or, where one contradicts it, none.

    Returns:
        How many are new, and how many were there already, with the same bytes.

    Raises:
        BundleError: the store has other numbers under a key of the bundle.
        StoreError: the store cannot be written.
    """
    fresh = []
    for one in bundle.submissions:
        entry = store.get(one.key)
        if entry is None:
            fresh.append(one)
            continue
        for name in one.files:
            if name not in entry.manifest["files"] or entry.read(name) != one.files[name]:
                raise BundleError(
                    f"the store has other numbers for record {one.key.digest[:12]} ({name})",
                    fix="compute the cell again and see who is right; a store's entries are never replaced",
                )
    for one in fresh:
        store.put(one.key, one.files, volatile={**one.facts, "submitter": bundle.submitter})
    return len(fresh), len(bundle.submissions) - len(fresh)


_MADE_BY = "iqa-robustness leaderboard bundle writes one"


def _members(path: Path) -> dict[str, bytes]:
    """Contents of the archive's files by name; every name is one that a bundle can have."""
    found: dict[str, bytes] = {}
    with tarfile.open(path, mode="r:") as archive:
        for member in archive:
            if member.name != MANIFEST and not _MEMBER.fullmatch(member.name):
                raise BundleError(f"the bundle holds {member.name!r}, which is no record", fix=_MADE_BY)
            if not member.isreg():
                raise BundleError(f"{member.name!r} in the bundle is no plain file", fix=_MADE_BY)
            if member.name in found:
                raise BundleError(f"the bundle holds {member.name!r} twice", fix=_MADE_BY)
            if member.size > _LARGEST_FILE or len(found) > 2 * _MOST_RECORDS:
                raise BundleError(f"the bundle is too large at {member.name!r} ({member.size} bytes)")
            file = archive.extractfile(member)
            found[member.name] = file.read() if file is not None else b""
    return found


def _manifest(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise BundleError(f"the bundle has no {MANIFEST}", fix=_MADE_BY)
    try:
        manifest: dict[str, Any] = json.loads(data)
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            raise BundleError(f"not a bundle of version {VERSION}: {manifest['format']} {manifest['version']}")
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise BundleError(
                f"the bundle has records of schema {manifest['schema_version']}, this version reads {SCHEMA_VERSION}",
                fix="compute them with the same version of iqa-robustness",
            )
        _check_name("submitter", manifest["submitter"])
        for digest, listed in manifest["records"].items():
            for name in listed["files"]:
                if not _MEMBER.fullmatch(f"records/{digest}/{name}"):
                    raise BundleError(f"{MANIFEST} lists {digest}/{name}, which is no record")
            _check_facts(digest, listed["facts"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not what it should be: {error!r}", fix=_MADE_BY) from error
    return manifest


def _submission(digest: str, listed: Mapping[str, Any], members: dict[str, bytes]) -> Submission:
    short = digest[:12]
    files: dict[str, bytes] = {}
    for name, sha256 in listed["files"].items():
        data = members.pop(f"records/{digest}/{name}", None)
        if data is None:
            raise BundleError(f"the bundle lacks {name} of record {short}")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BundleError(f"{name} of record {short} was changed: its SHA-256 is not the manifest's")
        _check_rows(short, name, data)
        files[name] = data
    try:
        record = Record.from_files(files)
        key = Key(record.meta["key_document"])
        stated = record.meta["key"]
        agreed = key.digest
        _check_subject(short, record)
    except BundleError:
        raise
    except (IqaRobustnessError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"record {short} cannot be read: {error}") from error
    if not agreed == stated == digest:
        raise BundleError(f"record {short} stands under a key that is not the digest of its key document")
    return Submission(key=key, files=files, facts=dict(listed["facts"]))


def _check_rows(short: str, name: str, data: bytes) -> None:
    try:
        rows = pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BundleError(f"{name} of record {short} is no parquet file: {error}") from error
    if rows > _MOST_ROWS:
        raise BundleError(f"{name} of record {short} has {rows} rows, more than {_MOST_ROWS}")


def _check_subject(short: str, record: Record) -> None:
    """A record's labels are what its key is about: else a table would print one defense's numbers beside another."""
    meta, document = record.meta, record.meta["key_document"]
    cell, target = meta["cell"], document["target"]
    for axis in ("metric", "defense", "attack", "strength"):
        if cell[axis]:
            _check_name(axis, cell[axis])
    defended = target.get("defense")
    named = {name: meta["defense"][name] for name in ("class", "version", "fields")}
    attack = document["attack"] and {name: meta["attack"][name] for name in ("class", "version", "fields")}
    pairs = {
        "stage": ("cell", document["stage"]),
        "scenario": (cell["scenario"], document["scenario"]),
        "goal": (cell["goal"], document["goal"]),
        "seed": (cell["seed"], document["seed"]),
        "metric": (cell["metric"], target["metric"]["name"]),
        "score range": (meta["metric"]["score_range"], target["metric"]["score_range"]),
        "direction": (meta["metric"]["higher_is_better"], target["metric"]["higher_is_better"]),
        "defense": (None if meta["defense"]["kind"] == "none" else named, defended),
        "attack": (attack, document["attack"]),
        "images": (meta["dataset"]["digest"], document["images"]),
        "numerics": (meta["numerics"], document["numerics"]),
    }
    for what, (said, keyed) in pairs.items():
        if said != keyed:
            raise BundleError(f"record {short} names another {what} than its key: {said!r}, not {keyed!r}")
    if (meta["defense"]["kind"] == "none") != (cell["defense"] == "none"):
        raise BundleError(f"record {short} calls the defense {cell['defense']!r}, and its key has another")
    _check_class(short, defenses.registry, cell["defense"], meta["defense"]["class"])
    if cell["attack"]:
        _check_class(short, attacks.registry, cell["attack"], meta["attack"]["class"])


def _check_class(short: str, registry: Registry[Any], name: str, stated: str) -> None:
    """A name of this package stands for its own class; what a user's names stand for only they can say."""
    target = registry.resolve(name).target if name in registry else ""
    if target.startswith("iqa_robustness.") and target.replace(":", ".") != stated:
        raise BundleError(f"record {short} calls {stated} {name!r}, which is {target}")


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BundleError(f"{str(name)[:60]!r} cannot be the name of a {what}", fix="use letters, digits and . : + - /")


def _check_facts(digest: str, facts: Mapping[str, Any]) -> None:
    """Time and cost are numbers; what else a submitter might put there is refused."""
    numbers = [facts.get("seconds", 0.0)]
    numbers += [value for step in facts.get("cost", {}).values() for value in step.values()]
    sound = {*facts} <= {*_FACTS} and isinstance(facts.get("created", ""), str) and len(facts.get("created", "")) < 40
    sound = sound and all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers)
    if not sound:
        raise BundleError(f"the facts beside record {digest[:12]} are not time and cost")
