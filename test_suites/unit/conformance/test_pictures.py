"""The pictures of the checks: what they are said to be, at any size, and nobody's to change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iqa_robustness import datasets
from iqa_robustness.conformance import pictures
from iqa_robustness.datasets.base import view


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (96, 128)])
def test_photographs_are_the_untouched_ones_of_the_bundled_set(size: tuple[int, int]) -> None:
    found = pictures.photographs(4, *size)
    mini = view(datasets.load("mini"), size=size)
    rows = [row for row, item in enumerate(mini.items) if item.id.endswith("-0")][:4]
    assert torch.equal(found, torch.cat([mini.batch(range(row, row + 1)) for row in rows]))
    assert torch.equal((found * 255).round() / 255, found)


def test_there_are_ten_and_more_photographs_than_asked_for_are_never_given() -> None:
    assert [len(pictures.photographs(count, 16, 16)) for count in (1, 3, 10, 99)] == [1, 3, 10, 10]


def test_whoever_changes_a_picture_changes_his_own() -> None:
    before = pictures.photographs(1, 16, 16).clone()
    pictures.photographs(1, 16, 16).zero_()
    assert torch.equal(pictures.photographs(1, 16, 16), before)


def test_extremes_are_black_white_grey_and_noise() -> None:
    black, white, grey, noise, checks = pictures.extremes(20, 24)
    assert (black == 0).all()
    assert (white == 1).all()
    assert (grey == 128 / 255).all()
    assert len(noise.unique()) > 200
    assert set(checks.unique().tolist()) == {0.0, 1.0}


def test_graded_pictures_are_the_best_and_the_worst_of_four_scenes() -> None:
    best, worst = pictures.graded(48, 64)
    mini = datasets.load("mini")
    levels = {item.id: row for row, item in enumerate(mini.items)}
    for pictures_of_level, level in ((best, 0), (worst, 4)):
        for picture, content in zip(pictures_of_level, pictures.CONTENTS, strict=True):
            row = levels[f"{content}-{level}"]
            assert torch.equal(picture[None], view(mini, size=(48, 64)).batch(range(row, row + 1)))
            assert mini.items[row].mos == max(i.mos for i in mini.items) if level == 0 else mini.items[row].mos < 40


def test_the_worst_level_differs_from_the_best_in_every_scene() -> None:
    best, worst = pictures.graded(48, 64)
    assert np.asarray((best - worst).abs().mean(dim=(1, 2, 3)) > 0.005).all()
