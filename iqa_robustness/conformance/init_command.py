"""Start in a repository of your own: thresholds, gates, a CI file, and a first check of the metric."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from iqa_robustness.conformance import command as qualify
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.gate.thresholds_schema import FILE, as_text

# What is written, and from which template; docs/ci-recipes.md shows and explains them.
_CI = {
    "github": (".github/workflows/robustness.yaml", "github.yaml.j2"),
    "gitlab": ("robustness.gitlab-ci.yml", "gitlab.yaml.j2"),
    "jenkins": ("Jenkinsfile", "jenkins.groovy.j2"),
}
# A file of pytest's own hides what these say, so none is added to them.
_CONFIGURED = {
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness init`."""
    parser.add_argument("--iqa-metric", required=True, metavar="NAME", help="package.module:Class, exec:COMMAND …")
    parser.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="the repository [this folder]")
    parser.add_argument("--ci", choices=[*_CI, "none"], default="github", help="whose CI file is written [github]")
    parser.add_argument("--no-qualify", action="store_true", help="leave the first check of the metric out")


def run(options: argparse.Namespace) -> int:
    """Write what is not there yet, then qualify the metric; the exit code is that of the check."""
    if not options.to.is_dir():
        raise ConfigurationError(f"--to is no folder: {options.to}", fix="make it first, or leave --to out")
    for name, text in _files(options.iqa_metric, options.ci):
        path = options.to / name
        if path.exists():
            print(f"left alone  {name}, which exists")
            continue
        configured = _configuration(options.to) if name == "pytest.ini" else ""
        if configured:
            lines = "".join(f"\n              {line}" for line in text.splitlines()[1:])
            print(f"left alone  {configured}, which configures pytest; it needs{lines}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written     {name}")
    print()
    code = 0 if options.no_qualify else _qualified(options.iqa_metric)
    if not options.no_qualify:
        print()
    print("next: pytest test_robustness.py" if not code else "next: mend what failed, then pytest test_robustness.py")
    print("not for git: .iqa-store and reports, which it writes")
    return code


def _files(metric: str, ci: str) -> Iterator[tuple[str, str]]:
    """Names and texts, in the order in which they are written."""
    templates = Environment(
        loader=PackageLoader("iqa_robustness.conformance", "starter"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for name in ("thresholds.yaml", "test_robustness.py", "conftest.py", "pytest.ini"):
        yield name, templates.get_template(f"{name}.j2").render(metric=metric, schema=FILE)
    yield FILE, as_text()
    if ci != "none":
        name, template = _CI[ci]
        yield name, templates.get_template(template).render(metric=metric)


def _configuration(folder: Path) -> str:
    """The file that already configures pytest, empty without one."""
    for name, section in _CONFIGURED.items():
        path = folder / name
        if path.is_file() and section in path.read_text(encoding="utf-8"):
            return name
    return ""


def _qualified(metric: str) -> int:
    parser = argparse.ArgumentParser(prog="iqa-robustness qualify")
    qualify.add_arguments(parser)
    return qualify.run(parser.parse_args(["metric", metric]))
