"""`iqa-robustness qualify`, as somebody types it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.cli import main
from iqa_robustness.conformance.command import run
from iqa_robustness.conformance.qualification import KINDS, qualified
from iqa_robustness.defenses.planted import ConstantPurifier
from iqa_robustness.errors import ExitCode, UnknownNameError
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.planted import Robust


class Scaled(Robust):
    """Takes a number and a text."""

    def __init__(self, scale: float = 1.0, label: str = "scaled") -> None:
        super().__init__()
        if not isinstance(scale, float | int):
            raise ValueError(f"scale is {scale!r}")
        self.scale = scale
        self.spec = MetricSpec(name=label, score_range=(0.0, 60.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * super().forward(images)


@dataclass(frozen=True, kw_only=True)
class Feeble(IFGSM):
    """Does nothing."""

    def run(self, objective: Any, images: Any, streams: Any) -> Any:
        return images


METRIC, FEEBLE = f"{__name__}:Scaled", f"{__name__}:Feeble"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_a_metric_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qualify", "metric", METRIC]) == ExitCode.PASS
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"metric {METRIC} on cpu", ""]
    assert sum(line.startswith("  ok      ") for line in lines) >= len(KINDS["metric"].checks) - 1
    assert " 0 failed" in lines[-1]


def test_a_metric_fails_and_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qualify", "metric", METRIC, "--option", "scale=-1"]) == ExitCode.FAIL
    text = capsys.readouterr().out
    assert "\n  FAILED  range               scores lie about the declared range and use it\n" in text
    assert "wrong: scores of photographs lie outside the declared range: -" in text
    assert "to do: the scale looks reversed: set higher_is_better=False in the spec" in text
    assert "2 failed" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "reference", "failing"),
    [
        ("attack", FEEBLE, "gain"),
        ("defense", f"{ConstantPurifier.__module__}:ConstantPurifier", "recognisable"),
    ],
)
def test_attacks_and_defenses_fail_too(
    kind: str, reference: str, failing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["qualify", kind, reference]) == ExitCode.FAIL
    assert f"\n  FAILED  {failing}" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "name"), [("attack", "ifgsm"), ("defense", "flip")])
def test_registered_ones_pass(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qualify", kind, name]) == ExitCode.PASS
    assert " 0 failed" in capsys.readouterr().out


def test_json_is_all_there_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["qualify", "metric", METRIC, "--json", "--option", "scale=0.5", "--option", "label=half as much"]
    assert main(arguments) == ExitCode.PASS
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["options"] == {"scale": 0.5, "label": "half as much"}
    assert [check["name"] for check in document["checks"]] == [check.name for check in KINDS["metric"].checks]
    assert all(check["text"] for check in document["checks"] if check["outcome"] != "ok")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["metric", "compct"], "unknown metric 'compct'\n  what to do: did you mean compact"),
        (["attack", "ifgms"], "unknown attack 'ifgms'"),
        (["defense", "jpg"], "unknown defense 'jpg'"),
        (["metric", "nowhere.at_all:Metric"], "cannot be imported"),
        (["metric", "koncept", "--option", "weights=/nowhere.pth"], "/nowhere.pth does not exist"),
        (["metric", METRIC, "--option", "speed=3"], "unexpected keyword argument 'speed'"),
        (["metric", METRIC, "--option", "scale=fast"], "cannot be constructed: ValueError: scale is 'fast'"),
        (["attack", "ifgsm", "--option", "alpha=0.1"], "alpha is what the strengths of 'ifgsm' set"),
        (["defense", "jpeg", "--option", "quality=400"], "JPEG quality must lie in"),
        (["metric", METRIC, "--device", "tpu9"], "--device 'tpu9'"),
    ],
)
def test_what_cannot_be_made_is_an_error_of_exit_code_4(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["qualify", *arguments]) == ExitCode.CONFIGURATION
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments", [["metric"], ["verdict", "compact"], ["metric", "compact", "--option", "weights"]]
)
def test_what_is_not_understood_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["qualify", *arguments])
    assert stopped.value.code == 2
    assert "usage: iqa-robustness qualify" in capsys.readouterr().err


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_defense_of_here.py").write_text(
        "from iqa_robustness.defenses.purification.flip import Flip\n\n\nclass Mine(Flip):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry not in ("", os.getcwd())])  # noqa: PTH109
    assert main(["qualify", "defense", "my_defense_of_here:Mine"]) == ExitCode.PASS


def test_another_kind_of_component_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match="kind of component 'verdict'"):
        qualified("verdict", "compact")


def test_a_constructor_that_wants_the_network_is_a_finding_and_nothing_else_is_looked_at() -> None:
    findings = [*qualified("metric", f"{__name__}:Downloads")]
    assert findings[0].outcome == "failed"
    assert "https://weights.invalid/net.pth" in findings[0].text
    assert {finding.outcome for finding in findings[1:]} == {"does not apply"}


class Downloads(Robust):
    """Asks for the network."""

    def __init__(self) -> None:
        super().__init__()
        torch.hub.load_state_dict_from_url("https://weights.invalid/net.pth")


def test_the_command_is_the_one_of_the_console_script() -> None:
    assert run.__module__ == "iqa_robustness.conformance.command"
