"""cAdv: colour hints to a colourisation network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.cluster.vq
import scipy.ndimage
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.colorization import ColorizationNetwork
from iqa_robustness.attacks.lab import from_lab, to_lab
from iqa_robustness.attacks.transformation import Render, Transformation
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.weights import located, sha256_of
from iqa_robustness.streams import Streams

# The network halves the size three times.
_MULTIPLE = 8
_CLUSTERS, _SUREST, _BLUR = 8, 4, 3.0


@dataclass(frozen=True, kw_only=True)
class CAdv(Transformation):
    """Changes the colour hints, and how far they are believed, that a colourisation network follows. L* stays.

    As hints the network gets the true colours of random pixels, in those four of eight clusters of colours where it is
    surest without them; the attack changes hints and mask of all pixels.

    Source: Bhattad et al., ICLR 2020; network of Zhang et al., ACM TOG 2017. What the published code shows is the
    network's picture, which differs from the clean one (SSIM about 0.9) before anything is attacked; here the clean
    colours are shifted by what the attack changes in the network's answer. `paper=True` shows the network's picture, at
    the benchmark's rates (section 3.3, mean over its metrics), blurs the two colours into each other before clustering,
    and returns the last iterate.
    Images: (N, 3, H, W) float32 RGB in [0, 1], H and W at least 7; padded to multiples of 8 at the border.
    Budget: SSIM of at least `least_ssim` to the clean image, after 8-bit rounding; the published code has none.
    Cost: `steps` forwards and backwards an image, as many of the network (see there; it is larger than most metrics),
    and one or two forwards to score the rounded result.
    Raises: WeightsError when it is made without the weights; ConfigurationError for fewer than one step or hint, or a
    rate that is not positive.

    Args:
        rate: Adam's, in units of a* / 110 and of the mask; chosen after the published ones, not measured.
        hints: how many pixels are true hints.
        weights: the file, empty for siggraph17-df00044c.pth in `weights.folder()`.
        mask_centre: what the checkpoint's mask is lowered by: 0 for the published file, whose mask is 1 with a hint
            and 0 without; 0.5 for pytorch.pth of colorization-pytorch, which the authors of cAdv use.
        sha256: of the file, found when the attack is made.
    """

    name: ClassVar[str] = "cadv"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_ssim": 0.90, "published_rate": 0.000125},
        "medium": {"least_ssim": 0.85, "published_rate": 0.0012},
        "strong": {"least_ssim": 0.75, "published_rate": 0.00417},
    }

    rate: float = 0.01
    published_rate: float = 0.0012
    hints: int = 50
    weights: str = ""
    mask_centre: float = 0.0
    sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hints < 1:
            raise ConfigurationError(f"cadv needs hints >= 1, got {self.hints}")
        # It decides the result, so it is a field: part of every key and record.
        object.__setattr__(self, "sha256", sha256_of(located("cadv", self.weights or None)))

    @cached_property
    def network(self) -> ColorizationNetwork:
        """The network with its weights. Raises WeightsError when the file is not what it should be."""
        network, _ = load_published(ColorizationNetwork, "cadv", self.weights or None)
        return network.eval().requires_grad_(False)

    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        """True hints at pixels drawn from the streams."""
        network = self.network.to(images.device)
        padded = F.pad(images, (0, -images.shape[3] % _MULTIPLE, 0, -images.shape[2] % _MULTIPLE), mode="replicate")
        seeds, order = streams.integers(2**31), streams.uniform(padded.shape[2] * padded.shape[3])
        pictures = []
        for row in range(len(images)):
            lab = to_lab(padded[row : row + 1])
            lightness, colours = (lab[:, :1] - 50) / 100, lab[:, 1:] / 110
            blank = torch.full_like(lightness, -self.mask_centre)
            entropy = answer_entropy(network, lightness, blank)
            sure = surest_places(entropy, colours[0], seed=int(seeds[row]), blurred_together=self.paper)
            chosen = torch.where(sure, order[row], 2.0).argsort(stable=True)[: min(self.hints, int(sure.sum()))]
            hinted = torch.zeros_like(blank)
            hinted.view(-1)[chosen] = 1
            pictures.append(
                Picture(
                    network=network,
                    lightness=lightness,
                    colours=colours,
                    hints=colours * hinted,
                    mask=blank + hinted,
                    mask_centre=self.mask_centre,
                    size=(images.shape[2], images.shape[3]),
                    plain=self.paper,
                )
            )
        return images.new_zeros(len(images), 3, *padded.shape[2:]), pictures


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One image as the network colours it.

    lightness, colours: (1, 1, H, W) and (1, 2, H, W), of the padded clean image, in the network's units.
    hints, mask: (1, 2, H, W) and (1, 1, H, W), what the network is told before the attack.
    size: (height, width) of the image without padding.
    plain: show the network's colours; else the clean ones, shifted by how they change.
    """

    network: ColorizationNetwork
    lightness: Tensor
    colours: Tensor
    hints: Tensor
    mask: Tensor
    mask_centre: float
    size: tuple[int, int]
    plain: bool

    def __call__(self, changes: Tensor) -> Tensor:
        """Changes (3, H, W) of the two hints and the mask to the image (1, 3, *size)."""
        hints = (self.hints + changes[None, :2]).clamp(-1, 1)
        mask = (self.mask + changes[None, 2:]).clamp(-self.mask_centre, 1 - self.mask_centre)
        colours = self.network(self.lightness, hints, mask)
        if not self.plain:
            colours = self.colours + colours - self._before
        lab = torch.cat([self.lightness * 100 + 50, colours * 110], dim=1)
        return from_lab(lab)[..., : self.size[0], : self.size[1]]

    @cached_property
    def _before(self) -> Tensor:
        with torch.no_grad():
            colours: Tensor = self.network(self.lightness, self.hints, self.mask)
            return colours


def answer_entropy(network: ColorizationNetwork, lightness: Tensor, blank: Tensor) -> Tensor:
    """How unsure the network is of each place's colour without any hint, (1, 1, H, W) to (H, W), in nats."""
    with torch.no_grad():
        shares = network.logits(lightness, torch.cat([torch.zeros_like(blank)] * 2, dim=1), blank).softmax(dim=1)
        entropy = -(shares * shares.clamp(min=1e-8).log()).sum(dim=1, keepdim=True)
        return F.interpolate(entropy, scale_factor=4, mode="nearest")[0, 0]


def surest_places(entropy: Tensor, colours: Tensor, *, seed: int, blurred_together: bool = False) -> Tensor:
    """Pixels of the clusters of colours in which the network is surest; (H, W) and (2, H, W) to (H · W,) bool.

    Args:
        entropy: of the network's answer.
        colours: blurred over space before they are clustered.
        seed: of the clustering's start.
        blurred_together: blur the two colours into each other, as the published code does.
    """
    blur = (_BLUR if blurred_together else 0.0, _BLUR, _BLUR)
    points = scipy.ndimage.gaussian_filter(colours.double().cpu().numpy(), blur).reshape(2, -1).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster is as good as none
        _, cluster = scipy.cluster.vq.kmeans2(points, _CLUSTERS, minit="points", seed=np.random.default_rng(seed))
    sizes = np.bincount(cluster, minlength=_CLUSTERS)
    sums = np.bincount(cluster, weights=entropy.flatten().double().cpu().numpy(), minlength=_CLUSTERS)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    surest = np.argsort(means, kind="stable")[:_SUREST]
    return torch.from_numpy(np.isin(cluster, surest)).to(entropy.device)
