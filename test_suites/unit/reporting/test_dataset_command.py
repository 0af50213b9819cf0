"""`iqa-robustness dataset show, verify, manifest, sample` on folders that the tests write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa_robustness import datasets
from iqa_robustness.cli import main
from iqa_robustness.datasets.koniq import SPLIT
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.dataset_command import differences, manifest_of


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 40 + 10 * seed, (24, 32, 3)) + random.integers(0, 90, 3)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        photograph(tmp_path / "photos" / f"{name}.png", seed)
    (tmp_path / "photos" / "mos.csv").write_text("file,mos\na.png,1\nb.png,2.5\nc.png,4\n", encoding="utf-8")
    return tmp_path / "photos"


@pytest.fixture
def koniq(tmp_path: Path) -> Path:
    lines = ["image_name,MOS,set"]
    for n in range(24):
        photograph(tmp_path / "koniq" / "512x384" / f"{n}.jpg", n)
        lines.append(f"{n}.jpg,{20 + 2 * n},{'test' if n % 2 else 'training'}")
    (tmp_path / "koniq" / SPLIT).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "koniq"


def test_show_says_what_is_in_a_data_set(root: Path, koniq: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "show", f"folder:{root}"]) == ExitCode.PASS
    shown = capsys.readouterr().out
    assert datasets.load(f"folder:{root}").digest in shown
    assert "1 to 4 (human)" in shown
    assert "unlisted" not in shown
    photograph(root / "more.png", 5)
    assert main(["dataset", "show", f"folder:{root}"]) == ExitCode.PASS
    assert "1 image files that no row lists, for one more.png" in capsys.readouterr().out
    assert main(["dataset", "show", f"koniq:{koniq}@part=all"]) == ExitCode.PASS
    assert "test, training" in capsys.readouterr().out
    assert main(["dataset", "show", f"folder:{root}@scores=none"]) == ExitCode.PASS
    assert "scores:     none" in capsys.readouterr().out


def test_a_manifest_that_was_written_is_met(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root / "manifest.json"
    assert main(["dataset", "manifest", f"folder:{root}", "--out", str(file)]) == ExitCode.PASS
    assert json.loads(file.read_text(encoding="utf-8")) == manifest_of(datasets.load(f"folder:{root}"))
    assert main(["dataset", "verify", f"folder:{root}"]) == ExitCode.PASS
    said = capsys.readouterr().out
    assert "3 of 3 images can be read" in said
    assert "0 faults" in said
    assert main(["dataset", "manifest", f"folder:{root}"]) == ExitCode.PASS
    assert json.loads(capsys.readouterr().out)["images"] == 3


def test_every_fault_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root.parent / "m.json"
    main(["dataset", "manifest", f"folder:{root}", "--out", str(file)])
    photograph(root / "a.png", 9)
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:50])
    photograph(root / "d.png", 3)
    (root / "mos.csv").write_text("file,mos\na.png,1\nb.png,2.5\nd.png,4\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["dataset", "verify", f"folder:{root}", "--manifest", str(file)]) == ExitCode.FAIL
    said = capsys.readouterr().out
    for words in (
        "b.png: cannot read the image",
        "a.png: SHA-256 differs",
        "d.png: not in the manifest",
        "c.png: in the manifest, not in the data set",
        "2 of 3 images can be read",
    ):
        assert words in said


def test_other_scores_are_another_data_set(root: Path) -> None:
    manifest = manifest_of(datasets.load(f"folder:{root}"))
    assert differences(manifest, datasets.load(f"folder:{root}")) == []
    table = root / "mos.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("2.5", "2.6"), encoding="utf-8")
    (line,) = differences(manifest, datasets.load(f"folder:{root}"))
    assert "digest differs" in line


def test_a_data_set_that_is_made_has_a_digest_only() -> None:
    data = datasets.load("ladder")
    assert manifest_of(data) == {"manifest": 1, "images": 50, "digest": data.digest, "files": {}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifest": 2, "files": {}, "digest": ""}'])
def test_what_is_no_manifest_is_refused(root: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = root.parent / "m.json"
    file.write_text(text, encoding="utf-8")
    code = main(["dataset", "verify", f"folder:{root}", "--manifest", str(file)])
    assert code == ExitCode.CONFIGURATION
    assert "cannot read the manifest" in capsys.readouterr().err


def sample(reference: str, out: Path, *more: str) -> int:
    return main(["dataset", "sample", reference, "--clusters", "3", "--per-cluster", "2", "--out", str(out), *more])


def test_a_sample_is_a_data_set_with_a_picture(koniq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lists" / "sample.csv"
    assert sample(f"koniq:{koniq}", out) == ExitCode.PASS
    said = capsys.readouterr().out
    assert "LEAK" not in said
    assert f"koniq:{koniq}@list={out}" in said
    chosen = datasets.load(f"koniq:{koniq}@list={out}")
    assert 0 < len(chosen) <= 6
    assert {int(item.id) % 2 for item in chosen.items} == {1}, "test images only"
    first = out.read_bytes()
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height
    assert sample(f"koniq:{koniq}", out) == ExitCode.PASS
    assert out.read_bytes() == first


def test_images_that_metrics_were_trained_on_need_a_word_and_are_named(
    koniq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sample.csv"
    assert sample(f"koniq:{koniq}@part=all", out) == ExitCode.CONFIGURATION
    assert "--allow-train" in capsys.readouterr().err
    assert not out.exists()
    assert sample(f"koniq:{koniq}", out, "--allow-train") == ExitCode.PASS
    said = capsys.readouterr().out
    assert "LEAK: the sample has" in said
    assert "koncept" in said
    assert f"koniq:{koniq}@part=all@list={out}" in said


def test_a_sample_of_images_without_scores(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample.csv"
    reference = f"folder:{root}@scores=none"
    assert main(["dataset", "sample", reference, "--clusters", "2", "--per-cluster", "1", "--out", str(out)]) == 0
    assert len(datasets.load(f"{reference}@list={out}")) == 2


def test_small_clusters_are_said_to_be_small(koniq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--clusters", "2", "--per-cluster", "50", "--out", str(tmp_path / "s.csv")]
    assert main(["dataset", "sample", f"koniq:{koniq}", *arguments]) == ExitCode.PASS
    assert "2 clusters have fewer than 50 images" in capsys.readouterr().out
