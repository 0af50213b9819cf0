"""`iqa-robustness init`: what it writes works at once, and what is there already is never touched."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.gate.thresholds import Thresholds

WRITTEN = {"thresholds.yaml", "test_robustness.py", "conftest.py", "pytest.ini", "thresholds.schema.json"}
METRIC = """
    from iqa_robustness.metrics.base import Metric, MetricSpec


    class Contrast(Metric):
        spec = MetricSpec(name="contrast", score_range=(0.0, 60.0))

        def forward(self, images):
            return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt()
"""


def init(folder: Path, *options: str) -> int:
    return main(["init", "--iqa-metric", "own_contrast:Contrast", "--to", str(folder), "--no-qualify", *options])


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("ci", "file"),
    [
        ("github", {".github/workflows/robustness.yaml"}),
        ("gitlab", {"robustness.gitlab-ci.yml"}),
        ("jenkins", {"Jenkinsfile"}),
        ("none", set()),
    ],
)
def test_everything_that_a_repository_needs_is_written(ci: str, file: set[str], tmp_path: Path) -> None:
    assert init(tmp_path, "--ci", ci) == 0
    assert names(tmp_path) == WRITTEN | file
    assert Thresholds.load(tmp_path / "thresholds.yaml").rules == ()
    for name in file:
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "pytest test_robustness.py" in text
        assert ci == "jenkins" or yaml.safe_load(text)
        assert ("${{ github.run_id }}" in text) == (ci == "github")


def test_the_rules_in_the_comments_are_valid_rules(tmp_path: Path) -> None:
    init(tmp_path)
    path = tmp_path / "thresholds.yaml"
    lines = path.read_text(encoding="utf-8").replace("rules: []", "rules:").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("#  - match"))
    path.write_text("\n".join([*lines[:start], *(line[1:] for line in lines[start:])]) + "\n", encoding="utf-8")
    known, waived = Thresholds.load(path).rules
    assert known.known_weakness
    assert waived.waiver is not None


def test_what_exists_is_left_as_it_is_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conftest.py").write_text("# mine\n", encoding="utf-8")
    assert init(tmp_path) == 0
    assert (tmp_path / "conftest.py").read_text(encoding="utf-8") == "# mine\n"
    assert "left alone  conftest.py" in capsys.readouterr().out
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert init(tmp_path) == 0
    assert "written" not in capsys.readouterr().out
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize(
    ("name", "text", "configures"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-q'\n", True),
        ("setup.cfg", "[tool:pytest]\naddopts = -q\n", True),
        ("pyproject.toml", "[project]\nname = 'mine'\n", False),
    ],
)
def test_pytests_own_configuration_is_not_hidden_by_a_second_file(
    name: str, text: str, configures: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    init(tmp_path)
    assert (tmp_path / "pytest.ini").exists() != configures
    out = capsys.readouterr().out
    assert (f"left alone  {name}, which configures pytest" in out) == configures
    assert ("iqa_metric = own_contrast:Contrast" in out) == configures


def test_a_metric_that_does_not_qualify_is_to_be_mended_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = textwrap.dedent(METRIC).replace("class Contrast", "class Backwards").replace("return ", "return -", 1)
    (tmp_path / "own_backwards.py").write_text(source, encoding="utf-8")
    assert main(["init", "--iqa-metric", "own_backwards:Backwards", "--to", str(tmp_path)]) == ExitCode.FAIL
    assert "next: mend what failed, then pytest test_robustness.py\n" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path / "gone") == ExitCode.CONFIGURATION
    assert "no folder" in capsys.readouterr().err


def test_the_new_repository_is_qualified_and_its_gates_run(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(pytester.path))
    (pytester.path / "own_contrast.py").write_text(textwrap.dedent(METRIC), encoding="utf-8")
    assert main(["init", "--iqa-metric", "own_contrast:Contrast", "--to", str(pytester.path)]) == 0
    out = capsys.readouterr().out
    assert out.index("written     thresholds.yaml") < out.index("metric own_contrast:Contrast on cpu")
    assert out.endswith("\n\nnext: pytest test_robustness.py\nnot for git: .iqa-store and reports, which it writes\n")
    result = pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "test_robustness.py", "--iqa-images=4", "--iqa-strength=medium", "--iqa-attack=ifgsm"
    )
    assert "own_contrast:Contrast" in result.stdout.str()
    assert result.ret in (ExitCode.PASS, ExitCode.INCONCLUSIVE)
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed", 0) + outcomes.get("failed", 0) == 1
    assert (pytester.path / "reports" / "summary.html").exists()
