"""C&W: a Lagrangian in a space without bounds, whose constant is searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam
from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Psnr
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Black and white lie at infinity of the inverse hyperbolic tangent; the published code draws them in by as much.
_SHRINK = 1 - 1e-6


@dataclass(frozen=True, kw_only=True)
class CW(Attack):
    """Maximise c · (gain in units of diam) − ‖change‖² ÷ radius², for the c at which the solution fills the budget.

    Carlini and Wagner look for the smallest change that flips a class, and for the least c that does. A score has no
    class; the largest gain inside a budget is the other side of the same Lagrangian. For each image, c is raised while
    the solution lies inside and lowered once it lies outside, `searches` times. The image is tanh(w), scaled to [0, 1],
    and Adam moves w. Each solution is scored, shrunk to the budget if it lies outside.

    Source: Carlini and Wagner, IEEE S&P 2017, sections V and VI (tanh, Adam, search for c; 20 × 10,000 steps). c starts
    where a linear score is solved, 2 ÷ (radius · ‖gradient at the clean image‖), and doubles until the first solution
    outside. A search goes on from the last solution, theirs starts from the clean image again.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size. Pure black and white hardly move: tanh is flat there.
    Budget: the PSNR to the clean image, in dB, is at least `least_psnr`: an l2 ball, with the sizes of `apgd-l2`.
    Cost: `searches` × `steps` forwards and backwards an image, one forward a search, and at most one to check the best
    iterate. Images that reach a target score stop, for one forward more.
    `paper=True` returns the last solution.
    Raises: ConfigurationError for fewer than one step or search, or a rate or PSNR that is not positive.

    steps: Adam's steps for one c.
    rate: Adam's first step as a share of the root mean square change that the budget allows, for a pixel half-way.
    """

    name: ClassVar[str] = "cw"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "psnr"
    varied_parameter: ClassVar[str] = "least_psnr"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_psnr": 40.0},
        "medium": {"least_psnr": 35.0},
        "strong": {"least_psnr": 30.0},
    }

    least_psnr: float = 35.0
    steps: int = 10
    searches: int = 8
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.searches < 1 or not self.rate > 0:
            raise ConfigurationError(
                f"cw needs steps >= 1, searches >= 1 and rate > 0, got {self.steps}, {self.searches} and {self.rate}"
            )
        _ = self.budget  # refuses an impossible PSNR

    @property
    def budget(self) -> Psnr:
        """The l2 ball."""
        return Psnr(least=self.least_psnr)

    def doubled(self) -> CW:
        """Twice the steps in every search."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Search for c; the last solution."""
        del streams  # the attack is deterministic
        area = self.budget.limit**2 * math.prod(images.shape[1:])
        place = torch.atanh((2 * images - 1) * _SHRINK)
        # A pixel of 0.5 moves by half as much as its w.
        rate, adam = 2 * self.rate * self.budget.limit, Adam(place, epsilon=TORCH_EPSILON)
        every = torch.arange(len(images), device=images.device)
        current, constant = images, torch.zeros(len(images), device=images.device)
        low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        for search in range(self.searches):
            for step in range(self.steps):
                _, gradients = values_and_gradients(objective, current)
                if search == step == 0:
                    length = gradients.flatten(1).norm(dim=1)
                    constant = torch.where(length > 0, 2 / (math.sqrt(area) * length), 0.0)
                slope = gradients.mul_(constant[:, None, None, None]).sub_(current - images, alpha=2 / area)
                # d current / d w is 2 current (1 − current); Adam does not see the 2.
                place.add_(adam.directions(slope.mul_(current).mul_(1 - current), every), alpha=rate)
                current = torch.tanh(place).add_(1).div_(2)
            inside = (current - images).square().sum(dim=(1, 2, 3)) <= area
            low, high = torch.where(inside, constant, low), torch.where(inside, high, constant)
            constant = torch.where(high.isinf(), 2 * constant, (low + high) / 2)
            if search + 1 < self.searches:  # the template scores the last solution itself
                objective.values(current)
        return current
