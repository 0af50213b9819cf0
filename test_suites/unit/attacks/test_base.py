"""The template: what every attack gets from it, and what no attack may do, shown on small scripted attacks."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.objectives import LOWER, RAISE, BudgetExhausted, Objective, Towards
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.attacks.square import Square
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.errors import (
    AttackContractError,
    CapabilityError,
    ConfigurationError,
    ImageContractError,
    NonFiniteScoreError,
    ScoreShapeError,
)
from iqa_robustness.streams import Streams

EPSILON = 4 / 255
BOTH = [IFGSM(), Square(queries=40)]


def down_and_back(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
    """Sees something good, then walks off to something bad."""
    del streams
    objective.values(images + 2 / 255)
    objective.values(images - 3 / 255)
    return images - 3 / 255


def stay(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
    """Asks nothing."""
    return images


def brightness(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2, 3))


# --- what is returned -----------------------------------------------------------------------------------------------


def test_the_best_image_seen_is_returned_not_the_last(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    result = toys.Scripted(search=down_and_back)(toys.Broken(brightness), clean)
    assert torch.equal(result.images, (clean * 255 + 2).round() / 255)
    assert torch.allclose(result.values, brightness(clean) + 2 / 255)
    assert torch.allclose(result.clean_values, brightness(clean))


@pytest.mark.parametrize("kind", ["Scripted", "ScriptedQueries"])
def test_paper_returns_the_last_iterate_even_where_it_is_worse_than_clean(toys: SimpleNamespace, kind: str) -> None:
    clean = toys.pictures(2)
    result = getattr(toys, kind)(search=down_and_back, paper=True)(toys.Broken(brightness), clean)
    assert torch.equal(result.images, (clean * 255 - 3).round() / 255)
    assert torch.allclose(result.values, brightness(clean) - 3 / 255)
    assert (result.values < result.clean_values).all()


@pytest.mark.parametrize("kind", ["Scripted", "ScriptedQueries"])
def test_an_attack_that_only_makes_it_worse_returns_the_clean_image(toys: SimpleNamespace, kind: str) -> None:
    clean = toys.pictures(2)

    def sink(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        objective.values(images - 1 / 255)
        return images - 1 / 255

    result = getattr(toys, kind)(search=sink)(toys.Broken(brightness), clean)
    assert torch.equal(result.images, clean)
    assert torch.equal(result.values, result.clean_values)


def test_where_nothing_changes_the_score_the_clean_image_is_returned(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    flat = toys.Broken(lambda images: images.new_full((len(images),), 0.5))
    walk = toys.Scripted(search=lambda _, images, __: images + 3 / 255)
    for attack in (walk, *BOTH):
        result = attack(flat, clean)
        assert torch.equal(result.images, clean)
        assert not result.responded.any()


def test_the_best_iterate_is_rounded_and_scored_at_the_end(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)

    def pass_by(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        objective.values_and_gradients(images)
        objective.values_and_gradients(images + 2.2 / 255)
        return images + 1.2 / 255

    metric = toys.Broken(brightness)
    result = toys.Scripted(search=pass_by)(metric, clean)
    assert torch.equal(result.images, (clean * 255 + 2).round() / 255)
    assert torch.allclose(result.values, brightness(result.images))
    # Two gradient passes, the last iterate and the best one; the clean value comes from the first gradient.
    assert result.forwards.tolist() == [4, 4]
    assert result.backwards.tolist() == [2, 2]
    assert metric.rows == 8


@pytest.mark.parametrize("back", [False, True])
def test_an_image_that_has_been_scored_is_not_scored_again_at_the_end(toys: SimpleNamespace, back: bool) -> None:
    clean = toys.pictures(2)

    def go(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        reached = images + (0 if back else 2.2 / 255)  # 8 bits hold less of it than its gradient saw
        objective.values_and_gradients(images)
        objective.values_and_gradients(reached)
        return images - 1 / 255 if back else reached

    metric = toys.Broken(brightness)
    result = toys.Scripted(search=go)(metric, clean)
    assert result.forwards.tolist() == [3, 3]
    assert torch.equal(result.images, clean if back else (clean * 255 + 2).round() / 255)


@pytest.mark.parametrize("attack", BOTH)
@pytest.mark.parametrize("goal", [RAISE, LOWER, Towards(score=0.45)])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_result_is_never_worse_than_clean_and_its_value_is_that_of_the_image(
    toys: SimpleNamespace, attack: object, goal: object, higher_is_better: bool
) -> None:
    clean = toys.pictures(3)
    metric = toys.Quadratic(
        toys.gaussian().abs(), torch.full((3, 8, 9), 0.5), score_range=(-2.0, 1.0), higher_is_better=higher_is_better
    )
    result = attack(metric, clean, goal=goal)
    assert (result.values >= result.clean_values).all()
    assert torch.equal(goal.values(metric(result.images), metric.spec), result.values)
    assert torch.allclose(goal.values(metric(clean), metric.spec), result.clean_values)
    assert torch.equal(result.images, (result.images * 255).round() / 255)
    assert float((result.images - clean).abs().max()) <= EPSILON + 1e-7


@pytest.mark.parametrize("attack", BOTH)
def test_raising_a_lower_is_better_metric_lowers_its_score(toys: SimpleNamespace, attack: object) -> None:
    clean = toys.pictures(2)
    metric = toys.Broken(brightness, higher_is_better=False)
    assert (metric(attack(metric, clean, goal=RAISE).images) < metric(clean)).all()
    assert (metric(attack(metric, clean, goal=LOWER).images) > metric(clean)).all()


def test_images_are_rounded_before_they_are_attacked(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    result = toys.Scripted(search=stay)(toys.Broken(brightness), clean + 0.3 / 255)
    assert torch.equal(result.clean, clean)
    assert torch.equal(result.images, clean)


@pytest.mark.parametrize("attack", BOTH)
def test_the_callers_images_are_not_changed(toys: SimpleNamespace, attack: object) -> None:
    clean = toys.pictures(2)
    before = clean.clone()
    result = attack(toys.Linear(toys.gaussian()), clean)
    assert torch.equal(clean, before)
    assert result.images.data_ptr() != clean.data_ptr()


def test_an_attack_that_works_in_place_cannot_move_the_clean_image(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)

    def in_place(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        for _ in range(5):
            objective.values(images.add_(3 / 255))
        return images

    result = toys.Scripted(search=in_place)(toys.Broken(brightness), clean)
    assert torch.equal(result.clean, clean)
    assert torch.equal(result.images, (clean * 255 + 4).round() / 255)


def test_images_with_a_graph_are_attacked_without_it(toys: SimpleNamespace) -> None:
    result = IFGSM()(toys.Linear(toys.gaussian()), toys.pictures(1).requires_grad_(True))
    assert not result.images.requires_grad
    assert not result.clean.requires_grad


# --- repeatability --------------------------------------------------------------------------------------------------


def noisy_walk(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
    """Draws for every image, and asks about each of them several times."""
    current = images
    for _ in range(4):
        rows = torch.arange(len(images)).repeat_interleave(2)
        candidates = current[rows] + streams.select(rows).signs(*images.shape[1:]) * 1.4 / 255
        answers = objective.values(candidates, rows).view(-1, 2)
        current = candidates[torch.arange(0, 2 * len(images), 2) + answers.argmax(dim=1)]
    return current


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("which", ["ifgsm", "square", "scripted"])
def test_an_image_is_attacked_alike_in_any_company_order_and_position(
    toys: SimpleNamespace, which: str, stochastic: bool
) -> None:
    attack = {
        "ifgsm": IFGSM(),
        "square": Square(queries=25),
        "scripted": toys.ScriptedQueries(search=noisy_walk),
    }[which]
    clean, ids = toys.pictures(5), ["a", "b", "c", "d", "e"]
    metric = (toys.Noisy if stochastic else toys.Linear)(toys.gaussian())
    options = {"seed": 3, "key": "k", "draws": 2, "micro_batch": 2}
    whole = attack(metric, clean, ids=ids, **options)
    for chosen in ([4, 2, 0, 1, 3], [2], [3, 1], [0, 1, 2]):
        part = attack(metric, clean[chosen], ids=[ids[row] for row in chosen], **options)
        for name in ("images", "values", "clean_values", "forwards", "backwards", "responded"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[chosen]), name


def test_seed_key_and_id_decide_every_draw(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(1).expand(2, -1, -1, -1), toys.Linear(toys.gaussian())
    attack = Square(queries=40)

    def images(**options: object) -> Tensor:
        return attack(metric, clean, **{"ids": ["a", "b"], **options}).images

    first = images()
    assert torch.equal(images(), first)
    assert torch.equal(images(seed=0, key=""), first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(images(seed=1), first)
    assert not torch.equal(images(key="other"), first)
    assert torch.equal(images(ids=["b", "a"]), first.flip(0))


def test_attack_and_metric_draw_from_independent_streams(toys: SimpleNamespace) -> None:
    drawn = []

    def look(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        drawn.extend([streams.normal(50), objective.streams.select([0, 1]).normal(50)])
        return images

    toys.Scripted(search=look)(toys.Broken(brightness), toys.pictures(2))
    correlation = torch.corrcoef(torch.cat(drawn))
    assert float((correlation - torch.eye(4)).abs().max()) < 0.5


@pytest.mark.parametrize("attack", BOTH)
@pytest.mark.parametrize("size", [(1, 3, 9, 7), (1, 3, 2, 2), (5, 3, 8, 8), (1, 3, 1, 17)])
def test_single_images_and_odd_sizes_are_attacked(toys: SimpleNamespace, attack: object, size: tuple[int, ...]) -> None:
    clean = toys.pictures(size[0], *size[2:])
    result = attack(toys.Broken(brightness), clean)
    assert result.images.shape == size
    assert (result.values > result.clean_values).all()


@pytest.mark.parametrize("attack", [*BOTH, IFGSM(paper=True), Square(queries=5, paper=True)])
def test_no_images_are_attacked_at_no_cost_and_without_an_error(toys: SimpleNamespace, attack: object) -> None:
    metric = toys.Broken(brightness)
    result = attack(metric, toys.pictures(2)[:0], max_forwards=20)
    assert result.images.shape == (0, 3, 8, 9)
    assert result.values.shape == result.clean_values.shape == result.forwards.shape == (0,)
    assert result.trace == ()
    assert metric.batches == []


# --- costs ----------------------------------------------------------------------------------------------------------


def greedy(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
    """Mixes gradients and queries, some images more often than others, until stopped."""
    current = images
    for step in range(50):
        objective.values_and_gradients(current)
        current = (current + 0.3 / 255).clamp(0, 1)
        rows = torch.arange(len(images)).repeat(2)[: 1 + step % (2 * len(images))]
        objective.values(current[rows], rows)
    return current


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("limit", [8, 9, 11, 14, 23])
@pytest.mark.parametrize("which", ["ifgsm", "square", "greedy"])
def test_no_image_ever_spends_more_than_the_limit_and_every_attack_ends_with_a_result(
    toys: SimpleNamespace, which: str, limit: int, paper: bool, stochastic: bool
) -> None:
    attack = {
        "ifgsm": IFGSM(steps=40, alpha=0.1 / 255, paper=paper),
        "square": Square(queries=100, paper=paper),
        "greedy": toys.Scripted(search=greedy, paper=paper),
    }[which]
    metric = (toys.Noisy if stochastic else toys.Linear)(toys.gaussian().abs())
    result = attack(metric, toys.pictures(3), max_forwards=limit, draws=2)
    assert int(result.forwards.max()) <= limit
    assert metric.rows == int(result.forwards.sum())
    # The limit is used: what is left would not pay for a step and the checks.
    assert int(result.forwards.max()) > limit - 4 * (1 + stochastic)
    assert torch.isfinite(result.values).all()
    assert torch.isfinite(result.clean_values).all()


@pytest.mark.parametrize(
    ("attack", "least"), [(IFGSM(), 4), (IFGSM(paper=True), 4), (Square(), 2), (Square(paper=True), 3)]
)
def test_a_limit_that_pays_for_no_step_is_refused(toys: SimpleNamespace, attack: object, least: int) -> None:
    metric, clean = toys.Noisy(toys.gaussian()), toys.pictures(2)
    with pytest.raises(ConfigurationError, match="do not pay for one step") as caught:
        attack(metric, clean, max_forwards=3 * least - 1, draws=3)
    assert caught.value.where.attack == attack.name
    assert metric.rows == 0
    assert int(attack(metric, clean, max_forwards=3 * least, draws=3).forwards.max()) <= 3 * least


def test_a_search_that_runs_out_keeps_its_best(toys: SimpleNamespace) -> None:
    def until_exhausted(objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        for level in (2, 1, 1, 1, 1, 1):
            objective.values(images + level / 255)
        raise AssertionError("the budget should have ended this")

    clean = toys.pictures(2)
    result = toys.ScriptedQueries(search=until_exhausted)(toys.Broken(brightness), clean, max_forwards=5)
    assert torch.equal(result.images, (clean * 255 + 2).round() / 255)
    assert result.forwards.tolist() == [5, 5]


def test_query_attacks_know_the_clean_value_first_and_spend_no_backward_pass(toys: SimpleNamespace) -> None:
    metric, clean = toys.Broken(brightness), toys.pictures(2)
    result = toys.ScriptedQueries(search=stay)(metric, clean, micro_batch=2)
    assert torch.equal(metric.batches[0], clean)
    assert result.forwards.tolist() == [1, 1]
    assert result.backwards.tolist() == [0, 0]
    assert result.gradient_finite.all()
    assert result.gradient_nonzero.all()  # said of an attack without gradients, so that no reader takes it for masked


def test_the_clean_value_is_not_paid_for_twice(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    result = IFGSM(steps=7)(metric, toys.pictures(2))
    assert set(result.forwards.tolist()) <= {8, 9}
    assert metric.rows == int(result.forwards.sum())
    assert len(result.trace) == 7


def test_seconds_are_measured(toys: SimpleNamespace) -> None:
    assert 0 < IFGSM(steps=1)(toys.Linear(toys.gaussian()), toys.pictures(1)).seconds < 60


# --- what is refused ------------------------------------------------------------------------------------------------


def test_gradients_are_not_asked_of_a_metric_that_answers_queries_only(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian(), name="remote", access="query-only")
    with pytest.raises(CapabilityError, match="ifgsm needs gradients") as caught:
        IFGSM()(metric, toys.pictures(1))
    assert caught.value.where.metric == "remote"
    assert metric.batches == []
    assert (Square(queries=5)(metric, toys.pictures(1)).forwards == 5).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images[0], "expected shape"),
        (lambda images: images[:, :1], "expected shape"),
        (lambda images: images.double(), "expected float32"),
        (lambda images: images * 255, "finite values in"),
        (lambda images: images - 1, "finite values in"),
        (lambda images: torch.where(images > 0.5, torch.nan, images), "finite values in"),
    ],
)
def test_images_that_break_the_tensor_contract_are_refused_with_the_place(
    toys: SimpleNamespace, spoil: object, message: str
) -> None:
    metric = toys.Linear(toys.gaussian())
    with pytest.raises(ImageContractError, match=message) as caught:
        IFGSM()(metric, spoil(toys.pictures(3)))
    assert (caught.value.where.metric, caught.value.where.attack) == ("toy", "ifgsm")
    assert metric.batches == []


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", "b", "c"], []])
def test_ids_are_as_many_as_images_and_different(toys: SimpleNamespace, ids: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="different ids"):
        IFGSM()(toys.Linear(toys.gaussian()), toys.pictures(2), ids=ids)


def test_draws_are_at_least_one(toys: SimpleNamespace) -> None:
    with pytest.raises(ConfigurationError, match="draws"):
        IFGSM()(toys.Noisy(toys.gaussian()), toys.pictures(2), draws=0)


@dataclass(frozen=True, kw_only=True)
class Leaky(Linf):
    """Admits a level too much for the second image."""

    restriction: ClassVar[str] = "linf"
    how: str = "level"

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        admitted = super().admit(images, clean)
        if len(clean) > 1:
            admitted[1, 0, 0, 0] = {
                "level": clean[1, 0, 0, 0] + self.epsilon + 1 / 255,
                "grid": clean[1, 0, 0, 0] + 0.5 / 255,
                "nan": torch.nan,
            }[self.how]
        return admitted


@pytest.mark.parametrize(
    ("how", "message"), [("level", "left its budget"), ("grid", "off the grid"), ("nan", "left its budget|holds NaN")]
)
@pytest.mark.parametrize("paper", [False, True])
def test_a_budget_that_admits_what_it_must_not_is_an_error_that_names_the_image(
    toys: SimpleNamespace, how: str, message: str, paper: bool
) -> None:
    clean = toys.pictures(3)
    blind = toys.Broken(lambda images: images[:, 1].mean(dim=(1, 2)))  # does not see the pixel that leaks
    attack = toys.Scripted(
        search=lambda _, images, __: images + 1 / 255, allowed=Leaky(epsilon=EPSILON, how=how), paper=paper
    )
    with pytest.raises(AttackContractError, match=message) as caught:
        attack(blind, clean, ids=["x", "y", "z"])
    where = caught.value.where
    assert (where.metric, where.attack, where.image) == ("toy", "scripted", "y")


@pytest.mark.parametrize("attack", BOTH)
def test_a_metric_that_returns_nan_is_an_error_that_names_metric_attack_and_image(
    toys: SimpleNamespace, attack: object
) -> None:
    clean = toys.pictures(3)

    def trapped(images: Tensor) -> Tensor:
        """Finite on the clean images, not on what an attack makes of the last one."""
        change = (images - clean[2]).abs().amax(dim=(1, 2, 3))
        return torch.where((change > 0) & (change < 0.05), torch.nan, brightness(images))

    with pytest.raises(NonFiniteScoreError, match="nan") as caught:
        attack(toys.Broken(trapped), clean, ids=["x", "y", "z"])
    where = caught.value.where
    assert (where.metric, where.attack, where.image) == ("toy", attack.name, "z")


@pytest.mark.parametrize("attack", BOTH)
@pytest.mark.parametrize("answer", [lambda images: images.mean(), lambda images: images[:, :, 0, 0], lambda _: 1.0])
def test_a_metric_that_returns_another_shape_is_an_error_that_names_metric_and_attack(
    toys: SimpleNamespace, attack: object, answer: object
) -> None:
    with pytest.raises(ScoreShapeError, match="one score an image") as caught:
        attack(toys.Broken(answer), toys.pictures(2))
    assert (caught.value.where.metric, caught.value.where.attack) == ("toy", attack.name)


def test_an_attack_that_asks_about_nan_is_blamed_not_the_metric(toys: SimpleNamespace) -> None:
    attack = toys.Scripted(search=lambda _, images, __: images * torch.nan)
    with pytest.raises(AttackContractError, match="holds NaN") as caught:
        attack(toys.Broken(brightness), toys.pictures(1), ids=["x"])
    assert (caught.value.where.attack, caught.value.where.image) == ("scripted", "x")


def test_the_end_of_the_budget_is_no_error_a_user_ever_sees() -> None:
    assert not issubclass(BudgetExhausted, ConfigurationError | AttackContractError)


def test_an_attack_is_its_parameters() -> None:
    assert IFGSM(alpha=0.01) == IFGSM(alpha=0.01)
    assert hash(IFGSM(alpha=0.01)) == hash(IFGSM(alpha=0.01))
    assert IFGSM(alpha=0.01) != IFGSM(alpha=0.02)
    assert repr(IFGSM(alpha=0.01)) == "IFGSM(paper=False, alpha=0.01, steps=10, epsilon=None)"
    with pytest.raises(FrozenInstanceError):
        IFGSM().alpha = 1.0


# --- twice the iterations -------------------------------------------------------------------------------------------

SINGLE_STEP = {"fgsm"}


@pytest.mark.parametrize("name", [entry.name for entry in attacks.list() if attacks.available(entry.name)])
def test_an_attack_declares_what_twice_its_iterations_are(name: str) -> None:
    attack = attacks.create(name)
    doubled = attack.doubled()
    if attack.access == "black-box" or isinstance(attack, TrainedAttack) or name in SINGLE_STEP:
        assert doubled is None
        return
    assert type(doubled) is type(attack)
    assert doubled.steps == 2 * attack.steps  # type: ignore[union-attr,attr-defined]
    assert doubled.budget.limit == pytest.approx(attack.budget.limit)
    twice = doubled.doubled()
    assert twice is not None
    assert twice.budget.limit == pytest.approx(attack.budget.limit)
