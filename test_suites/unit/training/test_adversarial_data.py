"""Views of the training images: split by contents, drawn by counting, of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.training import adversarial_data
from iqa_robustness.training.adversarial_data import Views, split
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe

Picture = Callable[..., np.ndarray]
RECIPE = AdversarialRecipe(side=32, views=2)


pytestmark = pytest.mark.usefixtures("torchvision")


class Few(Dataset):
    """Pictures whose red is the row and whose green is the column."""

    name = "few"
    mos_kind: MosKind = "human"
    digest = "few"

    def __init__(self, coordinates: Callable[[int, int], np.ndarray]) -> None:
        self._coordinates = coordinates

    @property
    def items(self) -> Sequence[Item]:
        return [Item(id=str(number), mos=10.0 * number, content=str(number)) for number in range(4)]

    def pixels(self, index: int) -> np.ndarray:
        return self._coordinates(60 + index, 80)


@pytest.fixture(scope="module")
def few(coordinates: Callable[[int, int], np.ndarray]) -> Few:
    return Few(coordinates)


def test_the_published_shares_of_the_contents() -> None:
    parts = split([str(number) for number in range(1000)], seed=1)
    assert [len(rows) for rows in (parts.training, parts.validation, parts.test)] == [701, 99, 200]


@given(
    contents=st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=40).filter(lambda names: len(set(names)) > 2),
    seed=st.integers(0, 9),
)
def test_every_row_is_in_one_part_and_no_content_in_two(contents: list[str], seed: int) -> None:
    parts = split(contents, seed=seed)
    rows = [*parts.training, *parts.validation, *parts.test]
    assert sorted(rows) == [*range(len(contents))]
    named = [{contents[row] for row in part} for part in (parts.training, parts.validation, parts.test)]
    assert all(named)
    assert sum(map(len, named)) == len(set(contents))


def test_the_seed_decides_and_too_few_contents_are_refused() -> None:
    contents = [str(number) for number in range(30)]
    assert split(contents, seed=1) == split(contents, seed=1)
    assert split(contents, seed=1) != split(contents, seed=2)
    with pytest.raises(ConfigurationError, match="2 contents are too few"):
        split(["a", "b", "a"], seed=0)


def test_without_torchvision_it_says_what_to_install(few: Few, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'torchvision'")

    monkeypatch.setattr(adversarial_data, "ensure_torchvision", fail)
    with pytest.raises(ConfigurationError, match="cannot be imported: No module named") as raised:
        Views(few, [1, 3], RECIPE, purpose="training")
    assert "pip install torchvision" in raised.value.fix


def test_a_view_is_a_square_as_it_is_or_mirrored(few: Few) -> None:
    views = Views(few, [1, 3], RECIPE, purpose="training")
    assert len(views) == 4
    mirrored = set()
    for number in range(40):
        views.epoch = number
        image, label = views[number % 4]
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.float32
        assert float(label) == (10.0 if number % 2 == 0 else 30.0)
        rows, columns = (image[:2] * 255).round().diff(dim=1)[0], (image[:2] * 255).round().diff(dim=2)[1]
        assert bool((rows == 1).all())
        mirrored.add(float(columns[0, 0]))
        assert bool((columns == columns[0, 0]).all())
    assert mirrored == {1.0, -1.0}


def test_views_are_counted_and_not_carried_on(few: Few) -> None:
    one, other = (Views(few, [0, 1, 2], RECIPE, purpose="training") for _ in range(2))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = [one[number][0] for number in range(6)]
    backwards = [other[number][0] for number in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, backwards, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    other.epoch = 1
    assert not all(torch.equal(other[number][0], first[number]) for number in range(6))
    validation = Views(few, [0, 1, 2], RECIPE, purpose="validation")
    assert not all(torch.equal(validation[number][0], first[number]) for number in range(6))


def test_images_are_scaled_to_a_size_and_small_ones_are_mirrored_to_the_side(few: Few) -> None:
    assert Views(few, [0], AdversarialRecipe(size=(40, 56)), purpose="a")[0][0].shape == (3, 40, 56)
    assert Views(few, [0], AdversarialRecipe(size=(40, 56), side=36), purpose="a")[0][0].shape == (3, 36, 36)
    assert Views(few, [0], AdversarialRecipe(side=72), purpose="a")[0][0].shape == (3, 72, 72)
    with pytest.raises(ConfigurationError, match="one size"):
        Views(few, [0], AdversarialRecipe(), purpose="a")


def test_damaged_views_are_squares_of_other_pixels(few: Few) -> None:
    recipe = AdversarialRecipe(side=32, labels="own", damage=True)
    views = Views(few, [0, 1, 2, 3], recipe, purpose="training")
    sharp = 0
    for number in range(8):
        views.epoch = number
        image, _ = views[number % 4]
        assert image.shape == (3, 32, 32)
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
        sharp += bool(((image[0] * 255).round().diff(dim=0) == 1).all())
    assert sharp < 4
    assert not math.isnan(float(views[0][1]))
