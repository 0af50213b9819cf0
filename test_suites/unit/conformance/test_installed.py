"""Qualify works where only the wheel is installed: no checkout, no test suites, somebody's own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from iqa_robustness.errors import ExitCode

ROOT = Path(__file__).parents[3]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
# What pip writes for a console script; its folder, not the current one, is first on the path.
SCRIPT = "import sys\nfrom iqa_robustness.cli import main\nsys.exit(main())\n"

# A bundled metric whose direction somebody got wrong.
OWN = """
from dataclasses import replace
from iqa_robustness import metrics

def upside_down():
    metric = metrics.create("compact")
    metric.spec = replace(metric.spec, higher_is_better=False)
    return metric
"""


class Installed:
    """An unpacked wheel, a console script, and an empty folder to be in."""

    def __init__(self, folder: Path) -> None:
        self.site, self.here = folder / "site", folder / "here"
        self.script = folder / "bin" / "iqa-robustness"
        for path in (self.here, self.script.parent):
            path.mkdir()
        self.script.write_text(SCRIPT)

    def qualify(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        command = [sys.executable, str(self.script), "qualify", *arguments]
        return subprocess.run(
            command, cwd=self.here, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "iqa_robustness", source / "iqa_robustness", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith("test_suites")]
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return Installed(folder)


def test_a_metric_of_the_folder_fails_and_is_told_why(installed: Installed) -> None:
    (installed.here / "own.py").write_text(OWN)
    done = installed.qualify("metric", "own:upside_down")
    assert done.returncode == ExitCode.FAIL, done.stderr + done.stdout
    assert "FAILED  direction" in done.stdout
    assert "to do: the scale looks reversed: set higher_is_better=True" in done.stdout
    assert " 1 failed" in done.stdout.splitlines()[-1]
