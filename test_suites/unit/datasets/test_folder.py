"""`folder:PATH`: what it reads, and the error for each way a folder can be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from iqa_robustness import datasets
from iqa_robustness.datasets import files as files_module
from iqa_robustness.datasets import folder as folder_module
from iqa_robustness.datasets.base import Item, view
from iqa_robustness.datasets.folder import Folder
from iqa_robustness.errors import ConfigurationError, DatasetError, ImageReadError
from iqa_robustness.images import encode_png, fit_pixels, from_uint8


def picture(seed: int, rows: int = 12, columns: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))
    return path


def table(root: Path, lines: Iterable[str], *, name: str = "mos.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of different sizes, one in images/, with a table."""
    home = tmp_path / "photos"
    put(home / "a.png", picture(1))
    put(home / "sub" / "b.v2.png", picture(2, 20, 9))
    put(home / "images" / "c.png", picture(3, 8, 8))
    return table(home, ["file,mos,content", "a.png,3.5,beach", "sub/b.v2.png,4.25,beach", "c.png,1e0,"])


def rewrite(root: Path, *lines: str) -> Folder:
    table(root, lines)
    return Folder(str(root))


def test_items_follow_the_table(root: Path) -> None:
    data = Folder(str(root))
    assert list(data.items) == [
        Item(id="a", mos=3.5, content="beach"),
        Item(id="sub/b.v2", mos=4.25, content="beach"),
        Item(id="c", mos=1.0, content="c"),
    ]
    assert len(data) == 3
    assert data.mos_kind == "human"


def test_pixels_are_those_of_the_files_at_their_own_size(root: Path) -> None:
    data = Folder(str(root))
    for index, (seed, *size) in enumerate([(1,), (2, 20, 9), (3, 8, 8)]):
        assert np.array_equal(data.pixels(index), picture(seed, *size))
    assert data[1].image.shape == (3, 20, 9)
    assert [sample.id for sample in data] == ["a", "sub/b.v2", "c"]


def test_load_by_reference_keeps_the_reference_as_name(root: Path) -> None:
    data = datasets.load(f"folder:{root}")
    assert isinstance(data, Folder)
    assert data.name == f"folder:{root}"
    assert view(data, count=2, size=(6, 8)).batch(range(2)).shape == (2, 3, 6, 8)


def test_the_home_folder_is_understood(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(Folder("~/photos")) == 3


@pytest.mark.parametrize("file_column", folder_module.FILE_COLUMNS)
@pytest.mark.parametrize("mos_column", folder_module.MOS_COLUMNS)
def test_usual_column_names_are_understood(root: Path, file_column: str, mos_column: str) -> None:
    data = rewrite(root, f"index, {mos_column} ,{file_column}", "0, 2.5 ,a.png", "1,7, c.png ")
    assert [(item.id, item.mos, item.content) for item in data.items] == [("a", 2.5, "a"), ("c", 7.0, "c")]


def test_spreadsheet_text_is_understood(root: Path) -> None:
    (root / "mos.csv").write_bytes(b'\xef\xbb\xbffile,mos\r\n"a.png",3\r\n\r\n,\r\nc.png,4\r\n')
    assert [item.id for item in Folder(str(root)).items] == ["a", "c"]


def test_the_only_csv_may_have_any_name(root: Path) -> None:
    (root / "mos.csv").rename(root / "scores-2024.csv")
    assert len(Folder(str(root))) == 3
    table(root, ["file,mos", "a.png,1"])
    assert len(Folder(str(root))) == 1, "mos.csv goes before other tables"


def test_a_file_beside_the_table_goes_before_one_in_images(root: Path) -> None:
    put(root / "images" / "a.png", picture(9))
    assert np.array_equal(Folder(str(root)).pixels(0), picture(1))


@pytest.mark.parametrize("kind", ["human", "pseudo"])
def test_a_column_labels_the_scores(root: Path, kind: str) -> None:
    assert rewrite(root, "file,mos,mos_kind", f"a.png,3,{kind}", f"c.png,4,{kind}").mos_kind == kind


def test_images_that_no_row_lists_are_counted_and_ignored(root: Path) -> None:
    put(root / "extra.png", picture(4))
    put(root / "images" / "deep" / "extra.JPG", picture(5))
    (root / "notes.txt").write_text("no image", encoding="utf-8")
    data = Folder(str(root))
    assert [file.name for file in data.unlisted] == ["extra.png", "extra.JPG"]
    assert len(data) == 3
    with pytest.raises(DatasetError, match=r"2 images have no row in the table, for one 'extra\.png'") as caught:
        datasets.load(f"folder:{root}@unlisted=error")
    assert caught.value.where.file == str(root / "extra.png")


def test_nothing_unlisted(root: Path) -> None:
    assert Folder(str(root)).unlisted == ()
    strict = datasets.load(f"folder:{root}@unlisted=error")
    assert strict.digest == Folder(str(root)).digest
    with pytest.raises(ConfigurationError, match="neither ignore nor error"):
        Folder(str(root), unlisted="warn")


def test_constructing_decodes_and_hashes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no file may be opened yet")

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "read_pixels", refuse)
        patch.setattr(hashlib, "file_digest", refuse)
        data = Folder(str(root))
        assert len(data.items) == 3
    assert data.pixels(0).shape == (12, 16, 3)


