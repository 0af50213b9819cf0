"""Reading ahead: the same images in the same order, few of them in memory, errors by policy."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.datasets import base
from iqa_robustness.datasets.base import Dataset, Item, view
from iqa_robustness.datasets.reading import Gathered, stream
from iqa_robustness.errors import ImageReadError, Where


class Numbered(Dataset):
    """Image i is filled with the number i; those in `broken` cannot be read. Counts what was read, and by whom."""

    name = "numbered"
    mos_kind = "none"
    items: Sequence[Item] = ()
    digest = "d"

    def __init__(self, count: int, *, threaded: bool, broken: Sequence[int] = ()) -> None:
        self.items = [Item(id=str(row), mos=float("nan"), content=str(row)) for row in range(count)]
        self.threaded = threaded
        self.broken = broken
        self.read: list[int] = []
        self.readers: set[str] = set()

    def pixels(self, index: int) -> np.ndarray:
        self.read.append(index)
        self.readers.add(threading.current_thread().name)
        if index in self.broken:
            raise ImageReadError("cannot read the image", where=Where(image=str(index), file=f"{index}.png"))
        return np.full((4, 4, 3), index, np.uint8)


@given(
    count=st.integers(0, 12),
    ahead=st.integers(0, 20),
    threaded=st.booleans(),
    broken=st.sets(st.integers(0, 11), max_size=4),
)
def test_order_and_pixels_do_not_depend_on_reading_ahead(
    count: int, ahead: int, threaded: bool, broken: set[int]
) -> None:
    gathered = Gathered()
    data = Numbered(count, threaded=threaded, broken=[*broken])
    found = [(row, int(pixels[0, 0, 0])) for row, pixels in stream(data, ahead=ahead, on_error=gathered)]
    assert found == [(row, row) for row in range(count) if row not in broken]
    assert [error.where.image for error in gathered.errors] == [str(row) for row in sorted(broken) if row < count]


def test_at_most_so_many_images_wait() -> None:
    data = Numbered(100, threaded=True)
    reading = stream(data, ahead=3)
    for taken, _ in reading:
        assert len(data.read) <= taken + 1 + 3
        if taken == 20:
            break
    reading.close()  # type: ignore[attr-defined]
    assert len(data.read) <= 25, "who stops early leaves the rest unread"


def test_another_thread_reads_only_where_it_may() -> None:
    own = threading.current_thread().name
    for threaded in (True, False):
        data = Numbered(5, threaded=threaded)
        assert len([*stream(data)]) == 5
        assert (own in data.readers) is not threaded


def test_the_policy_decides_about_what_cannot_be_read() -> None:
    data = Numbered(6, threaded=True, broken=[2])
    seen = []
    with pytest.raises(ImageReadError) as caught:
        seen.extend(row for row, _ in stream(data))
    assert caught.value.where.file == "2.png"
    gathered = Gathered()
    assert [row for row, _ in stream(data, on_error=gathered)] == [0, 1, 3, 4, 5]
    assert [error.where.file for error in gathered.errors] == ["2.png"]


def test_chosen_rows_come_in_the_order_given() -> None:
    assert [row for row, _ in stream(Numbered(9, threaded=True), [7, 0, 3])] == [7, 0, 3]


def test_a_view_reads_the_next_rows_meanwhile_and_each_image_once() -> None:
    data = Numbered(10, threaded=True)
    cut = view(data, size=(4, 4))
    order = [int(cut.chosen[row]) for row in range(10)]
    for start in range(0, 10, 3):
        rows = range(start, min(start + 3, 10))
        batch = cut.batch(rows)
        assert [round(float(image[0, 0, 0]) * 255) for image in batch] == order[rows.start : rows.stop]
    assert sorted(data.read) == sorted(order), "no image is read twice"
    assert any(name.startswith("reading-ahead") for name in data.readers)


def test_a_view_raises_for_a_broken_image_when_its_turn_comes() -> None:
    data = Numbered(4, threaded=True, broken=[2])
    cut = view(data, size=(4, 4))
    bad = cut.chosen.index(2)
    assert bad == 2
    assert cut.batch(range(2)).shape[0] == 2
    with pytest.raises(ImageReadError):
        cut.batch(range(2, 4))


def test_a_view_that_jumps_about_keeps_nothing_for_others() -> None:
    data = Numbered(40, threaded=True)
    cut = view(data, size=(4, 4))
    for start in (20, 0, 10, 30, 8):
        assert round(float(cut.batch(range(start, start + 2))[0, 0, 0, 0]) * 255) == start
    assert len(cut._ahead) <= 2


def peak_of_reading(count: int, *, through_a_view: bool) -> int:
    """Most bytes that Python and NumPy held at once while all images were read."""
    data = Numbered(count, threaded=True)
    cut = view(data, size=(48, 64))
    tracemalloc.start()
    try:
        if through_a_view:
            for start in range(0, count, 4):
                cut.batch(range(start, min(start + 4, count)))
        else:
            for _, pixels in stream(cut):
                del pixels
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("through_a_view", [True, False])
def test_memory_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch, through_a_view: bool) -> None:
    monkeypatch.setattr(base, "_KEPT_BYTES", 20 * 48 * 64 * 3)
    peaks = [peak_of_reading(count, through_a_view=through_a_view) for count in (30, 30, 250)]
    # The first run also pays for what is imported and cached once.
    assert peaks[2] <= 1.1 * peaks[1]
