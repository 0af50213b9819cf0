"""The commit that goes into a file's header."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from iqa_robustness.training import commit as module
from iqa_robustness.training.commit import commit


def test_it_is_that_of_the_checkout_with_a_mark_for_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(module, "_HERE", tmp_path)
    assert commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "file").write_text("two")
    assert commit() == git("rev-parse", "--short", "HEAD") + "+"


def test_outside_of_a_checkout_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HERE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == ""
    monkeypatch.setenv("PATH", "")
    assert commit() == ""