def test_the_digest_is_the_documented_one(root: Path) -> None:
    files = ["a.png", "sub/b.v2.png", "images/c.png"]
    rows = [
        (item.id, item.mos, item.content, hashlib.sha256((root / file).read_bytes()).hexdigest())
        for item, file in zip(Folder(str(root)).items, files, strict=True)
    ]
    assert Folder(str(root)).digest == hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def test_the_digest_names_what_matters_and_not_the_place(root: Path, tmp_path: Path) -> None:
    before = Folder(str(root)).digest
    moved = root.rename(tmp_path / "elsewhere")
    table(moved, ["image,note,score,content", "a.png,x,3.50,beach", "sub/b.v2.png,y,4.25,beach", "c.png,z,1,c"])
    assert Folder(str(moved)).digest == before
    seen = {before}
    for row in ("a.png,x,3.51,beach", "a.png,x,3.5,hills"):
        seen.add(rewrite(moved, "image,note,score,content", row, "sub/b.v2.png,,4.25,beach", "c.png,,1,c").digest)
    table(moved, ["file,mos,content", "a.png,3.5,beach", "sub/b.v2.png,4.25,beach", "c.png,1,"])
    put(moved / "a.png", picture(77))
    seen.add(Folder(str(moved)).digest)
    assert len(seen) == 4


def test_the_digest_is_computed_once(root: Path) -> None:
    data = Folder(str(root))
    before = data.digest
    put(root / "a.png", picture(77))
    assert data.digest == before


def test_a_file_that_has_gone_since_is_named(root: Path) -> None:
    data = Folder(str(root))
    (root / "a.png").unlink()
    with pytest.raises(ImageReadError) as caught:
        _ = data.digest
    assert caught.value.where.file == str(root / "a.png")
    with pytest.raises(ImageReadError) as caught:
        data.pixels(0)
    assert caught.value.where.file == str(root / "a.png")


@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_a_broken_image_is_named_when_it_is_read(root: Path, keep: float) -> None:
    file = root / "sub" / "b.v2.png"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    data = Folder(str(root))
    assert data.pixels(0).shape == (12, 16, 3), "the other images are read all the same"
    with pytest.raises(ImageReadError) as caught:
        data.pixels(1)
    where = caught.value.where
    assert (where.dataset, where.image, where.file) == (data.name, "sub/b.v2", str(file))
    assert caught.value.fix


def refused(path: Path) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        Folder(str(path))
    assert caught.value.fix, "an error says what to do"
    assert caught.value.where.dataset == f"folder:{path}"
    assert isinstance(caught.value, ConfigurationError)
    return caught.value


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "no folder" in refused(tmp_path / "nowhere").what
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "no folder" in refused(tmp_path / "file").what


def test_no_table(root: Path) -> None:
    (root / "mos.csv").unlink()
    error = refused(root)
    assert "no csv" in error.what
    assert error.where.file == str(root / "mos.csv")
    assert "file and mos" in error.fix


def test_several_tables(root: Path) -> None:
    (root / "mos.csv").rename(root / "one.csv")
    table(root, ["file,mos"], name="two.csv")
    error = refused(root)
    assert "one.csv, two.csv" in error.what
    assert "mos.csv" in error.fix


