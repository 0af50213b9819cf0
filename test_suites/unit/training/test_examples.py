"""Labelled examples: where their pixels are from, what they are worth, how often what happens, and their weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.datasets.pseudo_mos import pseudo_mos
from iqa_robustness.images import fit_pixels
from iqa_robustness.training import examples as module
from iqa_robustness.training.distortions import Draw
from iqa_robustness.training.examples import (
    GOOD,
    LARGE,
    OFFSET,
    SHARES,
    SLOPE,
    SMALL,
    Counts,
    Example,
    Kind,
    View,
    balanced,
    damaged_examples,
    human_examples,
    whole_examples,
)
from iqa_robustness.training.mos_data import Photograph

Make = Callable[..., Photograph]
EVERY_VIEW = Counts(part=2, half=1, large=1)
BEST = SLOPE * 100 + OFFSET


class Recorder:
    """In place of all distortions: does one of its own, and notes before, after and how severe."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels) -> None:
        self.change = change
        self.calls: list[tuple[np.ndarray, np.ndarray, float]] = []

    def __call__(self, pixels: np.ndarray, severity: float, _: Draw) -> np.ndarray:
        distorted = self.change(pixels)
        self.calls.append((pixels, distorted, severity))
        return distorted


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of 24 × 32 and 48 × 64: nothing here depends on their sizes."""
    monkeypatch.setattr(module, "SMALL", (24, 32))
    monkeypatch.setattr(module, "LARGE", (48, 64))


@pytest.fixture
def recorder(small_views: None, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(module, "DISTORTIONS", {"recorder": found})
    return found


def same(first: Sequence[Example], second: Sequence[Example]) -> bool:
    return [one.without_pixels().__dict__ | {"pixels": one.pixels.tobytes()} for one in first] == [
        one.without_pixels().__dict__ | {"pixels": one.pixels.tobytes()} for one in second
    ]


def expected_count(share: float, among: int) -> tuple[float, float]:
    """Four standard deviations either side."""
    reach = 4 * np.sqrt(among * share * (1 - share))
    return share * among - reach, share * among + reach


def check_share(count: int, share: float, among: int) -> None:
    low, high = expected_count(share, among)
    assert low < count < high


def is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


# --- judged photographs ---------------------------------------------------------------------------------------------


def test_counts_name_every_view_as_often_as_wanted() -> None:
    assert Counts(part=2, half=1, large=3).views() == ["part", "part", "half", "large", "large", "large"]
    assert Counts(part=2, half=1, large=3).total == 6
    assert (Counts().views(), Counts().total) == ([], 0)


def test_views_have_their_documented_sizes(photograph: Make) -> None:
    sizes = {"part": (192, 256, 3), "half": (192, 256, 3), "large": (384, 512, 3)}
    counts = Counts(part=1, half=1, large=1)
    judged, bare = photograph("a", rows=400, columns=520, mos=90.0), photograph("b", rows=299, columns=299)
    found = [*human_examples([judged], counts, seed=0), *damaged_examples([judged, bare], counts, seed=0)]
    assert len(found) == 9
    for example in found:
        assert example.pixels.shape == sizes[example.view]
        assert example.pixels.dtype == np.uint8
    assert (SMALL, LARGE) == ((192, 256), (384, 512))


def test_a_judged_photograph_gives_its_own_score_to_each_view(small_views: None, photograph: Make) -> None:
    photographs = [photograph("a", mos=12.5), photograph("b"), photograph("c", content="a", mos=0.0)]
    found = list(human_examples(photographs, EVERY_VIEW, seed=0))
    assert [(one.view, one.target, one.content) for one in found] == [
        (view, mos, "a") for mos in (12.5, 0.0) for view in ("part", "part", "half", "large")
    ]
    assert {one.kind for one in found} == {"human"}


def test_parts_are_cut_out_and_mirrored_at_random(
    small_views: None, coordinates: Callable[[int, int], np.ndarray]
) -> None:
    pixels = coordinates(96, 128)
    source = Photograph(name="a", content="a", pixels=pixels, mos=50.0)
    mirrored = 0
    tops, lefts = set(), set()
    for example in human_examples([source], Counts(part=200), seed=0):
        turned = bool(example.pixels[0, 0, 1] > example.pixels[0, -1, 1])
        upright = example.pixels[:, ::-1] if turned else example.pixels
        top, left = int(upright[0, 0, 0]), int(upright[0, 0, 1])
        assert np.array_equal(upright, pixels[top : top + 24, left : left + 32])
        mirrored += turned
        tops.add(top)
        lefts.add(left)
    check_share(mirrored, 0.5, 200)
    assert (min(tops), max(tops)) == (0, 96 - 24)
    assert min(lefts) <= 2
    assert max(lefts) >= 128 - 32 - 2


def test_half_views_average_squares_of_four(small_views: None, coordinates: Callable[[int, int], np.ndarray]) -> None:
    pixels = 2 * coordinates(96, 128)
    source = Photograph(name="a", content="a", pixels=pixels, mos=50.0)
    for example in human_examples([source], Counts(half=20), seed=0):
        upright = example.pixels[:, ::-1] if example.pixels[0, 0, 1] > example.pixels[0, -1, 1] else example.pixels
        # The mean of 2 t and 2 t + 2 is 2 t + 1: corners tell their place.
        top, left = (int(value) // 2 for value in upright[0, 0, :2])
        part = pixels[top : top + 48, left : left + 64].astype(float)
        means = part.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.array_equal(upright, means)


@pytest.mark.parametrize("size", [(20, 20), (24, 300), (47, 64), (300, 30)])
def test_photographs_smaller_than_a_view_fill_it(small_views: None, photograph: Make, size: tuple[int, int]) -> None:
    photographs = [photograph("a", rows=size[0], columns=size[1], mos=80.0)]
    found = [
        *human_examples(photographs, EVERY_VIEW, seed=0),
        *damaged_examples(photographs, EVERY_VIEW, seed=0),
        *damaged_examples([photograph("b", rows=size[0], columns=size[1])], EVERY_VIEW, seed=0),
    ]
    assert len(found) == 12
    for example in found:
        assert example.pixels.shape == ((48, 64, 3) if example.view == "large" else (24, 32, 3))
        assert example.pixels.std() > 1


def test_whole_photographs_come_in_three_sizes(photograph: Make) -> None:
    judged = photograph("a", rows=400, columns=512, content="scene", mos=33.0)
    found = list(whole_examples([photograph("b"), judged]))
    assert [(one.view, one.kind, one.target, one.content) for one in found] == [
        (view, "human", 33.0, "scene") for view in ("full", "large", "half")
    ]
    full, large, half = (one.pixels for one in found)
    assert np.array_equal(full, judged.pixels)
    centre = judged.pixels[8:392]
    assert np.array_equal(large, centre)
    # Half to even or up: a rounded mean of four is at most half a level away.
    assert np.abs(half - centre.reshape(192, 2, 256, 2, 3).astype(float).mean(axis=(1, 3))).max() <= 0.5


# --- damaged photographs --------------------------------------------------------------------------------------------


def test_only_good_or_unjudged_photographs_are_damaged(recorder: Recorder, photograph: Make) -> None:
    below, just = np.nextafter(GOOD, 0), GOOD
    photographs = [photograph("a", mos=below), photograph("b", mos=just), photograph("c"), photograph("d", mos=0.0)]
    found = list(damaged_examples(photographs, Counts(part=2, half=1), seed=0))
    assert [(one.content, one.kind, one.view) for one in found] == [
        (content, kind, view)
        for content, kind in (("b", "lowered"), ("c", "pseudo"))
        for view in ("part", "part", "half")
    ]


def test_undamaged_photographs_have_the_best_score(recorder: Recorder, photograph: Make) -> None:
    found = list(damaged_examples([photograph("a"), photograph("b", mos=81.5)], EVERY_VIEW, seed=0))
    assert [one.target for one in found] == pytest.approx([BEST] * 4 + [81.5] * 4)


@pytest.mark.parametrize("mos", [None, 81.5])
def test_the_damage_is_taken_off_the_score(recorder: Recorder, photograph: Make, mos: float | None) -> None:
    recorder.change = lambda pixels: (pixels // 64 * 64).astype(np.uint8)
    counts = Counts(part=12, half=12, large=12)
    lowered = 0
    for example in damaged_examples([photograph("a", mos=mos)], counts, seed=0):
        calls, recorder.calls = recorder.calls, []
        start = BEST if mos is None else mos
        if not calls:
            assert example.target == pytest.approx(start)
            continue
        before, after = calls[0][0], calls[-1][1]
        assert before.shape == ((24, 32, 3) if example.view == "part" else (48, 64, 3))
        assert example.target == pytest.approx(start - SLOPE * (100 - pseudo_mos(before, after)))
        lowered += example.target < start - 1
        shown = fit_pixels(after, 24, 32) if example.view == "half" else after
        assert np.array_equal(example.pixels, shown)
    assert lowered > 20


def test_how_often_what_happens(recorder: Recorder, photograph: Make) -> None:
    count, calls, grey, severities = 600, Counter[int](), 0, [[], []]  # type: ignore[var-annotated]
    for example in damaged_examples([photograph("a")], Counts(part=count), seed=0):
        calls[len(recorder.calls)] += 1
        grey += is_grey(example.pixels)
        for place, call in enumerate(recorder.calls):
            severities[place].append(call[2])
        recorder.calls = []
    assert set(calls) == {0, 1, 2}
    check_share(calls[0], 0.1, count)
    check_share(calls[2], 0.25, count)
    check_share(grey, 0.1, count)
    assert 0 <= min(severities[0]) < 0.1
    assert 3.9 < max(severities[0]) <= 4
    assert 2.8 < max(severities[1]) <= 3


def test_every_distortion_has_its_turn(small_views: None, photograph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recorders = {str(number): Recorder() for number in range(16)}
    monkeypatch.setattr(module, "DISTORTIONS", recorders)
    list(damaged_examples([photograph("a")], Counts(part=300), seed=0))
    turns = [len(recorder.calls) for recorder in recorders.values()]
    low, high = expected_count(1 / 16, sum(turns))
    assert low < min(turns) <= max(turns) < high


def test_unjudged_photographs_are_scaled_and_judged_ones_are_not(
    recorder: Recorder, coordinates: Callable[[int, int], np.ndarray]
) -> None:
    pixels = coordinates(200, 256)
    bare = Photograph(name="a", content="a", pixels=pixels)
    judged = Photograph(name="b", content="b", pixels=pixels, mos=90.0)

    def steps(source: Photograph) -> list[float]:
        """How many rows of the photograph a row of the example is, at 23 rows' distance."""
        found = [one.pixels for one in damaged_examples([source], Counts(part=200), seed=0)]
        return [float(one[-1, 5, 0]) - float(one[0, 5, 0]) for one in found if not is_grey(one)]

    assert set(steps(judged)) == {23.0}
    scales = np.array(steps(bare)) / 23
    # Rounded rows and levels: a level and a half of 23.
    assert 1 / 1.4 - 1.5 / 23 < scales.min() < 0.8
    assert 1.1 < scales.max() < 1 / 0.86 + 1.5 / 23
    # Even in logarithm: half of them below the geometric mean of the bounds.
    check_share(int((scales > (1.4 * 0.86) ** -0.5).sum()), 0.5, len(scales))


