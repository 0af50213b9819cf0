"""A worker that dies: its item is one failure in the terminal, JUnit, Allure and the verdict; all others are run."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from iqa_robustness.errors import ExitCode

FAULTY = '''
"""Breaks in the middle of a cell, as long as the file `faulty` is there."""
import os, pathlib
import torch
from own import Contrast

class Dying(Contrast):
    def forward(self, images):
        if images.shape[-2] == 192 and pathlib.Path("faulty").exists():
            os._exit(7)
        return super().forward(images)

class LosingTheDevice(Contrast):
    """Once a kernel has failed, the process gets the same answer to everything."""
    lost = False
    def forward(self, images):
        if images.shape[-2] == 192 and pathlib.Path("faulty").exists():
            pathlib.Path("faulty").unlink()
            LosingTheDevice.lost = True
        if LosingTheDevice.lost:
            raise RuntimeError("CUDA error: device-side assert triggered\\nCUDA kernel errors might be reported later")
        return super().forward(images)
'''

OTHERS = """
import os, pytest

@pytest.mark.parametrize("number", range(4))
def test_other(number):
    pass
"""


@pytest.fixture
def faulty(project: Any) -> Any:
    project.write("faulty.py", FAULTY)
    project.write("test_others.py", OTHERS)
    project.write("faulty", "")
    return project


def results(project: Any, folder: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((project.path / folder).glob("*-result.json"))]


def test_a_crash_is_one_failure_everywhere_and_costs_nobody_else(faulty: Any) -> None:
    options = ("--iqa-metric=own:Contrast,faulty:Dying", "--iqa-strength=weak,medium")
    result = faulty.run(*options, "-n", "2", "--alluredir=allure", "--junitxml=junit.xml")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.assert_outcomes(passed=2 + 4, failed=2)
    result.stdout.fnmatch_lines(
        [
            "missing: nonadaptive:faulty:Dying/none/ifgsm/*",
            "  worker 'gw?' crashed while running *",
            "  what to do: run it alone*: pytest *faulty:Dying* --iqa-strength=weak,medium*-s",
            "*faulty:Dying * missing *",
            "2 lost with their worker: *Dying*",
        ]
    )
    cases = [*ElementTree.parse(faulty.path / "junit.xml").iter("testcase")]
    assert len(cases) == 8
    assert [case.get("name") for case in cases if len(case) and case[0].tag in ("error", "failure")].count(None) == 0
    assert sum(any(child.tag in ("error", "failure") for child in case) for case in cases) == 2
    verdict = json.loads((faulty.path / "reports" / "verdict.json").read_text())
    assert verdict["exit_code"] == ExitCode.INFRASTRUCTURE
    assert "nonadaptive:faulty:Dying/none/ifgsm/weak" in json.dumps(verdict)

    first = results(faulty, "allure")
    assert len(first) == 8
    broken = [found for found in first if found["status"] == "broken"]
    assert {found["name"] for found in broken} == {f"faulty:Dying/none/ifgsm/{size}" for size in ("weak", "medium")}
    for found in broken:
        assert "crashed while running" in found["statusDetails"]["trace"]
        assert {"name": "feature", "value": "faulty:Dying"} in found["labels"]

    (faulty.path / "faulty").unlink()
    mended = faulty.run(*options, "--alluredir=mended")
    mended.assert_outcomes(passed=8)
    mended.stdout.fnmatch_lines(["2 computed in this run, 2 taken from the store"])
    second = results(faulty, "mended")
    for key in ("historyId", "testCaseId", "fullName", "titlePath"):
        assert sorted(str(found[key]) for found in second) == sorted(str(found[key]) for found in first), key
    of_cells = [named(found) for found in second if found["name"].startswith("faulty:")]
    assert sorted(of_cells, key=str) == sorted((named(found) for found in broken), key=str)


def named(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters that a history id rests on: others may be there or not."""
    return sorted((each for each in result["parameters"] if not each.get("excluded")), key=str)


@pytest.mark.slow
def test_without_replacements_the_rest_is_named_and_not_green(faulty: Any) -> None:
    result = faulty.run("--iqa-metric=faulty:Dying", "-n", "1", "--max-worker-restart=0", "test_gate.py")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["worker gw0 crashed and worker restarting disabled"])
    result.stdout.fnmatch_lines(["2 not run, no worker was left for them: *Dying*, *Dying*"])


@pytest.mark.slow
def test_a_crash_counts_for_maxfail(faulty: Any) -> None:
    result = faulty.run("--iqa-metric=faulty:Dying", "-n", "1", "-x")
    assert result.ret == ExitCode.INTERRUPTED
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


@pytest.mark.slow
def test_a_lost_device_costs_one_cell_and_a_fresh_worker_goes_on(faulty: Any) -> None:
    result = faulty.run("--iqa-metric=faulty:LosingTheDevice", "-n", "1")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.assert_outcomes(passed=2 + 4, failed=1)
    result.stdout.fnmatch_lines(
        ["replacing crashed worker gw0", '*raise RuntimeError("CUDA error: device-side assert triggered*']
    )
    assert "lost with their worker" not in result.stdout.str()


def test_a_lost_device_stops_a_run_without_workers(faulty: Any) -> None:
    result = faulty.run("--iqa-metric=faulty:LosingTheDevice")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the device is lost (CUDA error: device-side assert triggered)*"])
