"""Bundles: what was packed comes back byte for byte, and whatever is not as it should be is refused by its name."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import BundleError, StoreError
from iqa_robustness.gate.baseline import stored_records
from iqa_robustness.reporting import leaderboard_bundle
from iqa_robustness.reporting.leaderboard_bundle import admitted, bundle_bytes, read_bundle
from iqa_robustness.store import Key, Record, Store

FACTS = {
    "host": "secret-host",
    "worker": "gw0",
    "seconds": 1.5,
    "created": "2026-01-01T00:00:00Z",
    "cost": {"purify": {"milliseconds": 2.0, "batches": 3}},
}


@pytest.fixture
def source(stored: Any, tmp_path: Path) -> Store:
    store = Store(tmp_path / "source")
    for record in (stored("none", 30), stored("flip", 10), stored("flip", 20, strength="strong"), stored("jpeg", 5)):
        put(store, record)
    return store


def put(store: Store, record: Record) -> Key:
    key = Key(record.meta["key_document"])
    store.put(key, record.files(), volatile=FACTS)
    return key


@pytest.fixture
def packed(source: Store, tmp_path: Path) -> Path:
    path = tmp_path / "bundle.tar"
    path.write_bytes(bundle_bytes(source, submitter="Ana, Lab 7"))
    return path


Change = Callable[[dict[str, bytes], dict[str, Any]], None]


@pytest.fixture
def changed(packed: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """The bundle with its members and its manifest changed by a function."""

    def make(change: Change) -> Path:
        with tarfile.open(packed) as archive:
            members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        manifest = json.loads(members.pop("manifest.json"))
        change(members, manifest)
        members.setdefault("manifest.json", json.dumps(manifest).encode())
        return written(tmp_path / "changed.tar", members)

    return make


def written(path: Path, members: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for link in links:
            archive.addfile(link)
    return path


def rewritten(members: dict[str, bytes], manifest: dict[str, Any], change: Callable[[Record], Record]) -> None:
    """Replace the records of flip by what the function makes of them, hashes and all."""
    for digest in sorted(manifest["records"]):
        name = f"records/{digest}/record.parquet"
        record = Record.from_files({"record.parquet": members[name]})
        if record.meta["cell"]["defense"] == "flip":
            members[name] = change(record).files()["record.parquet"]
            manifest["records"][digest]["files"]["record.parquet"] = hashlib.sha256(members[name]).hexdigest()


def test_what_was_packed_comes_back_byte_for_byte(source: Store, packed: Path, tmp_path: Path) -> None:
    target = Store(tmp_path / "target")
    assert admitted(read_bundle(packed), target) == (4, 0)
    assert target.digests() == source.digests()
    for digest in source.digests():
        ours, theirs = source.find(digest), target.find(digest)
        assert ours is not None
        assert theirs is not None
        assert ours.files() == theirs.files()
    assert {record.volatile["submitter"] for record in stored_records(target)} == {"Ana, Lab 7"}


def test_a_bundle_tells_time_and_cost_and_nothing_of_the_machine(packed: Path) -> None:
    data = packed.read_bytes()
    assert b"secret-host" not in data
    assert b"gw0" not in data
    facts = read_bundle(packed).submissions[0].facts
    assert facts == {name: FACTS[name] for name in ("cost", "seconds", "created")}


def test_equal_stores_make_equal_bundles(source: Store) -> None:
    assert bundle_bytes(source, submitter="A") == bundle_bytes(source, submitter="A")


def test_a_defense_is_packed_with_the_undefended_metric(source: Store, tmp_path: Path) -> None:
    path = tmp_path / "flip.tar"
    path.write_bytes(bundle_bytes(source, submitter="A", defense="flip"))
    cells = [one.record.meta["cell"] for one in read_bundle(path).submissions]
    assert sorted(cell["defense"] for cell in cells) == ["flip", "flip", "none"]
    with pytest.raises(BundleError, match="no such record"):
        bundle_bytes(source, submitter="A", metric="koncept")


def test_planted_subjects_are_not_handed_in(source: Store, stored: Any) -> None:
    planted = put(source, stored("none", metric="iqa_robustness.metrics.planted:Robust"))
    assert planted.digest.encode() not in bundle_bytes(source, submitter="A")


def test_admitting_twice_changes_nothing(packed: Path, tmp_path: Path) -> None:
    target = Store(tmp_path / "target")
    bundle = read_bundle(packed)
    assert admitted(bundle, target) == (4, 0)
    assert admitted(bundle, target) == (0, 4)


def test_other_numbers_under_a_known_key_are_refused_and_nothing_is_admitted(
    stored: Any, packed: Path, tmp_path: Path
) -> None:
    target = Store(tmp_path / "target")
    key = put(target, stored("flip", 99))
    with pytest.raises(BundleError, match=f"other numbers for record {key.digest[:12]}"):
        admitted(read_bundle(packed), target)
    assert target.digests() == [key.digest]


def test_a_read_only_store_admits_nothing(packed: Path, source: Store, tmp_path: Path) -> None:
    admitted(read_bundle(packed), Store(source.url, read_only=True))  # all there already
    Store(tmp_path / "empty")
    with pytest.raises(StoreError, match="read-only"):
        admitted(read_bundle(packed), Store(tmp_path / "empty", read_only=True))


@pytest.mark.parametrize(
    "name",
    ["../evil.parquet", "/etc/passwd", "records/../../x", "records/ab/record.parquet", "run.py", "a.pkl", "records/"],
)
def test_names_that_no_record_has_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "evil.tar", {name: b"x"})
    with pytest.raises(BundleError, match="no record") as caught:
        read_bundle(path)
    assert name in str(caught.value)
    assert not [*tmp_path.parent.glob("evil.parquet")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo(f"records/{'a' * 64}/record.parquet")
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(BundleError, match="no plain file"):
        read_bundle(written(tmp_path / "link.tar", {}, link))


def _changed_byte(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = sorted(members)[0]
    members[name] = members[name][:200] + bytes([members[name][200] ^ 1]) + members[name][201:]


def _other_schema(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["schema_version"] += 1


def _other_version(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["version"] = 99


def _missing(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del members[sorted(members)[0]]


def _unlisted(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members[f"records/{'0' * 64}/record.parquet"] = b"x"


def _listed_elsewhere(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["records"]["../../x"] = {"files": {"record.parquet": "0" * 64}, "facts": {}}


def _no_json(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["manifest.json"] = b"{"


def _deep_json(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["manifest.json"] = b"[" * 200_000


def _pickled(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    digest = sorted(manifest["records"])[0]
    data = pickle.dumps({"a": 1})
    members[f"records/{digest}/record.parquet"] = data
    manifest["records"][digest]["files"]["record.parquet"] = hashlib.sha256(data).hexdigest()


def _other_key(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    digest = sorted(manifest["records"])[0]
    manifest["records"]["0" * 64] = manifest["records"].pop(digest)
    members[f"records/{'0' * 64}/record.parquet"] = members.pop(f"records/{digest}/record.parquet")


def _false_facts(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["records"][sorted(manifest["records"])[0]]["facts"]["cost"] = {"purify": {"milliseconds": -1.0}}


def _false_name(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["submitter"] = "=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_changed_byte, "was changed: its SHA-256"),
        (_other_schema, "records of schema"),
        (_other_version, "version 1: iqa-robustness-bundle 99"),
        (_missing, "lacks record.parquet"),
        (_unlisted, "does not list"),
        (_listed_elsewhere, "lists ../../x/record.parquet"),
        (_no_json, "manifest.json is not what it should be"),
        (_deep_json, "manifest.json is not what it should be"),
        (_pickled, "no parquet file"),
        (_other_key, "not the digest of its key document"),
        (_false_facts, "not time and cost"),
        (_false_name, "cannot be the name of a submitter"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_as_it_should_be_is_refused_by_name(changed: Any, change: Change, what: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(changed(change))
    assert what in caught.value.what
    assert caught.value.where.file.endswith("changed.tar")


@pytest.mark.parametrize(
    ("part", "change", "what"),
    [
        ("cell", {"defense": "other", "scenario": "adaptive"}, "scenario"),
        ("cell", {"metric": "other"}, "metric"),
        ("cell", {"goal": "lower"}, "goal"),
        ("cell", {"seed": 9}, "seed"),
        ("metric", {"score_range": [0.0, 1000.0]}, "score range"),
        ("metric", {"higher_is_better": False}, "direction"),
        ("defense", {"fields": {"strong": True}}, "defense"),
        ("defense", {"kind": "certified", "class": "x.Y"}, "defense"),
        ("attack", {"fields": {"epsilon": 0.1}}, "attack"),
        ("dataset", {"digest": "d9"}, "images"),
        ("numerics", {"device": "cuda"}, "numerics"),
    ],
)
def test_labels_that_contradict_the_key_are_refused(changed: Any, part: str, change: dict[str, Any], what: str) -> None:
    def relabel(record: Record) -> Record:
        return replace(record, meta={**record.meta, part: {**record.meta[part], **change}})

    with pytest.raises(BundleError, match=f"names another {what} than its key"):
        read_bundle(changed(lambda members, manifest: rewritten(members, manifest, relabel)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"defense": "jpeg"}, "calls iqa_robustness.defenses.purification.flip.Flip 'jpeg'"),
        ({"attack": "apgd"}, "calls iqa_robustness.attacks.ifgsm.IFGSM 'apgd'"),
        ({"defense": "none"}, "calls the defense 'none', and its key has another"),
    ],
)
def test_names_that_stand_for_something_else_are_refused(changed: Any, change: dict[str, Any], what: str) -> None:
    def rename(record: Record) -> Record:
        return replace(record, meta={**record.meta, "cell": {**record.meta["cell"], **change}})

    with pytest.raises(BundleError) as caught:
        read_bundle(changed(lambda members, manifest: rewritten(members, manifest, rename)))
    assert what in caught.value.what


def test_a_document_that_was_changed_no_longer_has_its_key(changed: Any) -> None:
    def another(record: Record) -> Record:
        return replace(record, meta={**record.meta, "key_document": {**record.meta["key_document"], "extra": 1}})

    with pytest.raises(BundleError, match="not the digest of its key document"):
        read_bundle(changed(lambda members, manifest: rewritten(members, manifest, another)))


def test_a_name_that_is_a_formula_or_markup_is_refused(stored: Any, tmp_path: Path) -> None:
    for name in ("=1+1", "<b>", "a\nb", "x" * 400):
        store = Store(tmp_path / "evil")
        put(store, stored(name))
        (tmp_path / "evil.tar").write_bytes(bundle_bytes(store, submitter="A"))
        with pytest.raises(BundleError, match="cannot be the name of a defense"):
            read_bundle(tmp_path / "evil.tar")
    with pytest.raises(BundleError, match="submitter"):
        bundle_bytes(Store(tmp_path / "evil"), submitter="")


def test_what_is_too_large_is_refused_before_it_is_read(
    packed: Path, source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard_bundle, "_LARGEST_FILE", 100)
    with pytest.raises(BundleError, match="too large"):
        read_bundle(packed)
    monkeypatch.setattr(leaderboard_bundle, "_LARGEST_FILE", 10**8)
    monkeypatch.setattr(leaderboard_bundle, "_MOST_ROWS", 5)
    with pytest.raises(BundleError, match="24 rows, more than 5"):
        read_bundle(packed)


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b compressed"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(BundleError):
        read_bundle(path)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "nowhere.tar")


def test_a_name_twice_is_refused(packed: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("manifest.json")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
    with pytest.raises(BundleError, match="twice"):
        read_bundle(tmp_path / "twice.tar")
