"""Attachments within a number of bytes: what is kept, in which order, and what is said of the rest."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from iqa_robustness.reporting.attachments import Attachment, fitted, largest_sheet, share
from iqa_robustness.reporting.figures import Panel


def attachment(name: str, size: int) -> Attachment:
    return Attachment(name=name, body=b"x" * size, kind="TEXT")


@given(sizes=st.lists(st.integers(0, 3000), max_size=6), limit=st.integers(0, 6000))
def test_what_is_kept_fits_and_nothing_vanishes_silently(sizes: list[int], limit: int) -> None:
    candidates = [attachment(f"file-{place}", size) for place, size in enumerate(sizes)]
    kept, left_out = fitted(candidates, limit)
    assert sum(len(a.body) for a in kept) <= limit
    assert [a for a in candidates if a in kept] == kept
    assert [name.split(" ")[0] for name in left_out] == [a.name for a in candidates if a not in kept]
    # What was left out did not fit beside what stood before it.
    for place, candidate in enumerate(candidates):
        before = sum(len(a.body) for a in candidates[:place] if a in kept)
        assert (candidate in kept) == (before + len(candidate.body) <= limit)


def test_without_a_limit_everything_is_kept() -> None:
    candidates = [attachment("a", 10), attachment("b", 10_000_000)]
    assert fitted(candidates, None) == (candidates, [])


def test_a_large_one_does_not_keep_out_a_small_one_behind_it() -> None:
    kept, left_out = fitted([attachment("pictures", 5000), attachment("numbers", 10)], 100)
    assert [a.name for a in kept] == ["numbers"]
    assert left_out == ["pictures (5 kB, beyond the size budget)"]


@pytest.mark.parametrize(
    ("megabytes", "items", "expected"),
    [(200, 400, 500_000), (0, 400, None), (0.5, 1, 500_000), (1, 0, 1_000_000), (1, 3, 333_333)],
)
def test_every_item_has_an_equal_share(megabytes: float, items: int, expected: int | None) -> None:
    assert share(megabytes, items) == expected


def sheet_rows(count: int) -> list[list[Panel]]:
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    return [[Panel(pixels=noise, title=f"image {row}", text="")] for row in range(count)]


def test_as_many_pictures_are_shown_as_fit() -> None:
    everything = largest_sheet(sheet_rows(4), None)
    assert (everything.name, everything.wanted) == ("worst images (4)", "")
    smaller = largest_sheet(sheet_rows(4), len(everything.body) * 3 // 4)
    assert smaller.wanted == "worst images (4)"
    assert smaller.name in ("worst images (2)", "worst images (3)")
    assert len(smaller.body) <= len(everything.body) * 3 // 4
    with Image.open(io.BytesIO(everything.body)) as tall, Image.open(io.BytesIO(smaller.body)) as short:
        assert short.width == tall.width
        assert short.height < tall.height
    kept, left_out = fitted([smaller], None)
    assert kept == [smaller]
    assert left_out == [f"worst images (4) (only {smaller.name}, for the size budget)"]


def test_a_single_picture_that_is_too_large_is_named() -> None:
    one = largest_sheet(sheet_rows(2), 100)
    assert one.name == "worst images (1)"
    kept, left_out = fitted([one], 100)
    assert kept == []
    assert left_out[0].startswith("worst images (2) (")
