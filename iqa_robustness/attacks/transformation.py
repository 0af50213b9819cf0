"""Attacks that change an image by a transformation and climb in its parameters, within a budget of SSIM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam
from iqa_robustness.attacks.ascent import climb, normalised
from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Ssim
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import quantize
from iqa_robustness.streams import Streams

Render = Callable[[Tensor], Tensor]
"""The parameters of one image (no batch axis) to the changed image (1, 3, H, W), differentiable; zeros change nothing.

Each image is rendered for itself: the last bit of some operations depends on the size of the batch."""

# Scalings of the parameters before it is left to the budget to draw the image itself towards the clean one.
_TRIALS = 6


@dataclass(frozen=True, kw_only=True)
class Transformation(Attack):
    """Base of the attacks by flow, colour curves and colours; a subclass declares `name` and `start`.

    Adam climbs in the parameters. Where the image they make leaves the budget, they are scaled down until its rounded
    form is inside: 1 − SSIM grows about as the square of a change, so a few trials do, and none asks the metric.
    With `paper=True` nothing is scaled, and the budget draws the last image towards the clean one.

    Args:
        least_ssim: the budget, see `projections.Ssim`.
        steps: gradients an image.
        rate: Adam's, in units of the parameters.
        published_rate: Adam's with `paper=True`.
    """

    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "ssim"
    varied_parameter: ClassVar[str] = "least_ssim"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_ssim": 0.90},
        "medium": {"least_ssim": 0.85},
        "strong": {"least_ssim": 0.75},
    }

    least_ssim: float = 0.85
    steps: int = 10
    rate: float = 0.5
    published_rate: float = 0.001

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.rate > 0 and self.published_rate > 0):
            raise ConfigurationError(
                f"{self.name} needs steps >= 1 and positive rates, got {self.steps}, {self.rate}, {self.published_rate}"
            )
        _ = self.budget  # refuses an impossible SSIM

    @property
    def budget(self) -> Ssim:
        """All images of at least this SSIM."""
        return Ssim(least=self.least_ssim)

    @property
    def as_published(self) -> bool:
        """Whether to search as published code does."""
        return self.paper

    @abstractmethod
    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        """Parameters (N, …) of zeros, and each image's transformation."""

    def slope(self, pulled: Tensor, parameters: Tensor) -> Tensor:
        """The direction to climb in, from the score's gradient in the parameters; (M, …) twice to the same shape."""
        del parameters
        return pulled if self.as_published else normalised(pulled)

    def doubled(self) -> Transformation:
        """Twice the steps, each as long."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        parameters, renders = self.start(images, streams)
        adam = Adam(parameters, epsilon=TORCH_EPSILON) if self.as_published else Adam(parameters)
        rate = self.published_rate if self.as_published else self.rate

        def move(_: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            chosen = [renders[row] for row in rows.tolist()]
            pulled = pulled_back(chosen, parameters[rows], gradients)
            moved = parameters[rows] + rate * adam.directions(self.slope(pulled, parameters[rows]), rows)
            parameters[rows], rendered = self._held(chosen, moved, images[rows])
            return rendered

        opening = rendered_by(renders, parameters, images) if self.as_published else images
        return climb(objective, opening, steps=self.steps, move=move)

    def _held(self, renders: Sequence[Render], parameters: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The parameters, scaled down where needed, and the images (M, 3, H, W) that they make."""
        rendered = rendered_by(renders, parameters, clean)
        if self.as_published:
            return parameters, rendered
        held = parameters.clone()
        for row, render in enumerate(renders):
            place = slice(row, row + 1)
            for _ in range(_TRIALS):
                size = self.budget.size(quantize(rendered[place]), clean[place])
                if bool(size <= self.budget.limit):
                    break
                # A little less than the square law says, for the law is not exact.
                held[row] *= 0.98 * (self.budget.limit / size).sqrt()
                rendered[place] = render(held[row]).detach()
        return held, rendered


def rendered_by(renders: Sequence[Render], parameters: Tensor, images: Tensor) -> Tensor:
    """The images (N, 3, H, W) that the parameters (N, …) make, without a graph; `images` gives the shape."""
    result = torch.empty_like(images)
    with torch.no_grad():
        for row, render in enumerate(renders):
            result[row : row + 1] = render(parameters[row])
    return result


def pulled_back(renders: Sequence[Render], parameters: Tensor, gradients: Tensor) -> Tensor:
    """Chain rule: gradients in the images (M, 3, H, W) to gradients in the parameters (M, …)."""
    found = torch.empty_like(parameters)
    for row, render in enumerate(renders):
        with torch.enable_grad():
            leaf = parameters[row].detach().clone().requires_grad_(True)
            (found[row],) = torch.autograd.grad(render(leaf), leaf, gradients[row : row + 1])
    return found
