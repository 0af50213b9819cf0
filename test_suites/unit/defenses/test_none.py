"""No defense is the identity, for scores, gradients and bits."""

from __future__ import annotations

import torch

from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer


def test_images_pass_untouched() -> None:
    images = torch.rand(2, 3, 5, 7)
    assert Undefended().purify(images) is images


def test_scores_and_gradients_are_those_of_the_metric() -> None:
    images = torch.rand(3, 3, 24, 32)
    metric = Vulnerable()
    guarded = Undefended().protect(metric)
    bare, behind = Scorer(metric=metric, micro_batch=2), Scorer(metric=guarded, micro_batch=2)
    assert torch.equal(bare.scores(images), behind.scores(images))
    for ours, theirs in zip(bare.scores_and_gradients(images), behind.scores_and_gradients(images), strict=True):
        assert torch.equal(ours, theirs)


def test_it_is_a_kind_of_its_own() -> None:
    assert Undefended.kind == "none"
    assert Undefended.differentiable
    assert Undefended.keeps_geometry
    assert not Undefended.stochastic
