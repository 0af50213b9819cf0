"""Where weights are looked for, what the manifest says of them, and what a user reads when they are missing."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.errors import UnknownNameError, WeightsError
from iqa_robustness.metrics import weights
from iqa_robustness.metrics.weights import MANIFEST, WeightsEntry, available, entry_of, folder, located, sha256_of

PUBLISHED = (
    "brisque",
    "cnniqa",
    "fpr",
    "koncept",
    "linearity",
    "maniqa",
    "meta-iqa",
    "nima",
    "niqe",
    "paq2piq",
    "spaq",
)
ATTACKS = ("cadv",)
DEFENSES = ("diffpure", "disco", "dncnn", "fcn", "ffdnet", "mprnet", "realesrgan")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights of this test's own."""
    path = tmp_path / "kept"
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(path))
    return path


def put(kept: Path, metric: str, content: bytes = b"weights") -> Path:
    kept.mkdir(exist_ok=True)
    path = kept / entry_of(metric).file
    path.write_bytes(content)
    return path


def test_the_manifest_holds_the_published_metrics_and_defenses() -> None:
    assert tuple(MANIFEST) == tuple(sorted((*PUBLISHED, *ATTACKS, *DEFENSES)))
    assert set(ATTACKS) <= set(attacks.registry.names())
    assert set(PUBLISHED) <= set(metrics.registry.names())
    assert set(DEFENSES) <= set(defenses.registry.names())
    assert not set(metrics.registry.names()) & set(defenses.registry.names()), "a name has to tell which of both it is"


@pytest.mark.parametrize("owner", [*PUBLISHED, *ATTACKS, *DEFENSES])
def test_an_entry_says_what_someone_who_fetches_it_needs(owner: str) -> None:
    for entry in MANIFEST[owner]:
        assert entry.owner == owner
        assert (entry.kind, getattr(entry, entry.kind)) == (
            "metric" if owner in PUBLISHED else "attack" if owner in ATTACKS else "defense",
            owner,
        )
        assert Path(entry.file).name == entry.file
        assert re.fullmatch(r"https://\S+", entry.origin)
        assert entry.licence
        assert re.fullmatch(r"([0-9a-f]{64})?", entry.sha256)
        assert entry.size >= 0
        assert bool(entry.sha256) == bool(entry.size)


@pytest.mark.parametrize("metric", PUBLISHED)
def test_a_metrics_licence_is_that_of_its_weights(metric: str) -> None:
    assert {entry.licence for entry in MANIFEST[metric]} == {metrics.registry.resolve(metric).licence}


def test_file_names_are_unique() -> None:
    files = [entry.file for entries in MANIFEST.values() for entry in entries]
    assert len(set(files)) == len(files)


def test_an_entry_is_frozen_and_keyword_only() -> None:
    entry = entry_of("koncept")
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.file = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        WeightsEntry("koncept", "file", "https://example.org")  # type: ignore[misc]
    with pytest.raises(TypeError):
        MANIFEST["koncept"] = ()  # type: ignore[index]


def test_the_folder_is_the_variables_else_the_users_cache(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder() == kept
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", "~/weights")
    assert folder() == Path.home() / "weights"
    monkeypatch.delenv("IQA_ROBUSTNESS_WEIGHTS")
    monkeypatch.setattr(weights.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "iqa_robustness" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache" / "iqa_robustness" / "weights"
    monkeypatch.setattr(weights.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert folder() == tmp_path / "local" / "iqa_robustness" / "weights"


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", "")
    assert folder().parts[-2:] == ("iqa_robustness", "weights")


def test_a_given_path_goes_before_the_folder(kept: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"x")
    assert located("koncept", mine) == mine
    assert located("koncept", str(mine)) == mine
    put(kept, "koncept")
    assert located("koncept", mine) == mine
    assert located("koncept") == kept / "KonCept512.pth"


@pytest.mark.parametrize("metric", PUBLISHED)
def test_without_the_file_the_message_names_it_its_origin_and_the_two_ways(metric: str, kept: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        metrics.create(metric)
    text = str(raised.value)
    entry = entry_of(metric)
    for part in (repr(metric), entry.file, entry.origin, "weights=PATH", str(kept), "IQA_ROBUSTNESS_WEIGHTS"):
        assert part in text
    assert raised.value.where.metric == metric
    assert raised.value.where.file == str(kept / entry.file)


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_defense_without_its_file_is_named_as_one(defense: str, kept: Path) -> None:
    entry = entry_of(defense)
    with pytest.raises(WeightsError, match=f"defense '{defense}' needs the weights {re.escape(entry.file)}") as raised:
        located(defense)
    assert (raised.value.where.defense, raised.value.where.metric) == (defense, "")
    assert raised.value.where.file == str(kept / entry.file)
    assert entry.origin in raised.value.fix
    assert ("weights fetch" in raised.value.fix) is not entry.by_hand


def test_a_given_path_that_does_not_exist_is_not_replaced_by_the_folders(kept: Path, tmp_path: Path) -> None:
    put(kept, "spaq")
    with pytest.raises(WeightsError, match="does not exist") as raised:
        located("spaq", tmp_path / "gone.pt")
    assert raised.value.where.file == str(tmp_path / "gone.pt")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no file"):
        located("spaq", tmp_path)


@pytest.mark.parametrize("ask", [entry_of, located])
def test_a_metric_without_published_weights_is_unknown(ask: object) -> None:
    with pytest.raises(UnknownNameError, match="'konceptt'") as raised:
        ask("konceptt")  # type: ignore[operator]
    assert "koncept" in raised.value.fix


def test_available_is_whether_a_metric_can_be_created_without_a_path(kept: Path) -> None:
    assert available("compact")
    assert not available("fpr")
    put(kept, "fpr")
    assert available("fpr")


def test_available_asks_for_all_files_of_the_default_and_for_no_variant_s(kept: Path) -> None:
    used = [entry.file for entry in MANIFEST["realesrgan"] if not entry.variant]
    assert len(used) == 2 < len(MANIFEST["realesrgan"])
    kept.mkdir()
    (kept / used[0]).write_bytes(b"x")
    assert not available("realesrgan")
    (kept / used[1]).write_bytes(b"x")
    assert available("realesrgan")


def test_digest_of_a_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(OSError, match="gone"):
        sha256_of(tmp_path / "gone")
