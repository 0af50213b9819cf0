"""Base of purifications by a network whose weights are published files: found, identified, loaded once, tiled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.networks.tiling import tiled
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.checkpoint import load_strictly, read_checkpoint
from iqa_robustness.metrics.parameter_file import ParameterFile, parameter_file
from iqa_robustness.metrics.weights import WeightsEntry, entry_of, located
from iqa_robustness.streams import Streams

# A file that is read: the published one, and the one given instead (None: the published one itself).
Source = tuple[WeightsEntry, Path | None]
# What tells that a file has changed: its path, size and time of change.
Stamp = tuple[str, int, int]
# Networks kept in memory, the least recently used dropped first; the largest one here is 67 MB.
KEPT_NETWORKS = 4
SMALLEST_TILE = 16

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class NetworkPurification(Purification, Generic[NetworkT]):
    """The image as a restoration network returns it, clamped to [0, 1].

    A subclass says which files it reads (`sources`), makes the network (`load`) and applies it (`restore`). `purify`
    may be called as often as anyone likes: the network is loaded when first needed and kept for this configuration,
    these files and this device. In the store's keys the files' names and digests stand for `weights`.

    weights: a file given instead of the published one in `metrics.weights.folder()`; empty for that one.
    tile: side of the tiles that a larger image is cut into, in pixels; 0 for the whole at once. Results are equal but
        for rounding where the network has no global statistics. Gradients cost one more forward, and less memory.

    Raises: ConfigurationError for a tile below 16; `purify` and the key: WeightsError without the weights.
    """

    weights: str = ""
    tile: int = 0

    def __post_init__(self) -> None:
        if self.tile != 0 and not self.tile >= SMALLEST_TILE:
            raise ConfigurationError(
                f"a tile of {self.tile} pixels is refused", fix=f"give 0 (no tiles), or {SMALLEST_TILE} and more"
            )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that this configuration reads: unless a subclass says more, the first published one."""
        return ((entry_of(self.name), Path(self.weights) if self.weights else None),)

    @abstractmethod
    def load(self, files: Sequence[ParameterFile]) -> NetworkT:
        """The network with the weights of these files, which are those of `sources`, on the CPU."""

    @abstractmethod
    def restore(self, network: NetworkT, images: Tensor) -> Tensor:
        """(N, 3, H, W), N > 0, to (N, 3, H', W'); what leaves [0, 1] is clamped afterwards."""

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: what the field `weights` stands for, `[[name, sha256], …]`. Raises WeightsError."""
        return {"weights": [[file.described.name, file.described.sha256] for file in _files(self, self._stamps())]}

    def network(self, device: torch.device) -> NetworkT:
        """The network on a device, frozen and in eval mode. Raises WeightsError."""
        network: NetworkT = _network(self, self._stamps(), str(device))
        return network

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H', W'), within [0, 1]. Raises WeightsError."""
        del streams
        network = self.network(images.device)
        return self.restore(network, images).clamp(0, 1) if len(images) else images

    def in_tiles(self, function: Callable[[Tensor], Tensor], images: Tensor, *, halo: int, **strides: int) -> Tensor:
        """`function(images)`, in tiles if this configuration wants them; see `tiled`."""
        return tiled(function, images, tile=self.tile, halo=halo, **strides)

    def _stamps(self) -> tuple[Stamp, ...]:
        paths = [located(entry.owner, given, file=entry.file) for entry, given in self.sources]
        return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


def loaded(build: Callable[[], NetworkT], entry: WeightsEntry, file: ParameterFile) -> NetworkT:
    """A network with the weights of a checkpoint, key by key. Raises WeightsError."""
    state = read_checkpoint(file.path, entry=entry)
    network = build()
    load_strictly(network, state, entry=entry, path=file.path)
    return network


@lru_cache(maxsize=KEPT_NETWORKS)
def _network(defense: NetworkPurification[Any], stamps: tuple[Stamp, ...], device: str) -> Any:
    # Tensors made in inference mode could never enter a graph, and the first to ask may be there.
    with torch.inference_mode(False):
        return defense.load(_files(defense, stamps)).eval().requires_grad_(False).to(device)


@lru_cache(maxsize=4 * KEPT_NETWORKS)
def _files(defense: NetworkPurification[Any], stamps: tuple[Stamp, ...]) -> tuple[ParameterFile, ...]:
    del stamps
    return tuple(parameter_file(entry, given) for entry, given in defense.sources)
