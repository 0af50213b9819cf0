"""Views, the nested choice, and loading by reference."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import datasets
from iqa_robustness.datasets.base import Dataset, Item, View, nested_choice, view
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.images import fit_pixels


class Patches(Dataset):
    """Random images of different sizes; counts what is read."""

    name = "patches"
    mos_kind = "pseudo"

    def __init__(self, items: Sequence[Item], *, size: tuple[int, int] = (24, 32)) -> None:
        self._items = items
        self._size = size
        self.read: list[int] = []

    @property
    def items(self) -> Sequence[Item]:
        return self._items

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self._items).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        self.read.append(index)
        rows, columns = self._size
        return np.random.default_rng(index).integers(0, 256, (rows + index, columns + index, 3)).astype(np.uint8)


def grid(contents: int, levels: int) -> list[Item]:
    return [
        Item(id=f"c{content}-{level}", mos=100.0 - 15 * level, content=f"c{content}")
        for content in range(contents)
        for level in range(levels)
    ]


@st.composite
def item_lists(draw: st.DrawFn) -> list[Item]:
    """Contents of different sizes, scores with ties, in any order."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    scores = st.floats(0, 5, allow_nan=False) | st.sampled_from([1.0, 2.0])
    items = [
        Item(id=f"{content}/{number}", mos=draw(scores), content=f"scene {content}")
        for content, size in enumerate(sizes)
        for number in range(size)
    ]
    return draw(st.permutations(items))


@given(items=item_lists(), data=st.data())
@settings(deadline=None)
def test_a_smaller_choice_is_part_of_a_larger_one(items: list[Item], data: st.DataObject) -> None:
    larger = data.draw(st.integers(0, len(items) + 2))
    smaller = data.draw(st.integers(0, larger))
    assert set(nested_choice(items, smaller)) <= set(nested_choice(items, larger))


@given(items=item_lists(), count=st.none() | st.integers(0, 60))
@settings(deadline=None)
def test_a_choice_has_the_wanted_length_in_the_data_sets_order(items: list[Item], count: int | None) -> None:
    chosen = nested_choice(items, count)
    assert len(chosen) == (len(items) if count is None else min(count, len(items)))
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(range(len(items)))
    assert chosen == nested_choice(list(items), count), "the same items give the same choice"


@given(items=item_lists(), data=st.data())
@settings(deadline=None)
def test_contents_take_turns(items: list[Item], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(items)))
    available = Counter(item.content for item in items)
    taken = Counter(items[index].content for index in nested_choice(items, count))
    most = max(taken.values(), default=0)
    # A content lags behind the fullest one by at most a turn, unless all of its samples are taken.
    assert all(taken[content] >= most - 1 or taken[content] == available[content] for content in available)


@given(items=item_lists(), data=st.data())
@settings(deadline=None)
def test_the_order_of_the_rows_does_not_matter(items: list[Item], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(items))
    count = data.draw(st.integers(0, len(items)))
    first = {items[index].id for index in nested_choice(items, count)}
    assert first == {shuffled[index].id for index in nested_choice(shuffled, count)}


def test_the_first_turn_meets_every_content_and_every_quality_level() -> None:
    items = grid(contents=10, levels=5)
    first = [items[index] for index in nested_choice(items, 10)]
    assert len({item.content for item in first}) == 10
    assert Counter(item.mos for item in first) == Counter({100.0 - 15 * level: 2 for level in range(5)})
    assert len({item.mos for item in (items[index] for index in nested_choice(items, 5))}) == 5


def test_the_choice_is_frozen() -> None:
    # Records name their images by this choice: another order of the contents would be another data set.
    assert nested_choice(grid(contents=4, levels=3), 5) == (1, 2, 5, 6, 10)


def test_of_nothing_nothing_is_chosen() -> None:
    assert nested_choice([], 3) == ()
    assert nested_choice(grid(2, 2), 0) == ()


def test_a_view_has_the_chosen_items_at_its_size() -> None:
    base = Patches(grid(3, 3))
    chosen = view(base, count=4, size=(10, 12))
    assert (chosen.name, chosen.mos_kind, len(chosen)) == ("patches", "pseudo", 4)
    assert list(chosen.items) == [base.items[index] for index in nested_choice(base.items, 4)]
    assert base.read == [], "a view reads nothing before it is asked"
    for row, index in enumerate(chosen.chosen):
        assert chosen.pixels(row).shape == (10, 12, 3)
        assert np.array_equal(chosen.pixels(row), fit_pixels(base.pixels(index), 10, 12))
        assert chosen[row].id == base.items[index].id


def test_a_view_of_all_at_the_own_size_changes_no_pixel() -> None:
    base = Patches(grid(1, 1))
    assert np.array_equal(view(base, size=(24, 32)).pixels(0), base.pixels(0))
    assert len(view(Patches(grid(3, 4)), size=(8, 8))) == 12


def test_a_batch_is_its_samples_stacked() -> None:
    base = Patches(grid(2, 3))
    chosen = view(base, size=(16, 16))
    batch = chosen.batch(range(2, 5))
    assert batch.shape == (3, 3, 16, 16)
    assert all(bool((image == chosen[row].image).all()) for row, image in enumerate(batch, start=2))
    assert sorted(set(base.read)) == [2, 3, 4], "only the asked rows are read"


def test_iterating_reads_one_sample_at_a_time() -> None:
    base = Patches(grid(2, 2))
    samples = iter(base)
    assert next(samples).id == "c0-0"
    assert base.read == [0]
    assert [sample.id for sample in samples] == ["c0-1", "c1-0", "c1-1"]


def test_the_digest_of_a_view_names_base_choice_and_size() -> None:
    items = grid(3, 3)
    digests = [
        view(Patches(items), count=4, size=(8, 8)).digest,
        view(Patches(items), count=5, size=(8, 8)).digest,
        view(Patches(items), count=4, size=(8, 9)).digest,
        view(Patches(items), count=4, size=(9, 8)).digest,
        view(Patches(items[::-1]), count=4, size=(8, 8)).digest,
        View(base=Patches(items), chosen=(0, 1, 2, 3), size=(8, 8)).digest,
    ]
    assert len(set(digests)) == 6
    assert digests[0] == view(Patches(items), count=4, size=(8, 8)).digest
    assert all(len(digest) == 64 for digest in digests)


def test_a_view_of_a_view_is_a_view() -> None:
    base = Patches(grid(3, 3), size=(40, 40))
    inner = view(base, count=6, size=(20, 20))
    outer = view(inner, count=2, size=(10, 10))
    assert {item.id for item in outer.items} <= {item.id for item in inner.items}
    assert outer.batch(range(2)).shape == (2, 3, 10, 10)


def test_data_sets_are_listed_with_a_summary() -> None:
    entries = datasets.list()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {"folder", "mini"} <= {entry.name for entry in entries}
    assert all(entry.summary for entry in entries)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("folder", "needs a path"),
        ("folder:", "needs a path"),
        ("mini:/somewhere", "takes no path"),
        ("mini:", "takes no path"),
        ("/data/koniq", "unknown data set"),
        ("", "unknown data set"),
    ],
)
def test_a_reference_that_cannot_be_loaded(reference: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        datasets.load(reference)
    assert words in caught.value.what
    assert caught.value.fix


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError) as caught:
        datasets.load("mimi")
    assert caught.value.suggestions == ["mini"]
