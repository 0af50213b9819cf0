"""Images in and out of stages: the tar that holds them, and the placebo of an attack."""

from __future__ import annotations

import gc
import io
import tarfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness.bench import sources
from iqa_robustness.bench.sources import Clean, ImageTar, Picked, Placebo, Stored, read_image_tar
from iqa_robustness.datasets.base import Dataset, Item, View, view
from iqa_robustness.errors import ConfigurationError, CorruptEntryError
from iqa_robustness.images import from_uint8, read_pixels
from iqa_robustness.store import Key, Store

PIXELS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7), st.just(3)))


class Pictures(Dataset):
    """Random levels; `order` names the samples and permutes them."""

    name = "pictures"
    mos_kind = "human"

    def __init__(self, order: tuple[int, ...] = (0, 1, 2), *, low: int = 20, high: int = 236) -> None:
        self.order, self.low, self.high = order, low, high

    @property
    def items(self) -> list[Item]:
        return [Item(id=f"p{number}", mos=float(number), content=f"p{number}") for number in self.order]

    @property
    def digest(self) -> str:
        return f"{self.order} {self.low} {self.high}"

    def pixels(self, index: int) -> np.ndarray:
        levels = np.random.RandomState(self.order[index]).randint(self.low, self.high, (10, 12, 3))
        return levels.astype(np.uint8)


def clean_of(*order: int, **levels: int) -> Clean:
    data = Pictures(order, **levels)
    return Clean(View(base=data, chosen=tuple(range(len(order))), size=(10, 12)))


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


# --- clean images ---------------------------------------------------------------------------------------------------


def test_clean_images_are_the_views_in_its_order() -> None:
    clean = clean_of(3, 1, 2)
    assert clean.ids == ["p3", "p1", "p2"]
    assert len(clean) == 3
    assert clean.document == {"clean": clean.view.digest}
    assert torch.equal(clean.batch(range(1, 3)), from_uint8(np.stack([clean.view.pixels(1), clean.view.pixels(2)])))


def test_an_empty_choice_is_refused_with_the_option_that_made_it() -> None:
    with pytest.raises(ConfigurationError, match="no images") as caught:
        Clean(view(Pictures(), count=0, size=(10, 12)))
    assert "--iqa-images" in str(caught.value)


# --- the tar --------------------------------------------------------------------------------------------------------


@given(batches=st.lists(PIXELS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=40)
def test_what_goes_into_the_tar_comes_out_bit_by_bit_in_order(
    batches: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tar = ImageTar(tmp_path_factory.mktemp("tar") / "images.tar")
    for pixels in batches:
        tar.add(from_uint8(pixels))
    read = read_image_tar(tar.close().read_bytes())
    expected = [picture for pixels in batches for picture in pixels]
    assert len(read) == len(expected)
    for ours, theirs in zip(read, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_equal_images_give_equal_bytes_however_they_were_sliced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = from_uint8(np.random.RandomState(0).randint(0, 256, (5, 9, 11, 3)).astype(np.uint8))
    written = []
    for number, cuts in enumerate(([5], [2, 3], [1, 1, 1, 1, 1])):
        monkeypatch.setattr("time.time", lambda number=number: 1e9 + 1e6 * number)
        tar = ImageTar(tmp_path / f"{number}.tar")
        for part in images.split(cuts):
            tar.add(part)
        written.append(tar.close().read_bytes())
    assert written[0] == written[1] == written[2]


def test_the_tar_holds_plain_png_files_that_any_tool_reads(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (2, 9, 11, 3)).astype(np.uint8)
    tar = ImageTar(tmp_path / "images.tar")
    tar.add(from_uint8(pixels))
    with tarfile.open(fileobj=io.BytesIO(tar.close().read_bytes())) as opened:
        assert opened.getnames() == ["000000.png", "000001.png"]
        data = opened.extractfile("000001.png").read()
    assert data.startswith(b"\x89PNG")
    assert np.array_equal(read_pixels(data), pixels[1])


def stored(tmp_path: Path, pixels: np.ndarray) -> Any:
    tar = ImageTar(tmp_path / "images.tar")
    tar.add(from_uint8(pixels))
    return Store(tmp_path / "store").put(Key({"stage": "test"}), {"images.tar": tar.close()})


def test_stored_images_are_read_in_slices_from_a_file_that_is_verified_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (4, 9, 11, 3)).astype(np.uint8)
    entry = stored(tmp_path, pixels)
    source = Stored(entry, ["a", "b", "c", "d"])
    opened: list[str] = []
    whole = type(entry).open
    monkeypatch.setattr(type(entry), "open", lambda self, name: opened.append(name) or whole(self, name))
    for rows in (range(2), range(2, 4), range(1, 2)):
        assert torch.equal(source.batch(rows), from_uint8(pixels[rows.start : rows.stop]))
    assert opened == ["images.tar"]
    assert source.document == {"entry": entry.digest}
    assert len(source) == 4


@pytest.mark.parametrize(("kept", "decoded"), [(10**6, 4), (2 * 9 * 11 * 3, 6), (1, 8)])
def test_as_many_stored_images_stay_decoded_as_memory_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, decoded: int
) -> None:
    pixels = np.random.RandomState(1).randint(0, 256, (4, 9, 11, 3)).astype(np.uint8)
    source = Stored(stored(tmp_path, pixels), ["a", "b", "c", "d"])
    names: list[str] = []
    monkeypatch.setattr(sources, "_KEPT_BYTES", kept)
    monkeypatch.setattr(sources, "read_pixels", lambda data, name: names.append(name) or read_pixels(data, name=name))
    for rows in (range(2), range(2), range(1, 4), range(3, 4), range(2)):
        assert torch.equal(source.batch(rows), from_uint8(pixels[rows.start : rows.stop]))
    # One more: the first image tells the size.
    assert len(names) == decoded + 1


def test_the_file_is_closed_with_the_source(tmp_path: Path) -> None:
    source = Stored(stored(tmp_path, np.zeros((1, 4, 4, 3), np.uint8)), ["a"])
    source.batch(range(1))
    held = source._file
    del source
    gc.collect()
    assert held.pop_all()._exit_callbacks == deque()  # type: ignore[attr-defined]


def test_a_damaged_tar_is_found_before_it_is_decoded(tmp_path: Path) -> None:
    entry = stored(tmp_path, np.zeros((1, 4, 4, 3), np.uint8))
    (file,) = (tmp_path / "store").rglob("images.tar")
    data = bytearray(file.read_bytes())
    data[700] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CorruptEntryError):
        Stored(entry, ["a"]).batch(range(1))


