"""The examples run as a reader would run them, in a copy of their folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from iqa_robustness.errors import ExitCode

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def own_metric(pytester: pytest.Pytester) -> pytest.Pytester:
    shutil.copytree(EXAMPLES / "own-metric", pytester.path, dirs_exist_ok=True)
    return pytester


def test_twenty_lines_gate_somebodys_own_metric(own_metric: pytest.Pytester) -> None:
    """Mean gradient magnitude rises with noise: the gate says so by name, number and exit code."""
    result = own_metric.runpytest_subprocess("-p", "no:cacheprovider", "--iqa-images=20", "--iqa-attack=ifgsm")
    assert result.ret == ExitCode.FAIL
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["fail: nonadaptive:sharpness:Sharpness/none/ifgsm/medium", "  fail: D_score * at most 20 is required"]
    )
    assert (own_metric.path / "reports" / "summary.html").exists()


def test_the_example_is_twenty_lines(own_metric: pytest.Pytester) -> None:
    files = [path for path in own_metric.path.iterdir() if path.suffix in (".py", ".yaml", ".ini")]
    code = [line for path in files if path.name != "contrast_program.py" for line in _code(path)]
    assert len(code) <= 24


def test_eight_lines_make_a_program_a_metric(own_metric: pytest.Pytester) -> None:
    """Contrast is Lipschitz: square does not move it far. The gradient attack of the suite does not apply."""
    assert len(_code(own_metric.path / "contrast_program.py")) <= 8
    metric = f"exec:{shlex.quote(sys.executable)} contrast_program.py"
    result = own_metric.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--iqa-metric={metric}", "--iqa-images=4", "--iqa-max-queries=60"
    )
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize("metric", ["sharpness:Sharpness", f"exec:{shlex.quote(sys.executable)} contrast_program.py"])
def test_both_metrics_qualify(own_metric: pytest.Pytester, metric: str) -> None:
    result = own_metric.run(sys.executable, "-m", "iqa_robustness", "qualify", "metric", metric)
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(
        ["  ok      range * scores lie about the declared range and use it*", "* ok, 0 failed*"]
    )


def _code(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith(('"""', "#", "import ", "from "))]
