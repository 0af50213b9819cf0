"""benchmarks/gpu.py on the CPU, where its numbers mean nothing: it runs, agrees with itself, and adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_the_benchmark_of_gpus_runs_on_a_cpu(tmp_path: Path) -> None:
    sizes = {"images": 2, "batch": 2, "steps": 2, "queries": 4, "samples": 8, "rounds": 1}
    given = [f"--{name}={value}" for name, value in {**sizes, "size": "64x64", "metrics": "paq2piq"}.items()]
    command = [sys.executable, str(SCRIPT), "--device", "cpu", *given, "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    # The device is the CPU itself, and random numbers are those of the seed.
    assert found["differences"] == {"paq2piq": {"score": 0.0, "gain": 0.0, "bounds": 0.0}}
    (speed,) = found["speeds"]
    assert speed["gradient"] > speed["forward"] > 0
    assert all(speed[share] > 0 for share in ("ifgsm_share", "square_share", "certify_share"))
    assert found["purification"]["flip"] < found["purification"]["diffpure"]
    assert {*found["hours"]} == {"clean", "nonadaptive", "adaptive", "certified", "soundness", "transfer"}
    assert all(hours > 0 for hours in found["hours"].values())
    without = sum(hours for scenario, hours in found["hours"].items() if scenario != "adaptive")
    assert f"without adaptive cells: {without:,.0f}" in done.stdout
    assert f"whole benchmark: {sum(found['hours'].values()):,.0f} (published 5,000, goal 500)" in done.stdout
