"""What other systems do otherwise: processes, commands, consoles; and the declared versions are those that were run."""

from __future__ import annotations

import ctypes
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from iqa_robustness.cli import main
from iqa_robustness.metrics.program import words_of
from iqa_robustness.store import scratch

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_folders_of_windows_survive_in_a_command() -> None:
    command = r'C:\tools\score.exe "C:\my photos\model.bin" --fast'
    assert words_of(command, windows=True) == [r"C:\tools\score.exe", r"C:\my photos\model.bin", "--fast"]
    assert words_of('score "my photos" a\\ b', windows=False) == ["score", "my photos", "a b"]
    for windows in (True, False):
        with pytest.raises(ValueError, match="quot"):
            words_of('score "open', windows=windows)


def test_a_process_is_asked_for_on_windows_without_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    kernel = SimpleNamespace(
        OpenProcess=lambda _right, _inherit, pid: 7 if pid == os.getpid() else 0,
        CloseHandle=lambda handle: closed.append(handle) or 1,
    )
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it would be ended"))
    assert scratch._alive(os.getpid())
    assert not scratch._alive(os.getpid() + 1)
    assert closed == [7]


def test_a_console_without_the_signs_of_a_table_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp437"))
    assert main(["list", "attacks"]) == 0
    print("∞")
    sys.stdout.flush()
    assert written.getvalue().endswith(b"?\n") or b"\xec" in written.getvalue()


def test_the_lowest_declared_versions_are_those_that_were_installed() -> None:
    lowest = dict(
        line.split("==") for line in (ROOT / "constraints-lowest.txt").read_text().splitlines() if "==" in line
    )
    extras = PROJECT["optional-dependencies"]
    of_extras = [line for name in ("diffusion", "keras", "matlab", "onnx", "pyiqa", "xlsx") for line in extras[name]]
    for requirement in [*PROJECT["dependencies"], *of_extras]:
        name, bound = re.fullmatch(r"([\w-]+)[>=]=([\w.]+).*", requirement).groups()  # type: ignore[union-attr]
        assert lowest[name].startswith(bound), f"{requirement}, and constraints-lowest.txt has {lowest[name]}"


def test_the_matrix_covers_systems_pythons_and_both_ends_of_the_versions() -> None:
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    matrix = ci["jobs"]["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    commands = [step["run"] for job in ci["jobs"].values() for step in job["steps"] if "run" in step]
    assert not any(re.search(r"\bmake\b", command) for command in commands)  # not there on Windows
    for constraints in ("constraints.txt", "constraints-lowest.txt"):
        assert any(f"-c {constraints}" in command for command in commands)
    for extras in re.findall(r"\.\[([\w,-]+)\]", " ".join(commands)):
        assert {*extras.split(",")} <= {*PROJECT["optional-dependencies"]}


@pytest.mark.parametrize("script", sorted((ROOT / "examples" / "cluster").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
