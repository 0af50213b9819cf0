"""Where published parameter files are looked for, whose digests are asked, and what is said when one is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from iqa_robustness.errors import UnknownNameError, WeightsError
from iqa_robustness.metrics import parameter_file
from iqa_robustness.metrics.parameter_file import parameter_files
from iqa_robustness.metrics.weights import FOLDER_VARIABLE, MANIFEST, WeightsEntry, entry_of, located

CONTENTS = {"pair_first": b"one", "pair_second": b"two"}


@pytest.fixture(autouse=True)
def manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric `pair` of two files, the first with a digest, both from example.org."""
    entries = tuple(
        WeightsEntry(metric="pair", file=name, origin=f"https://example.org/{name}", sha256=digest)
        for name, digest in (("pair_first", hashlib.sha256(b"one").hexdigest()), ("pair_second", ""))
    )
    own = {**MANIFEST, "pair": entries}
    monkeypatch.setattr(parameter_file, "MANIFEST", own)
    monkeypatch.setattr("iqa_robustness.metrics.weights.MANIFEST", own)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`weights.folder()` with both files."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    return filled(tmp_path / "cache")


def filled(folder: Path, names: Sequence[str] = tuple(CONTENTS)) -> Path:
    folder.mkdir()
    for name, content in zip(names, CONTENTS.values(), strict=True):
        (folder / name).write_bytes(content)
    return folder


def test_the_own_files_are_in_the_folder_of_weights(cache: Path) -> None:
    first, second = parameter_files("pair", None)
    assert (first.path, second.path) == (cache / "pair_first", cache / "pair_second")
    assert first.described.name == "pair_first"
    assert first.described.sha256 == hashlib.sha256(b"one").hexdigest()
    assert first.described.origin == "https://example.org/pair_first"


@pytest.mark.parametrize("names", [tuple(CONTENTS), ("first", "second")], ids=["prefixed", "as published"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_holds_them_under_either_name(tmp_path: Path, names: tuple[str, str], kind: type) -> None:
    folder = filled(tmp_path / "given", names)
    assert [file.path.name for file in parameter_files("pair", kind(folder))] == [*names]


def test_files_are_given_in_order(tmp_path: Path) -> None:
    folder = filled(tmp_path / "given", ("a", "b"))
    found = parameter_files("pair", [folder / "a", str(folder / "b")])
    assert [file.path for file in found] == [folder / "a", folder / "b"]
    assert found[1].described.sha256 == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_or_too_many_are_refused(cache: Path, count: int) -> None:
    given = [cache / "pair_first"] * count
    with pytest.raises(WeightsError, match=f"names {count} of the 2 files that pair reads") as raised:
        parameter_files("pair", given)
    assert "pair_first, pair_second" in raised.value.fix
    with pytest.raises(WeightsError, match="names 1 of the 2 files"):
        parameter_files("pair", cache / "pair_first")


def test_only_the_own_file_must_have_the_digest_of_the_manifest(cache: Path) -> None:
    (cache / "pair_first").write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"pair_first has sha256 [0-9a-f]{64}, [0-9a-f]{64} is expected") as raised:
        parameter_files("pair", None)
    assert raised.value.where.file == str(cache / "pair_first")
    assert "https://example.org/pair_first" in raised.value.fix
    assert parameter_files("pair", cache)[0].described.sha256 == hashlib.sha256(b"another").hexdigest()


@pytest.mark.parametrize("missing", CONTENTS)
def test_a_missing_file_is_named_with_its_origin(cache: Path, missing: str) -> None:
    (cache / missing).unlink()
    for given in (None, cache):
        with pytest.raises(WeightsError, match=f"'pair' needs the weights {missing}") as raised:
            parameter_files("pair", given)
        assert raised.value.where.file == str(cache / missing)
        assert f"https://example.org/{missing}" in raised.value.fix
        assert FOLDER_VARIABLE in raised.value.fix


def test_an_unreadable_file_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(parameter_file, "sha256_of", unreadable)
    with pytest.raises(WeightsError, match=r"cannot read the weights.*Permission denied") as raised:
        parameter_files("pair", cache)
    assert raised.value.where.metric == "pair"


def test_a_manifest_entry_is_found_by_its_file(cache: Path) -> None:
    assert entry_of("pair").file == "pair_first"
    assert entry_of("pair", "pair_second").file == "pair_second"
    assert located("pair", file="pair_second") == cache / "pair_second"
    with pytest.raises(UnknownNameError, match="unknown file of pair 'pair_secnd'") as raised:
        entry_of("pair", "pair_secnd")
    assert "pair_second" in raised.value.fix


def test_one_file_of_a_defense_is_found_checked_and_named_by_the_defense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    entry = WeightsEntry(defense="dncnn", file="net.mat", origin="https://example.org/net.mat", sha256=digest)
    monkeypatch.setattr("iqa_robustness.metrics.weights.MANIFEST", {"dncnn": (entry,)})
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "net.mat").write_bytes(b"one")
    assert parameter_file.parameter_file(entry).described.sha256 == digest
    (tmp_path / "net.mat").write_bytes(b"two")
    with pytest.raises(WeightsError, match=r"net\.mat has sha256") as raised:
        parameter_file.parameter_file(entry)
    assert (raised.value.where.defense, raised.value.where.metric) == ("dncnn", "")
    assert (
        parameter_file.parameter_file(entry, tmp_path / "net.mat").described.sha256
        == hashlib.sha256(b"two").hexdigest()
    )
