"""The command line of the leaderboard: build, pack, admit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.store import Key, Store


@pytest.fixture
def source(league: Any, tmp_path: Path) -> str:
    store = Store(tmp_path / "source")
    for record in league({"none": 30, "flip": 10, "jpeg": 20}):
        store.put(Key(record.meta["key_document"]), record.files())
    return store.url


def test_a_submission_travels_from_one_store_to_anothers_page(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, target, site = (str(tmp_path / name) for name in ("out/flip.tar", "target", "site"))
    packing = ["leaderboard", "bundle", "--iqa-store", source, "--submitter", "Ana", "--defense", "flip"]
    assert main([*packing, "--to", bundle]) == 0
    assert "8 records" in capsys.readouterr().out
    assert main(["leaderboard", "add", bundle, "--iqa-store", target, "--dry-run"]) == 0
    assert "8 records of Ana" in capsys.readouterr().out
    assert not Path(target).exists()
    assert main(["leaderboard", "add", bundle, "--iqa-store", target]) == 0
    assert "8; there already: 0" in capsys.readouterr().out
    assert main(["leaderboard", "--iqa-store", source, target, "--to", site]) == 0
    assert "3 defenses, 12 records on koniq 192×256" in capsys.readouterr().out
    page = Path(site, "index.html").read_text(encoding="utf-8")
    assert "Ana" in page
    assert "jpeg" in page


def test_a_base_gives_its_records_and_stays_as_it_is(
    source: str, league: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = Store(tmp_path / "overlay")
    for record in league({"median-blur": 15}):
        overlay.put(Key(record.meta["key_document"]), record.files())
    before = sorted(Path(source).rglob("*"))
    both, site, bundle = ["--iqa-store", overlay.url, "--iqa-store-base", source], tmp_path / "site", tmp_path / "b.tar"
    assert main(["leaderboard", *both, "--to", str(site)]) == 0
    assert "4 defenses, 16 records" in capsys.readouterr().out
    assert main(["leaderboard", "bundle", *both, "--submitter", "Ana", "--to", str(bundle)]) == 0
    assert "16 records" in capsys.readouterr().out
    # What either store has is there already.
    assert main(["leaderboard", "add", str(bundle), *both]) == 0
    assert ": 0; there already: 16" in capsys.readouterr().out
    fresh = ["--iqa-store", str(tmp_path / "fresh"), "--iqa-store-base", source]
    assert main(["leaderboard", "add", str(bundle), *fresh]) == 0
    assert ": 4; there already: 12" in capsys.readouterr().out
    assert sorted(Path(source).rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--iqa-store", "SOURCE"], "--to DIR is needed"),
        (["--iqa-store", "SOURCE", "--to", "site", "--dataset", "kadid 1×1"], "'koniq 192×256' (12)"),
        (["--iqa-store", "nothing", "--to", "site"], "no records of attacks"),
        (["--iqa-store", "SOURCE", "--to", "site", "--iqa-store-base", "typo"], "there is no store at"),
        (["add", "nowhere.tar"], "cannot be read"),
        (["bundle", "--iqa-store", "SOURCE", "--submitter", "<b>"], "cannot be the name of a submitter"),
        (["bundle", "--iqa-store", "SOURCE", "--submitter", "Ana", "--metric", "fpr"], "no such record"),
    ],
)
def test_what_cannot_be_done_is_said(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [source if argument == "SOURCE" else argument for argument in arguments]
    assert main(["leaderboard", *given]) == ExitCode.CONFIGURATION
    assert said in capsys.readouterr().err
    assert not Path("site").exists()
    assert not Path("bundle.tar").exists()
