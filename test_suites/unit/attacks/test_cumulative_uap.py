"""Cumulative UAP: against closed forms, and the published accumulation in NumPy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact
from iqa_robustness.attacks.cumulative_uap import CumulativeUAP
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.metrics.planted import Vulnerable


def perturbation(data: bytes) -> np.ndarray:
    return Artefact(data=data).tensors()["perturbation"].numpy()


def flat(*levels: float) -> Tensor:
    """One grey image for each level."""
    return torch.tensor(levels)[:, None, None, None].div(255).expand(-1, 3, 8, 9).contiguous()


@pytest.mark.parametrize(("strength", "optimum"), [("weak", 0.25), ("medium", 0.5), ("strong", 1.0)])
@pytest.mark.parametrize("goal", [None, LOWER])
def test_the_planted_metric_is_moved_to_its_optimum(
    strength: str, optimum: float, goal: Any, toys: SimpleNamespace
) -> None:
    options = {} if goal is None else {"goal": goal}
    attack = attacks.create("cumulative-uap", strength=strength, epochs=1)
    assert isinstance(attack, CumulativeUAP)
    attack = replace(attack, artefact=attack.train(Vulnerable(), toys.pictures(4, 36, 48, seed=1), **options))
    result = attack(Vulnerable(), toys.pictures(3, 36, 48, seed=2), **options)
    assert (result.values - result.clean_values >= 0.99 * optimum).all()


def test_its_values_are_signs(toys: SimpleNamespace) -> None:
    weights = toys.gaussian(16, 20)
    data = CumulativeUAP(epochs=1).train(toys.Linear(weights), toys.pictures(6, 16, 20))
    np.testing.assert_array_equal(perturbation(data)[0], weights.sign().numpy())


def test_gradients_are_taken_where_the_sum_has_led(toys: SimpleNamespace) -> None:
    # Grey 100, a top at 102.6 and steps of four levels: slopes 5.2, −2.8, −2.8, 13.2 add up to 5.2, 2.4, −0.4, 12.8.
    metric = toys.Quadratic(torch.ones(3, 8, 9), flat(102.6)[0])
    CumulativeUAP(epochs=5, batch=1, epsilon=4 / 255).train(metric, flat(100.0), micro_batch=1)
    seen = [float(batch.mean() * 255) for batch in metric.batches]
    assert seen == pytest.approx([100, 104, 104, 96, 104], abs=1e-3)


def test_the_steeper_image_outweighs_the_flatter_one(toys: SimpleNamespace) -> None:
    # A slope of 2 · 40 upwards for the first, of 2 · 30 downwards for the second.
    metric = toys.Quadratic(torch.ones(3, 8, 9), flat(140.0)[0])
    data = CumulativeUAP(epochs=1, batch=2).train(metric, flat(100.0, 170.0))
    assert (perturbation(data) == 1).all()


def accumulated(noise: np.ndarray, slope: Any, steps: int) -> np.ndarray:
    """The published loop: add the raw gradient of the mean score ÷ range, clamp to ±0.1; in units of intensity."""
    for _ in range(steps):
        noise = np.clip(noise + slope(noise), -0.1, 0.1)
    return noise


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("diam", [1.0, 50.0])
def test_the_published_accumulation_goes_up_by_raw_gradients(
    higher_is_better: bool, diam: float, toys: SimpleNamespace
) -> None:
    weights, centre = 0.2 * torch.ones(3, 8, 9), torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0))
    pictures = flat(90.0, 120.0, 150.0)
    metric = toys.Quadratic(weights, centre, score_range=(0.0, diam), higher_is_better=higher_is_better)
    data = CumulativeUAP(paper=True, epochs=4, batch=3).train(metric, pictures)
    images, top, noise = pictures.double().numpy(), centre.double().numpy(), np.full((3, 8, 9), 1e-4)
    expected = accumulated(noise, lambda n: (-2 * 0.2 * (images + n - top)).mean(axis=0) / diam, 4)
    np.testing.assert_allclose(0.1 * perturbation(data)[0], expected, atol=1e-6)


def test_raw_gradients_of_a_mean_score_leave_it_near_its_start(toys: SimpleNamespace) -> None:
    pictures = toys.pictures(4, 36, 48)
    published = CumulativeUAP(paper=True, epochs=2).train(Vulnerable(), pictures)
    # Slopes are 31.875 ÷ 5184 a value; two steps of them.
    assert np.abs(0.1 * perturbation(published)).max() == pytest.approx(1e-4 + 2 * 31.875 / 5184, rel=1e-3)
    assert np.abs(perturbation(CumulativeUAP(epochs=2).train(Vulnerable(), pictures))).min() == 1


def test_one_published_perturbation_serves_all_strengths() -> None:
    for strength in attacks.STRENGTHS:
        attack = attacks.create("cumulative-uap", strength=strength, paper=True)
        assert isinstance(attack, CumulativeUAP)
        assert attack.untrained() == CumulativeUAP(paper=True, epsilon=0.1)
        assert attack.training_size((384, 512)) == (256, 256)
        assert replace(attack, paper=False).training_size((384, 512)) == (384, 512)
