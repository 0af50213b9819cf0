"""`niqe`: distance of an image's natural-scene statistics from a Gaussian fitted to pristine photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.generalized_gaussian import GeneralizedGaussian, mean_factor, spread
from iqa_robustness.metrics.natural_scene import Shift, grey_levels, halved, neighbour_products, normalized
from iqa_robustness.metrics.parameter_file import parameter_files
from iqa_robustness.metrics.preparation import refuse_smaller

SHIFTS: tuple[Shift, ...] = ((0, 1), (1, 0), (1, 1), (1, -1))
BLOCK = 96
SIDES = (BLOCK, BLOCK // 2)
FEATURES = len(SIDES) * (2 + 4 * len(SHIFTS))
MEAN, COVARIANCE = "mu_prisparam", "cov_prisparam"
# Under the root, so that the gradient of a perfect score is zero and not infinite.
_SQUARE_FLOOR = 1e-12
# The middle 98 % of 2,127 scores: the crops of SR4KIQA (463), 200 images of NIPS 2017 and Kodak24, and each of 116, 100
# and 24 of them blurred (sigma 2, 4), with white noise (deviation 10, 30 of 255), JPEG-compressed (quality 30, 10).
RANGE = (2.7, 18.2)


class Niqe(Metric):
    """No-reference metric NIQE: Mahalanobis-like distance from the statistics of pristine photographs, lower is better.

    Source: Mittal, Soundararajan and Bovik, IEEE SPL 2013, and its MATLAB release (LIVE, 2012), whose parameter file it
    reads. Forward follows the release: 8-bit grey levels, blocks of 96 × 96, the pseudo-inverse of the mean covariance.
    The release selects sharp blocks only to fit its parameters; all blocks of a scored image count, so no selection
    hides anything from a gradient. Backward, rounding counts as the identity and the exponents' grid as a smooth curve.
    Differs in blocks that lack positive or negative values (constant ones above all), where the release has NaN: they
    are left out altogether, there their exponents still enter the mean. If all blocks are so, all count. One block
    has the covariance 0, there a scalar. Five images with published scores differ by 0.008, 0, 0.001, 0.018, 0.03.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 96, no resizing; what is over multiples of 96 is not seen.
    Scores: about 3 for a clean photograph, open upwards.
    Cost: 0.02 s forward, 0.02 s backward for 192 × 256 on one core, in float64.
    Raises: ImageContractError for smaller images, WeightsError without the file or with one of another kind.

    Args:
        weights: modelparameters.mat of the release; None looks for `niqe_modelparameters.mat` in `weights.folder()`.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        (file,) = parameter_files("niqe", weights)
        mean, covariance = _pristine(file.path)
        self.fit = GeneralizedGaussian()
        self.mean: Tensor
        self.covariance: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("covariance", covariance)
        self.spec = MetricSpec(
            name="niqe",
            score_range=RANGE,
            higher_is_better=False,
            input_policy=f"grey levels, any size from {BLOCK} x {BLOCK}, no resizing, whole blocks only",
            licence="LIVE",
            paper="https://doi.org/10.1109/LSP.2012.2227726",
            weights=(file.described,),
        )
        self.eval().requires_grad_(False)

    def statistics(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W) grey levels to (N, blocks, 36) features, and (N, blocks) whether all of a block's are defined."""
        rows, columns = grey.shape[1] // BLOCK, grey.shape[2] // BLOCK
        grey = grey[:, : rows * BLOCK, : columns * BLOCK]
        features: list[Tensor] = []
        defined: list[Tensor] = []
        for side in SIDES:
            if side != BLOCK:
                grey = halved(grey)
            blocks = normalized(grey, border="replicate").unfold(1, side, side).unfold(2, side, side).flatten(1, 2)
            fit = self.fit.asymmetric(blocks.flatten(2))
            features += [fit.shape, (fit.left + fit.right) / 2 * spread(fit.shape)]
            defined.append(fit.defined)
            for shift in SHIFTS:
                fit = self.fit.asymmetric(neighbour_products(blocks, shift).flatten(2))
                left, right = fit.left * spread(fit.shape), fit.right * spread(fit.shape)
                features += [fit.shape, (right - left) * mean_factor(fit.shape), left, right]
                defined.append(fit.defined)
        return torch.stack(features, dim=2), torch.stack(defined).all(dim=0)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "niqe", BLOCK)
        features, defined = self.statistics(grey_levels(images))
        counted = (defined | ~defined.any(dim=1, keepdim=True))[..., None].to(features.dtype)
        count = counted.sum(dim=1)
        mean = (features * counted).sum(dim=1) / count
        centred = (features - mean[:, None]) * counted
        covariance = centred.mT @ centred / (count[..., None] - 1).clamp(min=1)
        inverse = torch.linalg.pinv((self.covariance + covariance) / 2, hermitian=True)
        difference = self.mean - mean
        square: Tensor = (difference[:, None] @ inverse @ difference[..., None]).flatten()
        return (square + _SQUARE_FLOOR).sqrt().to(images.dtype)


def _pristine(path: Path) -> tuple[Tensor, Tensor]:
    """Mean (36,) and covariance (36, 36) of pristine photographs' features. Raises WeightsError."""
    where = Where(metric="niqe", file=str(path))
    fix = "give modelparameters.mat of the NIQE release"
    try:
        content = loadmat(path, variable_names=[MEAN, COVARIANCE])
        found = [np.asarray(content[name], dtype=np.float64) for name in (MEAN, COVARIANCE)]
    except KeyError as error:
        raise WeightsError(f"{path.name} has no variable {error}", where=where, fix=fix) from error
    except Exception as error:  # scipy fails in many ways on what is no MATLAB file
        raise WeightsError(
            f"{path.name} is no MATLAB file with numbers: {type(error).__name__}: {error}", where=where, fix=fix
        ) from error
    mean, covariance = found
    if mean.size != FEATURES or covariance.shape != (FEATURES, FEATURES):
        raise WeightsError(
            f"{path.name} holds {MEAN} {mean.shape} and {COVARIANCE} {covariance.shape}, "
            f"(1, {FEATURES}) and ({FEATURES}, {FEATURES}) are expected",
            where=where,
            fix=fix,
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T)):
        raise WeightsError(f"{path.name} holds no finite mean and symmetric covariance", where=where, fix=fix)
    return torch.from_numpy(mean.reshape(-1).copy()), torch.from_numpy(np.ascontiguousarray(covariance))
