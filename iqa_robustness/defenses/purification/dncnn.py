"""DnCNN: the classical learned denoiser, blind or told how much noise to expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.ffdnet import check_sigma
from iqa_robustness.defenses.purification.network import NetworkPurification, Source
from iqa_robustness.defenses.purification.networks.dncnn import DEPTH, DnCNN, FDnCNN
from iqa_robustness.defenses.purification.networks.matconvnet import read_chain
from iqa_robustness.metrics.checkpoint import load_strictly, read_checkpoint
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import MANIFEST

# The published files: for noise of any level, and for noise of the level that is told.
BLIND, TOLD = MANIFEST["dncnn"]


@dataclass(frozen=True, kw_only=True)
class DnCNNDenoising(NetworkPurification[DnCNN | FDnCNN]):
    """CDnCNN-B, which estimates the noise itself; with a `sigma`, its sibling FDnCNN, which is told it.

    Source: Zhang et al., IEEE TIP 2017 (cszn/DnCNN). Not among the benchmark's defenses.
    Cost: 131 G multiply-adds for 384 × 512.
    Raises: ConfigurationError for a sigma beyond 0 … 75/255, or without h5py for a .mat file.

    weights: without a sigma GD_Color_Blind.mat or one of color_sigma=NN.mat, with one FDnCNN_color.mat; or a
        checkpoint of cszn/KAIR (dncnn_color_blind.pth, fdncnn_color.pth).
    sigma: standard deviation of the Gaussian noise that is expected, in units of 1; None to have it estimated.
    """

    name: ClassVar[str] = "dncnn"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "sigma"
    parameter_values: ClassVar[Sequence[Any]] = (None, 5 / 255, 15 / 255, 25 / 255, 50 / 255)

    sigma: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None:
            check_sigma(self.sigma)

    @property
    def sources(self) -> tuple[Source, ...]:
        """One file."""
        return ((BLIND if self.sigma is None else TOLD, Path(self.weights) if self.weights else None),)

    def load(self, files: Sequence[ParameterFile]) -> DnCNN | FDnCNN:
        """The network of a .mat file of the authors or of a checkpoint."""
        (file,), ((entry, _),) = files, self.sources
        read = read_chain if file.path.suffix == ".mat" else read_checkpoint
        state = read(file.path, entry=entry)
        network = DnCNN() if self.sigma is None else FDnCNN()
        load_strictly(network.model, state, entry=entry, path=file.path)
        return network

    def restore(self, network: DnCNN | FDnCNN, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""

        def denoised(part: Tensor) -> Tensor:
            restored: Tensor = network(part) if self.sigma is None else network(part, self.sigma)
            return restored

        return self.in_tiles(denoised, images, halo=DEPTH)
