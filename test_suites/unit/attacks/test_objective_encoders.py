"""The objective with encoders: means over round trips, exact counts, and the best image after them remembered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import LOWER, RAISE, BudgetExhausted, Towards
from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail

WAYS: tuple[Encoder, ...] = (Lossless(), JpegFile(quality=60), Thumbnail())
SIDES = (16, 24)


def weights(toys: SimpleNamespace) -> Tensor:
    return toys.gaussian(*SIDES, scale=0.002)


@pytest.mark.parametrize(("goal", "higher"), [(RAISE, True), (RAISE, False), (LOWER, True), (Towards(score=0.4), True)])
def test_a_value_is_the_mean_of_the_goals_values_after_each(toys: SimpleNamespace, goal: object, higher: bool) -> None:
    metric, clean = toys.Linear(weights(toys), higher_is_better=higher), toys.pictures(4, *SIDES)
    found = toys.objective(metric, clean, goal=goal, encoders=WAYS).values(clean)
    ways = [goal.values(metric(way.encode(clean)), metric.spec) for way in WAYS]
    assert torch.allclose(found, torch.stack(ways).mean(dim=0), atol=1e-6)
    assert not torch.allclose(found, ways[0], atol=1e-4)


def test_a_gradient_is_the_mean_of_the_slopes_through_each(toys: SimpleNamespace) -> None:
    metric, clean = toys.Linear(weights(toys)), toys.pictures(4, *SIDES)
    values, gradients = toys.objective(metric, clean, encoders=WAYS).values_and_gradients(clean)
    leaf = clean.clone().requires_grad_(True)
    slopes = [torch.autograd.grad(metric(way.surrogate(leaf)).sum(), leaf)[0] for way in WAYS]
    assert torch.allclose(gradients, torch.stack(slopes).mean(dim=0), atol=1e-7)
    # The values are those of the encoders themselves, not of what lends its slope.
    assert torch.allclose(values, toys.objective(metric, clean, encoders=WAYS).values(clean), atol=1e-6)


def test_every_pass_is_counted_also_those_of_a_random_metric(toys: SimpleNamespace) -> None:
    clean = toys.pictures(4, *SIDES)
    for metric, draws in ((toys.Linear(weights(toys)), 1), (toys.Noisy(weights(toys)), 2)):
        objective = toys.objective(metric, clean, encoders=WAYS, draws=2)
        assert objective.passes == 3 * draws
        objective.values(clean)
        objective.values_and_gradients(clean[1:3], torch.tensor([1, 2]))
        assert objective.forwards.tolist() == [3 * draws, 6 * draws, 6 * draws, 3 * draws]
        assert objective.backwards.tolist() == [0, 3 * draws, 3 * draws, 0]
        assert metric.rows == int(objective.forwards.sum())


def test_a_limit_pays_for_whole_values_only(toys: SimpleNamespace) -> None:
    metric, clean = toys.Linear(weights(toys)), toys.pictures(1, *SIDES)
    objective = toys.objective(metric, clean, encoders=WAYS, max_forwards=8)
    objective.values(clean)
    assert objective.unfinished().tolist() == [0]
    objective.values(clean)
    assert objective.unfinished().tolist() == []
    with pytest.raises(BudgetExhausted):
        objective.values(clean)
    assert metric.rows == 6


def test_the_best_image_is_the_one_that_is_best_after_the_round_trips(toys: SimpleNamespace) -> None:
    """Two candidates: a chequerboard that a thumbnail wipes out, and a smaller step of all pixels that it leaves."""
    clean = torch.full((1, 3, *SIDES), 120 / 255)
    rows, columns = torch.meshgrid(torch.arange(SIDES[0]), torch.arange(SIDES[1]), indexing="ij")
    board = ((rows + columns) % 2 * 2.0 - 1).expand(3, *SIDES)
    metric = toys.Linear((3 * board + 1) / 1000)
    fine, flat = clean + 4 / 255 * board, clean + 4 / 255
    both, owners = torch.cat([fine, flat]), torch.tensor([0, 0])
    plain, robust = toys.objective(metric, clean), toys.objective(metric, clean, encoders=(Thumbnail(),))
    for objective, best in ((plain, fine), (robust, flat)):
        objective.values(both, owners)
        assert torch.equal(objective.best, objective.budget.admit(best, clean))
    # What is remembered is the image that goes in, not what comes out.
    assert not torch.equal(Thumbnail().encode(fine), fine)


def test_with_nothing_in_between_it_is_the_objective_as_ever_bit_for_bit(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, *SIDES)
    for metric in (toys.Linear(weights(toys)), toys.Noisy(weights(toys))):
        plain, named = toys.objective(metric, clean, draws=2), toys.objective(metric, clean, draws=2, encoders=WAYS[:1])
        assert torch.equal(plain.values(clean), named.values(clean))
        for one, other in zip(plain.values_and_gradients(clean), named.values_and_gradients(clean), strict=True):
            assert torch.equal(one, other)


# --- parts ----------------------------------------------------------------------------------------------------------


def test_a_part_asks_about_its_rows_and_the_whole_takes_it_in(toys: SimpleNamespace) -> None:
    metric, clean = toys.Linear(weights(toys)), toys.pictures(4, *SIDES)
    whole, rows, others = toys.objective(metric, clean), torch.tensor([0, 2]), torch.tensor([1, 3])
    part, rest = whole.part(rows), whole.part(others)
    part.query_clean()
    part.values_and_gradients(clean[rows])
    for one, places in ((part, rows), (rest, others)):
        whole.absorb(one, places)
    expected = toys.objective(metric, clean).query_clean()
    assert torch.allclose(whole.query_clean(), expected)
    assert whole.forwards.tolist() == [2, 1, 2, 1]
    assert whole.backwards.tolist() == [1, 0, 1, 0]
    assert whole.gradient_nonzero.tolist() == [True, False, True, False]
    assert whole.trace == part.trace
    assert metric.rows == 6 + 4  # and those of `expected`


def test_a_part_draws_what_its_images_draw_in_the_whole(toys: SimpleNamespace) -> None:
    metric, clean = toys.Noisy(weights(toys)), toys.pictures(4, *SIDES)
    together = toys.objective(metric, clean, encoders=WAYS, draws=2).values(clean)
    rows = torch.tensor([3, 1])
    part = toys.objective(metric, clean, encoders=WAYS, draws=2).part(rows)
    assert torch.equal(part.values(clean[rows]), together[rows])
