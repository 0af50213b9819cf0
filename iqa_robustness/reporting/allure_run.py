"""What Allure's results say of a run as a whole: environment, categories, executor, and verdicts that came late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iqa_robustness.reporting.results import Outcome

# No inline flag: Allure 3 searches with JavaScript's expressions, Allure 2 matches whole texts with Java's.
_ANYTHING = r"[\s\S]*"
_STATUSES = {
    "Fails a threshold": "fail: ",
    "Inconclusive: more images needed": "inconclusive: ",
    "Invalid: the attack could not work": "invalid: ",
    "A declared weakness is gone": "pass: the declared",
}
CATEGORIES: tuple[dict[str, Any], ...] = (
    *(
        {"name": name, "matchedStatuses": ["failed"], "messageRegex": f"^(Failed: )?{start}{_ANYTHING}"}
        for name, start in _STATUSES.items()
    ),
    {"name": "Not computed", "matchedStatuses": ["broken"]},
    {
        "name": "Known weaknesses",
        "matchedStatuses": ["skipped"],
        "messageRegex": f"{_ANYTHING}known weakness{_ANYTHING}",
    },
)


def write_run(folder: Path, facts: Mapping[str, str], cells: Sequence[Outcome], environ: Mapping[str, str]) -> None:
    """Complete the results of allure-pytest.

    Args:
        folder: that `--alluredir` named.
        facts: about the run, for the report's front page.
        cells: outcomes at the end of the run.
        environ: environment variables, in which CI systems say who they are.
    """
    lines = [f"{name}={value}" for name, value in facts.items()]
    (folder / "environment.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "categories.json").write_text(json.dumps(CATEGORIES, indent=1), encoding="utf-8")
    ran_by = executor(environ)
    if ran_by is not None:
        (folder / "executor.json").write_text(json.dumps(ran_by, indent=1), encoding="utf-8")
    _amend(folder, {cell["name"]: cell for cell in cells if cell["outcome"] == "failed"})


def executor(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Who ran it, as `executor.json` has it; None where no CI system that is known here says so."""
    if environ.get("GITHUB_ACTIONS") == "true":
        server, number = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_RUN_NUMBER", "")
        run = f"{server}/{environ.get('GITHUB_REPOSITORY', '')}/actions/runs/{environ.get('GITHUB_RUN_ID', '')}"
        return _executor("GitHub Actions", "github", server, number, environ.get("GITHUB_WORKFLOW", ""), run)
    if environ.get("GITLAB_CI"):
        server, number = environ.get("CI_SERVER_URL", ""), environ.get("CI_PIPELINE_IID", "")
        return _executor(
            "GitLab CI", "gitlab", server, number, environ.get("CI_JOB_NAME", ""), environ.get("CI_JOB_URL", "")
        )
    if environ.get("JENKINS_URL"):
        server, number = environ["JENKINS_URL"], environ.get("BUILD_NUMBER", "")
        return _executor(
            "Jenkins", "jenkins", server, number, environ.get("JOB_NAME", ""), environ.get("BUILD_URL", "")
        )
    return None


def _executor(name: str, kind: str, server: str, number: str, job: str, build: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "url": server,
        "buildOrder": int(number) if number.isdigit() else 0,
        "buildName": f"{job} #{number}",
        "buildUrl": build,
        "reportName": "Robustness of image-quality metrics",
    }


def _amend(folder: Path, failed: Mapping[str, Outcome]) -> None:
    """Fail the results of cells that had passed before the attacks of the run were compared with each other."""
    for path in sorted(folder.glob("*-result.json")) if failed else ():
        result = json.loads(path.read_text(encoding="utf-8"))
        names = {str(parameter["value"]).strip("'") for parameter in result.get("parameters", ())}
        cell = next((failed[name] for name in names if name in failed), None)
        if cell is None or result["status"] != "passed":
            continue
        message = "\n".join([f"{cell['status']}: {cell['name']}", *(f"  {reason}" for reason in cell["reasons"])])
        result |= {"status": "failed", "statusDetails": {"message": message}}
        for label in result["labels"]:
            if label["name"] == "tag" and label["value"].startswith("verdict: "):
                label["value"] = f"verdict: {cell['status']}"
        path.write_text(json.dumps(result), encoding="utf-8")
