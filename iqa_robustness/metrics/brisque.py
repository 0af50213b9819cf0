"""`brisque`: support vector regression on natural-scene statistics, from the authors' parameter files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.generalized_gaussian import GeneralizedGaussian, mean_factor, spread
from iqa_robustness.metrics.libsvm import SupportVectorRegression
from iqa_robustness.metrics.natural_scene import Shift, grey_levels, halved, neighbour_products, normalized
from iqa_robustness.metrics.parameter_file import parameter_files
from iqa_robustness.metrics.preparation import refuse_smaller

SHIFTS: tuple[Shift, ...] = ((0, 1), (1, 0), (1, 1), (-1, 1))
SCALES = 2
FEATURES = SCALES * (2 + 4 * len(SHIFTS))
# The middle 98 % of 2,127 scores: the crops of SR4KIQA (463), 200 images of NIPS 2017 and Kodak24, and each of 116, 100
# and 24 of them blurred (sigma 2, 4), with white noise (deviation 10, 30 of 255), JPEG-compressed (quality 30, 10).
RANGE = (-0.5, 103.2)


class Brisque(Metric):
    """No-reference metric BRISQUE: how far an image's local statistics are from those of photographs, lower is better.

    Source: Mittal, Moorthy and Bovik, IEEE TIP 2012, and its MATLAB release (LIVE, 2011), whose model and range files
    it reads. Forward follows the release: grey levels rounded to 8 bits, zeros beyond the border, exponents looked up
    on a grid of 0.001, nothing clamped. Backward, rounding counts as the identity and the grid as a smooth curve.
    Differs where an image is locally constant: the release takes rounding errors for signal there (`normalized`). Of
    five images with published scores three agree to 0.002, two with constant areas differ by 0.5 and 2.2.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32, no resizing.
    Scores: 0 (like photographs) to 100 nominally, unclamped.
    Cost: 0.02 s forward, 0.02 s backward for 192 × 256 on one core, in float64.
    Raises: ImageContractError for smaller images, WeightsError without the files or with files of another kind.

    Args:
        weights: the folder that holds `allmodel` and `allrange` (or `brisque_allmodel` and `brisque_allrange`), or the
            two files in this order; None looks in `weights.folder()`.
    """

    def __init__(self, weights: str | Path | Sequence[str | Path] | None = None) -> None:
        super().__init__()
        model, ranges = parameter_files("brisque", weights)
        self.fit = GeneralizedGaussian()
        self.regression = SupportVectorRegression(model.path, ranges.path, metric="brisque")
        if self.regression.features != FEATURES:
            raise WeightsError(
                f"{ranges.path.name} holds the ranges of {self.regression.features} features, BRISQUE has {FEATURES}",
                where=Where(metric="brisque", file=str(ranges.path)),
                fix="give the files of the BRISQUE release",
            )
        self.spec = MetricSpec(
            name="brisque",
            score_range=RANGE,
            higher_is_better=False,
            input_policy="grey levels, any size from 32 x 32, no resizing",
            licence="LIVE",
            paper="https://doi.org/10.1109/TIP.2012.2214050",
            weights=(model.described, ranges.described),
        )
        self.eval().requires_grad_(False)

    def statistics(self, grey: Tensor) -> Tensor:
        """(N, H, W) float64 grey levels 0 to 255 to (N, 36) features, unscaled, in the release's order."""
        features: list[Tensor] = []
        for scale in range(SCALES):
            if scale:
                grey = halved(grey)
            structure = normalized(grey, border="zero")
            shape, energy = self.fit.symmetric(structure.flatten(1))
            features += [shape, energy]
            for shift in SHIFTS:
                fit = self.fit.asymmetric(neighbour_products(structure, shift).flatten(1))
                mean = (fit.right - fit.left) * mean_factor(fit.shape) * spread(fit.shape)
                features += [fit.shape, mean, fit.left.square(), fit.right.square()]
        return torch.stack(features, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "brisque")
        scores: Tensor = self.regression(self.statistics(grey_levels(images)))
        return scores.to(images.dtype)
