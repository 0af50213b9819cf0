"""AMI-FGSM: gradients added up as they are, and a bound that falls with the image's NIQE."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.ami_fgsm import AMIFGSM
from iqa_robustness.attacks.mi_fgsm import MIFGSM
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics import niqe
from iqa_robustness.metrics.base import Metric, MetricSpec

STRENGTHS = {"weak": 2, "medium": 4, "strong": 8}


class Brightness(Metric):
    """In NIQE's place: twenty times the mean, 5 to 15 for the pictures below."""

    spec = MetricSpec(name="niqe", score_range=(0.0, 20.0), higher_is_better=False)

    def forward(self, images: Tensor) -> Tensor:
        return 20 * images.mean(dim=(1, 2, 3))


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def plain(toys: SimpleNamespace) -> Tensor:
    """Three pictures of rising brightness: 0.25, 0.5 and 0.75 in the mean, about."""
    return torch.cat([toys.pictures(1, seed=n, low=low, high=low + 20) for n, low in enumerate((54, 118, 182))])


@pytest.fixture
def _niqe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niqe, "Niqe", Brightness)


@pytest.mark.parametrize(("strength", "reached"), STRENGTHS.items())
def test_the_strengths_are_two_four_and_eight_whole_levels(toys: SimpleNamespace, strength: str, reached: int) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    result = attacks.create("ami-fgsm", strength=strength)(toys.Linear(weights), clean)
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(reached * np.sign(weights.numpy()).astype(int), moved.shape))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_the_direction_is_the_sign_of_the_sum_of_all_gradients(toys: SimpleNamespace, decay: float, seed: int) -> None:
    clean = toys.pictures(1, 6, 7, seed=seed, low=0, high=256)
    weights = toys.gaussian(6, 7, seed=seed + 50).abs() + 0.002
    metric = toys.Quadratic(weights, clean[0] + toys.gaussian(6, 7, seed=seed, scale=3 / 255))
    epsilon, steps = 5.3 / 255, 9
    AMIFGSM(epsilon=epsilon, steps=steps, decay=decay)(metric, clean)
    w, c, x0 = metric.weights.double().numpy(), metric.centre.double().numpy(), levels(clean)[0] / 255
    current, total = x0, np.zeros_like(x0)
    for batch in metric.batches[:steps]:
        assert (np.abs(batch[0].numpy() - current) > 1e-5).mean() < 0.01
        total = decay * total - 2 * w * (current - c)
        moved = current + epsilon / steps * np.sign(total)
        current = np.clip(moved, np.maximum(x0 - epsilon, 0), np.minimum(x0 + epsilon, 1))


def test_the_published_code_differs_from_that_of_mi_fgsm_in_its_step_alone(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 6, 7)
    metric = toys.Quadratic(toys.gaussian(6, 7).abs(), clean[0] + toys.gaussian(6, 7, scale=3 / 255))
    ours = AMIFGSM(paper=True, epsilon=10 / 255)(metric, clean)
    theirs = MIFGSM(paper=True, epsilon=10 / 255, alpha=1 / 255)(metric, clean)
    assert torch.equal(ours.images, theirs.images)


@pytest.mark.usefixtures("_niqe")
def test_an_image_may_change_by_the_scale_over_its_niqe_and_at_most_by_epsilon(toys: SimpleNamespace) -> None:
    clean = plain(toys)
    scale = 6 / 255 * 10  # 6 levels at NIQE 10
    result = AMIFGSM(epsilon=8 / 255, niqe_scale=scale)(toys.Linear(toys.gaussian()), clean)
    bounds = scale / Brightness()(clean).numpy() * 255
    assert bounds[0] > 8 > bounds[1] > bounds[2] > 3
    for row, bound in enumerate(np.minimum(bounds, 8)):
        reached = set(np.unique(np.abs(levels(result.images)[row] - levels(clean)[row])))
        assert reached == {round(float(bound))}


@pytest.mark.usefixtures("_niqe")
def test_the_steps_are_a_share_of_the_images_own_bound(toys: SimpleNamespace) -> None:
    clean = plain(toys)
    metric = toys.Linear(toys.gaussian())
    AMIFGSM(epsilon=8 / 255, steps=4, niqe_scale=0.2)(metric, clean)
    bounds = np.minimum(0.2 / Brightness()(clean).numpy(), 8 / 255)
    for step, batch in enumerate(metric.batches[:4]):
        away = (batch[:3] - clean).abs().flatten(1).amax(dim=1).numpy()
        assert away == pytest.approx(step / 4 * bounds, abs=1e-6)


@pytest.mark.usefixtures("_niqe")
def test_an_images_bound_does_not_depend_on_its_companions(toys: SimpleNamespace) -> None:
    clean = plain(toys)
    attack = AMIFGSM(epsilon=8 / 255, niqe_scale=0.2)
    metric = toys.Linear(toys.gaussian())
    whole, alone = attack(metric, clean), attack(metric, clean[1:2], ids=["1"])
    assert torch.equal(whole.images[1:2], alone.images)
    assert attack(metric, clean[:0]).images.shape == (0, 3, 8, 9)


def test_without_the_parameters_of_niqe_only_the_dependent_bound_is_refused(
    toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(tmp_path))
    metric = toys.Linear(toys.gaussian())
    assert float(AMIFGSM()(metric, toys.pictures(1)).values) > 0
    with pytest.raises(WeightsError) as caught:
        AMIFGSM(niqe_scale=0.06)(metric, toys.pictures(1))
    assert caught.value.where.attack == "ami-fgsm"
    assert "niqe" in str(caught.value)


def test_the_cost_is_one_forward_and_one_backward_a_step_and_the_final_check(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    result = AMIFGSM()(metric, toys.pictures(3))
    assert set(result.backwards.tolist()) == {10}
    assert set(result.forwards.tolist()) <= {11, 12}
    assert metric.rows == int(result.forwards.sum())


@pytest.mark.parametrize(
    "parameters",
    [{"steps": 0}, {"decay": -1.0}, {"niqe_scale": 0.0}, {"niqe_scale": float("nan")}, {"epsilon": 4.0}],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        AMIFGSM(**parameters)
