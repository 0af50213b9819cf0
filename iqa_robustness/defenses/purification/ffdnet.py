"""FFDNet: a learned denoiser that is told how much noise to expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification
from iqa_robustness.defenses.purification.networks.ffdnet import FFDNet, from_columns
from iqa_robustness.defenses.purification.networks.matconvnet import read_chain
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.checkpoint import load_strictly, read_checkpoint
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import entry_of

# The noisiest images that these denoisers were trained on.
LARGEST_SIGMA = 75 / 255


@dataclass(frozen=True, kw_only=True)
class FFDNetDenoising(NetworkPurification[FFDNet]):
    """FFDNet for colour images, told that the image carries Gaussian noise of standard deviation `sigma`.

    Source: Zhang, Zuo and Zhang, IEEE TIP 2018 (cszn/FFDNet). Not among the benchmark's defenses.
    Cost: 42 G multiply-adds for 384 × 512.
    Raises: ConfigurationError for a sigma beyond 0 … 75/255, or without h5py for a .mat file.

    weights: FFDNet_color.mat, or a checkpoint of cszn/KAIR (ffdnet_color.pth).
    sigma: in units of 1.
    """

    name: ClassVar[str] = "ffdnet"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "sigma"
    parameter_values: ClassVar[Sequence[Any]] = (5 / 255, 10 / 255, 15 / 255, 25 / 255, 50 / 255)

    sigma: float = 15 / 255

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigma(self.sigma)

    def load(self, files: Sequence[ParameterFile]) -> FFDNet:
        """The network of FFDNet_color.mat or of a checkpoint."""
        (file,), entry = files, entry_of(self.name)
        if file.path.suffix == ".mat":
            state = from_columns(read_chain(file.path, entry=entry))
        else:
            state = read_checkpoint(file.path, entry=entry)
        network = FFDNet()
        load_strictly(network.model, state, entry=entry, path=file.path)
        return network

    def restore(self, network: FFDNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        return self.in_tiles(lambda part: network(part, self.sigma), images, halo=FFDNet.reach, multiple=FFDNet.stride)


def check_sigma(sigma: float) -> None:
    """Raise ConfigurationError for a noise level that the networks were not trained for."""
    if not 0 <= sigma <= LARGEST_SIGMA:
        raise ConfigurationError(
            f"sigma must lie in 0 … {LARGEST_SIGMA:.4f} (75/255), got {sigma}", fix="give it in units of 1: 15/255"
        )
