"""The console script: listings for people and machines, errors with their exit codes."""

from __future__ import annotations

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


def test_listing_does_not_import_torch() -> None:
    check = "import sys; from iqa_robustness.cli import main; main(['list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, capture_output=True).returncode == 0


def test_the_module_is_the_console_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iqa_robustness", "list", "metrics"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "lite0" in done.stdout
