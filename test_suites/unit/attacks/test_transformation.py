"""What attacks by transformations share: the chain rule, the budget kept by scaling, the published way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import Towards
from iqa_robustness.attacks.transformation import Render, Transformation, pulled_back, rendered_by
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import quantize
from iqa_robustness.similarity import ssim
from iqa_robustness.streams import Streams

PATTERN = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 10)


@dataclass(frozen=True, kw_only=True)
class Checkered(Transformation):
    """Two parameters: the amplitude of a checkerboard, in levels, and a brightness that nobody sees."""

    name: ClassVar[str] = "checkered"
    rate: float = 20.0
    published_rate: float = 0.5

    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        del streams

        def made(image: Tensor) -> Render:
            return lambda parameters: (image + parameters[0] / 255 * PATTERN + 0 * parameters[1]).clamp(0, 1)

        return images.new_zeros(len(images), 2), [made(images[row : row + 1]) for row in range(len(images))]


def follower(toys: SimpleNamespace, sign: float = 1.0) -> object:
    """A linear metric that likes the checkerboard."""
    return toys.Linear(sign * PATTERN.expand(3, 16, 20) / PATTERN.numel())


def test_the_chain_rule_is_that_of_finite_differences(toys: SimpleNamespace) -> None:
    images = toys.pictures(2, 16, 20)
    parameters, renders = Checkered().start(images, Streams("key", ["a", "b"]))
    gradients = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = pulled_back(renders, parameters, gradients)
    expected = (gradients * PATTERN / 255).sum(dim=(1, 2, 3))
    assert torch.allclose(found[:, 0], expected, rtol=1e-4)
    assert not found[:, 1].any()
    assert not parameters.requires_grad


@pytest.mark.parametrize("least", [0.97, 0.9, 0.75])
def test_the_parameters_are_scaled_until_the_rounded_image_fills_the_budget(
    toys: SimpleNamespace, least: float
) -> None:
    clean = toys.pictures(3, 16, 20)
    result = Checkered(least_ssim=least)(follower(toys), clean)
    found = ssim(result.images, clean)
    assert (found >= least - 1e-6).all()
    assert (found < least + 0.25 * (1 - least)).all()
    # Still one amplitude for all pixels.
    change = ((result.images - clean) * 255 * PATTERN).round()
    assert torch.equal(change, change[:, :1, :1, :1].expand_as(change))


def test_every_gradient_is_taken_inside_the_budget(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 16, 20), follower(toys)
    Checkered(least_ssim=0.9)(metric, clean, micro_batch=2)
    seen = [batch for batch, mode in zip(metric.batches, metric.modes, strict=True) if mode == "gradient"]
    assert len(seen) == 10
    assert torch.equal(seen[0], clean)
    for iterate in seen:
        assert (ssim(quantize(iterate), clean) >= 0.9 - 1e-6).all()


def test_it_climbs_both_ways(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 20)
    for sign in (1.0, -1.0):
        result = Checkered()(follower(toys, sign), clean)
        assert (result.values > result.clean_values).all()
        assert (((result.images - clean) * PATTERN * sign).mean(dim=(1, 2, 3)) > 0).all()


def test_paper_scales_nothing_itself_and_takes_the_published_rate(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(1, 16, 20), follower(toys)
    result = Checkered(paper=True, steps=6, least_ssim=0.5)(metric, clean, micro_batch=1)
    seen = [batch for batch, mode in zip(metric.batches, metric.modes, strict=True) if mode == "gradient"]
    amplitudes = [float(((iterate - clean) * PATTERN).mean() * 255) for iterate in seen]
    assert amplitudes == pytest.approx([0.5 * step for step in range(6)], abs=0.01)
    assert torch.equal(((result.images - clean) * 255).round(), (3 * PATTERN).expand_as(clean))
    wide = Checkered(paper=True, published_rate=30.0, least_ssim=0.9)(follower(toys), clean)
    assert float(ssim(wide.images, clean)) >= 0.9 - 1e-6  # the budget's own doing


def test_an_image_that_reaches_its_goal_stops(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 16, 20), follower(toys)
    start = metric(clean)
    goal = Towards(score=float(start[0]), tolerance=1e-6)
    result = Checkered(steps=7)(metric, clean, goal=goal)
    assert result.backwards.tolist() == [1, 7]
    assert torch.equal(result.images[0], clean[0])


def test_images_are_rendered_without_a_graph_and_none_need_none(toys: SimpleNamespace) -> None:
    images = toys.pictures(2, 16, 20)
    parameters, renders = Checkered().start(images, Streams("key", ["a", "b"]))
    made = rendered_by(renders, parameters.requires_grad_(True), images)
    assert torch.equal(made, images)
    assert not made.requires_grad
    assert rendered_by([], parameters[:0], images[:0]).shape == (0, 3, 16, 20)


@pytest.mark.parametrize(
    "parameters", [{"steps": 0}, {"rate": 0.0}, {"published_rate": -1.0}, {"least_ssim": 0.0}, {"least_ssim": 1.2}]
)
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Checkered(**parameters)
