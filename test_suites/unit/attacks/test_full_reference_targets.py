"""Attacks on full-reference metrics: raised and lowered against a reference that stays."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.metrics.base import Metric, MetricSpec

EPSILON = 4 / 255


class Similarity(Metric):
    """1 − mean squared difference × 20: the best answer to ε is known for each pixel."""

    spec = MetricSpec(name="similarity", score_range=(0.0, 1.0), full_reference=True)

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        return 1 - 20 * (images - reference).square().mean(dim=(1, 2, 3))


class Distance(Similarity):
    """The same scale upside down."""

    spec = MetricSpec(name="distance", score_range=(0.0, 1.0), higher_is_better=False, full_reference=True)

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        return 1 - super().forward(images, reference=reference)


def distorted(toys: SimpleNamespace, count: int = 3) -> tuple[Tensor, Tensor]:
    """Images away from the ends of the range, and references ten levels beside them on a chequerboard."""
    images = (toys.pictures(count).mul(0.5).add(0.25) * 255).round() / 255
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in images.shape[2:]), indexing="ij")
    return images, images + ((rows + columns) % 2 * 2 - 1) * 10 / 255


@pytest.mark.parametrize("metric", [Similarity(), Distance()])
@pytest.mark.parametrize(("goal", "gap"), [(RAISE, 6 / 255), (LOWER, 14 / 255)])
def test_a_gradient_attack_reaches_the_optimum_against_the_given_reference(
    toys: SimpleNamespace, metric: Metric, goal: object, gap: float
) -> None:
    images, references = distorted(toys)
    result = attacks.create("ifgsm", strength="medium")(metric, images, goal=goal, references=references)  # type: ignore[arg-type]
    change = abs((10 / 255) ** 2 - gap**2) * 20
    assert (result.values - result.clean_values).tolist() == pytest.approx([change] * 3, rel=0.02)


def test_a_query_attack_moves_it_too(toys: SimpleNamespace) -> None:
    images, references = distorted(toys)
    for goal in (RAISE, LOWER):
        result = attacks.create("square", strength="medium", queries=150)(
            Similarity(), images, goal=goal, references=references
        )
        assert (result.values > result.clean_values).all()


def test_an_image_that_is_its_own_reference_is_lowered_though_it_has_no_slope(toys: SimpleNamespace) -> None:
    images, _ = distorted(toys)
    for metric in (Similarity(), Distance()):
        result = attacks.create("ifgsm", strength="medium")(metric, images, goal=LOWER)
        assert (result.values - result.clean_values).tolist() == pytest.approx([20 * EPSILON**2] * 3, rel=0.05)
        assert result.gradient_nonzero.all()


def test_an_image_that_is_its_own_reference_cannot_be_raised(toys: SimpleNamespace) -> None:
    images, _ = distorted(toys)
    result = attacks.create("ifgsm", strength="medium")(Similarity(), images, goal=RAISE)
    assert torch.equal(result.images, images)
    assert torch.equal(result.values, result.clean_values)


def test_the_step_beside_a_reference_is_the_images_own(toys: SimpleNamespace) -> None:
    images, _ = distorted(toys, 4)
    ids = ["a", "b", "c", "d"]
    attack = attacks.create("ifgsm", strength="weak")
    whole = attack(Similarity(), images, goal=LOWER, ids=ids)
    some = attack(Similarity(), images[[2, 0]], goal=LOWER, ids=["c", "a"])
    assert torch.equal(some.images, whole.images[[2, 0]])


def test_only_rows_that_equal_their_reference_are_moved_and_the_budget_is_kept(toys: SimpleNamespace) -> None:
    images, references = distorted(toys, 2)
    references[0] = images[0]
    seen: list[Tensor] = []

    class Watching(Similarity):
        def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return super().forward(images, reference=reference)

    objective = toys.objective(Watching(), images, references=references)
    objective.values_and_gradients(images)
    moved = (seen[0][:2] - images).abs().amax(dim=(1, 2, 3))
    assert moved.tolist() == pytest.approx([0.5 / 255, 0.0], abs=1e-6)


def test_a_target_score_is_hit(toys: SimpleNamespace) -> None:
    images, references = distorted(toys)
    aim = float(Similarity()(images, reference=references)[0]) + 0.01
    result = attacks.create("ifgsm", strength="strong")(
        Similarity(), images, goal=Towards(score=aim), references=references
    )
    assert result.values.abs().max() < 0.005
