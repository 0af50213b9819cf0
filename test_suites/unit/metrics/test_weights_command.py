"""`iqa-robustness weights`: what it prints, and with which code it ends."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.metrics import weights_command
from iqa_robustness.metrics.weights import MANIFEST, WeightsEntry, entry_of
from iqa_robustness.metrics.weights_command import ProgressLine, spoken_size

CONTENT = b"one\ntwo\n"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kept"
    path.mkdir()
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(path))
    monkeypatch.setenv("IQA_ROBUSTNESS_OFFLINE", "1")
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> WeightsEntry:
    """The manifest with one known file of eight bytes, and one without digest."""
    known = WeightsEntry(
        metric="koncept",
        file="known.pth",
        origin="https://example.org/known.pth",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
    )
    open_one = WeightsEntry(metric="spaq", file="open.pt", origin="https://example.org/open.pt")
    manifest = {"koncept": (known,), "spaq": (open_one,)}
    monkeypatch.setattr(weights_command, "MANIFEST", manifest)
    return known


def test_the_list_is_aligned_and_says_what_is_there(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kept / entry_of("koncept").file).write_bytes(b"x")
    assert main(["weights", "list"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["for", "file", "size", "licence", "present", "origin"]
    assert len(rows) == sum(map(len, MANIFEST.values()))
    for column in ("file", "licence", "present", "origin"):
        place = head.index(column)
        assert all(row[place - 1] == " " and row[place] != " " for row in rows)
    present = {row.split()[0]: row[head.index("present") :].split()[0] for row in rows}
    assert present == {**dict.fromkeys(MANIFEST, "no"), "koncept": "yes"}


def test_only_named_ones_are_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "spaq", "mprnet", "spaq"]) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1:]] == ["spaq", "mprnet"]


@pytest.mark.parametrize("action", ["list", "fetch", "verify", "where"])
def test_an_unknown_metric_is_an_error_with_the_closest_name(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", action, "konceptt"]) == ExitCode.CONFIGURATION
    assert "did you mean koncept" in capsys.readouterr().err


def test_where_names_the_folder_and_the_paths(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "where", "brisque"]) == 0
    first, *paths = capsys.readouterr().out.splitlines()
    assert first.startswith(str(kept))
    assert "IQA_ROBUSTNESS_WEIGHTS" in first
    assert [path.strip() for path in paths] == [str(kept / entry.file) for entry in MANIFEST["brisque"]]


def test_verify_tells_right_unknown_and_absent_files_apart(
    kept: Path, small: WeightsEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == "known.pth: not present\nopen.pt: not present\n"
    (kept / "known.pth").write_bytes(CONTENT)
    (kept / "open.pt").write_bytes(CONTENT)
    assert main(["weights", "verify"]) == 0
    known, unknown = capsys.readouterr().out.splitlines()
    assert known == f"known.pth: ok, sha256 {small.sha256}"
    assert unknown == f"open.pt: no digest is published; sha256 of this file: {small.sha256}"


@pytest.mark.parametrize("wrong", [b"two\none\n", b"short"])
def test_verify_fails_for_a_wrong_file_and_looks_at_the_others_too(
    kept: Path, small: WeightsEntry, wrong: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "known.pth").write_bytes(wrong)
    (kept / "open.pt").write_bytes(CONTENT)
    assert main(["weights", "verify"]) == ExitCode.CONFIGURATION
    said = capsys.readouterr()
    assert said.err.startswith("ChecksumError: known.pth has ")
    assert "known.pth: WRONG" in said.out
    assert "open.pt: no digest" in said.out


def test_several_wrong_files_are_one_error(
    kept: Path, small: WeightsEntry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = {"koncept": (small,), "spaq": (small,)}
    monkeypatch.setattr(weights_command, "MANIFEST", manifest)
    (kept / "known.pth").write_bytes(b"no")
    assert main(["weights", "verify"]) == ExitCode.CONFIGURATION
    assert "ChecksumError: 2 files" in capsys.readouterr().err


def test_fetch_uses_what_is_there_and_reports_every_file_it_cannot_get(
    kept: Path, small: WeightsEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "known.pth").write_bytes(CONTENT)
    assert main(["weights", "fetch"]) == ExitCode.CONFIGURATION
    said = capsys.readouterr()
    assert said.out == f"known.pth: already there, ok, sha256 {small.sha256}\n"
    assert said.err.startswith("OfflineError: open.pt of spaq is not here")


def test_fetch_of_a_page_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "linearity"]) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert said.startswith("ManualDownloadError: p1q2.pth")
    assert entry_of("linearity").origin in said


@pytest.mark.parametrize("arguments", [[], ["lost"]])
def test_an_unknown_action_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["weights", *arguments])
    assert stopped.value.code == 2
    assert "usage: iqa-robustness weights" in capsys.readouterr().err


def test_the_progress_line_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ProgressLine("file")
    line(1, 2)
    line.close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line(123_456_789, 0)
    line(5, 10)
    line.close()
    assert capsys.readouterr().err == "\rfile: 123 MB of unknown\rfile: 5 B of 10 B      \n"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "unknown"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (8347, "8.35 kB"),
        (999_600, "1.00 MB"),
        (99_960, "100 kB"),
        (2_900_940, "2.90 MB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_sizes_have_three_digits(size: int, said: str) -> None:
    assert spoken_size(size) == said


def test_weights_need_no_torch() -> None:
    check = (
        "import sys; from iqa_robustness.cli import main; main(['weights', 'list']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False, capture_output=True).returncode == 0
