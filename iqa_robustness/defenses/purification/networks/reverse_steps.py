"""One step of reverse diffusion, towards the image: DDPM's, which draws, and DDIM's, which does not.

Written out, because diffusers' schedulers draw from one generator for a whole batch; tests hold them to be equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Step:
    """From timestep t to an earlier one, or to the image itself.

    timestep: t.
    kept: ᾱ_t.
    kept_after: ᾱ of the earlier one; 1 for the image.
    """

    timestep: int
    kept: float
    kept_after: float

    @property
    def last(self) -> bool:
        """Whether it ends at the image."""
        return self.kept_after == 1


def spaced(noise_steps: int, evaluations: int) -> tuple[int, ...]:
    """The timesteps at which the network is asked, falling from `noise_steps` − 1 in even strides; at most all."""
    count = min(noise_steps, evaluations)
    return tuple(round(noise_steps * (count - number) / count) - 1 for number in range(count))


def ddpm(noisy: Tensor, predicted: Tensor, step: Step, noise: Tensor | None, *, variance: str) -> Tensor:
    """A draw of x after the step: DDPM's posterior with x_0 clipped to [−1, 1].

    Source: Ho et al., NeurIPS 2020, eq. 6–7; `learned_range`: Nichol and Dhariwal, ICML 2021, eq. 15.

    Args:
        noisy: x_t, (N, 3, H, W).
        predicted: what the network says of it, (N, 3 or 6, H, W).
        noise: standard normal, (N, 3, H, W); not read in the last step, whose result is x_0.
        variance: `fixed_small`, `fixed_large` or `learned_range`.
    """
    clean = _clean(noisy, predicted, step)
    if step.last or noise is None:
        return clean
    alpha = step.kept / step.kept_after
    beta, left = 1 - alpha, 1 - step.kept_after
    mean = math.sqrt(step.kept_after) * beta / (1 - step.kept) * clean
    mean = mean + math.sqrt(alpha) * left / (1 - step.kept) * noisy
    smallest = beta * left / (1 - step.kept)
    if variance == "learned_range":
        share = (predicted[:, 3:] + 1) / 2
        deviation = (0.5 * (share * math.log(beta) + (1 - share) * math.log(smallest))).exp()
        return mean + deviation * noise
    return mean + math.sqrt(beta if variance == "fixed_large" else smallest) * noise


def ddim(noisy: Tensor, predicted: Tensor, step: Step) -> Tensor:
    """The x after the step, without a draw (η = 0), x_0 clipped to [−1, 1] and ε taken to fit it.

    Source: Song, Meng and Ermon, ICLR 2021, eq. 12; clipped as guided-diffusion does.
    """
    clean = _clean(noisy, predicted, step)
    noise = (noisy - math.sqrt(step.kept) * clean) / math.sqrt(1 - step.kept)
    return math.sqrt(step.kept_after) * clean + math.sqrt(1 - step.kept_after) * noise


def _clean(noisy: Tensor, predicted: Tensor, step: Step) -> Tensor:
    return ((noisy - math.sqrt(1 - step.kept) * predicted[:, :3]) / math.sqrt(step.kept)).clamp(-1, 1)
