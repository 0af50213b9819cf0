"""The recipes of docs/ci-recipes.md at work: their shell lines in a repository, with tiny selections.

What is not ours is played: pip, curl, gh and sbatch are small programs that write down how they were called, and the
caches and artifacts of GitHub are folders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from iqa_robustness.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "ci-recipes.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.slow

METRIC = """
import torch
from iqa_robustness.metrics.base import Metric, MetricSpec

class Contrast(Metric):
    spec = MetricSpec(name="contrast", score_range=(0.0, 60.0), version={version})

    def forward(self, images):
        pattern = torch.ones_like(images[0, 0]); pattern[::2] = -1
        flaw = ((images[:, 0] - 0.5) * pattern).mean(dim=(1, 2))
        return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt() + {flaw} * flaw
"""
# The last one given counts: recipes ask for all workers and a whole profile.
TINY = "-n 0 -p no:cacheprovider --iqa-images=4 --iqa-attack=ifgsm --iqa-strength=weak,medium"
SMALL = ("--iqa-profile=standard", "--iqa-profile=smoke")
PROGRAMS = {
    "pytest": f'exec {sys.executable} -m pytest "$@" {TINY}',
    "iqa-robustness": f'exec {sys.executable} -m iqa_robustness "$@"',
    "pip": 'echo pip "$@" >> "$LOG"',
    # As `python -m venv X`: the same programs in X/bin.
    "python3": 'test "$2" = venv && mkdir -p "$3" && cp -r "$PROGRAMS" "$3/bin"',
    "gh": 'echo gh "$@" >> "$LOG"; test -f reports/compare.md',
    # --output FILE: what the default branch published, or an error as curl --fail has it.
    "curl": 'while [ "$1" != --output ]; do shift; done; cp "$PUBLISHED/$(basename "$2")" "$2" 2>/dev/null || exit 22',
    "node": "echo v20.20.2",
    "npx": "mkdir -p reports/allure-report && touch reports/allure-report/index.html reports/allure-history.jsonl",
    # Two parts of an array, one after the other; then what depends on them.
    "sbatch": """
case "$1" in
  --parsable) export SLURM_ARRAY_TASK_COUNT=2
    for SLURM_ARRAY_TASK_ID in 1 2; do export SLURM_ARRAY_TASK_ID; bash "$2" >> "$LOG" || exit 1; done; echo 77 ;;
  --dependency=afterany:77) while [ "$1" != --wrap ]; do shift; done; exec sh -c "$2" ;;
  *) exit 64 ;;
