"""Image files as a data set: digest, manifest, parts, and links that lead out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, images_below, inside
from iqa_robustness.errors import DatasetError, ImageReadError


@pytest.fixture
def data(tmp_path: Path, put: Callable[..., Path]) -> ImageFiles:
    rows = [
        FileItem(id=name, mos=float(seed), content="scene", file=put(tmp_path / "sub" / f"{name}.png", seed))
        for seed, name in enumerate("abc")
    ]
    return ImageFiles(name="made", root=tmp_path, rows=rows, mos_kind="human")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_manifest_has_digest_and_size_of_every_file(data: ImageFiles) -> None:
    manifest = data.manifest()
    assert manifest["images"] == 3
    assert manifest["digest"] == data.digest
    assert manifest["files"] == {
        f"sub/{name}.png": {
            "sha256": sha256(data.root / "sub" / f"{name}.png"),
            "size": (data.root / "sub" / f"{name}.png").stat().st_size,
        }
        for name in "abc"
    }
    assert json.loads(json.dumps(manifest)) == manifest


def test_a_part_knows_and_hashes_its_own_files_alone(data: ImageFiles) -> None:
    part = data.only([2, 0], name="two")
    (data.root / "sub" / "b.png").unlink()
    assert [item.id for item in part.items] == ["c", "a"]
    assert part.origin == data.origin
    assert len(part.digest) == 64
    assert np.array_equal(part.pixels(1), data.pixels(0))
    with pytest.raises(ImageReadError) as caught:
        _ = data.digest
    assert caught.value.where.file.endswith("b.png")


def test_half_of_the_references_are_refused(data: ImageFiles) -> None:
    first = data.rows[0]
    with_reference = FileItem(id="x", mos=1.0, content="scene", file=first.file, reference=data.rows[1].file)
    with pytest.raises(DatasetError, match="1 of 2 images have a reference"):
        ImageFiles(name="made", root=data.root, rows=[data.rows[2], with_reference], mos_kind="human")


def test_no_image_is_refused(data: ImageFiles) -> None:
    with pytest.raises(DatasetError, match="has no image"):
        ImageFiles(name="made", root=data.root, rows=[], mos_kind="human")


def test_a_truncated_jpeg_is_named(data: ImageFiles, put: Callable[..., Path]) -> None:
    file = put(data.root / "cut.jpg", 5, 64, 64)
    file.write_bytes(file.read_bytes()[:-400])
    cut = ImageFiles(
        name="made", root=data.root, rows=[FileItem(id="cut", mos=1.0, content="x", file=file)], mos_kind="human"
    )
    with pytest.raises(ImageReadError, match="truncated") as caught:
        cut.pixels(0)
    assert (caught.value.where.file, caught.value.where.image) == (str(file), "cut")


def test_links_may_stay_inside_only(data: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = data.root / "link.png"
    link.symlink_to(data.rows[0].file)
    assert inside(link, data.root, dataset="made") == link
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    outside.write_bytes(b"")
    away = data.root / "away.png"
    away.symlink_to(outside)
    with pytest.raises(DatasetError, match=r"'away\.png' leaves the folder") as caught:
        inside(away, data.root, dataset="made", line=4)
    assert caught.value.where.line == 4


def test_image_files_are_found_by_suffix(data: ImageFiles) -> None:
    (data.root / "notes.txt").write_text("", encoding="utf-8")
    (data.root / ".hidden.png").write_bytes(b"")
    (data.root / "folder.png").mkdir()
    (data.root / "A.JPEG").write_bytes(b"")
    assert [file.name for file in images_below(data.root)] == ["A.JPEG", "a.png", "b.png", "c.png"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder") as caught:
        existing_folder(str(tmp_path / "none"), prefix="koniq", dataset="koniq:x")
    assert "koniq:" in caught.value.fix
