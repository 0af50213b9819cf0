"""Kills in the middle of everything, a few of them; `make store-fire` does a thousand, with real runs among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "store_under_fire.py"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_killed_processes_lose_nothing_and_leave_nothing_behind() -> None:
    command = [sys.executable, str(SCRIPT), "--kills=20", "--runs=0", "--seed=5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stdout + result.stderr
    assert lines[-1] == "nothing lost, nothing wrong, nothing left behind"
    kills, writes = (int(part.split()[0]) for part in (lines[0], lines[0].split("), ")[1]))
    assert kills >= 20
    assert writes > 0  # else nothing was put to the test
    assert int(lines[1].split()[0]) > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_the_script_notices_a_store_that_loses_and_damages(tmp_path: Path) -> None:
    # A store that writes in place, as many do: what the script is to find.
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import runpy, sys\n"
        "from pathlib import Path\n"
        "from iqa_robustness.store import Store\n"
        "from iqa_robustness.store.entry import MANIFEST, VOLATILE\n"
        "import iqa_robustness.store.store as module\n"
        "def in_place(self, digest, files, about, manifest):\n"
        "    place = Path(self.path_of(digest)); place.mkdir(parents=True, exist_ok=True)\n"
        "    (place / MANIFEST).write_bytes(module._written(manifest))\n"
        "    for name, content in files.items(): (place / name).write_bytes(content)\n"
        "Store._put_local = in_place\n"
        f"sys.argv = [{str(SCRIPT)!r}, '--kills=40', '--runs=0']\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    result = subprocess.run([sys.executable, str(broken)], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "PROBLEM: " in result.stdout
