"""Sets of adversarial images as files: both containers, the published layout, and what is refused."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iqa_robustness import attacks
from iqa_robustness.bench.adversarial_set import MANIFEST, Group, published_strength, read_set, write_group
from iqa_robustness.errors import DatasetError, ImageReadError
from iqa_robustness.images import encode_png

LABELS = {"strength": "weak", "attack": "ifgsm", "metric": "compact"}


def png(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8))


IMAGES: list[tuple[str, bytes, dict[str, Any]]] = [
    ("b.v2", png(1), {"gain": 1.5}),
    ("sub/a", png(2), {"gain": 2.0}),
    ("c", png(3), {"gain": 0.0}),
]


def write(root: Path, container: str, **more: str) -> Group:
    groups = [write_group(root, {**LABELS, **more}, iter(IMAGES), container)]  # type: ignore[arg-type]
    (root / MANIFEST).write_text(json.dumps({"adversarial": 1, "groups": groups}), encoding="utf-8")
    (group,) = read_set(root)
    return group


def published(root: Path, *places: str) -> Path:
    for number, place in enumerate(places):
        (root / place).mkdir(parents=True)
        (root / place / "1002.png").write_bytes(png(number))
        (root / place / "917.png").write_bytes(png(100 + number))
    return root


@pytest.mark.parametrize("container", ["png", "tar"])
def test_what_is_written_is_read_again(tmp_path: Path, container: str) -> None:
    group = write(tmp_path, container)
    assert group.name == "compact/ifgsm/weak"
    assert group.ids == ("b.v2", "c", "sub/a")
    for name, data, _ in IMAGES:
        assert group.data(name) == data
        assert encode_png(group.pixels(name)) == data


def test_containers_hold_the_same_and_say_so(tmp_path: Path) -> None:
    first, second = (write(tmp_path / container, container) for container in ("png", "tar"))
    assert first.digest == second.digest
    files = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert "png/weak/ifgsm/compact/sub/a.png" in files
    assert "tar/weak/ifgsm/compact.tar" in files


def test_a_tar_streams_as_webdataset_reads_it(tmp_path: Path) -> None:
    write(tmp_path, "tar")
    with tarfile.open(tmp_path / "weak" / "ifgsm" / "compact.tar") as tar:
        names = tar.getnames()
        facts = json.loads(tar.extractfile("000001.json").read())  # type: ignore[union-attr]
    assert names == [f"{n:06d}.{suffix}" for n in range(3) for suffix in ("png", "json")]
    assert facts == {"id": "sub/a", "gain": 2.0}


def test_equal_images_make_equal_files(tmp_path: Path) -> None:
    for place in ("one", "two"):
        write(tmp_path / place, "tar")
    one, two = (hashlib.sha256((tmp_path / n / "weak/ifgsm/compact.tar").read_bytes()).digest() for n in ("one", "two"))
    assert one == two


def test_names_of_metrics_that_are_no_file_names_are_kept_in_the_manifest(tmp_path: Path) -> None:
    group = write(tmp_path, "png", metric="pyiqa:musiq")
    assert group.metric == "pyiqa:musiq"
    assert group.path == tmp_path / "weak" / "ifgsm" / "pyiqa_musiq"


def test_the_published_layout_is_read_by_its_folders(tmp_path: Path) -> None:
    root = published(tmp_path, "preset_0/ifgsm/koncept", "preset_2/ifgsm/META_IQA", "preset_0/patch-rs/koncept")
    (root / "preset_1" / "ifgsm" / "empty").mkdir(parents=True)
    (root / "notes.txt").write_text("", encoding="utf-8")
    groups = read_set(root)
    assert [group.name for group in groups] == [
        "koncept/ifgsm/weak",
        "koncept/patch-rs/strong",
        "meta-iqa/ifgsm/strong",
    ]
    assert all(group.ids == ("1002", "917") for group in groups)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("grad-est", "nes"),
        ("cnn-attack", "facpa"),
        ("square-attack", "square"),
        ("korhonen-et-al", "korhonen"),
        ("zhang-et-al-dists", "zhang-dists"),
        ("zhang-et-al-ssim", "zhang-ssim"),
        ("zhang-et-al-lpips", "zhang-lpips"),
        ("stadv", "stadv"),
    ],
)
def test_attacks_of_the_published_set_are_called_as_here(tmp_path: Path, theirs: str, ours: str) -> None:
    (group,) = read_set(published(tmp_path, f"preset_1/{theirs}/koncept"))
    assert group.name == f"koncept/{ours}/medium"
    assert attacks.registry.resolve(ours).name == ours


@pytest.mark.parametrize(
    ("attack", "preset", "strength"),
    [
        ("ifgsm", "preset_0", "weak"),
        ("ifgsm", "preset_1", "medium"),
        ("onepixel", "preset_2", "strong"),
        ("parsimonious", "preset_0", "strong"),
        ("cadv", "preset_1", "medium"),
        ("patch-rs", "preset_2", "weak"),
        ("ifgsm", "preset_7", "preset_7"),
        ("ifgsm", "medium", "medium"),
    ],
)
def test_presets_are_translated_by_attack(attack: str, preset: str, strength: str) -> None:
    assert published_strength(attack, preset) == strength


def test_the_digest_follows_ids_and_pixels(tmp_path: Path) -> None:
    root = published(tmp_path, "preset_0/ifgsm/koncept")
    before = read_set(root)[0].digest
    assert read_set(root)[0].digest == before
    file = root / "preset_0" / "ifgsm" / "koncept" / "917.png"
    file.rename(file.with_name("918.png"))
    renamed = read_set(root)[0].digest
    (file.with_name("918.png")).write_bytes(png(55))
    assert len({before, renamed, read_set(root)[0].digest}) == 3


@pytest.mark.parametrize("container", ["png", "tar"])
def test_an_image_that_is_not_the_manifests_is_refused(tmp_path: Path, container: str) -> None:
    group = write(tmp_path, container)
    file = group.path if container == "tar" else group.path / "c.png"
    data = bytearray(file.read_bytes())
    place = data.rindex(png(3)) + 60
    data[place] ^= 1
    file.write_bytes(bytes(data))
    (again,) = read_set(tmp_path)
    with pytest.raises(ImageReadError, match="SHA-256 differs") as caught:
        again.pixels("c")
    assert (caught.value.where.image, caught.value.where.attack) == ("c", "ifgsm")
    assert again.pixels("b.v2").shape == (6, 8, 3)


def test_an_image_that_has_gone_or_is_broken_is_named(tmp_path: Path) -> None:
    root = published(tmp_path, "preset_0/ifgsm/koncept")
    (group,) = read_set(root)
    _ = group.ids
    (group.path / "917.png").unlink()
    (group.path / "1002.png").write_bytes(png(0)[:40])
    for name in group.ids:
        with pytest.raises(ImageReadError, match="cannot read the image") as caught:
            group.pixels(name)
        assert caught.value.where.image == name
        assert caught.value.where.metric == "koncept"


def test_a_set_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no adversarial images"):
        read_set(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"adversarial": 2, "groups": []}', '{"adversarial": 1, "groups": [{"metric": "x"}]}']
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="cannot read the manifest") as caught:
        read_set(tmp_path)
    assert caught.value.where.file == str(tmp_path / MANIFEST)


def test_a_damaged_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weak" / "ifgsm").mkdir(parents=True)
    (tmp_path / "weak" / "ifgsm" / "compact.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DatasetError, match="cannot read the tar"):
        read_set(tmp_path)


def test_a_part_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = published(tmp_path / "outside", "preset_0/ifgsm/koncept")
    inner = tmp_path / "set" / "preset_0" / "ifgsm"
    inner.mkdir(parents=True)
    (inner / "koncept").symlink_to(outside / "preset_0" / "ifgsm" / "koncept", target_is_directory=True)
    with pytest.raises(DatasetError, match="leaves the folder"):
        read_set(tmp_path / "set")
