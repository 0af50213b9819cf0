"""`iqa-robustness store …`: what it prints, what it changes, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness import attacks, defenses
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode, PromotionError
from iqa_robustness.reporting.store_entries import facts_of, spoken_size
from iqa_robustness.reporting.store_promote_command import protected_branch
from iqa_robustness.store import Entry, Key, Store, document_of

FLIP = document_of(defenses.create("flip"))
BOTH = document_of(defenses.create("flip+jpeg"))
SQUARE = document_of(attacks.create("square", strength="weak"))


def put(store: Store, stage: str, metric: str = "compact", *, content: bytes = b"content", **document: Any) -> Entry:
    target = {"metric": {"name": metric}, **({"defense": document.pop("defense")} if "defense" in document else {})}
    files = {"record.parquet" if stage == "cell" else "values.safetensors": content}
    return store.put(Key({"stage": stage, "target": target, **document}), files, volatile={"seconds": 2, "host": "one"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    put(store, "cell", defense=FLIP, attack=SQUARE, scenario="adaptive")
    put(store, "cell", "lite0", defense=BOTH)
    put(store, "adversarial", attack=SQUARE, content=bytes(3000))
    put(store, "scores", defense=FLIP)
    return store


def command(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command prints, with the exit code it must have."""
    assert main(["store", *(str(argument) for argument in arguments)]) == code
    out, err = capsys.readouterr()
    return out + err


# --- ls -------------------------------------------------------------------------------------------------------------


