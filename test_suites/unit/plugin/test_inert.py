"""A run that has nothing to do with image quality is left alone, and pays nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode


def test_other_peoples_tests_run_as_if_the_plugin_were_not_there(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one():\n    assert True\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.ret == ExitCode.PASS
    assert "image-quality" not in result.stdout.str()
    assert [path.name for path in pytester.path.iterdir() if path.name != "__pycache__"] == [
        "test_other_peoples_tests_run_as_if_the_plugin_were_not_there.py"
    ]


@pytest.mark.parametrize("arguments", [["--help"], ["--collect-only", "-q"], ["-q"]])
def test_neither_help_nor_an_unrelated_run_imports_torch(pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile("def test_one():\n    assert True\n")
    check = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'scipy', 'kornia'} & set(sys.modules); sys.exit(int(code) or len(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, "-p", "no:cacheprovider", *arguments],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_collecting_a_suite_does_not_import_torch(project: Any) -> None:
    check = "import sys, pytest; code = pytest.main(sys.argv[1:]); sys.exit(int(code) or int('torch' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", check, "-p", "no:cacheprovider", "--collect-only", "-q"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_gate[own:Contrast/none/ifgsm/medium]" in done.stdout


def test_every_option_is_documented_and_an_ini_option(pytester: pytest.Pytester) -> None:
    from iqa_robustness.plugin.options import OPTIONS

    text = pytester.runpytest_inprocess("--help").stdout.str()
    for option in OPTIONS:
        assert f"--iqa-{option.name}" in text
        assert option.destination in text


def test_markers_are_declared(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_inprocess("--markers").stdout.str()
    for marker in ("iqa_cells", "metric", "defense", "attack", "strength", "scenario"):
        assert f"@pytest.mark.{marker}(" in text