esac""",
}


class Repository:
    """Somebody's repository on a machine of a CI system."""

    def __init__(self, folder: Path, ci: str) -> None:
        self.folder, self.log = folder, folder.parent / "log"
        self.programs, self.published = folder.parent / "programs", folder.parent / "published"
        for path in (folder, self.programs, self.published):
            path.mkdir()
        for name, text in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/bash\n{text}\n")
            (self.programs / name).chmod(0o755)
        self.log.touch()
        self.change(flaw=0, version=1)
        main(["init", "--iqa-metric", "own:Contrast", "--to", str(folder), "--ci", ci, "--no-qualify"])

    def change(self, *, flaw: float, version: int) -> None:
        (self.folder / "own.py").write_text(METRIC.format(flaw=flaw, version=version))

    def clean(self) -> None:
        """As the next runner finds it: only what git has."""
        for name in (".iqa-store", "reports", "baseline"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def shell(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A step: `bash -e`, as GitHub and GitLab have it."""
        known = {"LOG": self.log, "PROGRAMS": self.programs, "PUBLISHED": self.published}
        environment = {**os.environ, **{name: str(path) for name, path in known.items()}, "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=self.folder,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


class GitHub:
    """Runs workflows: expressions, conditions, caches and artifacts as far as the recipes use them."""

    def __init__(self, repository: Repository) -> None:
        self.repository, self.summary = repository, repository.folder.parent / "step-summary"
        self.caches, self.artifacts = ({}, {})
        self.run_id = 0
        self.said: dict[str, str] = {}

    def run(self, workflow: dict[str, Any], *, event: str) -> int:
        """0 when every job passed, else the exit code of the first step that failed."""
        self.run_id, first = self.run_id + 1, 0
        self.said = {}
        for job in workflow["jobs"].values():
            for part in job.get("strategy", {}).get("matrix", {}).get("part", [0]):
                self.repository.clean()
                first = self._job(job["steps"], event, part) or first
        return first

    def _job(self, steps: list[dict[str, Any]], event: str, part: int) -> int:
        failed = 0
        holds = {
            None: lambda: not failed,
            "always()": lambda: True,
            "github.ref == 'refs/heads/main'": lambda: event == "push" and not failed,
            "always() && github.event_name == 'pull_request'": lambda: event == "pull_request",
        }
        known = {"github.run_id": self.run_id, "github.token": "t", "github.event.number": 7, "matrix.part": part}
        for step in steps:
            if not holds[step.get("if")]():
                continue
            filled = _filled(step, known)
            if "uses" in filled:
                self._use(filled["uses"].partition("@")[0], filled.get("with", {}))
                continue
            done = self.repository.shell(filled["run"], GITHUB_STEP_SUMMARY=str(self.summary), **filled.get("env", {}))
            self.said[filled["run"]] = done.stdout + done.stderr
            if done.returncode and not step.get("continue-on-error"):
                failed = failed or done.returncode
        return failed

    def _use(self, action: str, given: dict[str, Any]) -> None:
        kept = self.artifacts if "artifact" in action else self.caches
        name = str(given.get("key", given.get("name", "")))
        path = self.repository.folder / str(given.get("path", "")).splitlines()[0] if "path" in given else None
        if action in ("actions/cache/save", "actions/upload-artifact"):
            assert path is not None
            assert path.exists(), f"{action} finds nothing at {path}"
            kept[name] = shutil.copytree(path, self.repository.folder.parent / "kept" / f"{name}-{self.run_id}")
        elif action == "actions/cache/restore":
            start = given["restore-keys"]
            newest = next((cache for key, cache in reversed(kept.items()) if key.startswith(start)), None)
            if newest is not None:
                shutil.copytree(newest, path, dirs_exist_ok=True)
        elif action == "actions/download-artifact":
            for key, artifact in kept.items():
                if key.startswith(given["pattern"].removesuffix("*")):
                    shutil.copytree(artifact, path, dirs_exist_ok=True)
        else:
            assert action in ("actions/checkout", "actions/setup-python")


def _filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, known) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda found: str(known[found[1]]), value)


def blocks(language: str, word: str) -> list[str]:
    found = [block["text"] for block in BLOCK.finditer(PAGE.read_text("utf-8")) if block["language"] == language]
    return [text for text in found if word in text]


def test_github_gates_a_pull_request_against_the_main_branch(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "github")
    workflow = yaml.safe_load((repository.folder / ".github" / "workflows" / "robustness.yaml").read_text())
    github = GitHub(repository)
    assert github.run(workflow, event="push") == 0, github.said
    assert "2 computed in this run" in "".join(github.said.values())
    assert set(github.caches) == {"iqa-store-1", "iqa-baseline-1"}
    assert (github.caches["iqa-baseline-1"] / "baseline.parquet").exists()
    assert {"summary.html", "junit.xml", "allure-report"} <= {
        path.name for path in github.artifacts["robustness"].iterdir()
    }
    assert "own:Contrast" in github.summary.read_text()

    repository.change(flaw=1500, version=2)
    assert github.run(workflow, event="pull_request") == 1, github.said
    said = "".join(github.said.values())
    assert "worse than the baseline" in said
    assert "iqa-baseline-2" not in github.caches  # a pull request moves no baseline
    assert "iqa-store-2" in github.caches
    comment = (repository.folder / "reports" / "compare.md").read_text()
    assert comment.startswith("### Robustness: HEAD against BASE")
    assert "gh pr comment 7 --edit-last" in repository.log.read_text()


def test_a_gate_in_parts_is_judged_as_one(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "none")
    (text,) = blocks("yaml", "judge:")
    workflow = yaml.safe_load(text.replace(*SMALL))
    workflow["jobs"]["part"]["strategy"]["matrix"]["part"] = [1, 2]
    (commands,) = [step for step in workflow["jobs"]["part"]["steps"] if "--iqa-shard" in step.get("run", "")]
    commands["run"] = commands["run"].replace("/4", "/2")
    github = GitHub(repository)
    assert github.run(workflow, event="schedule") == 0, github.said
    assert {"store-1", "store-2", "robustness"} == set(github.artifacts)
    judged = next(said for command, said in github.said.items() if "--iqa-from-store" in command)
    assert re.search(r"\b2 cells: 2 pass", judged), judged
    assert "0 computed in this run, 2 taken from the store" in judged


def test_gitlab_holds_a_merge_request_against_the_default_branch(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "gitlab")
    job = yaml.safe_load((repository.folder / "robustness.gitlab-ci.yml").read_text())["robustness"]
    variables = {"CI_DEFAULT_BRANCH": "main", "CI_JOB_TOKEN": "t", "CI_API_V4_URL": "https://gitlab.example/api/v4"}
    done = repository.shell("\n".join(job["script"]), **variables, CI_COMMIT_BRANCH="main")
    assert done.returncode == 0, done.stdout + done.stderr
    done = repository.shell("\n".join(job["after_script"]), **variables, CI_COMMIT_BRANCH="main")
    assert done.returncode == 0, done.stderr
    for name in ("baseline.parquet", "allure-history.jsonl"):
        shutil.copy(repository.folder / "reports" / name, repository.published)
    assert (repository.folder / "reports" / "junit.xml").exists()

    shutil.rmtree(repository.folder / "reports")
    repository.change(flaw=1500, version=2)
    done = repository.shell("\n".join(job["script"]), **variables)
    assert done.returncode == 1
    assert "worse than the baseline" in done.stdout
    done = repository.shell("\n".join(job["after_script"]), **variables)
    assert done.returncode == 0, done.stderr
    assert (repository.folder / "reports" / "compare.md").exists()
    assert (repository.folder / "reports" / "allure-report" / "index.html").exists()


def test_the_shell_lines_of_jenkins_run_one_after_the_other(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "jenkins")
    text = (repository.folder / "Jenkinsfile").read_text()
    install, gate, baseline, after = (
        several or one for several, one in re.findall(r"'''(.*?)'''|sh '([^'\n]+)'", text, re.DOTALL)
    )
    for lines in (install, gate, baseline, after):
        done = repository.shell(lines)
        assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
    assert "iqa-robustness -e ." in repository.log.read_text()
    assert {"junit.xml", "summary.html", "allure-report"} <= {
        path.name for path in (repository.folder / "reports").iterdir()
    }
    repository.change(flaw=1500, version=2)
    done = repository.shell(gate)
    assert done.returncode == 1
    assert "worse than the baseline" in done.stdout


def test_an_array_of_slurm_fills_a_store_that_a_last_job_judges(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "none")
    script, submission = blocks("sh", "IQA_STORE")
    (repository.folder / "robustness.sbatch").write_text(script.replace(*SMALL))
    done = repository.shell(submission.replace(*SMALL).replace("/shared/iqa-store", str(tmp_path / "store")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b2 cells: 2 pass", done.stdout)
    assert "0 computed in this run, 2 taken from the store" in done.stdout
    assert "shard 2/2: 1 of 2 items" in repository.log.read_text()
