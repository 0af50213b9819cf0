"""The console script: listings for people and machines, errors with their exit codes."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode, WeightsError


def test_a_listing_names_everything_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in (
        "compact",
        "lite0",
        "ifgsm",
        "square",
        "none",
        "flip",
        "jpeg",
        "ms",
        "feature-squeezing",
        "mini",
        "folder",
    ):
        assert f"\n  {name} " in text
    for prefix in ("exec", "onnx", "pyiqa"):
        assert f"\n  {prefix}:… " in text


def test_a_listing_of_one_kind_lists_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "attacks"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("attacks\n")
    assert "ifgsm" in text
    assert "compact" not in text


def test_a_listing_for_machines_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == {"metrics", "attacks", "defenses", "detectors", "datasets"}
    square = next(entry for entry in listed["attacks"] if entry["name"] == "square")
    assert square["access"] == "black-box"
    assert square["target"] == "iqa_robustness.attacks.square:Square"


@pytest.mark.parametrize("arguments", [["list", "attack"], ["list", "--yaml"], [], ["fly"]])
def test_what_is_not_understood_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: iqa-robustness" in capsys.readouterr().err


def test_an_error_of_ours_is_printed_and_gives_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise WeightsError("the weights are gone", fix="fetch them")

    monkeypatch.setattr("iqa_robustness.training.metric_head.run", fail)
    monkeypatch.setattr("iqa_robustness.training.metric_head.add_arguments", lambda parser: None)
    assert main(["train", "metric-head"]) == ExitCode.CONFIGURATION
    assert capsys.readouterr().err == "WeightsError: the weights are gone\n  what to do: fetch them\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/sealed/plot.svg"), "/sealed/plot.svg"),
    ],
)
def test_a_file_system_that_refuses_is_named_without_a_traceback(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> int:
        raise error

    monkeypatch.setattr("iqa_robustness.cli._list", refuse)
    assert main(["list"]) == ExitCode.INFRASTRUCTURE
    written = capsys.readouterr().err
    assert written.startswith("the file system refused")
    assert said in written
    assert "what to do" in written
    assert "Traceback" not in written


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-c", _MANY_LINES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


# More than a pipe holds.
_MANY_LINES = """
import sys
from iqa_robustness import cli
def many(options):
    for _ in range(100_000):
        print("a line")
    return 0
cli._list = many
sys.exit(cli.main(["list"]))
"""


def test_listing_does_not_import_torch() -> None:
    check = "import sys; from iqa_robustness.cli import main; main(['list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, capture_output=True).returncode == 0


def test_the_module_is_the_console_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iqa_robustness", "list", "metrics"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "lite0" in done.stdout
