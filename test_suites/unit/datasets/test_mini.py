"""The bundled data set: its pixels and scores to the bit, its photographs to their sources."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from iqa_robustness import datasets
from iqa_robustness.datasets import mini, mini_build
from iqa_robustness.datasets.distortion import Distortion
from iqa_robustness.datasets.mini import LEVELS, Mini
from iqa_robustness.datasets.pseudo_mos import pseudo_mos

FOLDER = Path(mini.__file__).parent / "bundled" / "mini"

# Both change only together with mini.VERSION and a changelog line: every stored record on `mini` rests on them.
DIGEST = "9982df4e98d70f3f9866485e9a19906dbfc239c945aca1961e38ad7fc01c5f48"
LEVEL_PIXELS = "52e1e7c72d0fc16c557f7dd2b83cc4c8983fc6842e767bfd76f93e4baff1e3c4"


@pytest.fixture(scope="module")
def data() -> Mini:
    return Mini()


@pytest.fixture(scope="module")
def images(data: Mini) -> list[np.ndarray]:
    return [data.pixels(index) for index in range(len(data))]


def scores(data: Mini, content: str) -> list[float]:
    return [item.mos for item in data.items if item.content == content]


def test_every_level_is_bit_equal_to_the_frozen_ones(images: list[np.ndarray]) -> None:
    assert hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest() == LEVEL_PIXELS


def test_the_digest_is_frozen_and_makes_no_level(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the digest must not need the levels")

    monkeypatch.setattr(Distortion, "apply", refuse)
    assert Mini().digest == DIGEST


def test_the_digest_names_version_scores_and_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {DIGEST}
    with monkeypatch.context() as patch:
        patch.setattr(mini, "VERSION", mini.VERSION + 1)
        seen.add(Mini().digest)
    for change in ({"mos": 1.0}, {"id": "other"}, {"content": "other"}):
        changed = Mini()
        changed._items = (replace(changed._items[0], **change), *changed._items[1:])
        seen.add(changed.digest)
    retouched = Mini()
    pixels = retouched.reference("rocket").copy()
    pixels[0, 0, 0] ^= 1
    retouched._references["rocket"] = pixels
    seen.add(retouched.digest)
    assert len(seen) == 6


def test_ten_contents_in_five_levels_each(data: Mini) -> None:
    assert len(data) == 50
    assert [item.id for item in data.items] == [f"{content}-{n}" for content in sorted(LEVELS) for n in range(5)]
    assert all(item.id.rpartition("-")[0] == item.content for item in data.items)
    assert len({item.content for item in data.items}) == 10


def test_the_table_says_the_same_as_the_ids() -> None:
    with (FOLDER / "mos.csv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert tuple(table.fieldnames or ()) == mini.COLUMNS
    assert all(row["id"] == f"{row['content']}-{row['level']}" for row in rows)


def test_every_score_is_what_the_formula_gives(data: Mini, images: list[np.ndarray]) -> None:
    for item, image in zip(data.items, images, strict=True):
        assert item.mos == pytest.approx(pseudo_mos(data.reference(item.content), image), abs=0.01), item.id


@pytest.mark.parametrize("content", sorted(LEVELS))
def test_scores_fall_clearly_from_level_to_level(data: Mini, content: str) -> None:
    falling = scores(data, content)
    assert falling[0] == 100
    assert all(earlier - later > 10 for earlier, later in pairwise(falling))
    assert 25 < falling[4] < 40


def test_levels_mean_the_same_in_every_content(data: Mini) -> None:
    by_level = np.array([scores(data, content) for content in sorted(LEVELS)])
    assert np.ptp(by_level, axis=0).max() < 6
    levels = np.tile(np.arange(5), 10)
    assert spearmanr(by_level.ravel(), -levels).statistic > 0.97


def test_all_kinds_of_distortion_occur_and_grow() -> None:
    kinds = {"blur": 0, "noise": 0, "coding": 0, "contrast": 0}
    for levels in LEVELS.values():
        assert len(levels) == 4
        for kind in kinds:
            strengths = [256 - level.contrast if kind == "contrast" else getattr(level, kind) for level in levels]
            assert strengths == sorted(set(strengths)) or set(strengths) == {0}, (kind, levels)
            kinds[kind] += any(strengths)
    assert min(kinds.values()) >= 2
    assert len({tuple(repr(level) for level in levels) for levels in LEVELS.values()}) == 10


def test_level_zero_is_the_photograph_on_disk(data: Mini, images: list[np.ndarray]) -> None:
    for item, image in zip(data.items[::5], images[::5], strict=True):
        with Image.open(FOLDER / f"{item.content}.png") as file:
            assert file.size == (512, 384)
            assert file.format == "PNG"
            assert np.array_equal(np.array(file.convert("RGB")), image)


def test_samples_keep_the_tensor_contract(data: Mini) -> None:
    for index in (0, 7, 13, 49):
        sample = data[index]
        assert sample.image.shape == (3, 384, 512)
        assert str(sample.image.dtype) == "torch.float32"
        assert 0 <= float(sample.image.min()) < float(sample.image.max()) <= 1
        assert np.array_equal(np.round(sample.image.numpy() * 255).transpose(1, 2, 0), data.pixels(index))
        assert (sample.id, sample.mos, sample.content) == (
            data.items[index].id,
            data.items[index].mos,
            data.items[index].content,
        )


def test_images_do_not_depend_on_the_order_of_reading(data: Mini, images: list[np.ndarray]) -> None:
    fresh = Mini()
    for index in (49, 3, 22, 3, 0):
        assert np.array_equal(fresh.pixels(index), images[index])


def test_writing_into_an_image_does_not_reach_the_next_reader(data: Mini, images: list[np.ndarray]) -> None:
    for index in (0, 1):
        data.pixels(index)[:] = 0
        assert np.array_equal(data.pixels(index), images[index])
    with pytest.raises(ValueError, match="read-only"):
        data.reference("astronaut")[0, 0] = 0


def test_a_photograph_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    original = mini.read_pixels

    def counted(source: bytes, *, name: str) -> np.ndarray:
        decoded.append(name)
        return original(source, name=name)

    monkeypatch.setattr(mini, "read_pixels", counted)
    fresh = Mini()
    assert decoded == [], "constructing reads no pixels"
    for index in (0, 0, 1, 4, 5):
        fresh.pixels(index)
    assert decoded == ["mini/astronaut.png", "mini/camera.png"]


def test_it_is_loaded_by_name_and_labelled_pseudo() -> None:
    data = datasets.load("mini")
    assert isinstance(data, Mini)
    assert (data.name, data.mos_kind) == ("mini", "pseudo")


def test_the_folder_is_small_credited_and_complete() -> None:
    pictures = sorted(FOLDER.glob("*.png"))
    credits = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    assert [file.stem for file in pictures] == sorted(LEVELS)
    assert sum(file.stat().st_size for file in pictures) <= 6_000_000
    for file in pictures:
        row = next(line for line in credits.splitlines() if line.startswith(f"| {file.name} |"))
        licence = row.split("|")[-2]
        assert any(known in licence for known in ("public domain", "CC0 1.0", "CC BY 2.0")), row
    assert {file.suffix for file in FOLDER.iterdir()} == {".png", ".csv", ".md"}


@pytest.mark.parametrize("content", [name for name, cut in mini_build.CUTS.items() if cut.package == "skimage"])
def test_the_photographs_are_cut_again_to_the_same_pixels(data: Mini, content: str) -> None:
    cut = mini_build.CUTS[content]
    again = np.array(mini_build.cut_out(cut).convert("RGB"))
    difference = np.abs(again.astype(int) - data.reference(content))
    # Two sources are JPEG files, and decoders may differ by a rounding step; the others are lossless.
    assert difference.max() <= (2 if content in ("hubble", "rocket") else 0)


@pytest.mark.parametrize("content", sorted(LEVELS))
def test_grey_photographs_are_grey_and_the_others_are_not(data: Mini, content: str) -> None:
    red, green, blue = np.moveaxis(data.reference(content), -1, 0)
    assert (np.array_equal(red, green) and np.array_equal(red, blue)) == (content in ("camera", "gravel"))


def test_the_build_writes_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Mini
) -> None:
    chosen = {name: mini_build.CUTS[name] for name in ("camera", "hopper")}
    monkeypatch.setattr(mini_build, "CUTS", chosen)
    assert mini_build.main([str(tmp_path / "new")]) == 0
    assert str(tmp_path / "new") in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"camera.png", "hopper.png", "mos.csv"}
    with Image.open(tmp_path / "new" / "camera.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image.convert("RGB")), data.reference("camera"))
    written = (tmp_path / "new" / "mos.csv").read_text(encoding="utf-8").splitlines()
    shipped = (FOLDER / "mos.csv").read_text(encoding="utf-8").splitlines()
    assert written[:6] == [shipped[0], *(line for line in shipped if line.startswith("camera-"))]
    assert len(written) == 11


def test_the_recipe_covers_every_content() -> None:
    assert sorted(mini_build.CUTS) == sorted(LEVELS) == list(mini_build.CUTS)
    assert json.dumps([cut.package for cut in mini_build.CUTS.values()]).count("sklearn") == 2
