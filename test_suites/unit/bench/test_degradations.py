"""Degraded images: the pixels they are made of, the numbers of a row, and what the store keeps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import correlate1d

from iqa_robustness import datasets
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.degradations import LEVELS, Degraded, Harm, harms, photographs
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.plan import Selection, Sizes, planned
from iqa_robustness.bench.profiles import profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean
from iqa_robustness.datasets.base import Dataset, Item, View, view
from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.errors import MissingCellError
from iqa_robustness.images import to_uint8
from iqa_robustness.measures import mean_interval
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store

MINI = datasets.load("mini")
PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


@pytest.fixture(scope="module")
def clean() -> Clean:
    return photographs(Clean(view(MINI, count=20, size=(48, 64))))


# --- the images -----------------------------------------------------------------------------------------------------


def test_the_best_image_of_each_content_is_degraded(clean: Clean) -> None:
    every = Clean(view(MINI, size=(48, 64)))
    assert [item.id for item in photographs(every).view.items] == sorted({f"{i.content}-0" for i in MINI.items})
    contents = [item.content for item in clean.view.items]
    assert len(set(contents)) == len(contents) == 10
    some = view(MINI, count=20, size=(48, 64)).items
    for item in clean.view.items:
        assert item.mos == max(other.mos for other in some if other.content == item.content)


def levels_of(clean: Clean, name: str) -> list[np.ndarray]:
    rows = range(len(clean))
    return [to_uint8(Degraded(clean, level).batch(rows)).astype(float) for level in LEVELS[name]]


def test_every_degradation_has_five_levels_each_farther_from_the_photograph(clean: Clean) -> None:
    original = to_uint8(clean.batch(range(len(clean)))).astype(float)
    for name in LEVELS:
        errors = [np.sqrt(((level - original) ** 2).mean()) for level in levels_of(clean, name)]
        assert len(errors) == 5
        assert all(1.1 * low < high for low, high in pairwise(errors)), (name, errors)
        assert errors[0] > 1


def test_blur_has_the_variance_that_it_says(clean: Clean) -> None:
    """Passes of variance 1: a Gaussian of the same deviation differs by little more than rounding."""
    original = to_uint8(clean.batch(range(2))).astype(float)
    for passes, level in zip((1, 2, 4, 8, 16), LEVELS["blur"], strict=True):
        kernel = np.array([1.0])
        for _ in range(passes):
            kernel = np.convolve(kernel, np.array([1, 4, 6, 4, 1]) / 16)
        assert np.average((np.arange(len(kernel)) - len(kernel) // 2) ** 2, weights=kernel) == pytest.approx(passes)
        expected = correlate1d(correlate1d(original, kernel, axis=1, mode="nearest"), kernel, axis=2, mode="nearest")
        found = to_uint8(Degraded(clean, level).batch(range(2))).astype(float)
        assert np.abs(found - expected)[:, 8:-8, 8:-8].mean() < 1
    blurred = Image.fromarray(original[0].astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    found = to_uint8(Degraded(clean, LEVELS["blur"][2]).batch(range(1)))[0].astype(float)
    assert np.abs(found - np.array(blurred))[8:-8, 8:-8].mean() < 2


def test_noise_has_the_deviation_that_it_says_and_depends_on_the_image_alone() -> None:
    grey = Clean(View(base=Grey(), chosen=(0, 1, 2), size=(48, 64)))
    for amplitude, expected, level in zip((4, 8, 12, 18, 28), (5, 9, 14, 21, 32), LEVELS["noise"], strict=True):
        pixels = to_uint8(Degraded(grey, level).batch(range(3))).astype(float)
        assert pixels.std() == pytest.approx(expected, rel=0.12), amplitude
        assert not np.array_equal(pixels[0], pixels[1])
        turned = Clean(View(base=Grey(), chosen=(2, 0), size=(48, 64)))
        again = to_uint8(Degraded(turned, level).batch(range(2))).astype(float)
        assert np.array_equal(again, pixels[[2, 0]])


class Grey(Dataset):
    """Three grey images."""

    name, mos_kind, digest = "grey", "pseudo", "grey"

    @property
    def items(self) -> list[Item]:
        return [Item(id=f"g{n}", mos=1.0, content=f"g{n}") for n in range(3)]

    def pixels(self, index: int) -> np.ndarray:
        return np.full((48, 64, 3), 128, np.uint8)


def test_contrast_keeps_the_share_that_it_says(clean: Clean) -> None:
    original = to_uint8(clean.batch(range(len(clean)))).astype(float)
    for kept, level in zip((208, 160, 112, 80, 48), levels_of(clean, "contrast"), strict=True):
        shares = level.std(axis=(1, 2, 3)) / original.std(axis=(1, 2, 3))
        np.testing.assert_allclose(shares, kept / 256, rtol=0.02)
        np.testing.assert_allclose(level.mean(axis=(1, 2, 3)), original.mean(axis=(1, 2, 3)), atol=1.1)


@pytest.mark.parametrize("size", [(48, 64), (51, 61), (299, 299)])
@pytest.mark.parametrize("name", [*LEVELS])
def test_any_size_is_degraded(size: tuple[int, int], name: str) -> None:
    one = Clean(view(MINI, count=1, size=size))
    assert Degraded(one, LEVELS[name][4]).batch(range(1)).shape == (1, 3, *size)


def test_every_level_has_a_key_of_its_own(clean: Clean) -> None:
    made = [Degraded(clean, level) for levels in LEVELS.values() for level in levels]
    assert len({str(source.document) for source in made}) == 20
    assert made[0].document == Degraded(clean, LEVELS["blur"][0]).document
    assert [len(source) for source in made] == [10] * 20


# --- the rows -------------------------------------------------------------------------------------------------------


def runner_at(path: Path, **options: bool) -> LocalRunner:
    return LocalRunner(Store(path / "store"), Numerics(device="cpu", micro_batch=4), **options)


def cells_of(*names: str) -> list[Cell]:
    sizes = Sizes(images=20)
    found = planned(
        scenario="clean", profile=profile("smoke"), sizes=sizes, user=Selection(metric=(PLANTED,), defense=names)
    )
    return [Cell(**{**cell.document, "size": (48, 64)}) for cell in found.cells]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("degradations")


@pytest.fixture(scope="module")
def rows(store: Path) -> list[Harm]:
    return [*harms(runner_at(store), cells_of("gaussian-blur", "flip"), ("noise", "contrast"))]


def test_a_row_for_each_metric_defense_degradation_and_level(rows: list[Harm]) -> None:
    places = [(row.defense, row.degradation, row.level) for row in rows]
    assert places == [(d, g, n) for d in ("flip", "gaussian-blur") for g in ("noise", "contrast") for n in range(1, 6)]
    assert {row.metric for row in rows} == {PLANTED}
    assert {row.bias.clusters for row in rows} == {10}


def test_numbers_are_those_of_a_loop_over_images(rows: list[Harm], clean: Clean) -> None:
    everyone = range(len(clean))
    images = [clean.batch(everyone), *(Degraded(clean, level).batch(everyone) for level in LEVELS["noise"])]
    plain, blurred = (
        np.array([metric(picture).double().numpy() for picture in images])
        for metric in (Vulnerable(), GaussianBlur().protect(Vulnerable()))
    )
    contents = [item.content for item in clean.view.items]
    for row in (row for row in rows if (row.defense, row.degradation) == ("gaussian-blur", "noise")):
        before, after = plain[row.level], blurred[row.level]
        assert row.score == pytest.approx(before.mean(), rel=1e-5)
        assert row.defended == pytest.approx(after.mean(), rel=1e-5)
        expected = mean_interval(100 * (after - before) / Vulnerable.spec.diam, contents)
        assert (row.bias.value, row.bias.low) == pytest.approx((expected.value, expected.low), abs=1e-3)
        right = [n for n in everyone if plain[row.level - 1][n] > before[n]]
        wrong = [n for n in right if blurred[row.level - 1][n] < after[n]]
        assert row.ordered == pytest.approx(len(right) / 10)
        if right:
            assert row.lost == pytest.approx(len(wrong) / len(right))
        else:
            assert np.isnan(row.lost)


def test_scores_come_from_the_store(rows: list[Harm], store: Path, tmp_path: Path) -> None:
    cells = cells_of("gaussian-blur", "flip")
    again = [*harms(runner_at(store, from_store=True), cells, ("noise", "contrast"))]
    assert str(again) == str(rows)  # NaN differs from itself
    with pytest.raises(MissingCellError):
        next(harms(runner_at(tmp_path, from_store=True), cells, ("noise",)))
