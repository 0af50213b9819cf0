"""Where only the wheel is installed, no checkout, in somebody's own folder: qualify, start, and run the gates."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.commands import SUITES

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

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.wheel, self.site, self.here = wheel, folder / "site", folder / "here"
        self.script = folder / "bin" / "iqa-robustness"
        for path in (self.here, self.script.parent):
            path.mkdir()
        self.script.write_text(SCRIPT)

    def qualify(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ran(sys.executable, str(self.script), "qualify", *arguments, folder=self.here, PYTHONPATH=str(self.site))

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
        return ran(*command, folder=self.here, PYTHONPATH=str(self.site))


def ran(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**clean, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **environment}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    pytest.importorskip("setuptools", minversion="77.0.3")  # as `build-system` in pyproject.toml
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("iqa_robustness", *(f"test_suites/{suite}" for suite in SUITES)):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        # One copy, in the package: a top-level test_suites would meet other projects' folders of this name.
        assert not [name for name in archive.namelist() if name.startswith("test_suites")]
        for suite in SUITES:
            shipped = {name for name in archive.namelist() if name.startswith(f"iqa_robustness/suites/{suite}/")}
            here = {path.name for path in (ROOT / "test_suites" / suite).glob("*.py")}
            assert {name.rpartition("/")[2] for name in shipped} == {*here, "__init__.py"}
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return Installed(folder, wheel)


def test_a_metric_of_the_folder_fails_and_is_told_why(installed: Installed) -> None:
    (installed.here / "own.py").write_text(OWN)
    done = installed.qualify("metric", "own:upside_down")
    assert done.returncode == ExitCode.FAIL, done.stderr + done.stdout
    assert "FAILED  direction" in done.stdout
    assert "to do: the scale looks reversed: set higher_is_better=True" in done.stdout
    assert " 1 failed" in done.stdout.splitlines()[-1]


def test_the_shipped_suites_select_as_those_of_a_checkout_do(installed: Installed) -> None:
    (installed.here / "thresholds.yaml").write_text("version: 1\ndefaults: {}\n")
    options = ("--collect-only", "-q", "--iqa-metric=compact", "--iqa-defense=none", "--iqa-attack=ifgsm")
    done = installed.pytest("--pyargs", "iqa_robustness.suites.robustness", *options, "--iqa-strength=medium")
    items = [line for line in done.stdout.splitlines() if "::" in line]
    assert items == [
        f"test_purification.py::{test}[compact/none/ifgsm/medium]"
        for test in ("test_scores_hold_when_raised", "test_scores_hold_when_lowered")
    ], done.stdout + done.stderr


@pytest.mark.slow
def test_without_thresholds_the_suites_say_how_to_start(installed: Installed, tmp_path: Path) -> None:
    done = ran(
        *(sys.executable, "-m", "pytest", "--pyargs", "iqa_robustness.suites.robustness", "--collect-only"),
        folder=tmp_path,
        PYTHONPATH=str(installed.site),
    )
    assert done.returncode == ExitCode.CONFIGURATION
    assert "thresholds.yaml" in done.stderr
    assert "iqa-robustness init" in done.stderr


CONTRAST = """
from iqa_robustness.metrics.base import Metric, MetricSpec

class Contrast(Metric):
    spec = MetricSpec(name="contrast", score_range=(0.0, 60.0))

    def forward(self, images):
        return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt()
"""


@pytest.mark.slow
def test_from_the_wheel_to_a_verdict_in_a_new_environment(installed: Installed, tmp_path: Path) -> None:
    """`pip install`, `init`, the gates of the package, and the command that runs one of them again."""
    here, home = tmp_path / "here", tmp_path / "venv"
    here.mkdir()
    (here / "own_contrast.py").write_text(CONTRAST)
    assert ran(sys.executable, "-m", "venv", "--without-pip", str(home), folder=here).returncode == 0
    python = str(home / "bin" / "python")
    # The libraries are those of this environment: nothing is downloaded.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(installed.wheel))
    done = ran(*pip, folder=here)
    assert done.returncode == 0, done.stderr
    where = ran(python, "-c", "import iqa_robustness; print(iqa_robustness.__file__)", folder=here).stdout
    assert where.startswith(str(home))

    done = ran(str(home / "bin" / "iqa-robustness"), "init", "--iqa-metric", "own_contrast:Contrast", folder=here)
    assert done.returncode == ExitCode.PASS, done.stdout + done.stderr
    few = ("--iqa-images=4", "--iqa-attack=ifgsm", "--iqa-strength=medium", "-p", "no:cacheprovider")
    suite = ("--pyargs", "iqa_robustness.suites.robustness", "-k", "test_scores_hold_when_raised")
    done = ran(python, "-m", "pytest", *suite, *few, folder=here)
    assert done.returncode in (ExitCode.PASS, ExitCode.INCONCLUSIVE), done.stdout + done.stderr
    assert "own_contrast:Contrast  none" in done.stdout
    verdict = (here / "reports" / "verdict.json").read_text()
    assert "nonadaptive:own_contrast:Contrast/none/ifgsm/medium" in verdict
    page = (here / "reports" / "summary.md").read_text()
    assert "own_contrast:Contrast" in page

    command = (
        "pytest --pyargs 'iqa_robustness.suites.robustness.test_purification::test_scores_hold_when_raised"
        "[own_contrast:Contrast/none/ifgsm/medium]' --iqa-images=4"
    )
    html = (here / "reports" / "summary.html").read_text().replace("&#39;", "'")
    assert command in html
    again = ran(python, "-m", *shlex.split(command), "--collect-only", "-q", folder=here)
    assert "1 test collected" in again.stdout
