"""Stores of real runs: on S3, over a base, damaged, full, or not to be written."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import s3fs

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.store import Store


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_run_on_s3_and_a_judgement_from_there(project: Any, bucket: str, lines: Any) -> None:
    options = ("--iqa-strength=weak,medium", f"--iqa-store={bucket}/team")
    computed = project.run_alone(*options)
    assert computed.ret == ExitCode.PASS
    computed.stdout.fnmatch_lines(["2 computed in this run, 0 taken from the store"])
    judged = project.run("--iqa-from-store", *options)
    assert judged.ret == ExitCode.PASS
    judged.stdout.fnmatch_lines(["0 computed in this run, 2 taken from the store"])
    assert "wholly-secret" not in lines(computed) + lines(judged) + (project.path / "reports/verdict.json").read_text()
    # Records are the same wherever they are kept, and may be taken home.
    assert project.run(*options[:1], "--iqa-store=local").ret == ExitCode.PASS
    s3fs.S3FileSystem.clear_instance_cache()
    assert main(["store", "merge", f"{bucket}/team", str(project.path / "copy")]) == 0
    assert project.records("copy") == project.records("local")
    # Damage there is mended as it is on a disk.
    store = Store(f"{bucket}/team")
    entry = store.find(store.digests(holding="record.parquet")[0])
    assert entry is not None
    store.fs.pipe_file(entry.path("record.parquet"), b"damage")
    repaired = project.run(*options)
    assert repaired.ret == ExitCode.PASS
    repaired.stdout.fnmatch_lines(["1 computed in this run, 1 taken*", "repaired: *record.parquet does not match*"])


def test_an_overlay_takes_from_its_base_and_leaves_it_alone(project: Any) -> None:
    assert project.run("--iqa-strength=weak", "--iqa-store=base").ret == ExitCode.PASS
    before = sorted((project.path / "base").rglob("*"))
    overlay = ("--iqa-strength=weak,medium", "--iqa-store=overlay", "--iqa-store-base=base")
    result = project.run(*overlay)
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(["1 computed in this run, 1 taken from the store"])
    assert sorted((project.path / "base").rglob("*")) == before
    assert len(project.records("overlay")) == 1
    assert project.run("--iqa-from-store", *overlay).ret == ExitCode.PASS
    assert project.run("--iqa-from-store", *overlay[:2]).ret == ExitCode.MISSING
    # A damaged record of the base is computed into the overlay; the base is somebody else's.
    (record,) = (project.path / "base").glob("v1/entries/*/*/record.parquet")
    flip_a_byte(record)
    mended = project.run(*overlay)
    assert mended.ret == ExitCode.PASS
    mended.stdout.fnmatch_lines(["1 computed in this run, 1 taken*", "repaired: *left in place*"])
    assert sorted((project.path / "base").rglob("*")) == before
    assert project.run("--iqa-from-store", *overlay).ret == ExitCode.PASS


def test_a_verdict_over_a_base_is_verified_with_it(
    project: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("--iqa-strength=weak", "--iqa-store=base")
    project.run("--iqa-strength=weak", "--iqa-store=overlay", "--iqa-store-base=base")
    monkeypatch.chdir(project.path)
    given = ["verify", "reports/verdict.json", "--iqa-store=overlay"]
    assert main([*given, "--iqa-store-base=base"]) == 0
    assert main(given) == ExitCode.FAIL
    facts = (project.path / "reports" / "summary.md").read_text()
    assert "store-base" in facts
    assert json.loads((project.path / "reports" / "verdict.json").read_text())["cells"]


def test_a_base_that_is_not_there_stops_the_run(project: Any, lines: Any) -> None:
    result = project.run("--iqa-strength=weak", "--iqa-store-base=typo")
    assert result.ret == ExitCode.CONFIGURATION
    assert "there is no store at" in lines(result)


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


@pytest.mark.parametrize(
    ("number", "text"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")]
)
def test_a_store_that_takes_no_more_is_infrastructure(
    project: Any, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    write = Path.write_bytes

    def refusing(path: Path, data: bytes) -> int:
        if ".iqa-store" in path.parts:
            raise OSError(number, text)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refusing)
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines([f"StoreError: the store cannot be written: *{text}*", "*check free disk space*"])
    assert [*(project.path / ".iqa-store" / "v1" / "tmp").iterdir()] == []
