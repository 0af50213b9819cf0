"""UAP: against closed forms, the published training in NumPy, and how it is laid on images of other sizes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact, packed
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.attacks.uap import UAP, tiled
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable


def trained(attack: UAP, metric: Any, pictures: Tensor, **options: Any) -> UAP:
    return replace(attack, artefact=attack.train(metric, pictures, **options))


def perturbation(data: bytes) -> np.ndarray:
    return Artefact(data=data).tensors()["perturbation"].numpy()


def given_perturbation(values: np.ndarray, **fields: Any) -> UAP:
    tensors = {"perturbation": torch.from_numpy(values.astype(np.float32))}
    return UAP(artefact=packed(tensors, {"attack": "uap", "version": UAP.version, "direction": "raise"}), **fields)


def levels(images: Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


# --- strength -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "optimum"), [("weak", 0.25), ("medium", 0.5), ("strong", 1.0)])
@pytest.mark.parametrize("goal", [None, LOWER])
def test_the_planted_metric_is_moved_to_its_optimum(
    strength: str, optimum: float, goal: Any, toys: SimpleNamespace
) -> None:
    options = {} if goal is None else {"goal": goal}
    attack = attacks.create("uap", strength=strength, epochs=3)
    assert isinstance(attack, UAP)
    found = trained(attack, Vulnerable(), toys.pictures(6, 36, 48, seed=1), **options)
    result = found(Vulnerable(), toys.pictures(3, 36, 48, seed=2), **options)
    gains = result.values - result.clean_values
    assert (gains >= 0.99 * optimum).all()
    assert (gains <= (1 + 1e-4) * optimum).all()


def test_on_a_linear_metric_it_is_the_sign_of_the_weights(toys: SimpleNamespace) -> None:
    weights = toys.gaussian(16, 20)
    data = UAP(epochs=3).train(toys.Linear(weights), toys.pictures(6, 16, 20))
    np.testing.assert_array_equal(perturbation(data)[0], weights.sign().numpy())


def test_it_is_the_best_change_for_all_and_not_for_one(toys: SimpleNamespace) -> None:
    # The top lies between the two images: what raises one's score lowers the other's.
    pictures = torch.cat([toys.pictures(1) * 0 + 100 / 255, toys.pictures(1) * 0 + 150 / 255])
    hills = toys.Quadratic(torch.ones(3, 8, 9), torch.full((3, 8, 9), 120 / 255))
    data = UAP(epochs=100, epsilon=8 / 255).train(hills, pictures)
    # The mean of both parabolas has its top at a change of (120 − 125) levels.
    np.testing.assert_allclose(8 * perturbation(data), -5, atol=0.1)


def test_a_perturbation_trained_at_the_strength_beats_a_scaled_one(toys: SimpleNamespace) -> None:
    # The top is three levels up: from 8 levels a scaled one goes to where the score has fallen again, or short of it.
    clean = toys.pictures(1) * 0 + 100 / 255
    hill = toys.Quadratic(torch.ones(3, 8, 9), clean[0] + 3 / 255)
    own = trained(UAP(epochs=30, epsilon=4 / 255), hill, clean)
    scaled = replace(trained(UAP(epochs=30, epsilon=8 / 255), hill, clean), epsilon=4 / 255)
    best = float(own(hill, clean).values)
    assert best > float(scaled(hill, clean).values)
    assert best == pytest.approx(0, abs=1e-6)


# --- as published ---------------------------------------------------------------------------------------------------


def published(slope: np.ndarray, steps: int) -> np.ndarray:
    """Noise from 1e-4, Adam at 0.001, clamped to ±0.1, of a constant gradient; in units of intensity."""
    noise, first, second = np.full_like(slope, 1e-4), np.zeros_like(slope), np.zeros_like(slope)
    for number in range(1, steps + 1):
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        step = (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
        noise = np.clip(noise + 0.001 * step, -0.1, 0.1)
    return noise


@pytest.mark.parametrize("epochs", [2, 60])
def test_the_published_training_walks_by_a_thousandth_up_to_a_tenth(epochs: int, toys: SimpleNamespace) -> None:
    weights = toys.gaussian(6, 7)
    data = UAP(paper=True, epochs=epochs, batch=2).train(toys.Linear(weights), toys.pictures(4, 6, 7))
    expected = published(weights.double().numpy(), 2 * epochs)
    np.testing.assert_allclose(0.1 * perturbation(data)[0], expected, atol=2e-6)


@pytest.mark.parametrize("strength", attacks.STRENGTHS)
def test_one_published_perturbation_serves_all_strengths(strength: str, toys: SimpleNamespace) -> None:
    attack = attacks.create("uap", strength=strength, paper=True)
    assert isinstance(attack, UAP)
    assert attack.untrained() == UAP(paper=True, epsilon=0.1)
    amplitude = {"weak": 0.0784309, "medium": 0.156862, "strong": 0.313725}[strength]  # of the benchmark's table
    assert attack.epsilon / 0.1 == pytest.approx(amplitude, rel=1e-5)
    assert attack.training_size((384, 512)) == (256, 256)


def test_ours_is_trained_for_each_strength_and_size() -> None:
    weak, strong = (attacks.create("uap", strength=strength) for strength in ("weak", "strong"))
    assert isinstance(weak, UAP)
    assert weak.untrained() != strong.untrained()  # type: ignore[attr-defined]
    assert weak.training_size((384, 512)) == (384, 512)


# --- on images ------------------------------------------------------------------------------------------------------


@given(size=st.tuples(st.integers(1, 23), st.integers(1, 23)), part=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_perturbation_is_repeated_from_the_top_left_and_cut(size: tuple[int, int], part: tuple[int, int]) -> None:
    values = np.random.RandomState(0).standard_normal((1, 3, *part))
    expected = np.tile(values, (1, 1, 24, 24))[:, :, : size[0], : size[1]]
    np.testing.assert_array_equal(tiled(torch.from_numpy(values), size).numpy(), expected)


@pytest.mark.parametrize("paper", [False, True])
def test_every_image_gets_the_same_levels_where_none_is_cut_off(paper: bool, toys: SimpleNamespace) -> None:
    signs = np.sign(np.random.RandomState(3).standard_normal((1, 3, 5, 4)))
    clean = toys.pictures(3, 11, 9)
    wanted = np.tile(signs, (1, 1, 3, 3))[:, :, :11, :9]
    metric = toys.Linear(torch.from_numpy(wanted[0]).float())
    result = given_perturbation(signs, epsilon=4 / 255, paper=paper)(metric, clean)
    np.testing.assert_array_equal(levels(result.images) - levels(clean), np.broadcast_to(4 * wanted, clean.shape))


def test_black_and_white_stay_in_range(toys: SimpleNamespace) -> None:
    clean = torch.cat([torch.zeros(1, 3, 6, 6), torch.ones(1, 3, 6, 6)])
    result = given_perturbation(np.ones((1, 3, 6, 6)), epsilon=8 / 255)(toys.Linear(torch.ones(3, 6, 6)), clean)
    assert levels(result.images)[0].min() == levels(result.images)[0].max() == 8
    assert torch.equal(result.images[1], clean[1])


def test_an_image_is_perturbed_alike_in_any_company(toys: SimpleNamespace) -> None:
    attack = given_perturbation(np.random.RandomState(3).uniform(-1, 1, (1, 3, 8, 9)))
    metric, clean = toys.Linear(toys.gaussian()), toys.pictures(5)
    whole = attack(metric, clean).images
    assert torch.equal(attack(metric, clean[3:4]).images, whole[3:4])


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="rate"):
        UAP(rate=rate)
