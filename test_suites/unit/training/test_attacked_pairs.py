"""Pairs come from the package's attack, once, and never from pictures that defenses are judged on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets import leaves
from iqa_robustness.datasets.base import View, view
from iqa_robustness.datasets.mini import Mini
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import encode_png, from_uint8, to_uint8
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store
from iqa_robustness.training.attacked_pairs import attacked_pairs, refuse_leakage

SIZE = (24, 32)


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "PICTURES", 3)
    monkeypatch.setattr(leaves, "_SHAPES", 30)


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(store=Store(tmp_path / "store"), numerics=Numerics(device="cpu", micro_batch=2))


@pytest.fixture
def images() -> View:
    return view(datasets.load("leaves"), size=SIZE)


def target(name: str = "Vulnerable") -> Pair:
    return Pair(Subject(f"iqa_robustness.metrics.planted:{name}", device="cpu"), "none", n0=20, n=200)


def folder(path: Path, pictures: dict[str, np.ndarray]) -> str:
    path.mkdir()
    for name, pixels in pictures.items():
        (path / f"{name}.png").write_bytes(encode_png(pixels))
    with (path / "mos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "mos"), *((f"{name}.png", 50) for name in pictures)])
    return f"folder:{path}"


@pytest.mark.parametrize("goal", ["raise", "lower"])
def test_they_are_what_the_attack_returns(goal: str, stages: Stages, images: View) -> None:
    pairs = attacked_pairs(stages, IFGSM(), target(), images, goal=goal, seed=0)
    clean = images.batch(range(3))
    result = IFGSM()(Vulnerable(), clean, goal=RAISE if goal == "raise" else LOWER, micro_batch=2)
    assert np.array_equal(pairs.attacked, to_uint8(result.images))
    assert np.array_equal(pairs.clean, to_uint8(clean))
    assert [*pairs.contents] == [item.content for item in images.items]
    assert pairs.images == images.digest
    assert (pairs.forwards, pairs.backwards) == (int(result.forwards.sum()), int(result.backwards.sum()))
    assert len(pairs) == 3


def test_the_attack_is_run_once(stages: Stages, images: View, monkeypatch: pytest.MonkeyPatch) -> None:
    first = attacked_pairs(stages, IFGSM(), target(), images, goal="raise", seed=0)
    monkeypatch.setattr(IFGSM, "run", lambda *_: pytest.fail("attacked again"))
    again = attacked_pairs(stages, IFGSM(), target(), images, goal="raise", seed=0)
    assert again.entry == first.entry
    assert np.array_equal(again.attacked, first.attacked)


def test_everything_that_matters_is_in_the_digest(stages: Stages, images: View) -> None:
    def entry(attack: IFGSM, *, seed: int = 0, goal: str = "raise", data: View = images) -> str:
        return attacked_pairs(stages, attack, target(), data, goal=goal, seed=seed).entry

    usual = entry(IFGSM())
    others = [
        entry(IFGSM(epsilon=2 / 255)),
        entry(IFGSM(), seed=1),
        entry(IFGSM(), goal="lower"),
        entry(IFGSM(), data=view(images.base, count=2, size=SIZE)),
    ]
    assert len({usual, *others}) == 5


def test_an_attack_that_changes_nothing_teaches_nothing(stages: Stages, images: View) -> None:
    with pytest.raises(ConfigurationError, match="the attack changed no image") as raised:
        attacked_pairs(stages, IFGSM(), target("Constant"), images, goal="raise", seed=0)
    assert raised.value.where.attack == "ifgsm"


@pytest.mark.parametrize("name", ["mini", "ladder"])
def test_the_bundled_photographs_are_refused(name: str, stages: Stages) -> None:
    with pytest.raises(ConfigurationError, match="pictures of mini are among the training images") as raised:
        attacked_pairs(stages, IFGSM(), target(), view(datasets.load(name), size=SIZE), goal="raise", seed=0)
    assert raised.value.where.dataset == name
    assert not list(Path(stages.store.root).glob("v1/entries/*/*"))


def test_a_folder_with_one_of_them_is_refused_whatever_it_is_called(
    tmp_path: Path, picture: Callable[..., np.ndarray]
) -> None:
    own = picture()
    refuse_leakage(datasets.load(folder(tmp_path / "own", {"astronaut": own})))
    stolen = folder(tmp_path / "stolen", {"a": own, "b": np.array(Mini().reference("coffee"))})
    with pytest.raises(ConfigurationError, match="take these pictures out of the folder"):
        refuse_leakage(datasets.load(stolen))


def test_pixels_are_images_again(stages: Stages, images: View) -> None:
    pairs = attacked_pairs(stages, IFGSM(epsilon=2 / 255), target(), images, goal="raise", seed=0)
    change: Tensor = from_uint8(pairs.attacked) - from_uint8(pairs.clean)
    assert float(change.abs().max()) == pytest.approx(2 / 255, abs=1e-6)
    assert torch.equal(from_uint8(pairs.clean), images.batch(range(3)))
