"""The score head against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.metrics.score_head import ScoreHead

FEATURES = 7


def made(hidden: int) -> ScoreHead:
    """A head in float64 with every number different from its default."""
    generator = torch.Generator().manual_seed(hidden)
    head = ScoreHead(FEATURES, hidden=hidden).double()
    state = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in head.state_dict().items()
    }
    head.load_state_dict(state)
    return head


def statistics(count: int = 5) -> Tensor:
    return torch.randn((count, FEATURES), generator=torch.Generator().manual_seed(count), dtype=torch.float64)


@pytest.mark.parametrize("hidden", [0, 1, 6])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_equals_its_formula(hidden: int, count: int) -> None:
    head = made(hidden)
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    expected = (statistics(count).numpy() - state["center"]) * state["scale"]
    if hidden:
        expected = np.maximum(expected @ state["hidden.weight"].T + state["hidden.bias"], 0)
    expected = expected @ state["output.weight"][0] + state["output.bias"][0]
    scores = head(statistics(count))
    assert scores.shape == (count,)
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_standardisation_is_stored_and_not_learned() -> None:
    head = ScoreHead(FEATURES, hidden=3)
    learned = {name for name, _ in head.named_parameters()}
    assert learned == {"hidden.weight", "hidden.bias", "output.weight", "output.bias"}
    assert set(head.state_dict()) == learned | {"center", "scale"}
    assert head.center.equal(torch.zeros(FEATURES))
    assert head.scale.equal(torch.ones(FEATURES))


def test_without_a_hidden_layer_none_is_stored() -> None:
    assert set(ScoreHead(FEATURES).state_dict()) == {"center", "scale", "output.weight", "output.bias"}


@pytest.mark.parametrize("sign", [-1, 1])
def test_scores_far_outside_the_range_keep_their_gradient(sign: int) -> None:
    head = made(0)
    far = (sign * 1e4 * head.output.weight.detach() * head.scale.sign()).requires_grad_()
    score = head(far)
    assert sign * score.item() > 1000
    (gradient,) = torch.autograd.grad(score.sum(), far)
    assert gradient.flatten().tolist() == pytest.approx((head.output.weight * head.scale).flatten().tolist())
