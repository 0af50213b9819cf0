"""`pytest test_suites/conformance --iqa-metric X`: the suites look at X, and at nothing else."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from iqa_robustness.conformance.qualification import KINDS

ROOT = Path(__file__).parents[3]
OWN = """
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.planted import Robust

class Upside(Robust):
    spec = MetricSpec(name="upside", score_range=(0, 60), higher_is_better=False)
"""


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "own.py").write_text(OWN)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_suites/conformance", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


def collected(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.rpartition("/")[2] for line in done.stdout.splitlines() if "::" in line]


def test_who_is_named_is_looked_at_alone(tmp_path: Path) -> None:
    items = collected(ran(tmp_path, "--iqa-metric=own:Upside", "--iqa-defense=fl*,none", "--collect-only"))
    checks = [item for item in items if item.startswith("test_metrics.py::test_it_keeps_the_promise_of")]
    names = [check.name.replace(" ", "-") for check in KINDS["metric"].checks]
    assert checks == [f"test_metrics.py::test_it_keeps_the_promise_of[own:Upside-{name}]" for name in names]
    assert {item.partition("::")[0] for item in items} == {"test_metrics.py", "test_defenses.py"}
    assert [item for item in items if "[flip-contract]" in item]
    assert [item for item in items if "[none-contract]" in item]
    assert not [item for item in items if "jpeg" in item or "compact" in item]
    # A metric that is not registered is not compared with the registry.
    assert not [item for item in items if "test_metrics" in item and "registry" in item]


def test_a_name_that_nobody_knows_stops_the_run_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("suites", ROOT / "test_suites" / "conformance" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    suites = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suites)
    monkeypatch.setattr(suites, "value", lambda _config, kind: "square,ifgms" if kind == "attack" else "")
    config = SimpleNamespace(stash=pytest.Stash())
    assert suites.asked_for(config, "attack") == ["square"]
    with pytest.raises(pytest.UsageError, match="unknown attack 'ifgms'") as caught:  # exit code 4
        suites.pytest_collection_modifyitems(config, [])
    assert "did you mean ifgsm" in str(caught.value)


def test_a_broken_promise_is_said_without_a_traceback(tmp_path: Path) -> None:
    done = ran(tmp_path, "--iqa-metric=own:Upside", "-k", "direction or declaration")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in done.stdout
    assert "what to do: the scale looks reversed: set higher_is_better=True in the spec" in done.stdout
    assert "Traceback" not in done.stdout
    assert "conftest.py:" not in done.stdout
