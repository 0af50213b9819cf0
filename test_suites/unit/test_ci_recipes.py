"""docs/ci-recipes.md: what it shows is what `init` writes, and what its shell lines do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from iqa_robustness.cli import main
from iqa_robustness.plugin.options import OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "ci-recipes.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = {
    "github": ".github/workflows/robustness.yaml",
    "gitlab": "robustness.gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
}
# Major versions that exist; a new one is a deliberate act.
ACTIONS = {
    "actions/checkout@v4": set[str](),
    "actions/setup-python@v5": {"python-version"},
    "actions/cache/restore@v4": {"path", "key", "restore-keys"},
    "actions/cache/save@v4": {"path", "key"},
    "actions/upload-artifact@v4": {"name", "path", "include-hidden-files", "retention-days"},
    "actions/download-artifact@v4": {"pattern", "path", "merge-multiple"},
}
EXPRESSIONS = {"github.run_id", "github.token", "github.event.number", "matrix.part"}


def blocks(language: str) -> list[str]:
    return [found["text"] for found in BLOCK.finditer(PAGE.read_text("utf-8")) if found["language"] == language]


def workflows() -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in blocks("yaml") if "runs-on:" in text]


def steps() -> list[dict[str, Any]]:
    return [step for workflow in workflows() for job in workflow["jobs"].values() for step in job["steps"]]


def jenkins_lines() -> list[str]:
    """Every shell text of the Jenkinsfile; a backslash at the end of a line means the same to Groovy and to a shell."""
    (text,) = blocks("groovy")
    found = re.findall(r"'''(.*?)'''|sh '([^'\n]+)'", text, re.DOTALL)
    return [several or one for several, one in found]


def gitlab_lines() -> list[str]:
    (job,) = (yaml.safe_load(text)["robustness"] for text in blocks("yaml") if "after_script:" in text)
    return ["\n".join(job["script"]), "\n".join(job["after_script"])]


def shell_texts() -> list[str]:
    """All that a shell is given, of all recipes."""
    runs = [re.sub(r"\$\{\{.*?\}\}", "1", step["run"]) for step in steps() if "run" in step]
    return [*runs, *gitlab_lines(), *jenkins_lines(), *blocks("sh")]


@pytest.mark.parametrize(("ci", "file"), FILES.items())
def test_init_writes_what_the_page_shows(ci: str, file: str, tmp_path: Path) -> None:
    main(["init", "--iqa-metric", "own:Contrast", "--to", str(tmp_path), "--ci", ci, "--no-qualify"])
    written = (tmp_path / file).read_text(encoding="utf-8")
    shown = [*blocks("yaml"), *blocks("groovy")]
    assert written.strip() in [text.strip() for text in shown]


def test_the_page_has_two_workflows_of_github_and_every_step_is_known() -> None:
    assert [workflow["name"] for workflow in workflows()] == ["robustness", "robustness, nightly"]
    for step in steps():
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert step["uses"] in ACTIONS
            assert set(step.get("with", {})) <= ACTIONS[step["uses"]]


def test_every_expression_is_one_that_github_knows() -> None:
    text = "\n".join(blocks("yaml"))
    assert {found.strip() for found in re.findall(r"\$\{\{(.*?)\}\}", text)} == EXPRESSIONS


@pytest.mark.parametrize(
    ("schema", "word", "key"),
    [
        ("vendor.github-workflows", "runs-on:", "timeout-minutes"),
        ("vendor.gitlab-ci", "after_script:", "allow_failure"),
    ],
)
def test_the_recipes_are_what_the_schemas_of_github_and_gitlab_accept(
    schema: str, word: str, key: str, tmp_path: Path
) -> None:
    pytest.importorskip("check_jsonschema")
    files = []
    for number, text in enumerate(text for text in blocks("yaml") if word in text):
        files.append(tmp_path / f"recipe{number}.yml")
        files[-1].write_text(text, encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*check, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = files[0].read_text("utf-8").replace(f"{key}:", f"{key}-of-none:")
    files[0].write_text(wrong, encoding="utf-8")
    done = subprocess.run([*check, str(files[0])], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{key}-of-none" in done.stdout


def test_every_shell_text_is_one() -> None:
    texts = shell_texts()
    assert len(texts) >= 20
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_every_option_of_ours_exists() -> None:
    named = set(re.findall(r"--iqa-([a-z-]+)", PAGE.read_text("utf-8")))
    assert {"baseline", "shard", "from-store", "store"} <= named
    assert named <= {option.name for option in OPTIONS}


def test_every_gate_writes_what_the_artifacts_are_made_of() -> None:
    judging = [text for text in shell_texts() if "pytest test_robustness.py" in text and "--junitxml" in text]
    assert len(judging) == 4  # one a system, and the nightly job that judges
    assert all("--alluredir=reports/allure-results" in text for text in judging)


def test_a_failed_gate_keeps_its_store_and_its_reports() -> None:
    for workflow in workflows():
        last = [*workflow["jobs"].values()][-1]["steps"]
        gate = next(place for place, step in enumerate(last) if "--alluredir" in step.get("run", ""))
        kept = [
            step for step in last[gate:] if str(step.get("uses", "")).startswith(("actions/cache/save", "actions/up"))
        ]
        always = {str(step["with"].get("path")) for step in kept if step.get("if") == "always()"}
        assert {".iqa-store", "reports\n!reports/allure-results\n"} <= always
    (job,) = (yaml.safe_load(text)["robustness"] for text in blocks("yaml") if "after_script:" in text)
    assert job["cache"]["when"] == job["artifacts"]["when"] == "always"
    assert job["allow_failure"] == {"exit_codes": [10]}


def test_the_jenkinsfile_is_a_declarative_pipeline() -> None:
    (text,) = blocks("groovy")
    bare = re.sub(r"'''.*?'''|'[^'\n]*'|\"[^\"\n]*\"|//[^\n]*", "", text, flags=re.DOTALL)
    depth, sections = 0, []
    for token in re.findall(r"[{}]|\w+(?=\s*(?:\(\s*\))?\s*\{)", bare):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
        if token not in "{}":
            sections.append((depth, token))
    assert depth == 0
    assert [name for level, name in sections if level == 0] == ["pipeline"]
    assert [name for level, name in sections if level == 1] == ["options", "stages", "post"]
    # A verdict that is undecided exports no baseline.
    assert "skipStagesAfterUnstable()" in text
    assert re.findall(r"stage\('(\w+)'\)", text) == ["install", "gate", "baseline"]
    assert "always" in [name for _, name in sections]
    assert len(jenkins_lines()) == 4