def test_ls_names_what_entries_are_about(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(command(capsys, "ls", store.url, "--json"))
    named = {(row["stage"], row["metric"], row["defense"], row["attack"], row["scenario"]) for row in rows}
    assert named == {
        ("cell", "compact", "flip", "square", "adaptive"),
        ("cell", "lite0", "flip+jpeg", "", ""),
        ("adversarial", "compact", "none", "square", ""),
        ("scores", "compact", "flip", "", ""),
    }
    assert {row["digest"] for row in rows} == {*store.digests()}
    assert [row["written"] for row in rows] == sorted(row["written"] for row in rows)
    assert {row["seconds"] for row in rows} == {2.0}
    text = command(capsys, "ls", store.url)
    heads = "entry  stage  metric  defense  attack  scenario  written  size"
    assert text.splitlines()[0].split() == heads.split()
    assert text.splitlines()[-1] == "4 entries, 3.0 KiB: 1 adversarial, 2 cell, 1 scores"


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--stage=cell"], 2),
        (["--stage=cell,scores"], 3),
        (["--metric=l*"], 1),
        (["--defense=flip"], 2),
        (["--attack=square", "--defense=none"], 1),
        (["--metric=nothing"], 0),
    ],
)
def test_ls_takes_patterns(store: Store, filters: list[str], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(json.loads(command(capsys, "ls", store.url, *filters, "--json"))) == count
    assert f"{count} entries" in command(capsys, "ls", store.url, *filters)


def test_ls_sorts_by_size(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [row["size"] for row in json.loads(command(capsys, "ls", store.url, "--sort=size", "--json"))]
    assert sizes == sorted(sizes)


def test_a_configuration_of_somebody_else_goes_by_its_class(tmp_path: Path) -> None:
    entry = put(Store(tmp_path), "adversarial", "own:Contrast", attack={"class": "theirs.Mine", "version": 1})
    assert (facts_of(entry).attack, facts_of(entry).metric) == ("Mine", "own:Contrast")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB"), (5 << 40, "5120.0 GiB")]
)
def test_sizes_are_said_in_words(size: int, text: str) -> None:
    assert spoken_size(size) == text


# --- verify and gc --------------------------------------------------------------------------------------------------


def test_verify_lists_damage_and_sets_it_aside_only_when_asked(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "4 entries, 0 damaged" in command(capsys, "verify", store.url)
    digest = store.digests()[0]
    entry = store.find(digest)
    assert entry is not None
    Path(entry.path(next(iter(entry.contents)))).write_bytes(b"damage")
    for _ in range(2):
        text = command(capsys, "verify", store.url, code=ExitCode.INFRASTRUCTURE)
        assert f"{digest}: " in text
        assert "4 entries, 1 damaged" in text
    assert "moved to" in command(capsys, "verify", store.url, "--quarantine", code=ExitCode.INFRASTRUCTURE)
    assert "3 entries, 0 damaged" in command(capsys, "verify", store.url)


def test_gc_says_what_could_go_and_removes_it_only_when_asked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gone = put(store, "scores", "forgotten")
    arguments = ("gc", store.url, "--older-than=0")
    text = command(capsys, *arguments)
    assert gone.digest[:20] in text
    assert text.splitlines()[-1] == "1 things could go, 7 B; --delete removes them"
    assert len(store.digests()) == 5
    document = json.loads(command(capsys, *arguments, "--json"))
    assert (document["deleted"], [thing["kind"] for thing in document["found"]]) == (False, ["stage"])
    assert "1 things removed, 7 B" in command(capsys, *arguments, "--delete")
    assert gone.digest not in store.digests()
    assert command(capsys, *arguments).strip() == "0 things could go, 0 B"


# --- merge, promote, export, diff -----------------------------------------------------------------------------------


def test_merge_fills_one_store_from_several(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Store(tmp_path / "other")
    put(other, "cell", "maniqa")
    put(other, "scores", defense=FLIP)
    text = command(capsys, "merge", store.url, other.url, tmp_path / "all")
    assert f"{store.url}: 4 copied" in text
    assert f"{other.url}: 1 copied (7 B), 1 there already, 0 different, 0 damaged" in text
    assert Store(tmp_path / "all").digests() == sorted({*store.digests(), *other.digests()})
    assert "0 copied" in command(capsys, "merge", store.url, other.url, tmp_path / "all")


def test_merge_names_what_differs_and_keeps_the_first(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Store(tmp_path / "other")
    entry = put(other, "scores", defense=FLIP, content=b"another machine's")
    put(other, "cell", "maniqa")
    arguments = ("merge", store.url, other.url, tmp_path / "all")
    text = command(capsys, *arguments, code=ExitCode.INFRASTRUCTURE)
    assert f"differs: scores compact/flip ({entry.digest[:12]}) in values.safetensors: {other.url} (one)" in text
    assert "StoreConflictError: 1 entries have the same key and different contents" in text
    assert "--keep-first" in text
    assert len(Store(tmp_path / "all").digests()) == 5
    assert "differs: " in command(capsys, *arguments, "--keep-first")
    kept = Store(tmp_path / "all").find(entry.digest)
    assert kept is not None
    assert kept.read("values.safetensors") == b"content"


def test_merge_leaves_damage_behind_and_says_so(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(store.path_of(store.digests()[0]), "manifest.json").write_bytes(b"{")
    text = command(capsys, "merge", store.url, tmp_path / "all", code=ExitCode.INFRASTRUCTURE)
    assert "3 copied" in text
    assert "CorruptEntryError: 1 entries are damaged and were not copied" in text


GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch", "GITHUB_EVENT_NAME": "push"}
GITLAB = {"GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main"}


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("", {**GITHUB, "GITHUB_REF_PROTECTED": "true"}),
        ("main", {**GITHUB, "GITHUB_REF_PROTECTED": "true"}),
        ("main", {**GITHUB, "GITHUB_REF_PROTECTED": "false"}),
        ("", {**GITLAB, "CI_COMMIT_REF_PROTECTED": "true"}),
        ("main", GITLAB),
    ],
)
def test_a_protected_branch_may_promote(name: str, environment: dict[str, str]) -> None:
    assert protected_branch(name, environment) == "main"


@pytest.mark.parametrize(
    ("name", "environment", "text"),
    [
        ("", GITHUB, "nobody says that branch 'main' is protected"),
        ("release", {**GITHUB, "GITHUB_REF_PROTECTED": "true"}, "'release' is the protected one"),
        ("", {**GITHUB, "GITHUB_REF_PROTECTED": "true", "GITHUB_EVENT_NAME": "pull_request"}, "pull request"),
        ("main", {**GITHUB, "GITHUB_REF_PROTECTED": "true", "GITHUB_EVENT_NAME": "pull_request_target"}, "pull"),
        ("v1", {**GITHUB, "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1"}, "this is no branch but v1"),
        ("", GITLAB, "nobody says"),
        ("main", {**GITLAB, "CI_MERGE_REQUEST_IID": "7"}, "pull request"),
        ("main", {"GITLAB_CI": "true", "CI_COMMIT_TAG": "v1"}, "this is no branch"),
    ],
)
def test_others_may_not(name: str, environment: dict[str, str], text: str) -> None:
    with pytest.raises(PromotionError, match=text) as caught:
        protected_branch(name, environment)
    assert caught.value.fix


def test_outside_of_ci_the_branch_is_that_of_the_checkout(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    base = Store(tmp_path / "base")
    put(base, "cell", "maniqa")
    overlay = Store(store.url, base=base.url)
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    arguments = ("promote", overlay.url, base.url, "--protected-branch=trunk")
    assert "this is no branch" in command(capsys, *arguments, code=ExitCode.CONFIGURATION)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=feature"], check=True)
    text = command(capsys, *arguments, code=ExitCode.CONFIGURATION)
    assert "PromotionError: this is branch 'feature', and 'trunk' is the protected one" in text
    assert len(base.digests()) == 1
    subprocess.run(["git", "symbolic-ref", "HEAD", "refs/heads/trunk"], check=True)
    assert "nobody says" in command(capsys, *arguments[:3], code=ExitCode.CONFIGURATION)
    assert "protected branch: trunk" in command(capsys, *arguments)
    assert base.digests() == overlay.digests()


def test_an_export_is_a_store_with_what_was_selected(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "2 copied" in command(capsys, "export", store.url, tmp_path / "cells", "--stage=cell")
    assert "2 entries" in command(capsys, "ls", tmp_path / "cells")
    assert "0 damaged" in command(capsys, "verify", tmp_path / "cells")


def test_an_exported_tar_unpacks_to_a_store(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "part.tar"
    assert "3 entries" in command(capsys, "export", store.url, archive, "--metric=compact")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert "3 entries, 0 damaged" in command(capsys, "verify", tmp_path / "unpacked")
    before = archive.read_bytes()
    assert "exists" in command(capsys, "export", store.url, archive, code=ExitCode.CONFIGURATION)
    assert archive.read_bytes() == before


def test_an_export_of_nothing_is_refused(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = command(capsys, "export", store.url, tmp_path / "none", "--metric=typo", code=ExitCode.CONFIGURATION)
    assert "is selected" in text
    assert not (tmp_path / "none").exists()


def test_diff_tells_what_is_where(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Store(tmp_path / "other")
    put(other, "cell", defense=FLIP, attack=SQUARE, scenario="adaptive")
    put(other, "scores", defense=FLIP, content=b"different")
    put(other, "cell", "maniqa")
    text = command(capsys, "diff", store.url, other.url, code=ExitCode.FAIL)
    assert text.splitlines()[-1] == "2 only in A, 1 only in B, 1 different, 1 equal"
    assert [line.split("  ")[0] for line in text.splitlines()[1:5]] == [
        "only in A",
        "only in A",
        "only in B",
        "different",
    ]
    document = json.loads(command(capsys, "diff", store.url, other.url, "--json", code=ExitCode.FAIL))
    assert document["counts"] == {"only in A": 2, "only in B": 1, "different": 1, "equal": 1}
    assert len(document["entries"]) == 5
    assert "4 equal" in command(capsys, "diff", store.url, store.url)
    assert "1 equal" in command(capsys, "diff", store.url, other.url, "--stage=cell", "--attack=square")
