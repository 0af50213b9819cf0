"""stAdv: a flow field that moves pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.ascent import normalised
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.transformation import Render, Transformation, rendered_by
from iqa_robustness.streams import Streams

# Keeps the slope of a root finite where the flow is constant, in pixels².
_EPSILON = 1e-8
_PAPER_STEPS, _PAPER_SCORE_WEIGHT, _PAPER_OTHER, _PAPER_FLOW_WEIGHT = 3, 50.0, 1.5, 1e-5


@dataclass(frozen=True, kw_only=True)
class StAdv(Transformation):
    """Every pixel takes its colour from a place nearby, by bilinear interpolation; neighbours move alike.

    Source: Xiao et al., ICLR 2018, eq. 1–4, with Adam in place of L-BFGS. The published code (benchmark, section 3.2)
    takes three steps of L-BFGS, of which the first moves all pixels together by about one pixel, and changes no image
    visibly (PSNR above 76 dB); its smoothness looks at the diagonal neighbours and lacks the root. `paper=True` does
    so, with the score in units of its range.
    Images: (N, 3, H, W) float32 RGB in [0, 1], H and W at least 7. Outside the image lies its outermost pixel.
    Budget: SSIM of at least `least_ssim` to the clean image, after 8-bit rounding; the published code has none.
    Cost: `steps` forwards and backwards an image (`paper=True`: 3), and one or two forwards to score the rounded
    result.
    Raises: ConfigurationError for fewer than one step, a rate that is not positive or a negative smoothness.

    Args:
        rate: Adam's, in pixels.
        published_rate: L-BFGS', in pixels over the whole image; the benchmark's, mean over its metrics.
        smoothness: slope of the flow's total variation, in root mean squares of the score's gradient in the flow.
    """

    name: ClassVar[str] = "stadv"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_ssim": 0.90, "published_rate": 0.557},
        "medium": {"least_ssim": 0.85, "published_rate": 0.739},
        "strong": {"least_ssim": 0.75, "published_rate": 0.993},
    }

    published_rate: float = 0.739
    smoothness: float = 0.05

    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        """No flow."""
        del streams  # the attack is deterministic
        flows = images.new_zeros(len(images), 2, *images.shape[2:])
        return flows, [partial(warped, images[row : row + 1]) for row in range(len(images))]

    def slope(self, pulled: Tensor, parameters: Tensor) -> Tensor:
        """Towards a higher score and a smoother flow."""
        with torch.enable_grad():
            leaf = parameters.detach().clone().requires_grad_(True)
            (rough,) = torch.autograd.grad(variation(leaf).sum(), leaf)
        return normalised(pulled) - self.smoothness * rough

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb; with `paper=True` by L-BFGS, one image after the other."""
        if not self.paper:
            return super().run(objective, images, streams)
        flows, renders = self.start(images, streams)
        for row in range(len(images)):
            self._published_search(objective, flows[row], renders[row], row)
        return rendered_by(renders, flows, images)

    def _published_search(self, objective: Objective, flow: Tensor, render: Render, row: int) -> None:
        """Change one image's flow (2, H, W) in place."""
        flow.requires_grad_(True)
        rows = torch.tensor([row], device=flow.device)

        def closure() -> Tensor:
            with torch.enable_grad():
                image = render(flow)
                rough = _PAPER_FLOW_WEIGHT * diagonal_roughness(flow)
            values, gradients = objective.values_and_gradients(image, rows)
            # A score far below its range would turn the loss around.
            both = (values + _PAPER_OTHER).clamp(min=1e-3)
            loss = _PAPER_SCORE_WEIGHT * _PAPER_OTHER / both
            slope = -loss / both
            (flow.grad,) = torch.autograd.grad([image, rough], flow, [slope * gradients, torch.ones_like(rough)])
            return loss + rough.detach()

        search = torch.optim.LBFGS([flow], lr=self.published_rate, max_iter=1, max_eval=25)
        for _ in range(_PAPER_STEPS):
            search.step(closure)
        flow.requires_grad_(False)


def warped(image: Tensor, flow: Tensor) -> Tensor:
    """Each pixel from where it is plus its flow; (1, 3, H, W) and (2, H, W) in pixels, down and right, to (1, 3, H, W).

    Differentiable in the flow; where a place lies outside the image, its flow has no slope.
    """
    height, width = image.shape[2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[0]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)[None, :] + flow[1]
    grid = torch.stack([columns * (2 / (width - 1)) - 1, rows * (2 / (height - 1)) - 1], dim=-1)
    return F.grid_sample(image, grid[None], mode="bilinear", padding_mode="border", align_corners=True)


def variation(flows: Tensor) -> Tensor:
    """Total variation, (N, 2, H, W) to (N,): Σ √(Δu² + Δv²) over all pairs of neighbours, in pixels."""
    down, right = flows[:, :, 1:] - flows[:, :, :-1], flows[:, :, :, 1:] - flows[:, :, :, :-1]
    parts = [(step.square().sum(dim=1) + _EPSILON).sqrt().flatten(1).sum(dim=1) for step in (down, right)]
    return parts[0] + parts[1]


def diagonal_roughness(flow: Tensor) -> Tensor:
    """What the published code calls the flow loss, (2, H, W) to a scalar: squares over the four diagonal neighbours."""
    height, width = flow.shape[1:]
    padded = F.pad(flow, (1, 1, 1, 1))
    corners = [padded[:, top : top + height, left : left + width] for top in (0, 2) for left in (0, 2)]
    return torch.stack([(flow - corner).square().sum() + _EPSILON * height * width for corner in corners]).sum()
