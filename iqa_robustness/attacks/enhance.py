"""Enhance: score hacking with the sliders of a photo editor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Ssim
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Sharpening, local contrast (CLAHE), contrast, saturation, gamma: least, neutral and largest setting of each.
SLIDERS = ((-1.0, 0.0, 3.0), (0.0, 0.0, 1.0), (0.5, 1.0, 1.8), (0.0, 1.0, 2.5), (0.6, 1.0, 1.6))
_LUMA = (0.299, 0.587, 0.114)
_GRID, _CLIP = (4, 4), 4.0
# Width of the first trials as a share of each slider, how it grows on success and shrinks on failure.
_WIDTH, _GROWTH, _DECAY = 0.25, 1.3, 0.8


@dataclass(frozen=True, kw_only=True)
class Enhance(Attack):
    """A random search over unsharp masking, CLAHE, contrast, saturation and gamma, score queries only.

    What encoders do that are tuned for a metric (`-tune=vmaf`), and what anybody with a photo editor can: no noise,
    five numbers an image, and the picture may even please. Each round tries `population` settings around the best one,
    wider after a success and narrower after a failure; a picture that leaves the SSIM budget is blended with the clean.

    Source: Siniukov et al., Applied Sciences 2021 (hacking VMAF with CLAHE, unsharp masking and gamma); the search is a
    (1 + population) evolution strategy with the success rule of Rechenberg 1973.
    Images: (N, 3, H, W) float32 RGB in [0, 1], at least 7 × 7 pixels.
    Budget: SSIM to the clean image of at least `least_ssim`, after 8-bit rounding.
    Cost: `queries` forwards an image at most, the clean image included; no backward. Images that reach a target stop.
    Raises: ConfigurationError for fewer than two queries or an empty population.
    """

    name: ClassVar[str] = "enhance"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"
    restriction: ClassVar[str] = "ssim"
    varied_parameter: ClassVar[str] = "least_ssim"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_ssim": 0.90},
        "medium": {"least_ssim": 0.85},
        "strong": {"least_ssim": 0.75},
    }

    least_ssim: float = 0.85
    queries: int = 200
    population: int = 8

    def __post_init__(self) -> None:
        if self.queries < 2 or self.population < 1:
            raise ConfigurationError(
                f"enhance needs queries >= 2 and population >= 1, got {self.queries} and {self.population}"
            )
        _ = self.budget  # refuses an impossible least_ssim

    @property
    def budget(self) -> Ssim:
        """Everything that looks enough like the clean image."""
        return Ssim(least=self.least_ssim)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Spend the queries; returns the pictures at the best settings."""
        least, neutral, largest = images.new_tensor(SLIDERS).T
        layers = _layers(images)
        settings = neutral.repeat(len(images), 1)
        values, width = objective.query_clean(), images.new_full((len(images),), _WIDTH)
        left = self.queries - 1
        while left > 0:
            rows = objective.unfinished()
            if not len(rows):
                break
            tried = min(self.population, left)
            left -= tried
            noise = streams.select(rows).normal(tried, len(neutral))
            around = settings[rows, None] + noise * width[rows, None, None] * (largest - least)
            wished = around.clamp(min=least, max=largest)
            owners = rows.repeat_interleave(tried)
            pictures = enhanced(images[owners], [layer[owners] for layer in layers], wished.flatten(0, 1))
            answers = objective.values(pictures, owners).view(len(rows), tried)
            best, place = answers.max(dim=1)
            better = best > values[rows]
            chosen = wished[torch.arange(len(rows), device=rows.device), place]
            settings[rows] = torch.where(better[:, None], chosen, settings[rows])
            values[rows] = torch.where(better, best, values[rows])
            width[rows] *= torch.where(better, _GROWTH, _DECAY)
            width.clamp_(min=0.01, max=1.0)
        return enhanced(images, layers, settings)


def enhanced(images: Tensor, layers: list[Tensor], settings: Tensor) -> Tensor:
    """Pictures at given settings of the sliders.

    Args:
        images: (M, 3, H, W) in [0, 1].
        layers: what sharpening and CLAHE add at setting 1, (M, 3, H, W) and (M, 1, H, W).
        settings: (M, 5), in the order of `SLIDERS`.
    """
    sharpness, local, contrast, saturation, gamma = (column[:, None, None, None] for column in settings.T)
    detail, equalized = layers
    pictures = images + sharpness * detail + local * equalized
    middle = _grey(pictures).mean(dim=(2, 3), keepdim=True)
    pictures = middle + contrast * (pictures - middle)
    grey = _grey(pictures)
    saturated = (grey + saturation * (pictures - grey)).clamp(0, 1)
    return torch.pow(saturated, gamma)


def _layers(images: Tensor) -> list[Tensor]:
    # It takes seconds to import, and the plugin must not.
    from kornia.enhance import equalize_clahe

    grey = _grey(images)
    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    # One image at a time: the histogram of one is not to depend on the others.
    flat = [equalize_clahe(image[None], clip_limit=_CLIP, grid_size=_GRID) for image in grey]
    return [images - blurred, torch.cat(flat) - grey if flat else grey]


def _grey(images: Tensor) -> Tensor:
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