# --- the placebo ----------------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 12), min_size=3, max_size=3), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_every_value_moves_by_exactly_the_attacks_size(sizes: list[int], seed: int) -> None:
    clean = clean_of(0, 1, 2)
    placebo = Placebo(clean, np.array(sizes) / 255, seed=seed)
    moved = levels(placebo.batch(range(3))) - levels(clean.batch(range(3)))
    for row, size in enumerate(sizes):
        assert (np.abs(moved[row]) == size).all()


def test_sizes_that_float32_made_of_whole_levels_are_those_levels() -> None:
    clean = clean_of(0, 1, 2)
    found = (torch.tensor([2 / 255, 4 / 255, 8 / 255]) + 0.2 - 0.2).numpy().astype(np.float64)
    assert Placebo(clean, found, seed=0).levels == [2, 4, 8]


def test_at_the_ends_of_the_range_it_is_clipped_and_stays_on_the_grid() -> None:
    clean = clean_of(0, 1, low=0, high=4)
    images = Placebo(clean, np.array([3, 3]) / 255, seed=0).batch(range(2))
    moved = levels(images) - levels(clean.batch(range(2)))
    assert torch.equal(images, (images * 255).round() / 255)
    assert float(images.min()) == 0
    assert moved.max() == 3
    assert -3 <= moved.min() < 0


def test_signs_are_balanced_and_do_not_correlate_between_pixels_images_or_seeds() -> None:
    clean = clean_of(0, 1)
    signs = np.concatenate(
        [
            np.sign(
                levels(Placebo(clean, np.full(2, 4 / 255), seed=seed).batch(range(2))) - levels(clean.batch(range(2)))
            )
            for seed in range(10)
        ]
    ).reshape(20, -1)
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)
    correlations = np.corrcoef(signs) - np.eye(20)
    assert np.abs(correlations).max() < 4.5 / np.sqrt(signs.shape[1])


def test_an_images_placebo_depends_on_its_id_and_the_seed_alone() -> None:
    sizes = np.full(3, 4 / 255)
    whole = Placebo(clean_of(0, 1, 2), sizes, seed=7).batch(range(3))
    shuffled = Placebo(clean_of(2, 0, 1), sizes, seed=7).batch(range(3))
    alone = Placebo(clean_of(1), sizes[:1], seed=7).batch(range(1))
    assert torch.equal(whole, shuffled[[1, 2, 0]])
    assert torch.equal(whole[1], alone[0])
    assert torch.equal(whole[1:], Placebo(clean_of(0, 1, 2), sizes, seed=7).batch(range(1, 3)))
    assert not torch.equal(whole, Placebo(clean_of(0, 1, 2), sizes, seed=8).batch(range(3)))


def test_the_signs_do_not_depend_on_the_size() -> None:
    clean = clean_of(0)
    small, large = (
        levels(Placebo(clean, np.array([size / 255]), seed=0).batch(range(1))) - levels(clean.batch(range(1)))
        for size in (1, 6)
    )
    assert np.array_equal(6 * small, large)


def test_its_document_names_images_sizes_and_seed() -> None:
    clean = clean_of(0, 1)
    document = Placebo(clean, np.array([1, 2]) / 255, seed=3).document
    assert document == {"placebo": clean.document, "levels": [1, 2], "seed": 3}


# --- picked images --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=6), st.data())
@settings(deadline=None, max_examples=25)
def test_picked_images_are_those_of_their_sources(places: list[tuple[int, int]], data: st.DataObject) -> None:
    sources = [clean_of(0, 1, 2, 3), clean_of(4, 5, 6, 7)]
    picked = Picked(sources, places, [f"image-{number}" for number in range(len(places))])
    start = data.draw(st.integers(0, len(places) - 1))
    rows = range(start, data.draw(st.integers(start + 1, len(places))))
    expected = [sources[number].batch(range(row, row + 1)) for number, row in places[start : rows.stop]]
    assert torch.equal(picked.batch(rows), torch.cat(expected))
    assert len(picked) == len(places)


def test_picked_images_are_identified_by_sources_and_places_in_order() -> None:
    first, second = clean_of(0, 1), clean_of(2, 3)
    ids = ["a", "b"]
    choices: list[tuple[list[Clean], list[tuple[int, int]]]] = [
        ([first, second], [(0, 0), (1, 0)]),
        ([first, second], [(1, 0), (0, 0)]),
        ([first, second], [(0, 0), (1, 1)]),
        ([first, first], [(0, 0), (1, 0)]),
    ]
    digests = {Key(Picked(sources, places, ids).document).digest for sources, places in choices}
    assert len(digests) == 4
    # A source that gave nothing makes no difference.
    alone = Picked([second], [(0, 0), (0, 1)], ids).document
    assert alone == Picked([first, second], [(1, 0), (1, 1)], ids).document
