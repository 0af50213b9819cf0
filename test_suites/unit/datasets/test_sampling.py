"""Samples by K-Means: features against closed forms and scikit-image, draws that are even, nested and repeatable."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import filters

from iqa_robustness import datasets
from iqa_robustness.datasets.base import Item, view
from iqa_robustness.datasets.reading import Gathered
from iqa_robustness.datasets.sampling import (
    Chosen,
    Described,
    colourfulness,
    described,
    sample_table,
    sampled,
    spatial_information,
    z_scored,
)
from iqa_robustness.errors import ConfigurationError, ImageReadError


def images(count: int, seed: int = 0) -> list[Described]:
    random = np.random.default_rng(seed)
    return [
        Described(
            item=Item(id=f"i{n}", mos=float(random.uniform(1, 5)), content=f"c{n}"),
            part="test",
            si=float(random.uniform(0, 90)),
            cf=float(random.uniform(0, 100)),
        )
        for n in range(count)
    ]


def test_spatial_information_is_the_deviation_of_sobel_magnitudes(picture: Callable[..., np.ndarray]) -> None:
    pixels = picture(3, 40, 50)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    # scikit-image divides each of its two kernels by 4, and their root sum by √2.
    magnitude = filters.sobel(luma)[1:-1, 1:-1] * 4 * np.sqrt(2)
    assert spatial_information(pixels) == pytest.approx(magnitude.std(), rel=1e-9)


def test_spatial_information_of_a_step_is_known() -> None:
    pixels = np.zeros((10, 12, 3), np.uint8)
    pixels[:, 6:] = 100
    # Two columns of ten have the magnitude 400, the others none.
    assert spatial_information(pixels) == pytest.approx(400 * np.sqrt(0.2 * 0.8))
    assert spatial_information(np.full((8, 8, 3), 77, np.uint8)) == 0


def test_colourfulness_of_grey_is_nothing_and_of_two_colours_is_known() -> None:
    grey = np.repeat(np.arange(60, dtype=np.uint8).reshape(6, 10, 1), 3, axis=2)
    assert colourfulness(grey) == 0
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:2, :, 0], halves[2:, :, 2] = 200, 100
    # rg is 200 and 0, yb is 100 and −100.
    assert colourfulness(halves) == pytest.approx(np.hypot(100, 100) + 0.3 * np.hypot(100, 0))


@given(count=st.integers(12, 60), clusters=st.integers(1, 6), per_cluster=st.integers(1, 12), seed=st.integers(0, 3))
@settings(max_examples=20)
def test_ranks_are_even_over_clusters_and_nested(count: int, clusters: int, per_cluster: int, seed: int) -> None:
    chosen = sampled(images(count, seed), clusters=clusters, per_cluster=per_cluster, seed=seed)
    assert [one.item.id for one in chosen] == [f"i{n}" for n in range(count)]
    members = Counter(one.cluster for one in chosen)
    assert sorted(members) == [*range(clusters)]
    drawn = sorted((one for one in chosen if one.rank >= 0), key=lambda one: one.rank)
    assert [one.rank for one in drawn] == [*range(len(drawn))]
    assert Counter(one.cluster for one in drawn) == {n: min(size, per_cluster) for n, size in members.items()}
    assert {one.cluster for one in drawn[:clusters]} == {*range(clusters)}, "one of each comes first"
    fewer = sampled(images(count, seed), clusters=clusters, per_cluster=1, seed=seed)
    assert {one.item.id for one in fewer if one.rank >= 0} == {one.item.id for one in drawn[:clusters]}


def test_the_draw_is_repeatable_and_the_seed_changes_it() -> None:
    def ids(seed: int) -> list[str]:
        return [one.item.id for one in sampled(images(80), clusters=4, per_cluster=5, seed=seed) if one.rank >= 0]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_clusters_are_those_that_anyone_sees_numbered_by_spatial_information() -> None:
    groups = [(10.0, 10.0, 1.0), (50.0, 60.0, 3.0), (80.0, 20.0, 5.0)]
    random = np.random.default_rng(1)
    made = []
    for n in range(30):
        si, cf, mos = (value + random.normal(0, 0.1) for value in groups[n % 3])
        made.append(Described(item=Item(id=str(n), mos=mos, content=str(n)), part="", si=si, cf=cf))
    assert [one.cluster for one in sampled(made, clusters=3, per_cluster=2)] == [n % 3 for n in range(30)]


def test_scores_that_are_unknown_or_alike_do_not_count() -> None:
    features = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan]])
    assert z_scored(features).tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize(("clusters", "per_cluster"), [(0, 5), (2, 0), (11, 1)])
def test_what_cannot_be_drawn_is_refused(clusters: int, per_cluster: int) -> None:
    with pytest.raises(ConfigurationError):
        sampled(images(10), clusters=clusters, per_cluster=per_cluster)


def test_a_list_gives_its_own_order_to_smaller_choices(
    tmp_path: Path, put: Callable[..., Path], table: Callable[..., Path]
) -> None:
    names = [f"n{n}" for n in range(12)]
    for seed, name in enumerate(names):
        put(tmp_path / f"{name}.png", seed)
    table(tmp_path / "mos.csv", ["file,mos", *(f"{name}.png,{n}" for n, name in enumerate(names))])
    data = datasets.load(f"folder:{tmp_path}")
    chosen = sampled(described(data), clusters=3, per_cluster=3)
    text = sample_table(chosen)
    rows = [*csv.DictReader(io.StringIO(text))]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "sample.csv").write_text(text, encoding="utf-8")
    sample = datasets.load(f"folder:{tmp_path}@list={tmp_path / 'lists' / 'sample.csv'}")
    by_rank = [row["id"] for row in sorted(rows, key=lambda row: int(row["rank"]))]
    assert [int(row["rank"]) for row in rows] == [*range(len(rows))]
    for count in (1, 3, len(rows)):
        assert {item.id for item in view(sample, count=count, size=(8, 8)).items} == {*by_rank[:count]}
    for row, one in ((row, next(o for o in chosen if o.item.id == row["id"])) for row in rows):
        assert isinstance(one, Chosen)
        assert float(row["si"]) == pytest.approx(one.si, abs=1e-4)
        assert float(row["mos"]) == one.item.mos


def test_what_cannot_be_read_is_left_out_or_stops(tmp_path: Path, put: Callable[..., Path]) -> None:
    for seed, name in enumerate("abc"):
        put(tmp_path / f"{name}.png", seed)
    (tmp_path / "b.png").write_bytes(b"")
    data = datasets.load(f"folder:{tmp_path}@scores=none")
    with pytest.raises(ImageReadError):
        described(data)
    gathered = Gathered()
    assert [one.item.id for one in described(data, on_error=gathered)] == ["a", "c"]
    assert len(gathered.errors) == 1
