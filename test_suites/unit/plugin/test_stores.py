"""Stores of real runs: on S3, over a base, damaged, full, or not to be read."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.sources import ImageTar
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_run_on_s3_and_a_judgement_from_there(project: Any, bucket: str, lines: Any) -> None:
    options = ("--iqa-strength=weak", f"--iqa-store={bucket}/team")
    computed = project.run_alone(*options)
    assert computed.ret == ExitCode.PASS
    computed.stdout.fnmatch_lines(["1 computed in this run, 0 taken from the store"])
    judged = project.run("--iqa-from-store", *options)
    assert judged.ret == ExitCode.PASS
    judged.stdout.fnmatch_lines(["0 computed in this run, 1 taken from the store"])
    said = lines(computed) + lines(judged)
    said += "".join(path.read_text() for path in (project.path / "reports").glob("*.[jhm]*"))
    assert "wholly-secret" not in said
    assert "AKIAEXAMPLE" not in said
    # A copy of it is a store like any other.
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    assert main(["store", "merge", f"{bucket}/team", str(project.path / "copy")]) == 0
    assert len(project.records("copy")) == 1
    assert main(["verify", str(project.path / "reports/verdict.json"), f"--iqa-store={project.path / 'copy'}"]) == 0


def test_a_bucket_that_is_not_there_is_infrastructure(project: Any, bucket: str, lines: Any) -> None:
    result = project.run("--iqa-strength=weak", "--iqa-store=s3://no-such-bucket/team")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["StoreError: *bucket 'no-such-bucket'*"])
    assert "INTERNALERROR" not in lines(result)


def test_an_overlay_takes_from_its_base_and_leaves_it_alone(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    assert project.run("--iqa-strength=weak", "--iqa-store=base").ret == ExitCode.PASS
    before = sorted((project.path / "base").rglob("*"))
    overlay = ("--iqa-strength=weak,medium", "--iqa-store=overlay", "--iqa-store-base=base")
    result = project.run(*overlay)
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(["1 computed in this run, 1 taken from the store"])
    assert sorted((project.path / "base").rglob("*")) == before
    assert len(project.records("overlay")) == 1
    assert "store-base" in (project.path / "reports" / "summary.md").read_text()
    # The verdict rests on both.
    given = ["verify", "reports/verdict.json", "--iqa-store=overlay"]
    assert main([*given, "--iqa-store-base=base"]) == 0
    assert main(given) == ExitCode.FAIL
    # A damaged record of the base is computed into the overlay: the base is somebody else's.
    (record,) = (project.path / "base").glob("v1/entries/*/*/record.parquet")
    flip_a_byte(record)
    mended = project.run(*overlay)
    assert mended.ret == ExitCode.PASS
    mended.stdout.fnmatch_lines(["1 computed in this run, 1 taken*", "repaired: *left in place*"])
    assert sorted((project.path / "base").rglob("*")) == before
    assert len(project.records("overlay")) == 2


def test_a_base_that_is_not_there_stops_the_run(project: Any, lines: Any) -> None:
    result = project.run("--iqa-strength=weak", "--iqa-store-base=typo")
    assert result.ret == ExitCode.CONFIGURATION
    assert "there is no store at" in lines(result)
    assert "INTERNALERROR" not in lines(result)


def test_damaged_stages_are_found_when_they_are_needed_and_all_of_them_mended(project: Any) -> None:
    assert project.run("--iqa-strength=medium").ret == ExitCode.PASS
    expected = project.records()
    store = project.path / ".iqa-store" / "v1"
    damaged = [*store.glob("entries/*/*/values.safetensors")]
    assert len(damaged) > 3
    for path in damaged:
        flip_a_byte(path)
    (record,) = store.glob("entries/*/*/record.parquet")
    shutil.rmtree(record.parent)
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.PASS
    assert project.records() == expected
    said = [line for line in result.outlines if line.startswith("repaired: ")]
    assert len(said) == len(damaged) == len([*(store / "quarantine").iterdir()])


def test_a_full_disk_is_infrastructure_also_while_images_are_written(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ImageTar, "add", full)
        result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["StoreError: the store cannot be written: *No space left*", "*check free disk space*"])
    assert [*(project.path / ".iqa-store" / "v1" / "tmp").iterdir()] == []
    write = Path.write_bytes

    def refusing(path: Path, data: bytes) -> int:
        if ".iqa-store" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refusing)
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["StoreError: the store cannot be written: *No space left*", "*check free disk space*"])
    assert [*(project.path / ".iqa-store" / "v1" / "tmp").iterdir()] == []


@pytest.mark.slow
def test_a_store_that_goes_away_before_the_end_of_a_run_is_infrastructure(
    project: Any, monkeypatch: pytest.MonkeyPatch, lines: Any
) -> None:
    from iqa_robustness.errors import StoreError
    from iqa_robustness.plugin.session import RobustnessSession

    opened = RobustnessSession.open_store

    def gone(session: RobustnessSession, *, read_only: bool) -> Any:
        if read_only:
            raise StoreError("the store cannot be read: stale file handle")
        return opened(session, read_only=read_only)

    monkeypatch.setattr(RobustnessSession, "open_store", gone)
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["ERROR: StoreError: *stale file handle*"])
    assert "INTERNALERROR" not in lines(result)
