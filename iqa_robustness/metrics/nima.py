"""`nima`: the mean of a predicted distribution of opinions, MobileNet with idealo's weights."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_strictly
from iqa_robustness.metrics.keras_hdf5 import read_layers, torch_state
from iqa_robustness.metrics.mobilenet_v1 import CHANNELS, MobileNetV1
from iqa_robustness.metrics.parameter_file import parameter_files
from iqa_robustness.metrics.preparation import refuse_smaller
from iqa_robustness.metrics.weights import entry_of

SIDE = 224
CLASSES = 10


class NimaNetwork(nn.Module):
    """MobileNet (`base`) and one layer (`dense`) to the probabilities of the opinions 1 to 10.

    Images: (N, 3, H, W) in [−1, 1]. Returns (N, 10), each row adds up to 1.
    """

    def __init__(self, *, both_sides: bool = False) -> None:
        super().__init__()
        self.base = MobileNetV1(both_sides=both_sides)
        self.dense = nn.Linear(CHANNELS, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 10)."""
        probabilities: Tensor = self.dense(self.base(images)).softmax(dim=1)
        return probabilities


class Nima(Metric):
    """No-reference metric NIMA: the mean opinion of a predicted distribution, 1 to 10, higher is better.

    Source: Talebi and Milanfar, IEEE TIP 2018, with the MobileNet and the weights of idealo/image-quality-assessment
    (technical quality: TID2013; the aesthetic file has the same layout). As there, an image is scaled to 224 × 224
    without keeping its aspect and by picking the nearest pixels, so that the others have no gradient.
    The weights were trained with Keras 2.1, whose MobileNet pads both sides (`paper=True`); idealo's present code runs
    them in a Keras that pads one, as the ImageNet weights they started from expect.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32.
    Scores: 1 to 10 by construction; the range is this nominal one, not measured (no weights were at hand).
    Cost: 0.6 G multiply-adds an image.
    Raises: ImageContractError for smaller images, ConfigurationError without h5py, WeightsError without the file or
    with weights that do not fit.

    Args:
        weights: an HDF5 file of Keras; None looks for the technical one in `weights.folder()`.
        paper: pad as the network was trained.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        (file,) = parameter_files("nima", weights)
        state = _state(file.path)
        self.network = NimaNetwork(both_sides=paper)
        load_strictly(self.network, state, entry=entry_of("nima"), path=file.path)
        self.register_buffer("opinions", torch.arange(1.0, CLASSES + 1), persistent=False)
        self.opinions: Tensor
        self.spec = MetricSpec(
            name="nima",
            score_range=(1.0, 10.0),
            version="1-paper" if paper else "1",
            input_policy=f"scaled to {SIDE} x {SIDE} by nearest pixels, aspect not kept",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/1709.05424",
            weights=(file.described,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "nima")
        probabilities: Tensor = self.network(nearest(images, SIDE) * 2 - 1)
        return (probabilities * self.opinions).sum(dim=1)


def nearest(images: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) to (N, 3, side, side): the pixels under the centres of the new ones, the very ones Pillow picks."""
    rows, columns = (torch.tensor(_under_centres(length, side), device=images.device) for length in images.shape[2:])
    return images[:, :, rows][..., columns]


def _under_centres(length: int, side: int) -> list[int]:
    # Pillow adds steps up, and where a centre falls between two pixels its rounding errors choose; so do they here.
    step = length / side
    return [int(position) for position in accumulate([step / 2, *[step] * (side - 1)])]


def _state(path: Path) -> dict[str, Tensor]:
    """The file's tensors under `NimaNetwork`'s names; Keras numbers the dense layer, so its kernel's shape tells it."""
    layers = read_layers(path, metric="nima")
    dense = [name for name, arrays in layers.items() if "kernel" in arrays and arrays["kernel"].ndim == 2]
    if len(dense) != 1:
        raise WeightsError(
            f"{path.name} has {len(dense)} dense layers, NIMA has 1",
            where=Where(metric="nima", file=str(path)),
            fix="give a file of idealo's image-quality-assessment",
        )
    return torch_state({"dense" if name in dense else f"base.{name}": arrays for name, arrays in layers.items()})
