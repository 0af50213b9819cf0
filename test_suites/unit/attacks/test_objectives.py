"""The objective: signs, counters, budgets, the best image, and gradients, each against a count or formula of ours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.objectives import LOWER, RAISE, BudgetExhausted, Towards
from iqa_robustness.errors import AttackContractError, NonFiniteScoreError, ScoreShapeError
from iqa_robustness.streams import Streams

# --- counters -------------------------------------------------------------------------------------------------------


def test_every_pass_of_every_image_is_counted_by_its_row(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    metric = toys.Linear(toys.gaussian())
    objective = toys.objective(metric, clean)
    objective.query_clean()
    objective.query_clean()
    objective.values(clean[[2, 0, 2, 2]], torch.tensor([2, 0, 2, 2]))
    objective.values_and_gradients(clean)
    objective.values_and_gradients(clean[[1]], torch.tensor([1]))
    assert objective.forwards.tolist() == [3, 3, 5]
    assert objective.backwards.tolist() == [1, 2, 1]
    assert metric.rows == 11


def test_each_draw_of_a_stochastic_metric_is_counted(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Noisy(toys.gaussian())
    objective = toys.objective(metric, clean, draws=3)
    objective.values(clean[[1, 1]], torch.tensor([1, 1]))
    objective.values_and_gradients(clean)
    assert objective.forwards.tolist() == [3, 9]
    assert objective.backwards.tolist() == [3, 3]
    assert metric.rows == 12


def test_a_deterministic_metric_is_never_averaged(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Linear(toys.gaussian()), clean, draws=8)
    objective.query_clean()
    assert objective.forwards.tolist() == [1, 1]


@given(
    calls=st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=8),
    limit=st.integers(1, 7),
    draws=st.integers(1, 2),
    reserve=st.integers(0, 1),
)
@settings(deadline=None, max_examples=60)
def test_no_sequence_of_queries_exceeds_the_limit_and_what_is_not_paid_for_is_not_evaluated(
    toys: SimpleNamespace, calls: list[list[int]], limit: int, draws: int, reserve: int
) -> None:
    clean = toys.pictures(3)
    metric = toys.Noisy(toys.gaussian())
    objective = toys.objective(metric, clean, draws=draws, max_forwards=limit, reserve=reserve)
    spent = [0, 0, 0]
    for call in calls:
        rows = torch.tensor(call, dtype=torch.int64)
        able = []
        for row in call:
            able.append(spent[row] + (1 + reserve) * draws <= limit)
            spent[row] += draws if able[-1] else 0
        if call and not any(able):
            with pytest.raises(BudgetExhausted):
                objective.values(clean[rows], rows)
            continue
        assert torch.isfinite(objective.values(clean[rows], rows)).tolist() == able
        assert objective.forwards.tolist() == spent
    assert objective.forwards.tolist() == spent
    assert metric.rows == sum(spent)
    assert max(spent) <= limit - reserve * draws or not any(spent)


def test_gradients_are_refused_unless_every_image_keeps_the_reserve(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Linear(toys.gaussian()), clean, max_forwards=5, reserve=3)
    objective.values_and_gradients(clean)
    objective.values_and_gradients(clean[[1]], torch.tensor([1]))
    with pytest.raises(BudgetExhausted):
        objective.values_and_gradients(clean)
    assert objective.forwards.tolist() == [1, 2]
    objective.values_and_gradients(clean[[0]], torch.tensor([0]))
    assert objective.forwards.tolist() == [2, 2]


def test_unfinished_rows_can_pay_and_have_not_arrived(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    metric = toys.Broken(lambda images: images[:, 0, 0, 0])
    wanted = float(clean[1, 0, 0, 0])
    objective = toys.objective(metric, clean, goal=Towards(score=wanted, tolerance=1e-4), max_forwards=2)
    assert objective.unfinished().tolist() == [0, 1, 2]
    objective.query_clean()
    assert objective.unfinished().tolist() == [0, 2]
    objective.values(clean[[0]], torch.tensor([0]))
    assert objective.unfinished().tolist() == [2]
    objective.reserve = 1
    assert objective.unfinished().tolist() == []


# --- the best image -------------------------------------------------------------------------------------------------


@given(levels=st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_the_best_rounded_admissible_image_of_each_row_is_remembered_the_clean_one_included(
    toys: SimpleNamespace, levels: list[tuple[int, int]]
) -> None:
    clean = toys.pictures(3)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean, epsilon=4 / 255)
    objective.query_clean()
    best = [0, 0, 0]
    rows = torch.tensor([row for row, _ in levels])
    # A third of a level more: what is remembered is what 8 bits hold of it.
    shifts = torch.tensor([(level + 0.33) / 255 for _, level in levels])[:, None, None, None]
    objective.values(clean[rows] + shifts, rows)
    for row, level in levels:
        best[row] = max(best[row], min(level, 4))
    expected = torch.stack([(clean[row] * 255 + best[row]).round() / 255 for row in range(3)])
    assert torch.equal(objective.best, expected)
    assert objective.best_values.tolist() == pytest.approx(expected.mean(dim=(1, 2, 3)).tolist(), rel=1e-6)


def test_of_equal_candidates_the_first_is_kept(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images[:, 0, 0, 0]), clean)
    candidates = clean[[1, 1, 0]].clone()
    candidates[:, 0, 0, 0] += 1 / 255
    candidates[0, 1, 1, 1] += 1 / 255
    objective.values(candidates, torch.tensor([1, 1, 0]))
    assert torch.equal(objective.best[1], objective.budget.admit(candidates[:1], clean[1:])[0])
    objective.values(clean)
    assert not torch.equal(objective.best[1], clean[1])


def test_what_callers_do_to_the_answers_does_not_change_what_is_remembered(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    for first in ("query_clean", "gradients"):
        objective = toys.objective(toys.Linear(toys.gaussian()), clean)
        answers = objective.query_clean() if first == "query_clean" else objective.values_and_gradients(clean)[0]
        expected = answers.clone()
        answers += 7
        assert torch.equal(objective.query_clean(), expected)
        assert torch.equal(objective.best_values, expected)
        objective.values(clean)
        assert not objective.responded.any()


def test_an_unaffordable_candidate_is_never_the_best(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean, max_forwards=2)
    objective.query_clean()
    values = objective.values(clean[[0, 0, 1]] + 4 / 255, torch.tensor([0, 0, 1]))
    assert torch.isfinite(values).tolist() == [True, False, True]
    with pytest.raises(BudgetExhausted):
        objective.values(clean + 4 / 255)
    assert objective.forwards.tolist() == [2, 2]


def test_a_query_in_floating_point_is_paid_for_kept_in_the_budget_and_not_remembered(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images.double().mean(dim=(1, 2, 3)).float()), clean)
    base = objective.query_clean()
    small = objective.values(clean + 0.2 / 255, rounded=False)
    assert torch.allclose(small - base, torch.tensor(0.2 / 255), atol=2e-5)
    assert torch.equal(objective.values(clean + 0.2 / 255), base)  # an 8-bit image cannot hold so little
    far = objective.values(clean[[1]] + 1, torch.tensor([1]), rounded=False)
    reach = objective.budget.project(clean + 1, clean)[1].mean()
    assert float(far) == pytest.approx(float(reach), rel=1e-6)
    assert torch.equal(objective.best, clean)
    assert objective.forwards.tolist() == [3, 4]


def test_of_the_images_gradients_were_taken_at_the_best_is_remembered_as_it_was(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean)
    for shift in (0.3 / 255, 1.7 / 255, 0.9 / 255):
        objective.values_and_gradients(clean + shift)
    assert torch.equal(objective.iterate, clean + 1.7 / 255)
    assert torch.allclose(objective.iterate_values, (clean + 1.7 / 255).mean(dim=(1, 2, 3)))


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("goal", [RAISE, LOWER, Towards(score=-0.3)])
def test_gradients_are_finite_differences_of_the_values(
    toys: SimpleNamespace, goal: object, higher_is_better: bool
) -> None:
    clean = toys.pictures(2)
    metric = toys.Quadratic(
        toys.gaussian().abs(),
        toys.gaussian(seed=5, scale=1),
        score_range=(-4.0, 3.0),
        higher_is_better=higher_is_better,
    )
    objective = toys.objective(metric, clean, goal=goal)
    values, gradients = objective.values_and_gradients(clean)
    direction = torch.from_numpy(np.random.RandomState(3).standard_normal(clean.shape).astype(np.float32))
    direction /= direction.flatten(1).norm(dim=1)[:, None, None, None]

    def exact(images: torch.Tensor) -> torch.Tensor:
        weights, centre = metric.weights.double(), metric.centre.double()
        scores = -(weights * (images - centre).square()).flatten(1).sum(dim=1)
        return goal.values(scores, metric.spec)

    step = 1e-4 * direction.double()
    slope = (exact(clean.double() + step) - exact(clean.double() - step)) / 2e-4
    assert torch.allclose(values.double(), exact(clean.double()), rtol=1e-5, atol=1e-6)
    assert torch.allclose((gradients.double() * direction).flatten(1).sum(dim=1), slope, rtol=1e-4, atol=1e-7)


def test_values_and_gradients_of_a_stochastic_metric_are_means_over_its_draws(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    values, gradients = toys.objective(toys.Dimmed(weights), clean, draws=4).values_and_gradients(clean)
    streams = Streams("key", ["a", "b"])
    factors = sum(streams.uniform() for _ in range(4)) / 4
    assert torch.allclose(gradients, factors[:, None, None, None] * weights, rtol=1e-5)
    assert torch.allclose(values, factors * (clean * weights).flatten(1).sum(dim=1), rtol=1e-5)
    assert not torch.allclose(factors[0], factors[1])


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_flagged_and_becomes_zero(toys: SimpleNamespace, poison: float) -> None:
    clean = toys.pictures(3)

    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(_: object, images: torch.Tensor) -> torch.Tensor:
            return images.clone()

        @staticmethod
        def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
            gradient = gradient.clone()
            gradient[1, 0, 0, 0] = poison
            return gradient

    metric = toys.Broken(lambda images: Poison.apply(images).mean(dim=(1, 2, 3)))
    objective = toys.objective(metric, clean)
    values, gradients = objective.values_and_gradients(clean)
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradients).all()
    assert float(gradients[1, 0, 0, 0]) == 0
    assert objective.gradient_finite.tolist() == [True, False, True]
    assert objective.gradient_nonzero.tolist() == [True, True, True]


def test_a_zero_gradient_is_not_counted_as_one(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    scale = torch.tensor([1.0, 0.0, 1.0])
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3)) * scale), clean)
    objective.values_and_gradients(clean)
    assert objective.gradient_nonzero.tolist() == [True, False, True]


def test_the_trace_is_the_mean_value_of_each_gradient_step(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean)
    objective.values(clean)
    for shift in (0.0, 0.01):
        objective.values_and_gradients(clean + shift)
    assert objective.trace == pytest.approx([float(clean.mean()), float(clean.mean()) + 0.01], rel=1e-5)


def test_queries_keep_no_graph_and_answers_carry_none(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian().requires_grad_(True))
    objective = toys.objective(metric, clean)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        answers = objective.values(clean)
    assert saved == []
    assert metric.modes == ["query"]
    values, gradients = objective.values_and_gradients(clean)
    assert metric.modes == ["query", "gradient"]
    assert not any(tensor.requires_grad for tensor in (answers, values, gradients, objective.best, objective.iterate))


def test_an_attack_may_ask_with_a_graph_of_its_own_and_nothing_holds_on_to_it(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    shift = torch.full((2, 1, 1, 1), 1 / 255, requires_grad=True)
    objective = toys.objective(toys.Linear(toys.gaussian().abs()), clean)
    objective.values(clean + shift)
    objective.values_and_gradients(clean + shift)
    assert not objective.best.requires_grad
    assert not objective.iterate.requires_grad


# --- evidence -------------------------------------------------------------------------------------------------------


def test_an_image_responded_once_any_query_differed_from_the_first_look(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    objective = toys.objective(toys.Broken(lambda images: images[:, 0, 0, 0]), clean)
    objective.query_clean()
    assert objective.responded.tolist() == [False, False, False]
    moved = clean.clone()
    moved[:, 1] += 1 / 255  # not looked at by the metric
    objective.values(moved)
    assert objective.responded.tolist() == [False, False, False]
    moved[1, 0, 0, 0] += 1 / 255
    objective.values(moved[[1, 2, 1]], torch.tensor([1, 2, 1]))
    assert objective.responded.tolist() == [False, True, False]
    moved = clean.clone()
    moved[2, 0, 0, 0] -= 1 / 255  # a fall is a response too
    objective.values(moved)
    objective.values(clean)
    assert objective.responded.tolist() == [False, True, True]


def test_gradient_passes_are_evidence_of_a_response_too(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean)
    objective.values_and_gradients(clean)
    objective.values_and_gradients(clean[[1]] + 1 / 255, torch.tensor([1]))
    assert objective.responded.tolist() == [False, True]


# --- companions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 2])
def test_draws_of_an_image_asked_about_repeatedly_do_not_depend_on_companions(
    toys: SimpleNamespace, draws: int
) -> None:
    clean = toys.pictures(3)
    alone = toys.objective(toys.Noisy(toys.gaussian()), clean, draws=draws)
    beside = toys.objective(toys.Noisy(toys.gaussian()), clean, draws=draws)
    candidates = clean[[0, 0, 0]]
    answers = alone.values(candidates, torch.tensor([0, 0, 0]))
    rows = torch.tensor([1, 0, 2, 2, 0, 1, 0])
    others = beside.values(clean[rows], rows)
    assert torch.equal(answers, others[rows == 0])
    assert len(answers.unique()) == 3


def test_all_in_order_and_named_one_by_one_are_the_same_question(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    whole = toys.objective(toys.Noisy(toys.gaussian()), clean).values(clean)
    order = torch.tensor([2, 0, 1])
    named = toys.objective(toys.Noisy(toys.gaussian()), clean).values(clean[order], order)
    assert torch.equal(whole[order], named)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", ["values", "values_and_gradients"])
def test_candidates_and_rows_have_to_fit(toys: SimpleNamespace, ask: str) -> None:
    clean = toys.pictures(1)
    question = getattr(toys.objective(toys.Linear(toys.gaussian()), clean), ask)
    for candidates, rows in (
        (clean.expand(4, -1, -1, -1), None),
        (clean, torch.tensor([0, 0])),
        (clean[:, :, :4], None),
        (clean[0], None),
    ):
        with pytest.raises(AttackContractError, match="the attack asked about"):
            question(candidates, rows)


@pytest.mark.parametrize("ask", ["values", "values_and_gradients"])
def test_an_image_that_holds_nan_is_the_attacks_fault_and_is_named(toys: SimpleNamespace, ask: str) -> None:
    clean = toys.pictures(3)
    metric = toys.Linear(toys.gaussian())
    objective = toys.objective(metric, clean)
    broken = clean[[2, 1]].clone()
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(AttackContractError, match="holds NaN") as caught:
        getattr(objective, ask)(broken, torch.tensor([2, 1]))
    assert caught.value.where.image == "b"
    assert metric.rows == 0


def test_infinite_wishes_are_clamped_into_the_budget(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    objective = toys.objective(toys.Broken(lambda images: images.mean(dim=(1, 2, 3))), clean)
    objective.values(torch.full_like(clean, torch.inf))
    assert torch.equal(objective.best, (clean * 255 + 4).round() / 255)


def test_gradients_of_one_image_are_asked_for_once_a_call(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Linear(toys.gaussian()), clean)
    with pytest.raises(AttackContractError, match="twice"):
        objective.values_and_gradients(clean[[1, 1]], torch.tensor([1, 1]))


def test_no_candidates_cost_nothing(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    objective = toys.objective(metric, clean, max_forwards=1)
    nobody = torch.zeros(0, dtype=torch.int64)
    assert objective.values(clean[:0], nobody).shape == (0,)
    assert objective.forwards.tolist() == [0, 0]
    assert metric.batches == []


def test_candidates_in_double_precision_reach_the_metric_in_single(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Linear(toys.gaussian())
    objective = toys.objective(metric, clean)
    objective.values(clean.double() + 1 / 255)
    objective.values_and_gradients(clean.double())
    assert {batch.dtype for batch in metric.batches} == {torch.float32}


def test_a_metric_that_breaks_its_contract_is_named_with_the_image(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    poisoned = toys.Broken(lambda images: torch.where(images[:, 0, 0, 0] == clean[2, 0, 0, 0], torch.nan, 1.0))
    with pytest.raises(NonFiniteScoreError) as caught:
        toys.objective(poisoned, clean).query_clean()
    assert caught.value.where.image == "c"
    with pytest.raises(ScoreShapeError):
        toys.objective(toys.Broken(lambda images: images.mean()), clean).query_clean()
