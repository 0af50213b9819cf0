"""What Allure is told of a run: who ran it, how it groups what is not green, and verdicts that came after the items."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.reporting.allure_run import CATEGORIES, executor, write_run

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "ana/metric",
    "GITHUB_RUN_ID": "91",
    "GITHUB_RUN_NUMBER": "7",
    "GITHUB_WORKFLOW": "robustness",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PIPELINE_IID": "7",
    "CI_JOB_NAME": "robustness",
    "CI_JOB_URL": "https://gitlab.example/ana/metric/-/jobs/5",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example/",
    "BUILD_NUMBER": "7",
    "JOB_NAME": "robustness",
    "BUILD_URL": "https://ci.example/job/robustness/7/",
}


@pytest.mark.parametrize(
    ("environ", "kind", "url", "build"),
    [
        (GITHUB, "github", "https://github.com", "https://github.com/ana/metric/actions/runs/91"),
        (GITLAB, "gitlab", "https://gitlab.example", "https://gitlab.example/ana/metric/-/jobs/5"),
        (JENKINS, "jenkins", "https://ci.example/", "https://ci.example/job/robustness/7/"),
    ],
)
def test_each_ci_system_is_known_by_its_variables(environ: dict[str, str], kind: str, url: str, build: str) -> None:
    found = executor(environ)
    assert found is not None
    assert (found["type"], found["url"], found["buildUrl"]) == (kind, url, build)
    assert (found["buildOrder"], found["buildName"]) == (7, "robustness #7")


@pytest.mark.parametrize("environ", [{}, {"CI": "true"}, {"GITHUB_ACTIONS": "false"}])
def test_nobody_is_invented(environ: dict[str, str], tmp_path: Path) -> None:
    assert executor(environ) is None
    write_run(tmp_path, {"seed": "0"}, [], environ)
    assert {path.name for path in tmp_path.iterdir()} == {"environment.properties", "categories.json"}


def test_a_build_without_a_number_has_the_order_zero() -> None:
    found = executor({"JENKINS_URL": "https://ci.example/"})
    assert found is not None
    assert found["buildOrder"] == 0


@pytest.mark.parametrize(
    ("status", "message", "category"),
    [
        ("failed", "Failed: fail: nonadaptive:a/none/x/weak\n  fail: D_score 63", "Fails a threshold"),
        ("failed", "Failed: inconclusive: c\n  inconclusive: D_score", "Inconclusive: more images needed"),
        ("failed", "Failed: invalid: c\n  fail: D_score 63", "Invalid: the attack could not work"),
        ("failed", "invalid: c\n  said at the end", "Invalid: the attack could not work"),
        ("failed", "Failed: pass: the declared weakness is gone (x)", "A declared weakness is gone"),
        ("broken", "RuntimeError: no kernel", "Not computed"),
        ("skipped", "XFAIL known weakness: a flip\n\nxfailed", "Known weaknesses"),
        ("skipped", "Skipped: not applicable: gradients", None),
    ],
)
def test_a_message_falls_into_its_category_for_search_and_for_match(
    status: str, message: str, category: str | None
) -> None:
    """The first that matches counts in Allure 3, which searches; Allure 2 matches from end to end."""
    fitting = [c for c in CATEGORIES if status in c["matchedStatuses"]]
    for match in (re.search, re.fullmatch):
        found = [c["name"] for c in fitting if match(c.get("messageRegex", r"[\s\S]*"), message)]
        assert found == ([category] if category else [])


def result(name: str, status: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "parameters": [{"name": "cell", "value": f"'nonadaptive:{name}'"}],
        "labels": [{"name": "tag", "value": "white-box"}, {"name": "tag", "value": "verdict: pass"}],
    }


def test_a_pass_that_was_doubted_at_the_end_of_the_run_is_no_pass(tmp_path: Path) -> None:
    for place, name in enumerate(("a/none/x/weak", "a/none/x/strong", "b/none/x/weak")):
        (tmp_path / f"{place}-result.json").write_text(json.dumps(result(name, "passed")))
    cells = [
        {"name": f"nonadaptive:{name}", "status": status, "outcome": outcome, "reasons": ["less budget gains more"]}
        for name, status, outcome in (("a/none/x/weak", "invalid", "failed"), ("b/none/x/weak", "pass", "passed"))
    ]
    write_run(tmp_path, {}, cells, {})
    found = {r["name"]: r for r in (json.loads(path.read_text()) for path in tmp_path.glob("*-result.json"))}
    assert {name: r["status"] for name, r in found.items()} == {
        "a/none/x/weak": "failed",
        "a/none/x/strong": "passed",
        "b/none/x/weak": "passed",
    }
    doubted = found["a/none/x/weak"]
    assert doubted["statusDetails"]["message"] == "invalid: nonadaptive:a/none/x/weak\n  less budget gains more"
    assert {"name": "tag", "value": "verdict: invalid"} in doubted["labels"]
    assert {"name": "tag", "value": "white-box"} in doubted["labels"]
