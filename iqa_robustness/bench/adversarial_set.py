"""Sets of adversarial images as files: written for others, and read, our own or somebody else's.

A set is made of groups, one for each (strength, attack, metric). Layouts:
png: STRENGTH/ATTACK/METRIC/ID.png, which is also that of the published set (preset_N/attack/metric/*.png);
tar: STRENGTH/ATTACK/METRIC.tar, of 000000.png and 000000.json for each image, which WebDataset streams.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from iqa_robustness.errors import DatasetError, ImageReadError, Where
from iqa_robustness.images import read_pixels

Container = Literal["png", "tar"]
MANIFEST = "manifest.json"
VERSION = 1
_PRESET = re.compile(r"preset_(\d+)")
# Presets of the published set are numbered by a parameter; of these attacks the smallest is the strongest.
_REVERSED = frozenset({"cadv", "parsimonious", "patch-rs"})
# The published set's own names of attacks that are called otherwise here.
_ATTACKS: Mapping[str, str] = MappingProxyType(
    {
        "cnn-attack": "facpa",
        "grad-est": "nes",
        "korhonen-et-al": "korhonen",
        "square-attack": "square",
        "zhang-et-al-dists": "zhang-dists",
        "zhang-et-al-lpips": "zhang-lpips",
        "zhang-et-al-ssim": "zhang-ssim",
    }
)
_STRENGTHS: Mapping[str, str] = MappingProxyType({"0": "weak", "1": "medium", "2": "strong"})


@dataclass(frozen=True, kw_only=True)
class Group:
    """The images of one attack on one metric at one strength.

    strength, attack, metric: names; the published set's are translated (`grad-est` is `nes`, its `preset_0` `weak`).
    path: a folder of pictures, or a tar file.
    sha256: of each image's file by its id, where a manifest says so.
    """

    strength: str
    attack: str
    metric: str
    path: Path
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`metric/attack/strength`."""
        return f"{self.metric}/{self.attack}/{self.strength}"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Of the clean images, sorted."""
        return tuple(sorted(self._members))

    def data(self, name: str) -> bytes:
        """An image's file. Raises ImageReadError when it has gone or is not the manifest's."""
        place = self._members[name]
        where = Where(image=name, attack=self.attack, metric=self.metric, file=str(self.path))
        try:
            if isinstance(place, Path):
                data = place.read_bytes()
            else:
                with self.path.open("rb") as file:
                    file.seek(place[0])
                    data = file.read(place[1])
        except OSError as error:
            raise ImageReadError(f"cannot read the image: {error}", where=where, fix="restore the set") from error
        if self.sha256.get(name, "") not in ("", hashlib.sha256(data).hexdigest()):
            raise ImageReadError("the image is not the manifest's: SHA-256 differs", where=where, fix="restore the set")
        return data

    def pixels(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8 of one image. Raises ImageReadError."""
        try:
            return read_pixels(self.data(name), name=name)
        except ImageReadError as error:
            raise error.at(attack=self.attack, metric=self.metric, file=str(self.path)) from error.__cause__

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over ids and the images' files; reads all of them."""
        rows = [(name, hashlib.sha256(self.data(name)).hexdigest()) for name in self.ids]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @cached_property
    def _members(self) -> dict[str, Path | tuple[int, int]]:
        if self.path.is_dir():
            files = sorted(file for file in self.path.rglob("*.png") if file.is_file())
            return {file.relative_to(self.path).with_suffix("").as_posix(): file for file in files}
        return dict(_tar_members(self.path))


def published_strength(attack: str, preset: str) -> str:
    """`preset_0` … `preset_2` of the published set as weak, medium or strong; other names as they are."""
    number = _PRESET.fullmatch(preset)
    if number is None or number[1] not in _STRENGTHS:
        return preset
    place = str(2 - int(number[1])) if attack in _REVERSED else number[1]
    return _STRENGTHS[place]


