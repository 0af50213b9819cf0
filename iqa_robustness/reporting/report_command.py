"""Allure's report of a run, by Node; where there is none, the page that the run has written itself."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

from iqa_robustness.errors import ConfigurationError, ExitCode

PINNED = "allure@3.18.0"
"""The npm package: the version whose reports were looked at. `allure-commandline` is Allure 2, of the same name."""
OLDEST_NODE = 20
SINGLE_FILE = 40_000_000
"""Bytes of results up to which the report is one file, which opens without a server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness report`."""
    parser.add_argument(
        "--results", type=Path, default=Path("reports/allure-results"), help="of --alluredir [%(default)s]"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("reports/allure-report"), help="where the report goes [%(default)s]"
    )
    parser.add_argument(
        "--history", type=Path, default=Path("reports/allure-history.jsonl"), help="of earlier reports [%(default)s]"
    )
    parser.add_argument("--npx", default="npx", help="the program that fetches and runs Allure [%(default)s]")


def run(options: argparse.Namespace) -> int:
    """Make the report; 0 also where Node is missing, since the run's own page says the same."""
    found = [*options.results.glob("*-result.json")]
    if not found:
        raise ConfigurationError(
            f"no Allure results in {options.results}", fix=f"run pytest with --alluredir={options.results}"
        )
    npx, why = _npx(options.npx)
    if not npx:
        print(f"{why}; {_own_page(options.results)}")
        return 0
    with as_file(files("iqa_robustness.reporting") / "templates" / "allurerc.mjs") as config:
        where = [str(options.results), "--config", str(config), "--output", str(options.to.absolute())]
        done = subprocess.run(
            [npx, "--yes", "--prefer-offline", PINNED, "generate", *where],
            env={**os.environ, **_settings(options, found)},
            capture_output=True,
            text=True,
            check=False,
        )
    page = options.to / "index.html"
    if done.returncode or not page.is_file():
        print(done.stdout + done.stderr)
        print(f"{PINNED} made no report; {_own_page(options.results)}")
        return int(ExitCode.INFRASTRUCTURE)
    size = sum(path.stat().st_size for path in options.to.rglob("*") if path.is_file())
    hint = "" if _single(options.results) else f"; it needs a server: python -m http.server -d {options.to}"
    print(f"written: {page}, {len(found)} results, {size / 1e6:.1f} MB{hint}")
    return 0


def _npx(name: str) -> tuple[str, str]:
    """Its path, or an empty one and why it cannot be used."""
    node, npx = shutil.which("node"), shutil.which(name)
    if node is None or npx is None:
        return (
            "",
            f"Allure's report needs Node {OLDEST_NODE} or newer, and there is no {'node' if node is None else name}",
        )
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    number = re.match(r"v(\d+)", said)
    if number is None or int(number[1]) < OLDEST_NODE:
        return "", f"Allure's report needs Node {OLDEST_NODE} or newer, and this is {said or 'none'}"
    return npx, ""


def _settings(options: argparse.Namespace, found: list[Path]) -> dict[str, str]:
    """What the configuration reads. The same results do not enter the history twice."""
    told = options.history.is_file() and options.history.stat().st_mtime >= max(path.stat().st_mtime for path in found)
    return {
        "IQA_ALLURE_RESULTS": str(options.results.absolute()),
        "IQA_ALLURE_REPORT": str(options.to.absolute()),
        "IQA_ALLURE_HISTORY": str(options.history.absolute()),
        "IQA_ALLURE_APPEND": "no" if told else "yes",
        "IQA_ALLURE_SINGLE": "yes" if _single(options.results) else "no",
    }


def _single(results: Path) -> bool:
    return sum(path.stat().st_size for path in results.iterdir() if path.is_file()) <= SINGLE_FILE


def _own_page(results: Path) -> str:
    """Where a run without other wishes leaves its page: beside Allure's results."""
    page = results.parent / "summary.html"
    return f"the run's own report is {page}" if page.is_file() else "a run leaves reports/summary.html besides"
