"""Numbers drawn ahead, whole numbers from uniform ones, the schedule of areas, and windows against plain slices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iqa_robustness.attacks.random_search import Windows, in_order, numbers_ahead, share_at, whole_below
from iqa_robustness.streams import Streams

# --- numbers --------------------------------------------------------------------------------------------------------


def test_every_step_has_new_numbers_and_an_images_are_its_own() -> None:
    steps = list(itertools.islice(numbers_ahead(Streams("key", ["a", "b"]), 5), 150))
    alone = list(itertools.islice(numbers_ahead(Streams("key", ["b"]), 5), 150))
    assert all(step.shape == (2, 5) for step in steps)
    assert torch.equal(torch.stack(steps)[:, 1:], torch.stack(alone))
    every = torch.stack(steps).flatten()
    assert len(every.unique()) > 0.99 * len(every)
    assert stats.kstest(every.numpy(), "uniform").pvalue > 0.01


@given(count=st.integers(1, 100_000), uniform=st.floats(0, 1, exclude_max=True, width=32))
@settings(deadline=None, max_examples=200)
def test_whole_numbers_stay_below_their_count(count: int, uniform: float) -> None:
    drawn = torch.tensor([uniform, float(np.nextafter(np.float32(1), np.float32(0))), 0.0])
    whole = whole_below(drawn, count)
    assert whole.dtype == torch.int64
    assert whole.tolist()[1:] == [count - 1, 0]
    assert int(whole[0]) == min(int(np.float32(uniform) * np.float32(count)), count - 1)
    assert torch.equal(whole_below(drawn[:, None], torch.tensor([count]))[:, 0], whole)


def test_whole_numbers_are_equally_likely_and_each_column_has_its_count() -> None:
    drawn = whole_below(Streams("key", ["a"]).uniform(7000, 2)[0], torch.tensor([7, 3]))
    for column, count in ((0, 7), (1, 3)):
        found = torch.bincount(drawn[:, column], minlength=count)
        assert len(found) == count
        assert stats.chisquare(found.numpy()).pvalue > 0.01


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_the_share_is_halved_nine_times_at_the_published_queries() -> None:
    found = [share_at(query, 10_000) for query in range(10_000)]
    changes = [query for query in range(1, 10_000) if found[query] != found[query - 1]]
    assert changes == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert found[0] == 1
    assert found[-1] == 2.0**-9
    assert [share_at(query, 200) for query in range(200)] == found[:: 10_000 // 200]


# --- windows --------------------------------------------------------------------------------------------------------


@st.composite
def placed(draw: st.DrawFn) -> tuple[torch.Tensor, list[int], list[tuple[int, int]], int]:
    count, channels = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    side = draw(st.integers(1, min(height, width)))
    rows = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=count))
    places = [(draw(st.integers(0, height - side)), draw(st.integers(0, width - side))) for _ in rows]
    images = np.random.RandomState(draw(st.integers(0, 99))).standard_normal((count, channels, height, width))
    return torch.from_numpy(images), rows, places, side


@given(case=placed())
@settings(deadline=None, max_examples=100)
def test_windows_read_and_write_what_slices_do(
    case: tuple[torch.Tensor, list[int], list[tuple[int, int]], int],
) -> None:
    images, rows, places, side = case
    windows = Windows(torch.tensor(rows, dtype=torch.int64), torch.tensor(places, dtype=torch.int64).view(-1, 2), side)
    found, expected = windows.read(images), images.clone()
    assert found.shape == (len(rows), images.shape[1], side, side)
    for number, (row, (top, left)) in enumerate(zip(rows, places, strict=True)):
        place = (row, slice(None), slice(top, top + side), slice(left, left + side))
        assert torch.equal(found[number], images[place])
        expected[place] = 7 + number
    fresh = torch.arange(7.0, 7 + len(rows), dtype=images.dtype)[:, None, None, None].expand_as(found)
    windows.write(images, fresh)
    assert torch.equal(images, expected)


def test_the_same_places_in_a_batch_of_these_images_alone() -> None:
    rows = torch.tensor([4, 1, 3])
    images = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[0, 1], [2, 3], [1, 0]])
    assert in_order(rows).tolist() == [0, 1, 2]
    assert torch.equal(Windows(in_order(rows), places, 2).read(images[rows]), Windows(rows, places, 2).read(images))


def test_an_image_with_gaps_in_memory_is_refused_rather_than_left_as_it_was() -> None:
    images = torch.zeros(1, 3, 8, 4).transpose(2, 3)
    with pytest.raises(RuntimeError, match="view"):
        Windows(torch.tensor([0]), torch.tensor([[0, 0]]), 2).write(images, torch.ones(1, 3, 2, 2))
