"""FACPA: what it learns, its geometry, and the published variant."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact, packed
from iqa_robustness.attacks.facpa import FACPA
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.perturbation_generator import PerturbationGenerator
from iqa_robustness.attacks.uap import UAP
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable

SMALL: dict[str, Any] = {"width": 4, "levels": 3}


def drawn(seed: int = 0, **fields: Any) -> FACPA:
    """An attack with an untrained generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = PerturbationGenerator(**{**SMALL, **fields.pop("network", {})}).state_dict()
    return FACPA(artefact=packed(tensors, {"attack": "facpa", "version": 1, "direction": "raise"}), **fields)


def change(attack: FACPA, images: Tensor) -> Tensor:
    """In units of epsilon."""
    assert isinstance(attack.artefact, Artefact)
    return attack.perturbations(attack.artefact.tensors(), images, micro_batch=2)


# --- what it learns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_most_of_the_planted_optimum_is_learned(goal: Any, toys: SimpleNamespace) -> None:
    attack = FACPA(epochs=12, width=8, rate=0.01)
    attack = replace(attack, artefact=attack.train(Vulnerable(), toys.pictures(20, 32, 32, seed=1), goal=goal))
    result = attack(Vulnerable(), toys.pictures(3, 32, 32, seed=2), goal=goal)
    assert ((result.values - result.clean_values) > 0.5 * 0.5).all()


def test_it_does_for_each_image_what_no_universal_perturbation_can(toys: SimpleNamespace) -> None:
    # Half of the pictures lie above the top of the hill, half below.
    def pictures(seed: int) -> Tensor:
        return torch.cat([toys.pictures(6, 16, 16, seed=seed, low=low, high=low + 60) for low in (40, 160)])

    hill = toys.Quadratic(torch.ones(3, 16, 16), torch.full((3, 16, 16), 130 / 255))
    gains = {}
    for attack in (UAP(epochs=20), FACPA(epochs=40, rate=0.01, width=8, levels=2)):
        data = attack.train(hill, pictures(1))
        made = attack.perturbations(Artefact(data=data).tensors(), pictures(2), micro_batch=4)
        gains[attack.name] = hill(pictures(2) + attack.epsilon * made) - hill(pictures(2))
    assert (gains["facpa"] > 0).all()
    assert float(gains["uap"].mean()) < 0.2 * float(gains["facpa"].mean())


def test_a_strength_is_a_training_of_its_own_and_as_published_it_is_not() -> None:
    for strength in attacks.STRENGTHS:
        ours = attacks.create("facpa", strength=strength)
        published = replace(ours, paper=True)
        assert isinstance(ours, FACPA)
        assert ours.untrained() == ours
        assert published.untrained() == FACPA(paper=True, epsilon=10 / 255)
        assert (ours.training_size((384, 512)), published.training_size((384, 512))) == ((384, 512), (256, 256))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_published_training_always_goes_up(
    higher_is_better: bool, toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.facpa._PAPER_WIDTH", 2)
    monkeypatch.setattr("iqa_robustness.attacks.facpa._PAPER_LEVELS", 3)
    metric = toys.Linear(torch.ones(3, 16, 16), higher_is_better=higher_is_better)
    pictures = toys.pictures(4, 16, 16)
    attack = FACPA(paper=True, epochs=40)
    attack = replace(attack, artefact=attack.train(metric, pictures))
    result = attack(metric, pictures)
    assert (metric(result.images) > metric(pictures)).all()
    assert ((result.values > result.clean_values) == higher_is_better).all()


# --- geometry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 24), (17, 24), (23, 9), (1, 1), (8, 8)])
def test_the_whole_image_is_seen_with_its_edge_repeated(size: tuple[int, int], toys: SimpleNamespace) -> None:
    images = toys.pictures(2, *size)
    attack = drawn()
    made = change(attack, images)
    filled = [-(-side // 8) * 8 - side for side in size]
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (0, filled[0]), (0, filled[1])), mode="edge")
    assert isinstance(attack.artefact, Artefact)
    whole = PerturbationGenerator.of(attack.artefact.tensors())(torch.from_numpy(padded))
    assert made.shape == images.shape
    assert torch.allclose(made, whole[..., : size[0], : size[1]], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "seen"), [((300, 520), (256, 512)), ((256, 256), (256, 256)), ((100, 300), (256, 256))]
)
def test_the_published_one_sees_multiples_of_256_and_repeats_itself(
    size: tuple[int, int], seen: tuple[int, int], toys: SimpleNamespace
) -> None:
    images = toys.pictures(1, *size)
    attack = drawn(paper=True)
    made = change(attack, images)
    part = np.zeros((1, 3, *seen), np.float32)
    height, width = min(size[0], seen[0]), min(size[1], seen[1])
    part[..., :height, :width] = images.numpy()[..., :height, :width]
    assert isinstance(attack.artefact, Artefact)
    with torch.no_grad():
        whole = PerturbationGenerator.of(attack.artefact.tensors())(torch.from_numpy(part)).numpy()
    expected = np.tile(whole, (1, 1, 2, 2))[:, :, : size[0], : size[1]]
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-6)


def test_an_image_is_perturbed_alike_bit_for_bit_in_any_company(toys: SimpleNamespace) -> None:
    attack, images = drawn(), toys.pictures(5, 24, 17)
    whole = change(attack, images)
    for rows in ([0], [4, 1], [3, 2, 0]):
        assert torch.equal(change(attack, images[rows]), whole[rows])


def test_width_and_levels_of_an_artefact_are_its_own(toys: SimpleNamespace) -> None:
    images = toys.pictures(1, 24, 24)
    wide = drawn(network={"width": 6, "levels": 2})
    assert change(replace(wide, width=16, levels=5), images).equal(change(wide, images))


def test_the_seed_draws_the_first_weights(toys: SimpleNamespace) -> None:
    flat = toys.Linear(torch.zeros(3, 8, 9))
    attack = FACPA(epochs=1, **SMALL)
    first, second = (attack.train(flat, toys.pictures(2), seed=seed) for seed in (1, 2))
    assert not torch.equal(
        Artefact(data=first).tensors()["down.0.weight"], Artefact(data=second).tensors()["down.0.weight"]
    )


@pytest.mark.parametrize("fields", [{"width": 0}, {"levels": 0}, {"rate": 0.0}, {"rate": float("nan")}])
def test_impossible_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="width"):
        FACPA(**fields)