# --- randomness -----------------------------------------------------------------------------------------------------


Maker = Callable[[Sequence[Photograph], int], list[Example]]


def humans(photographs: Sequence[Photograph], seed: int) -> list[Example]:
    return list(human_examples(photographs, EVERY_VIEW, seed=seed))


def damaged(photographs: Sequence[Photograph], seed: int) -> list[Example]:
    return list(damaged_examples(photographs, EVERY_VIEW, seed=seed))


@pytest.mark.parametrize("make", [humans, damaged])
def test_equal_seeds_give_equal_examples_and_others_do_not(small_views: None, photograph: Make, make: Maker) -> None:
    photographs = [photograph("a", mos=80.0), photograph("b", mos=90.0)]
    assert same(make(photographs, 5), make(photographs, 5))
    assert not same(make(photographs, 5), make(photographs, 6))


@pytest.mark.parametrize("make", [humans, damaged])
def test_examples_of_one_photograph_do_not_depend_on_others(small_views: None, photograph: Make, make: Maker) -> None:
    first, second, third = (photograph(name, mos=80.0) for name in ("a", "b", "c"))
    together = make([first, second, third], 3)
    assert len(together) == 12
    assert same(together, [*make([first], 3), *make([second, third], 3)])
    assert same(make([third, first], 3), [*together[8:], *together[:4]])


