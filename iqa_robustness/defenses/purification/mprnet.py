"""MPRNet: a denoiser of photographs, which takes an attack's noise for a camera's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification, loaded
from iqa_robustness.defenses.purification.networks.mprnet import MPRNet
from iqa_robustness.defenses.purification.networks.padding import lengthened
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import entry_of

# Around tiles, which other averages already change.
HALO = 32


@dataclass(frozen=True, kw_only=True)
class MPRNetDenoising(NetworkPurification[MPRNet]):
    """MPRNet's denoising model, the image lengthened to multiples of 8 by reflection and cut back.

    Source: Zamir et al., CVPR 2021 (swz30/MPRNet); benchmark section 4.1.
    Cost: 1.7 T multiply-adds for 384 × 512. `tile`: its attention then averages over parts of tiles, another result.
    """

    name: ClassVar[str] = "mprnet"
    version: ClassVar[int] = 1

    def load(self, files: Sequence[ParameterFile]) -> MPRNet:
        """The network of model_denoising.pth."""
        return loaded(MPRNet, entry_of(self.name), files[0])

    def restore(self, network: MPRNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""

        def whole(part: Tensor) -> Tensor:
            height, width = part.shape[2:]
            restored: Tensor = network(lengthened(part, MPRNet.stride))
            return restored[:, :, :height, :width]

        return self.in_tiles(whole, images, halo=HALO, multiple=MPRNet.stride)