# The table's lines, the faulty line (0: the whole table), and words of the message.
WRONG = {
    "no header": ([""], 0, "empty"),
    "no rows": (["file,mos"], 0, "lists no image"),
    "blank rows only": (["file,mos", ",", " , "], 0, "lists no image"),
    "no file column": (["picture,mos", "a.png,1"], 1, "no column 'file'; the table has picture, mos"),
    "no score column": (["file,Mos", "a.png,1"], 1, "no column 'mos'; the table has file, Mos"),
    "score is a word": (["file,mos", "a.png,1", "c.png,good"], 3, "'good' is no finite number"),
    "decimal comma": (["file,mos", 'a.png,"3,5"'], 2, "'3,5' is no finite number"),
    "score is nan": (["file,mos", "a.png,nan"], 2, "'nan' is no finite number"),
    "score is infinite": (["file,mos", "a.png,-inf"], 2, "'-inf' is no finite number"),
    "no score": (["file,mos", "a.png,"], 2, "no mos"),
    "short row": (["mos,file", "3"], 2, "no file"),
    "same file twice": (["file,mos", "a.png,1", "c.png,2", "a.png,1"], 4, "line 2 again"),
    "same file by another path": (["file,mos", "c.png,1", "images/c.png,1"], 3, "line 2 again"),
    "two extensions, one id": (["file,mos", "a.png,1", "a.bmp,2"], 3, "line 2 again"),
    "no such file": (["file,mos", "a.png,1", "", "ghost.png,2"], 4, "no file 'ghost.png'"),
    "a folder": (["file,mos", "sub,1"], 2, "no file 'sub'"),
    "the folder itself": (["file,mos", ".,1"], 2, "no file '.'"),
    "a name too long to exist": (["file,mos", f"{'x' * 5000}.png,1"], 2, "cannot look for"),
    "parent": (["file,mos", "../outside.png,1"], 2, "leaves the folder"),
    "parent and back": (["file,mos", "sub/../a.png,1"], 2, "leaves the folder"),
    "absolute": (["file,mos", "/outside.png,1"], 2, "leaves the folder"),
    "mixed kinds": (["file,mos,mos_kind", "a.png,1,pseudo", "c.png,1,human"], 0, "human, pseudo"),
    "half labelled": (["file,mos,mos_kind", "a.png,1,pseudo", "c.png,1,"], 0, "human, pseudo"),
    "unknown kind": (["file,mos,mos_kind", "a.png,1,guessed"], 0, "guessed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_refused_by_file_and_line(root: Path, name: str) -> None:
    lines, line, words = WRONG[name]
    Image.fromarray(picture(6)).save(root / "a.bmp")
    put(root.parent / "outside.png", picture(8))
    error = refused(table(root, lines))
    assert words in error.what
    assert error.where.file == str(root / "mos.csv")
    assert error.where.line == line


def test_a_link_out_of_the_folder_is_refused(root: Path) -> None:
    outside = put(root.parent / "outside.png", picture(8))
    (root / "link.png").symlink_to(outside)
    error = refused(table(root, ["file,mos", "a.png,1", "link.png,2"]))
    assert "leaves the folder" in error.what
    assert error.where.line == 3


def test_a_linked_subfolder_that_leads_out_is_refused(root: Path) -> None:
    put(root.parent / "others" / "x.png", picture(8))
    (root / "others").symlink_to(root.parent / "others", target_is_directory=True)
    assert "leaves the folder" in refused(table(root, ["file,mos", "others/x.png,1"])).what


def test_a_linked_data_set_and_links_inside_it_are_fine(root: Path, tmp_path: Path) -> None:
    (root / "alias.png").symlink_to(root / "images" / "c.png")
    table(root, ["file,mos", "alias.png,2"])
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert np.array_equal(Folder(str(tmp_path / "link")).pixels(0), picture(3, 8, 8))


def test_a_link_to_a_listed_image_is_the_same_image(root: Path) -> None:
    (root / "alias.png").symlink_to(root / "images" / "c.png")
    assert "line 2 again" in refused(table(root, ["file,mos", "alias.png,2", "c.png,2"])).what


@pytest.mark.parametrize("content", [b"file,mos\na.png,\xff\n", b"\xff\xfef\x00i\x00"])
def test_a_table_in_another_encoding_is_refused(root: Path, content: bytes) -> None:
    (root / "mos.csv").write_bytes(content)
    error = refused(root)
    assert "cannot read the table" in error.what
    assert "UTF-8" in error.fix


def with_references(root: Path) -> Folder:
    put(root / "pristine" / "beach.png", picture(7))
    put(root / "pristine" / "sub.png", picture(8, 20, 9))
    return rewrite(
        root,
        "file,mos,reference",
        "a.png,3.5,pristine/beach.png",
        "sub/b.v2.png,4.25,pristine/sub.png",
        "c.png,1,c.png",
    )


def test_a_column_names_the_undistorted_pictures(root: Path) -> None:
    assert not Folder(str(root)).has_references
    assert np.array_equal(Folder(str(root)).reference_pixels(0), picture(1))
    data = with_references(root)
    assert data.has_references
    assert np.array_equal(data.reference_pixels(0), picture(7))
    assert np.array_equal(data.reference_pixels(1), picture(8, 20, 9))
    assert np.array_equal(data.reference_pixels(2), data.pixels(2))
    assert data.unlisted == ()


def test_references_are_part_of_the_digest(root: Path) -> None:
    without = Folder(str(root)).digest
    first = with_references(root).digest
    put(root / "pristine" / "sub.png", picture(9, 20, 9))
    again = Folder(str(root)).digest
    assert len({without, first, again}) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,3.5", "no reference"),
        ("a.png,3.5,", "no reference"),
        ("a.png,3.5,gone.png", "there is no file 'gone.png'"),
        ("a.png,3.5,../a.png", "leaves the folder"),
    ],
)
def test_a_reference_that_cannot_be_is_named_with_its_line(root: Path, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        rewrite(root, "file,mos,reference", "c.png,1,c.png", row)
    assert caught.value.where.line == 3


def test_a_view_scales_and_cuts_a_reference_as_its_image(root: Path) -> None:
    data = with_references(root)
    cut = view(data, size=(8, 8))
    assert cut.has_references
    assert torch.equal(cut.references(range(1))[0], from_uint8(fit_pixels(picture(7), 8, 8)))
    plain = view(rewrite(root, "file,mos", "a.png,1"), size=(8, 8))
    assert torch.equal(plain.references(range(1)), plain.batch(range(1)))


def test_a_reference_of_another_size_is_refused(root: Path) -> None:
    data = rewrite(root, "file,mos,reference", "a.png,1,c.png")
    with pytest.raises(DatasetError, match="12 x 16 pixels, its reference 8 x 8") as caught:
        view(data, size=(8, 8)).references(range(1))
    assert caught.value.where.image == "a"


def test_a_parquet_table_reads_as_its_csv_does(root: Path) -> None:
    before = Folder(str(root)).digest
    rows = [("a.png", 3.5, "beach"), ("sub/b.v2.png", 4.25, "beach"), ("c.png", 1.0, None)]
    pd.DataFrame(rows, columns=["file", "mos", "content"]).to_parquet(root / "mos.parquet")
    assert Folder(str(root)).digest == before, "mos.csv goes before it"
    (root / "mos.csv").unlink()
    assert Folder(str(root)).digest == before


def test_the_end_of_a_path_is_enough_where_one_file_has_it(root: Path) -> None:
    put(root / "deep" / "er" / "d.png", picture(5))
    put(root / "one" / "same.png", picture(6))
    put(root / "two" / "same.png", picture(7))
    data = rewrite(root, "file,mos", "er/d.png,1", "two/same.png,2")
    assert [item.id for item in data.items] == ["er/d", "two/same"]
    assert np.array_equal(data.pixels(0), picture(5))
    with pytest.raises(DatasetError, match=r"may be any of one/same\.png, two/same\.png") as caught:
        rewrite(root, "file,mos", "d.png,1", "same.png,2")
    assert caught.value.where.line == 3
    with pytest.raises(DatasetError, match="line 2 again"):
        rewrite(root, "file,mos", "d.png,1", "deep/er/d.png,1")


def test_without_scores_all_images_below_are_taken(root: Path) -> None:
    (root / "mos.csv").unlink()
    (root / ".hidden.png").write_bytes(b"")
    data = datasets.load(f"folder:{root}@scores=none")
    assert [item.id for item in data.items] == ["a", "images/c", "sub/b.v2"]
    assert data.mos_kind == "none"
    assert all(np.isnan(item.mos) for item in data.items)
    assert data.digest == datasets.load(f"folder:{root}@scores=none").digest
    with pytest.raises(ConfigurationError, match="neither table nor none"):
        Folder(str(root), scores="some")
    put(root / "a.bmp", picture(4))
    with pytest.raises(DatasetError, match="extension alone"):
        Folder(str(root), scores="none")


def test_without_scores_an_empty_folder_and_a_link_out_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="has no image"):
        Folder(str(tmp_path / "empty"), scores="none")
    (root / "link.png").symlink_to(put(tmp_path / "outside.png", picture(8)))
    with pytest.raises(DatasetError, match="leaves the folder"):
        Folder(str(root), scores="none")