@pytest.mark.parametrize("make", [humans, damaged])
def test_photographs_alike_but_for_their_names_are_cut_differently(
    small_views: None, photograph: Make, make: Maker
) -> None:
    one = photograph("ab", mos=80.0)
    other = Photograph(name="ba", content="ab", pixels=one.pixels, mos=80.0)
    assert not same(make([one], 0), make([other], 0))


@pytest.mark.parametrize("make", [humans, damaged])
def test_photographs_are_not_written_to(small_views: None, photograph: Make, make: Maker) -> None:
    one = photograph("a", mos=80.0)
    before = one.pixels.copy()
    one.pixels.setflags(write=False)
    for example in make([one], 0):
        assert example.pixels.shape[2] == 3
    assert np.array_equal(one.pixels, before)


# --- weights --------------------------------------------------------------------------------------------------------


def example(kind: Kind, view: View) -> Example:
    return Example(pixels=np.zeros((2, 3, 3), np.uint8), target=1.0, content="a", kind=kind, view=view)


def test_weights_of_a_known_mixture() -> None:
    mixture = [
        example("human", "full"),
        example("human", "part"),
        example("human", "part"),
        example("lowered", "part"),
        *[example("pseudo", "large")] * 4,
    ]
    assert balanced(mixture).tolist() == pytest.approx([0.2, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1])


