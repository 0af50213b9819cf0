"""Soundness: an attack on a smoothed metric inside its certified radius, where the certificate has to hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import LOWER, RAISE, Objective
from iqa_robustness.attacks.projections import L2
from iqa_robustness.bench.certificates import NAMES, estimate_bounds
from iqa_robustness.bench.columns import VALUES, Columns, array, joined, packed
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.sources import Clean
from iqa_robustness.defenses.certified.smoothing import SmoothedMetric, Smoothing
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.measures import clopper_pearson_bounds
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.similarity import linf, psnr, ssim
from iqa_robustness.store import Key
from iqa_robustness.streams import Streams

if TYPE_CHECKING:  # the stages are made of this
    from iqa_robustness.bench.stages import Stages

STEPS = 10
# Of the radius, over all steps: the border is reached with some to spare, which turns the way.
_REACH = 2.5
# What rounding to the image's own type moves a value by, in machine epsilons, and a length, as a share of it; at most.
_ROUNDING, _OF_LENGTH = 0.5, 1e-5


@dataclass(frozen=True, kw_only=True)
class InsideAttack:
    """Projected gradient ascent inside each image's certified l2 ball, with EOT, then a certificate there.

    The images stay in floating point: a certificate is about all real-valued inputs, and a radius of a few hundredths
    holds hardly any image of 8 bits but the clean one. A defense that certifies another resolution is attacked there.

    Source: Salman et al., NeurIPS 2019 (SmoothAdv, PGD through the mean over noise), in the ball of Cohen et al.
    Cost: `STEPS` × draws forwards and backwards an image, and what a certificate costs.

    pair: metric and certified defense.      clean: the images.
    radii: (N,) certified, in units of 1; where it is 0 an image stays as it is.
    goal: `raise` or `lower`.      draws: fresh noise of each gradient, which is their mean.
    seed: of the noise, which is neither that of the clean certificates nor that of the attack's end.
    """

    pair: Pair
    clean: Clean
    radii: tuple[float, ...]
    goal: str
    draws: int
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        """For people."""
        return f"attack inside the radius of {self.pair.subject.name} behind {self.pair.defense_name}"

    @cached_property
    def key(self) -> Key:
        """Everything the result depends on."""
        return Key(
            {
                "stage": "soundness",
                "schema": 1,
                "steps": STEPS,
                "target": self.pair.document,
                "images": self.clean.document,
                "radii": [*self.radii],
                "goal": self.goal,
                "draws": self.draws,
                "seed": self.seed,
                "numerics": self.numerics.document,
            }
        )

    def files(self, progress: Callable[[str, int, int], None]) -> dict[str, bytes]:
        """`VALUES`: what a scores stage says of the images that were found, their distances, and the attack's evidence.

        Distances are those of the images that the certificate speaks of.
        """
        size, total = self.numerics.micro_batch, len(self.clean)
        parts: list[Columns] = []
        for start in range(0, total, size):
            progress(self.label, start, total)
            parts.append(self._attacked(range(start, min(start + size, total))))
        progress(self.label, total, total)
        return {VALUES: packed(joined(parts))}

    def _attacked(self, rows: range) -> Columns:
        guarded, size = _smoothed(self.pair), self.numerics.micro_batch
        images = guarded.sized(self.clean.batch(rows).to(self.numerics.device))
        references = None
        if guarded.spec.full_reference:
            references = guarded.sized(self.clean.references(rows).to(self.numerics.device))
        radii = torch.tensor([self.radii[row] for row in rows], dtype=images.dtype, device=images.device)
        ids = [self.clean.ids[row] for row in rows]
        streams = Streams(f"{self.key.digest}/{self.seed}", ids, device=self.numerics.device)
        objective = Objective(
            Scorer(metric=guarded, micro_batch=size),
            RAISE if self.goal == "raise" else LOWER,
            images,
            L2(epsilon=float(radii.max())),
            streams.fork("attack"),
            draws=self.draws,
            references=references,
        )
        moved = climbed(objective, radii)
        found = guarded.certify(moved, streams=streams.fork("certificate"), micro_batch=size, references=references)
        unknown = np.full(len(rows), np.nan)
        return {
            **{name: array(getattr(found, name)) for name in NAMES},
            "forwards": array(objective.forwards),
            "backwards": array(objective.backwards),
            "gradient_finite": array(objective.gradient_finite),
            "gradient_nonzero": array(objective.gradient_nonzero),
            "ssim": array(ssim(images, moved)),
            "psnr": array(psnr(images, moved)),
            "linf": array(linf(images, moved)),
            "l2": array(_distances(images, moved)),
            "ssim_purified": unknown,
            "psnr_purified": unknown,
        }


def climbed(objective: Objective, radii: Tensor, *, steps: int = STEPS) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] within (N,) l2 `radii` of the objective's clean ones, where it is high.

    `steps` steps along the normalised mean gradient over the draws, each projected onto its image's own ball.
    """
    clean = objective.clean
    current = clean
    tiny = torch.finfo(clean.dtype).tiny
    # Rounded values may all lie on the same side: the ball is entered by as much as they can leave it.
    inner = (1 - _OF_LENGTH) * radii - _ROUNDING * torch.finfo(clean.dtype).eps * math.sqrt(clean[0].numel())
    for _ in range(steps):
        _, gradients = objective.values_and_gradients(current)
        lengths = gradients.flatten(1).norm(dim=1).clamp_(min=tiny)
        moved = current + gradients * _each(_REACH / steps * radii / lengths)
        change = moved.clamp(0, 1) - clean
        lengths = change.flatten(1).norm(dim=1).clamp_(min=tiny)
        current = (clean + change * _each((inner / lengths).clamp_(0, 1))).clamp_(0, 1)
    return current


