"""`iqa-robustness dataset build, export, judge`: a set that goes out and comes back says what its cells say."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.shards import Shard
from iqa_robustness.cli import main
from iqa_robustness.errors import ConfigurationError, ExitCode
from iqa_robustness.measures.disparity import d_score, gain
from iqa_robustness.store import Record, Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs, and a store with two attacks at one strength."""
    root = tmp_path_factory.mktemp("work")
    random = np.random.default_rng(0)
    lines = ["file,mos"]
    for n in range(5):
        (root / "photos" / "sub").mkdir(parents=True, exist_ok=True)
        pixels = random.integers(40 + 10 * n, 200, (32, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "photos" / "sub" / f"p{n}.png")
        lines.append(f"sub/p{n}.png,{n + 0.5}")
    (root / "photos" / "mos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert dataset(root, "build", *AXES) == ExitCode.PASS
    return root


AXES = ("--iqa-metric", PLANTED, "--iqa-attack", "fgsm,ifgsm", "--iqa-strength", "medium")


def dataset(root: Path, action: str, *more: str, images: str | None = None) -> int:
    reference = images or f"folder:{root / 'photos'}"
    common = ["--iqa-dataset", reference, "--iqa-store", str(root / "store"), "--iqa-size", "32x40"]
    return main(["dataset", action, *more, *common, "--iqa-device", "cpu"])


def record(root: Path, attack: str, defense: str) -> Record:
    runner = LocalRunner(Store(root / "store"), Numerics(device="cpu", micro_batch=4))
    return runner.record(
        Cell(
            metric=PLANTED,
            defense=defense,
            attack=attack,
            strength="medium",
            scenario="nonadaptive",
            dataset=f"folder:{root / 'photos'}",
            images=None,
            size=(32, 40),
            queries=300,
            draws=2,
            n0=20,
            n=200,
        )
    )


def test_building_again_computes_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = sorted((work / "store").rglob("images.tar"))
    assert dataset(work, "build", *AXES, "--iqa-from-store") == ExitCode.PASS
    assert "2 of 2 groups are in the store" in capsys.readouterr().out
    assert sorted((work / "store").rglob("images.tar")) == entries


def test_shards_make_up_the_whole(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for shard in ("1/2", "2/2"):
        assert dataset(work, "build", *AXES, "--iqa-shard", shard) == ExitCode.PASS
        said.append(capsys.readouterr().out)
    assert ["ifgsm" in text for text in said] == [True, False]
    assert ["fgsm" in text.replace("ifgsm", "") for text in said] == [False, True]
    assert all("1 of 1 groups" in text for text in said)


@pytest.mark.parametrize("shard", ["", "0/2", "3/2", "x/2", "1", "1/0"])
def test_a_wrong_shard_is_refused(shard: str) -> None:
    with pytest.raises(ConfigurationError, match="no shard"):
        Shard.parsed(shard)


def test_what_cannot_be_made_is_said_and_does_not_stop_the_rest(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = dataset(work, "build", *AXES[:2], "--iqa-attack", "fgsm,pgd", *AXES[4:], "--iqa-from-store")
    assert code == ExitCode.MISSING
    said = capsys.readouterr().out
    assert "pgd/medium  FAILED" in said
    assert "1 of 2 groups are in the store" in said


@pytest.mark.parametrize("container", ["png", "tar"])
def test_an_exported_set_is_judged_as_its_cells_are(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], container: str
) -> None:
    assert dataset(work, "export", *AXES, "--to", str(tmp_path / "set"), "--container", container) == ExitCode.PASS
    out = ["--out", str(tmp_path / "out"), "--iqa-defense", "none,flip"]
    assert dataset(work, "judge", str(tmp_path / "set"), *out) == ExitCode.PASS
    assert "D_score^(D)" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "judged.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["attack"], row["defense"]) for row in rows] == [
        (attack, defense) for attack in ("fgsm", "ifgsm") for defense in ("flip", "none")
    ]
    for row in rows:
        cell = record(work, row["attack"], row["defense"])
        images, diam = cell.images, cell.diam
        assert row["gain"] == pytest.approx(gain(images["clean"], images["attacked"], diam=diam))
        assert row["d_score"] == pytest.approx(d_score(images["clean"], images["defended_attacked"], diam=diam))
        defended = d_score(images["defended_clean"], images["defended_attacked"], diam=diam)
        assert row["d_score_defended"] == pytest.approx(defended)
        assert row["ssim"] == pytest.approx(images["ssim"].mean())
        assert row["linf"] == pytest.approx(255 * images["linf"].mean())


def test_index_manifest_and_card_describe_every_image(work: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    assert dataset(work, "export", *AXES, "--to", str(root)) == ExitCode.PASS
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    with (root / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 10
    assert all((root / row["path"]).is_file() for row in rows)
    assert {row["sha256"] for row in rows} == {d for group in manifest["groups"] for d in group["sha256"].values()}
    assert {group["attack"] for group in manifest["groups"]} == {"fgsm", "ifgsm"}
    assert manifest["groups"][0]["parameters"]["version"] >= 1
    everything = (root / "manifest.json").read_text(encoding="utf-8") + (root / "README.md").read_text(encoding="utf-8")
    assert str(work) not in everything, "nobody needs to know where the images lay"
    card = (root / "README.md").read_text(encoding="utf-8")
    assert "10 images in 2 groups" in card
    assert manifest["dataset"]["digest"] in card
    for row in rows:
        own = next(g for g in manifest["groups"] if g["attack"] == row["attack"])
        assert own["sha256"][row["id"]] == row["sha256"]
    gains = [float(row["gain"]) for row in rows if row["attack"] == "fgsm"]
    assert next(g for g in manifest["groups"] if g["attack"] == "fgsm")["mean_gain"] == pytest.approx(
        np.mean(gains), abs=1e-3
    )


def test_exporting_again_writes_the_same(work: Path, tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        assert dataset(work, "export", *AXES, "--to", str(tmp_path), "--container", "tar") == ExitCode.PASS
        contents.append({file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()})
    assert contents[0] == contents[1]


def test_a_folder_of_somebody_else_is_not_written_to(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert dataset(work, "export", *AXES, "--to", str(tmp_path)) == ExitCode.CONFIGURATION
    assert "is not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_groups_that_are_missing_stop_an_export_unless_they_may(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = (*AXES[:2], "--iqa-attack", "fgsm,pgd", *AXES[4:])
    assert dataset(work, "export", *axes, "--to", str(tmp_path / "set")) == ExitCode.CONFIGURATION
    assert "1 of 2 groups cannot be exported" in capsys.readouterr().err
    assert dataset(work, "export", *axes, "--to", str(tmp_path / "set"), "--partial") == ExitCode.PASS
    assert "not in the store" in capsys.readouterr().out


def published_copy(work: Path, root: Path) -> Path:
    """The published set's layout: no manifest, and images called by the last part of their id."""
    assert dataset(work, "export", *AXES, "--to", str(root / "set")) == ExitCode.PASS
    for attack in ("fgsm", "ifgsm"):
        place = root / "published" / "preset_1" / attack / "compact"
        place.mkdir(parents=True)
        (source,) = (root / "set" / "medium" / attack).iterdir()
        for file in source.rglob("*.png"):
            shutil.copy(file, place)
    return root / "published"


def test_the_published_layout_is_judged(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = published_copy(work, tmp_path)
    (root / "preset_1" / "fgsm" / "compact").rename(root / "preset_1" / "fgsm" / "unheard-of")
    out = ["--out", str(tmp_path / "out"), "--iqa-images", "3"]
    capsys.readouterr()
    assert dataset(work, "judge", str(root), *out) == ExitCode.PASS
    assert "left out: unheard-of/fgsm/medium, no metric of this name" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out" / "judged.json").read_text(encoding="utf-8"))["rows"]
    assert (row["metric"], row["attack"], row["strength"], row["images"]) == ("compact", "ifgsm", "medium", 3)
    assert row["linf"] <= 255


def test_images_without_their_clean_ones_are_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = published_copy(work, tmp_path)
    place = root / "preset_1" / "ifgsm" / "compact"
    (place / "p4.png").rename(place / "other.png")
    assert dataset(work, "judge", str(root), "--iqa-attack", "ifgsm") == ExitCode.CONFIGURATION
    assert "no clean image for 1 of 5 adversarial ones, for one 'other'" in capsys.readouterr().err
    assert dataset(work, "judge", str(root), "--iqa-attack", "nes") == ExitCode.CONFIGURATION
    assert "no group of the set is selected" in capsys.readouterr().err


def test_images_of_one_group_must_be_of_one_size(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = published_copy(work, tmp_path)
    Image.new("RGB", (20, 20)).save(root / "preset_1" / "ifgsm" / "compact" / "p4.png")
    code = dataset(work, "judge", str(root), "--iqa-attack", "ifgsm", "--out", str(tmp_path / "out"))
    assert code == ExitCode.CONFIGURATION
    assert "20 x 20 pixels, the first of its group 32 x 40" in capsys.readouterr().err
