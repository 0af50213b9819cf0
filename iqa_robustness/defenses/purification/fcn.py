"""FCN: a small filter trained to undo a colour attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification, loaded
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import entry_of


@dataclass(frozen=True, kw_only=True)
class FCNFilter(NetworkPurification[FCN]):
    """A fully convolutional filter, trained on pairs of clean images and images attacked by AdvCF.

    Source: Gushchin et al. 2024 (arXiv 2404.06957), the variant with squared error; benchmark sections 4.1 and 4.2.
    Cost: 2.3 G multiply-adds for 384 × 512. `tile`: its normalisation then is the tile's, another result.
    """

    name: ClassVar[str] = "fcn"
    version: ClassVar[int] = 1

    def load(self, files: Sequence[ParameterFile]) -> FCN:
        """The network of fcn_mse.pth."""
        return loaded(FCN, entry_of(self.name), files[0])

    def restore(self, network: FCN, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        return self.in_tiles(network, images, halo=FCN.reach)
