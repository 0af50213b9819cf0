"""`iqa-robustness train metric-head` when something is wrong, and what its command line understands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.training import metric_head

Command = Callable[..., list[str]]


@pytest.fixture
def broken(fill_folders: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whole folders, to be broken; no training may start."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the training has begun")

    monkeypatch.setattr(metric_head, "fit_lite0", refuse)
    monkeypatch.setattr(metric_head, "fit_small_network", refuse)
    return fill_folders(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "shown"),
    [
        pytest.param("judged/mos.csv", None, "cannot read the table", id="no scores"),
        pytest.param("judged/mos.csv", "file,content\na.png,a\n", "no column 'mos_norm'", id="no column of scores"),
        pytest.param("plain/images.csv", None, "cannot read the table", id="no list of photographs"),
        pytest.param("plain/images.csv", "Id\np1\n", "no column 'ImageId'", id="no column of photographs"),
        pytest.param("unseen", None, "no PNG images", id="nothing unseen"),
    ],
)
def test_folders_that_are_wrong_are_named_before_anything_is_trained(
    broken: Path, command: Command, capsys: pytest.CaptureFixture[str], file: str, content: str | None, shown: str
) -> None:
    path = broken / file
    if path.is_dir():
        for image in path.iterdir():
            image.unlink()
    elif content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    assert main(command(broken, metric="lite0", out=broken / "out")) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert said.startswith((f"DatasetError: {shown}", f"DatasetError: the table has {shown}"))
    assert f"file={path}" in said
    assert not (broken / "out").exists()


def test_a_missing_image_is_named(broken: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken / "judged" / "images" / "elm_1.png"
    path.unlink()
    assert main(command(broken, metric="compact", out=broken / "out")) == ExitCode.MISSING
    assert f"image={path}" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", ["--iqa-metric", "--mos", "--photographs", "--unseen", "--out"])
def test_every_folder_has_to_be_given(
    broken: Path, command: Command, capsys: pytest.CaptureFixture[str], left_out: str
) -> None:
    given = command(broken, metric="compact", out=broken / "out")
    place = given.index(left_out)
    with pytest.raises(SystemExit) as stopped:
        main(given[:place] + given[place + 2 :])
    assert stopped.value.code == 2
    assert left_out in capsys.readouterr().err


def test_another_metric_cannot_be_trained(broken: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(command(broken, metric="niqe", out=broken / "out"))
    assert "invalid choice: 'niqe'" in capsys.readouterr().err


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "metric-head", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: iqa-robustness train metric-head")
    assert all(option in said for option in ("--iqa-metric", "--mos", "--unseen", "--steps", "--threads"))


def test_threads_are_set_as_asked(broken: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    with pytest.raises(AssertionError, match="has begun"):
        main(command(broken, metric="compact", out=broken / "out"))
    assert asked == [1]
