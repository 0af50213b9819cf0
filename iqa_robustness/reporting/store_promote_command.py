"""Copy the finished entries of an overlay into the base that it stands on; from a protected branch only."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Mapping

from iqa_robustness.errors import PromotionError
from iqa_robustness.reporting.store_merge_command import merge
from iqa_robustness.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store promote`."""
    parser.add_argument("overlay", metavar="OVERLAY", help="the store that runs wrote to")
    parser.add_argument("base", metavar="BASE", help="the store that all branches read")
    parser.add_argument(
        "--protected-branch",
        metavar="NAME",
        default="",
        help="the branch that may do this, where no CI service says that it is protected",
    )


def run(options: argparse.Namespace) -> int:
    """Promote. Raises PromotionError, and what `merge` raises."""
    branch = protected_branch(options.protected_branch, os.environ)
    print(f"protected branch: {branch}")
    merge([Store(options.overlay, read_only=True)], Store(options.base))
    return 0


def protected_branch(name: str, environment: Mapping[str, str]) -> str:
    """The protected branch that this runs on.

    A CI service says whether the branch is protected; elsewhere, and where a service protects none, its name must be
    given. Runs for a pull request never count, whatever they check out. This keeps honest people from mistakes; what
    keeps others out are credentials that write to the base and that only protected branches get.

    Raises:
        PromotionError: it is not, or nobody knows.
    """
    if environment.get("GITHUB_ACTIONS") == "true":
        request = environment.get("GITHUB_EVENT_NAME", "").startswith("pull_request")
        branch = environment.get("GITHUB_REF_NAME", "")
        is_branch = environment.get("GITHUB_REF_TYPE", "branch") == "branch"
        said = environment.get("GITHUB_REF_PROTECTED") == "true"
    elif environment.get("GITLAB_CI") == "true":
        request = bool(environment.get("CI_MERGE_REQUEST_IID"))
        branch = environment.get("CI_COMMIT_BRANCH", "")
        is_branch = bool(branch)
        said = environment.get("CI_COMMIT_REF_PROTECTED") == "true"
    else:
        request, branch, said = False, _checked_out(), False
        is_branch = bool(branch)
    if request:
        raise PromotionError(
            "a run for a pull request may not write to the base", fix="promote after the merge, on the target branch"
        )
    if not is_branch:
        raise PromotionError(
            f"this is no branch{f' but {branch}' if branch else ''}",
            fix="check the protected branch out, then promote",
        )
    if name and name != branch:
        raise PromotionError(
            f"this is branch {branch!r}, and {name!r} is the protected one", fix=f"promote on {name!r}"
        )
    if not (said or name):
        raise PromotionError(
            f"nobody says that branch {branch!r} is protected",
            fix="protect it in the CI service, or name it with --protected-branch",
        )
    return branch


def _checked_out() -> str:
    """The branch of the current folder's git repository; empty where there is none."""
    command = ["git", "symbolic-ref", "--quiet", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
