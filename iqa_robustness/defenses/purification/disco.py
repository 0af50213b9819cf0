"""DISCO: the image projected on clean ones by a local implicit function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.purification.network import NetworkPurification
from iqa_robustness.defenses.purification.networks.liif import LIIF
from iqa_robustness.metrics.checkpoint import load_strictly, read_container, tensors_of
from iqa_robustness.metrics.parameter_file import ParameterFile
from iqa_robustness.metrics.weights import entry_of

PAPER_SIZE = (299, 299)


@dataclass(frozen=True, kw_only=True)
class Disco(NetworkPurification[LIIF]):
    """EDSR features of the image, and LIIF, trained against PGD on a classifier, to read clean colours off them.

    Source: Ho and Vasconcelos, NeurIPS 2022 (chihhuiho/disco); benchmark section 4.1, whose code returns 299 × 299
    pixels of whatever comes in (`paper=True`); here the image keeps its size.
    Cost: 0.24 T multiply-adds for 384 × 512 and 1.4 M a pixel of the result, 0.5 T in all. `tile`: of the features;
    gradients of the colours take the memory of 32,768 pixels in any case.
    """

    name: ClassVar[str] = "disco"
    version: ClassVar[int] = 1

    @property
    def keeps_geometry(self) -> bool:
        """Whether pixels of input and output correspond."""
        return not self.paper

    def load(self, files: Sequence[ParameterFile]) -> LIIF:
        """The network of disco_pgd.pth, whose tensors are under `model` and there under `sd`."""
        (file,), entry = files, entry_of(self.name)
        container = read_container(file.path, entry=entry)
        outer = container.get("model") if isinstance(container, Mapping) else None
        inner = outer.get("sd") if isinstance(outer, Mapping) else None
        state = tensors_of(container if inner is None else inner, entry=entry, path=file.path)
        network = LIIF()
        load_strictly(network, state, entry=entry, path=file.path)
        return network

    def restore(self, network: LIIF, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape, or with `paper` to (N, 3, 299, 299)."""
        features = self.in_tiles(network.encoder, 2 * images - 1, halo=network.encoder.reach)
        size = PAPER_SIZE if self.paper else (images.shape[2], images.shape[3])
        return (network.read(features, size) + 1) / 2