def read_set(path: Path) -> list[Group]:
    """The groups of a set, sorted by name: as its manifest says, or as its folders do.

    Raises:
        DatasetError: there is no group, the manifest cannot be read, or a part leads out of the folder.
    """
    if (path / MANIFEST).is_file():
        groups = _listed(path)
    else:
        places = [place for place in path.glob("*/*/*") if place.is_dir() or place.suffix == ".tar"]
        groups = [_found(place) for place in places]
        groups = [group for group in groups if group.ids]
    if not groups:
        raise DatasetError(
            f"there are no adversarial images in {str(path)!r}",
            where=Where(file=str(path)),
            fix="give a folder that `dataset export` wrote, or one of STRENGTH/ATTACK/METRIC/*.png",
        )
    for group in groups:
        if not group.path.resolve().is_relative_to(path.resolve()):
            raise DatasetError(
                f"{group.name} leaves the folder: {group.path.resolve()}",
                where=Where(file=str(path)),
                fix="copy the images into the folder instead of linking to them",
            )
    return sorted(groups, key=lambda group: group.name)


def write_group(
    root: Path, labels: Mapping[str, str], images: Iterable[tuple[str, bytes, Mapping[str, Any]]], container: Container
) -> dict[str, Any]:
    """Write one group, an image at a time, and return what the manifest says of it; equal images give equal files.

    Args:
        root: of the set.
        labels: strength, attack and metric.
        images: id, PNG file and facts (JSON values) of each.
        container: `png` or `tar`.
    """
    parts = [re.sub(r"[^\w.+=-]", "_", labels[name]) for name in ("strength", "attack", "metric")]
    place = root.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    if container == "tar":
        place = place.with_name(f"{place.name}.tar")
        digests = _write_tar(place, images)
    else:
        digests = _write_pngs(place, images)
    return {
        **labels,
        "path": place.relative_to(root).as_posix(),
        "images": len(digests),
        "sha256": digests,
    }


def _write_tar(place: Path, images: Iterable[tuple[str, bytes, Mapping[str, Any]]]) -> dict[str, str]:
    digests = {}
    with tarfile.open(place, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (name, data, facts) in enumerate(images):
            digests[name] = hashlib.sha256(data).hexdigest()
            for suffix, content in (("png", data), ("json", json.dumps({"id": name, **facts}).encode())):
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return digests


def _write_pngs(place: Path, images: Iterable[tuple[str, bytes, Mapping[str, Any]]]) -> dict[str, str]:
    digests = {}
    for name, data, _ in images:
        digests[name] = hashlib.sha256(data).hexdigest()
        file = place / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return digests


def _found(place: Path) -> Group:
    attack = place.parent.name.lower().replace("_", "-")
    attack = _ATTACKS.get(attack, attack)
    metric = place.name.removesuffix(".tar").lower().replace("_", "-")
    strength = published_strength(attack, place.parent.parent.name)
    return Group(strength=strength, attack=attack, metric=metric, path=place)


def _listed(root: Path) -> list[Group]:
    file = root / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["adversarial"] != VERSION:
            raise ValueError(f"version {manifest['adversarial']}, {VERSION} is read")
        return [
            Group(
                **{name: str(one[name]) for name in ("strength", "attack", "metric")},
                path=root / one["path"],
                sha256={str(name): str(digest) for name, digest in one["sha256"].items()},
            )
            for one in manifest["groups"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"cannot read the manifest of adversarial images: {error!r}",
            where=Where(file=str(file)),
            fix="export the set anew, or take the manifest away to go by its folders",
        ) from error


def _tar_members(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Id, and offset and size of the PNG file, of each image."""
    places: dict[str, tuple[int, int]] = {}
    names: dict[str, str] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                stem, _, suffix = member.name.rpartition(".")
                if suffix == "png":
                    places[stem] = member.offset_data, member.size
                elif suffix == "json":
                    opened = tar.extractfile(member)
                    names[stem] = str(json.loads(opened.read())["id"]) if opened is not None else stem
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"cannot read the tar of adversarial images: {error}",
            where=Where(file=str(path)),
            fix="it must be uncompressed, of NAME.png and NAME.json with an id for each image",
        ) from error
    for stem, place in places.items():
        yield names.get(stem, stem), place
