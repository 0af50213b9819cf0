"""The documentation says what is: its examples run as they are printed, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from iqa_robustness.cli import main
from iqa_robustness.conformance.qualification import KINDS
from iqa_robustness.errors import ExitCode

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (?P<name>\w+\.py)\n")
LINK = re.compile(r"\]\((?P<target>[^)#:]+\.md)")


def blocks(page: Path) -> list[str]:
    return [found["text"] for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("page", "kind"),
    [("adding-a-metric.md", "metric"), ("adding-an-attack.md", "attack"), ("adding-a-defense.md", "defense")],
)
def test_the_example_of_a_page_passes_the_command_that_it_prints(
    page: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = blocks(ROOT / "docs" / page)
    for text in found:
        name = FILE.match(text)
        if name is not None:
            (tmp_path / name["name"]).write_text(text)
    (command,) = [line for text in found for line in text.splitlines() if line.startswith("$ iqa-robustness qualify")]
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    code = main(shlex.split(command)[2:])
    assert code == ExitCode.PASS, capsys.readouterr().out
    assert shlex.split(command)[3] == kind


@pytest.mark.parametrize(
    ("page", "kind"),
    [("adding-a-metric.md", "metric"), ("adding-an-attack.md", "attack"), ("adding-a-defense.md", "defense")],
)
def test_every_check_is_explained(page: str, kind: str) -> None:
    table = (
        (ROOT / "docs" / page).read_text(encoding="utf-8").partition("| check | the promise |")[2].partition("\n\n")[0]
    )
    named = [name.strip() for row in table.splitlines()[2:] for name in row.split("|")[1].split(",")]
    assert sorted(named) == sorted(check.name for check in KINDS[kind].checks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_other_pages_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        assert (page.parent / link["target"]).is_file(), link["target"]
