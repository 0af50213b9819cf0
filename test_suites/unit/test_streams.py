"""Per-image streams: what an image's noise may depend on, and what it is distributed like."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams, required, seed_of

IDS = st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True)
DRAWS = ("normal", "uniform", "signs", "integers")


def draw(streams: Streams, kind: str, *shape: int) -> torch.Tensor:
    return streams.integers(7, *shape) if kind == "integers" else getattr(streams, kind)(*shape)


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and bool((first == second).all())


# --- seeds ----------------------------------------------------------------------------------------------------------


@given(parts=st.lists(st.text(), min_size=1, max_size=4))
def test_a_seed_has_63_bits_and_is_repeatable(parts: list[str]) -> None:
    assert 0 <= seed_of(*parts) < 2**63
    assert seed_of(*parts) == seed_of(*parts)


def test_seeds_are_frozen() -> None:
    # Every stored record rests on them.
    assert seed_of("key", "image") == 5501495386253484212
    assert seed_of("") == 8203414616412130826


def test_parts_do_not_run_together() -> None:
    assert len({seed_of("ab", "c"), seed_of("a", "bc"), seed_of("abc"), seed_of("abc", ""), seed_of("c", "ab")}) == 5


# --- what a draw depends on -----------------------------------------------------------------------------------------


@given(ids=IDS, kind=st.sampled_from(DRAWS), data=st.data())
@settings(deadline=None)
def test_a_row_does_not_depend_on_its_companions_or_their_order(ids: list[str], kind: str, data: st.DataObject) -> None:
    rows = draw(Streams("key", ids), kind, 2, 5)
    shuffled = data.draw(st.permutations(ids))
    other = draw(Streams("key", shuffled), kind, 2, 5)
    for row, name in enumerate(ids):
        assert equal(rows[row], other[shuffled.index(name)])
        assert equal(rows[row], draw(Streams("key", [name]), kind, 2, 5)[0])


@given(ids=IDS, cut=st.integers(0, 6))
@settings(deadline=None)
def test_batches_drawn_in_turn_are_the_whole_drawn_at_once(ids: list[str], cut: int) -> None:
    whole, parts = Streams("key", ids), Streams("key", ids)
    first, second = parts.select(range(len(ids))[:cut]), parts.select(range(len(ids))[cut:])
    for _ in range(3):
        expected = whole.normal(4)
        assert equal(torch.cat([first.normal(4), second.normal(4)]), expected)


@pytest.mark.parametrize("kind", DRAWS)
def test_keys_and_ids_give_different_rows_that_do_not_correlate(kind: str) -> None:
    count = 20_000
    rows = [
        *draw(Streams("key", ["a", "b", "a "]), kind, count),
        *draw(Streams("kez", ["a"]), kind, count),
        *draw(Streams("key", ["a"]).fork("scoring"), kind, count),
        *draw(Streams("key", ["a"]).fork("attack"), kind, count),
    ]
    correlations = np.corrcoef(torch.stack(rows).double().numpy())
    off_diagonal = correlations[~np.eye(len(rows), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(count)


def test_a_stream_goes_on() -> None:
    streams = Streams("key", ["a", "b"])
    first, second = streams.normal(100), streams.normal(100)
    assert not bool((first == second).any())
    again = Streams("key", ["a", "b"])
    assert equal(again.normal(100), first)
    assert equal(again.normal(100), second)


def test_the_same_id_twice_draws_the_same_twice() -> None:
    rows = Streams("key", ["a", "a"]).uniform(9)
    assert equal(rows[0], rows[1])


# --- fork, select, padded -------------------------------------------------------------------------------------------


def test_a_fork_does_not_depend_on_what_was_drawn_and_draws_nothing() -> None:
    fresh, used = Streams("key", ["a", "b"]), Streams("key", ["a", "b"])
    used.normal(50)
    assert equal(fresh.fork("x").normal(6), used.fork("x").normal(6))
    assert equal(fresh.normal(50), Streams("key", ["a", "b"]).normal(50))


def test_forks_differ_by_purpose_and_from_their_source() -> None:
    streams = Streams("key", ["a"])
    seen = [streams.fork("x"), streams.fork("y"), streams.fork("x").fork("x"), streams.fork(""), streams]
    draws = {tuple(part.normal(4)[0].tolist()) for part in seen}
    assert len(draws) == 5
    assert streams.fork("x").ids == ("a",)


def test_selected_streams_share_their_state_with_the_source() -> None:
    source, expected = Streams("key", ["a", "b", "c"]), Streams("key", ["a", "b", "c"])
    first, second = expected.normal(4), expected.normal(4)
    assert equal(source.select([2, 0]).normal(4), first[[2, 0]])
    # b was left out: it stands where it stood, while a and c have gone on.
    later = source.normal(4)
    assert equal(later[1], first[1])
    assert equal(later[[0, 2]], second[[0, 2]])


@pytest.mark.parametrize("rows", [[1, 3], range(1, 4, 2), torch.tensor([1, 3]), (1, 3)])
def test_rows_are_selected_by_any_sequence(rows: object) -> None:
    streams = Streams("key", ["a", "b", "c", "d"])
    chosen = streams.select(rows)  # type: ignore[arg-type]
    assert chosen.ids == ("b", "d")
    assert len(chosen) == 2
    assert (chosen.key, chosen.device) == (streams.key, streams.device)
    assert equal(chosen.normal(3), Streams("key", ["b", "d"]).normal(3))


def test_nothing_selected_draws_nothing() -> None:
    none = Streams("key", ["a"]).select([])
    assert len(none) == 0
    assert none.normal(2, 3).shape == (0, 2, 3)


def test_padding_fills_up_and_changes_no_row() -> None:
    plain, padded = Streams("key", ["a", "b"]), Streams("key", ["a", "b"]).padded(5)
    assert len(padded) == 5
    assert padded.ids[:2] == ("a", "b")
    first = padded.normal(4)
    assert equal(first[:2], plain.normal(4))
    assert equal(padded.normal(4)[:2], plain.normal(4))
    assert len({tuple(row) for row in first.tolist()}) == 5, "padding rows draw of their own"


def test_padding_shares_state_with_the_source_and_leaves_its_length() -> None:
    source = Streams("key", ["a", "b"])
    padded = source.padded(4)
    first = padded.normal(3)
    assert len(source) == 2
    assert source.ids == ("a", "b")
    assert not equal(source.normal(3), first[:2]), "drawing from the padded streams advances the source"


@pytest.mark.parametrize("size", [0, 1, 2])
def test_padding_never_shortens(size: int) -> None:
    assert Streams("key", ["a", "b"]).padded(size).ids == ("a", "b")


# --- distributions --------------------------------------------------------------------------------------------------

COUNT = 50_000


@pytest.mark.parametrize(("kind", "law"), [("normal", stats.norm.cdf), ("uniform", stats.uniform.cdf)])
def test_continuous_draws_follow_their_law(kind: str, law: object) -> None:
    draws = draw(Streams("law", ["a", "b"]), kind, COUNT)
    assert draws.dtype == torch.float32
    for row in draws.double().numpy():
        assert stats.kstest(row, law).pvalue > 1e-3
    across_images = getattr(Streams("law", [str(i) for i in range(2000)]), kind)(1)[:, 0].double().numpy()
    assert stats.kstest(across_images, law).pvalue > 1e-3, "first draws over many images follow it as well"


def test_uniform_stays_below_one() -> None:
    draws = Streams("range", ["a"]).uniform(COUNT)
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1


@pytest.mark.parametrize("high", [1, 2, 7, 256])
def test_integers_are_uniform(high: int) -> None:
    draws = Streams("law", ["a"]).integers(high, COUNT)
    assert draws.dtype == torch.int64
    counts = np.bincount(draws[0].numpy(), minlength=high)
    assert len(counts) == high
    assert high == 1 or stats.chisquare(counts).pvalue > 1e-3


def test_signs_are_fair() -> None:
    draws = Streams("law", ["a"]).signs(COUNT)
    assert draws.dtype == torch.float32
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(draws.mean())) < 4 / math.sqrt(COUNT)


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("shape", [(), (1,), (3, 8, 6)])
def test_the_first_axis_runs_over_the_images(kind: str, shape: tuple[int, ...]) -> None:
    assert draw(Streams("key", ["a", "b", "c"]), kind, *shape).shape == (3, *shape)


def test_draws_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Streams("key", ["a"]).normal(100)
    assert equal(torch.rand(3), expected)
    before = Streams("key", ["a"]).normal(10)
    torch.manual_seed(99)
    assert equal(Streams("key", ["a"]).normal(10), before)


def test_what_draws_without_streams_is_told_by_name_what_it_needs() -> None:
    streams = Streams("key", ["a"])
    assert required(streams, "a coin") is streams
    with pytest.raises(ConfigurationError, match="a coin draws random numbers and needs `streams`") as caught:
        required(None, "a coin")
    assert "Streams(key, ids)" in caught.value.fix
