"""The recipe: the published numbers, what paper=True changes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe


def test_defaults_are_the_published_numbers() -> None:
    recipe = AdversarialRecipe()
    assert (recipe.epochs, recipe.batch, recipe.views) == (30, 32, 1)
    assert (recipe.learning_rate, recipe.feature_share) == (1e-3, 0.1)
    assert (recipe.penalty_weight, recipe.attack, recipe.labels) == (1.0, "apgd", "mos")
    assert recipe.inner.steps == 2
    assert recipe.inner.epsilon == recipe.epsilon


def test_the_adversary_is_after_the_score_and_with_paper_after_the_error() -> None:
    recipe = AdversarialRecipe()
    assert (recipe.published.adversary, recipe.published.selection) == ("both", "mean")
    published = AdversarialRecipe(paper=True).published
    assert (published.adversary, published.selection) == ("error", "clean")


@pytest.mark.parametrize("field", ["penalty", "attack", "adversary", "labels", "selection"])
def test_an_unknown_name_is_refused_with_the_known_ones(field: str) -> None:
    wrong: dict[str, Any] = {field: f"{getattr(AdversarialRecipe(), field)}x"}
    with pytest.raises(UnknownNameError, match=str(getattr(AdversarialRecipe(), field))):
        replace(AdversarialRecipe(), **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "epochs >= 1"),
        ({"batch": 1}, "batch >= 2"),
        ({"views": 0}, "views >= 1"),
        ({"learning_rate": 0}, "learning rate"),
        ({"feature_share": -1}, "feature share"),
        ({"epsilon": 0}, "epsilon"),
        ({"damage": True}, "no opinion score"),
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AdversarialRecipe(**wrong)
