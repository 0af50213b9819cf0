"""Soundness: attacks stay inside the radius, climb as far as theory lets them, and find certificates that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.attacks.objectives import LOWER, RAISE, Goal, Objective
from iqa_robustness.attacks.projections import L2
from iqa_robustness.bench.columns import Columns
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.soundness import (
    STEPS,
    InsideAttack,
    attacked_inside,
    broken_certificates,
    climbed,
)
from iqa_robustness.bench.sources import Clean
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets.base import view
from iqa_robustness.defenses.base import Defense
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.planted import OverstatedClass, OverstatedMedian
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.errors import ConfigurationError, MissingCellError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import Store
from iqa_robustness.streams import Streams

NUMERICS = Numerics(device="cpu", micro_batch=4)
MINI = datasets.load("mini")
CELL: dict[str, Any] = {"goal": "raise", "draws": 2, "seed": 0}
SIZE = (48, 64)


def pair_of(defense: Defense) -> Pair:
    pair = Pair(Subject("iqa_robustness.metrics.planted:Vulnerable", device="cpu"), defense.name, n0=20, n=200)
    pair.__dict__["defense"] = defense
    return pair


class Pale(Clean):
    """With a fifth of their contrast: noise is hardly clipped, and scores stay clear of the ends of the range."""

    def batch(self, rows: range) -> Tensor:
        return 0.4 + 0.2 * super().batch(rows)


def images_of(count: int) -> Clean:
    return Pale(view(MINI, count=count, size=SIZE))


def run(defense: Smoothing, folder: Path, count: int = 6, **cell: Any) -> tuple[Columns, Columns, Columns]:
    """Certificates, what was found inside them, and what a record says of it."""
    stages, pair, clean = Stages(store=Store(folder), numerics=NUMERICS), pair_of(defense), images_of(count)
    certified = stages.scores(pair, clean, clean, seed=0)
    return certified, *attacked_inside(stages, pair, clean, certified, {**CELL, **cell})


# --- the attack -----------------------------------------------------------------------------------------------------


def objective_of(goal: Goal, images: Tensor, draws: int = 1) -> Objective:
    names = [str(number) for number in range(len(images))]
    scorer = Scorer(metric=Vulnerable().eval(), micro_batch=4)
    return Objective(scorer, goal, images, L2(epsilon=1.0), Streams("key", names), draws=draws)


@pytest.mark.parametrize(("goal", "sign"), [(RAISE, 1), (LOWER, -1)], ids=["raise", "lower"])
def test_a_linear_score_is_moved_as_far_as_the_radius_allows(goal: Goal, sign: int) -> None:
    images = torch.full((3, 3, *SIZE), 0.5)
    radii = torch.tensor([0.0, 0.05, 0.4])
    moved = climbed(objective_of(goal, images), radii)
    distances = (moved.double() - images.double()).flatten(1).norm(dim=1)
    assert (distances <= radii.double()).all()
    torch.testing.assert_close(distances.float(), radii, rtol=1e-3, atol=0)
    metric = Vulnerable().eval()
    # The slope of a mean of ±1: Cauchy and Schwarz bound the shift by its norm times the radius.
    steepest = 100 * metric.slope / np.sqrt(images[0].numel())
    shifts = sign * (metric(moved) - metric(images))
    torch.testing.assert_close(shifts, steepest * radii, rtol=2e-3, atol=1e-3)


def test_images_stay_images(clean_images: Tensor) -> None:
    radii = torch.full((len(clean_images),), 3.0)
    moved = climbed(objective_of(RAISE, clean_images), radii)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    assert ((moved.double() - clean_images.double()).flatten(1).norm(dim=1) <= 3).all()


@pytest.fixture(scope="module")
def clean_images() -> Tensor:
    images = view(MINI, count=4, size=SIZE).batch(range(4))
    images[0], images[1] = 0, 1  # nothing below, nothing above
    return images


def test_each_image_has_a_ball_of_its_own(tmp_path: Path) -> None:
    certified, found, more = run(RandomizedSmoothing(n=120, n0=10), tmp_path)
    assert len({*certified["radius"].tolist()}) > 2
    assert (more["l2"] <= certified["radius"]).all()
    # The border, less what rounding may take: float32 values below 1 move by half an epsilon at most, all of them the
    # same way in the worst case, and as much again is kept clear of the border; in a ball of 0.002 that shows.
    rounding = np.finfo(np.float32).eps * np.sqrt(3 * SIZE[0] * SIZE[1])
    np.testing.assert_allclose(more["l2"], certified["radius"], rtol=2e-5, atol=rounding)
    assert (more["forwards"] == STEPS * 2).all()
    assert (more["backwards"] == STEPS * 2).all()
    assert more["gradient_nonzero"].all()
    assert found["draws"].shape == (6, 120)


def test_what_abstains_is_left_as_it_is(tmp_path: Path) -> None:
    certified, found, more = run(MedianSmoothing(n=6), tmp_path, count=2)
    assert certified["abstained"].all()
    assert (more["l2"] == 0).all()
    assert not more["broken"].any()
    assert np.isfinite(found["scores"]).all()


# --- noise and keys -------------------------------------------------------------------------------------------------


def test_the_end_is_certified_with_noise_that_neither_certificate_nor_attack_has_seen(tmp_path: Path) -> None:
    defense = MedianSmoothing(n=40, epsilon=0.0, alpha=0.05)
    certified, found, more = run(defense, tmp_path, count=2)
    assert (more["l2"] == 0).all()  # the very same images
    assert not (certified["draws"] == found["draws"]).any()


def inside_attack(**changes: Any) -> InsideAttack:
    facts: dict[str, Any] = {
        "pair": pair_of(MedianSmoothing(n=40)),
        "clean": images_of(2),
        "radii": (0.05, 0.05),
        "numerics": NUMERICS,
    }
    return InsideAttack(**{**facts, **CELL, **changes})


def test_everything_that_matters_is_in_the_key() -> None:
    changes: list[dict[str, Any]] = [
        {"pair": pair_of(MedianSmoothing(n=41))},
        {"clean": images_of(3)},
        {"radii": (0.05, 0.04)},
        {"goal": "lower"},
        {"draws": 3},
        {"seed": 1},
        {"numerics": replace(NUMERICS, micro_batch=2)},
    ]
    keys = {inside_attack(**change).key.digest for change in [{}, *changes]}
    assert len(keys) == len(changes) + 1
    assert inside_attack().key.digest in keys


def test_it_is_computed_once_and_equal_anywhere(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    here = Stages(store=Store(tmp_path), numerics=NUMERICS, progress=lambda *news: told.append(news))
    first = here.inside(inside_attack())
    assert told == [(inside_attack().label, done, 2) for done in (0, 2)]
    again = Stages(store=Store(tmp_path), numerics=NUMERICS, compute=False).inside(inside_attack())
    there = Stages(store=Store(tmp_path / "there"), numerics=NUMERICS).inside(inside_attack())
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        np.testing.assert_array_equal(values, there[name])
    with pytest.raises(MissingCellError, match="attack inside the radius of"):
        Stages(store=Store(tmp_path), numerics=NUMERICS, compute=False).inside(inside_attack(seed=2))


def test_what_has_no_certificates_is_refused(tmp_path: Path) -> None:
    stages = Stages(store=Store(tmp_path), numerics=NUMERICS)
    with pytest.raises(ConfigurationError, match="flip has no certificates"):
        stages.inside(inside_attack(pair=pair_of(Flip())))


# --- broken certificates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["raise", "lower"])
@pytest.mark.parametrize(
    # A class is 10 points wide, and noise of 0.018 moves a score by 0.6 (the slope times it, over √n): whichever
    # numbers are drawn, four images have nearly all votes, before and after ten radii, which are up to 11 points.
    ("sound", "unsound", "sigma"),
    [(MedianSmoothing, OverstatedMedian, 0.12), (RandomizedSmoothing, OverstatedClass, 0.018)],
    ids=["median", "class"],
)
def test_what_is_overstated_is_found_broken_and_what_is_sound_is_not(
    sound: Callable[..., Smoothing], unsound: Callable[..., Smoothing], sigma: float, goal: str, tmp_path: Path
) -> None:
    certified, _, more = run(sound(n=200, sigma=sigma), tmp_path, goal=goal)
    tested = int((~certified["abstained"]).sum())
    assert tested >= 5
    assert not more["broken"].any()
    *_, worse = run(unsound(n=200, sigma=sigma), tmp_path, goal=goal)
    # Two images stand next to an upper border: their radii are small, and ten of them down stay in the class.
    broken = int(worse["broken"].sum())
    assert broken >= 4
    assert binomtest(broken, tested, 0.001, alternative="greater").pvalue < 1e-4


def columns(**values: Any) -> Columns:
    known = {"abstained": [False], "upper": [55.0], "lower": [45.0], "classes": [5], "votes": [0]}
    return {name: np.array(value) for name, value in {**known, **values}.items()}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (np.linspace(50, 60, 200), False),  # the median is at the bound
        (np.linspace(55.2, 65, 200), True),  # all of it is above
        (np.linspace(35, 44.8, 200), True),  # below
        (np.r_[np.full(99, 0.0), np.full(101, 90.0)], False),  # above, but nobody can be sure
    ],
)
def test_a_medians_certificate_is_broken_where_confidence_intervals_are_disjoint(
    scores: np.ndarray, expected: bool
) -> None:
    defense = MedianSmoothing(n=200)
    found = {"scores": np.array([np.median(scores)]), "draws": scores[None]}
    assert broken_certificates(defense, columns(), found).tolist() == [expected]
    assert broken_certificates(defense, columns(abstained=[True]), found).tolist() == [False]


@pytest.mark.parametrize(
    ("votes", "classes", "expected"),
    [(200, 6, True), (123, 6, True), (121, 6, False), (101, 6, False), (200, 5, False)],
)
def test_a_class_is_broken_where_another_certainly_has_most_votes(votes: int, classes: int, expected: bool) -> None:
    # 122 of 200 is the least majority that is certain at 0.001.
    defense = RandomizedSmoothing(n=200)
    found = columns(votes=[votes], classes=[classes], draws=np.zeros((1, 200)))
    assert broken_certificates(defense, columns(), found).tolist() == [expected]
    assert broken_certificates(defense, columns(abstained=[True]), found).tolist() == [False]


def test_an_overstated_certificate_cannot_vouch_for_itself() -> None:
    # What is tested against is computed from the draws, not taken from the defense.
    scores = np.linspace(55.2, 65, 200)[None]
    found = {"scores": np.array([60.0]), "draws": scores, "abstained": np.array([True])}
    assert broken_certificates(OverstatedMedian(n=200), columns(), found).tolist() == [True]
