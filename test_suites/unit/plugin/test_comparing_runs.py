"""`iqa-robustness compare` on stores of real runs: the later version also sees what fooled the earlier one."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from iqa_robustness.cli import main


def test_the_later_version_scores_the_images_that_fooled_the_earlier(
    project: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    run = ("--iqa-metric=own:Fragile", "--iqa-strength=strong")
    project.run(*run)
    shutil.move(project.path / ".iqa-store", project.path / "base")
    source = (project.path / "own.py").read_text(encoding="utf-8")
    # The later version looks at the pattern a hundredth as much.
    project.write("own.py", source.replace("+ 3000 *", "+ 30 *"))
    project.run(*run)
    capsys.readouterr()
    assert main(["compare", "base", ".iqa-store", "--on-base-images", "--iqa-device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "1 cell in both: HEAD has 0 won, 0 lost, 1 undecided" in out  # four pictures decide nothing
    line = next(line for line in out.splitlines() if "own:Fragile/none/ifgsm/strong" in line)
    before, after, on_base = float(line.split()[5]), float(line.split()[6]), float(line.split()[-1])
    assert before > 100
    assert after < before / 5
    assert 0 < on_base < before / 5
    # Without the images of the earlier run there is nothing to score, and the rest is compared all the same.
    adversarial = [path.parent for path in (project.path / "base").glob("v1/entries/*/*/images.tar")]
    assert adversarial
    for folder in adversarial:
        shutil.rmtree(folder)
    assert main(["compare", "base", ".iqa-store", "--on-base-images", "--iqa-device", "cpu"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "own:Fragile/none/ifgsm/strong" in line)
    assert line.endswith("–")