GROUPS = st.lists(
    st.tuples(st.sampled_from(["human", "lowered", "pseudo"]), st.sampled_from(["part", "half", "large", "full"])),
    min_size=1,
    max_size=40,
)


@given(groups=GROUPS)
def test_kinds_have_their_shares_and_views_of_a_kind_the_same(groups: list[tuple[Kind, View]]) -> None:
    weights = balanced([example(kind, view) for kind, view in groups])
    assert weights.shape == (len(groups),)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0
    met = {kind for kind, _ in groups}
    for kind in met:
        of_kind = np.array([one == kind for one, _ in groups])
        assert weights[of_kind].sum() == pytest.approx(SHARES[kind] / sum(SHARES[other] for other in met))
        views = {view for one, view in groups if one == kind}
        for view in views:
            of_view = np.array([group == (kind, view) for group in groups])
            assert weights[of_view].sum() == pytest.approx(weights[of_kind].sum() / len(views))
            assert np.ptp(weights[of_view]) == 0


def test_shares_are_a_whole() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)


def test_without_pixels_nothing_else_is_lost() -> None:
    whole = example("lowered", "half")
    bare = whole.without_pixels()
    assert bare.pixels.size == 0
    assert (bare.target, bare.content, bare.kind, bare.view) == (1.0, "a", "lowered", "half")
    assert whole.pixels.shape == (2, 3, 3)