def attacked_inside(
    stages: Stages, pair: Pair, clean: Clean, certified: Columns, cell: dict[str, Any]
) -> tuple[Columns, Columns]:
    """Attack certificates, and see which of them break.

    Args:
        stages: compute or fetch.
        pair: metric and certified defense.
        clean: the images.
        certified: their certificates, columns of a scores stage.
        cell: `goal`, `draws` and `seed`.

    Returns:
        Columns of a scores stage at the images that were found, and what a record says of these images and of the
        attack, `broken` (N,) bool among it.
    """
    search = InsideAttack(
        pair=pair,
        clean=clean,
        radii=tuple(certified["radius"].tolist()),
        goal=cell["goal"],
        draws=cell["draws"],
        seed=cell["seed"],
        numerics=stages.numerics,
    )
    found = stages.inside(search)
    names = ("forwards", "backwards", "gradient_finite", "gradient_nonzero", "ssim", "psnr", "linf", "l2")
    broken = broken_certificates(_smoothed(pair).defense, certified, found)
    return found, {name: found[name] for name in names} | {"broken": broken}


def broken_certificates(defense: Smoothing, certified: Columns, found: Columns) -> np.ndarray:
    """Which certificates are broken, (N,) bool: their confidence bounds and those of an image inside are disjoint.

    Both sides are estimates. A median's certificate is broken where the confidence interval of the attacked median
    lies wholly beyond a bound; that of a class where more than half of the attacked image's votes, beyond doubt, are
    another's. Where a certificate abstains there is nothing to break.

    Args:
        defense: whose certificates; only `alpha` and the percentile are taken from it, bounds are computed anew.
        certified: columns of a scores stage at the clean images.
        found: the same at images within the certified radii, from fresh noise.
    """
    certain = ~certified["abstained"].astype(bool)
    if defense.form == "classification":
        counts = (~np.isnan(found["draws"])).sum(axis=1)
        least, _ = clopper_pearson_bounds(found["votes"], counts, alpha=defense.level(1))
        other: np.ndarray = certain & (least > 0.5) & (found["classes"] != certified["classes"])
        return other
    low, high = estimate_bounds(defense, found)
    beyond: np.ndarray = certain & ((low > certified["upper"]) | (high < certified["lower"]))
    return beyond


def _smoothed(pair: Pair) -> SmoothedMetric:
    if not isinstance(pair.guarded, SmoothedMetric):
        raise ConfigurationError(
            f"{pair.defense_name} has no certificates to attack",
            where=Where(defense=pair.defense_name),
            fix="name a certified defense (iqa-robustness list defenses)",
        )
    return pair.guarded


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean norms (N,) float64: float32 sums would blur the border."""
    distances: Tensor = torch.linalg.vector_norm((first.double() - second.double()).flatten(1), dim=1)
    return distances


def _each(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]
