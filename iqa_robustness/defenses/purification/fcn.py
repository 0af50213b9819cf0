"""FCN: a small filter trained to undo a colour attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification, Source, loaded
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import entry_of, folder

FOLDER = Path(__file__).parent / "bundled"
# SHA-256 of the bundled files by the loss that they were trained with (docs/model-cards/fcn.md).
BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "mse": "d85196a445c55c9a23848e15521c6eb02e7c8a0ee5e5441379d83e0cedbb2713",
        "mse+lite0-features": "500bae3162d5188735bf9aff5f259b352e596ed21e120384b4024d7e439b4e2c",
        "mse+ssim": "56b7fc306930a2862cbdf05676adc3a43335ad473e647571e88dcc5d685b0142",
        "ssim": "fc3d2f1c6fa407ee6accd712c948a0d36de53ba885d3f2d0a75a05305cdd3f03",
    }
)
DEFAULT = "mse+ssim"


@dataclass(frozen=True, kw_only=True)
class FCNFilter(NetworkPurification[FCN]):
    """A fully convolutional filter, trained on pairs of clean images and images attacked by AdvCF.

    Without `weights`, the published file is read where `metrics.weights.folder()` has it, and the bundled `mse+ssim`
    elsewhere; which one it was is in the store's keys, hence in every record: `fcn_mse.pth`, or
    `fcn-bundled-mse+ssim.safetensors`.

    Source: Gushchin et al. 2024 (arXiv 2404.06957), the variant with squared error; benchmark sections 4.1 and 4.2.
    Cost: 2.3 G multiply-adds for 384 × 512. `tile`: its normalisation then is the tile's, another result.
    Raises: beside those of the base, WeightsError for a bundled file that is not this release's.

    weights: `mse+ssim`, `mse`, `ssim` or `mse+lite0-features`, the bundled files, named by their losses; or a file of
        the same layout, such as `iqa-robustness train defense fcn` writes.
    """

    name: ClassVar[str] = "fcn"
    version: ClassVar[int] = 1

    @property
    def sources(self) -> tuple[Source, ...]:
        """The file that was chosen; the published one only where it is present."""
        entry = entry_of(self.name)
        if not self.weights and (folder() / entry.file).is_file():
            return ((entry, None),)
        chosen = self.weights or DEFAULT
        return ((entry, bundled(chosen) if chosen in BUNDLED else Path(chosen)),)

    def load(self, files: Sequence[ParameterFile]) -> FCN:
        """The network of a checkpoint, published or trained here."""
        ((entry, path),) = self.sources
        for loss, sha256 in BUNDLED.items():
            if path == bundled(loss) and files[0].described.sha256 != sha256:
                raise WeightsError(
                    f"the bundled weights have sha256 {files[0].described.sha256}, {sha256} is expected",
                    where=entry.where(files[0].path),
                    fix="reinstall the package",
                )
        return loaded(FCN, entry, files[0])

    def restore(self, network: FCN, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        return self.in_tiles(network, images, halo=FCN.reach)


def bundled(loss: str) -> Path:
    """The bundled file that was trained with a loss."""
    return FOLDER / f"fcn-bundled-{loss}.safetensors"
