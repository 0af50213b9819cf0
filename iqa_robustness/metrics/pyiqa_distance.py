"""A full-reference distance of IQA-PyTorch as a function of two images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from iqa_robustness.errors import ConfigurationError, UnknownNameError, WeightsError, Where
from iqa_robustness.metrics import pyiqa_files, pyiqa_table
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.metrics.pyiqa_adapter import _built
from iqa_robustness.metrics.weights import sha256_of


class PyiqaDistance(nn.Module):
    """A distance of pyiqa (`dists`, `lpips`, …), by the name in its own table: 0 or little for equal images.

    Source: Chen and Mo, IQA-PyTorch, 2022; installed by the extra `pyiqa`, licensed for non-commercial use.
    Images: (N, 3, H, W) float32 RGB in [0, 1] twice. Nothing is downloaded.

    Args:
        name: a full-reference metric whose lower scores are better.

    Raises:
        ConfigurationError: pyiqa is absent, or this is no distance, or it cannot be constructed.
        UnknownNameError: pyiqa has no such metric.
        WeightsError: a file is missing; it says which one and where it is looked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model: Any
        where = Where(metric=f"pyiqa:{name}")
        table = pyiqa_table.rows()
        if name not in table:
            raise UnknownNameError("metric of pyiqa", name, table, where=where)
        if not table[name].full_reference or table[name].higher_is_better:
            raise ConfigurationError(f"pyiqa's {name!r} is no distance between two images", where=where)
        try:
            self.model, guard = _built(name, {}, download=False)
        except WeightsError as error:
            error.fix = (
                f"where there is a network, run python -c \"import pyiqa; pyiqa.create_metric('{name}')\", "
                f"and copy what it fetched into {pyiqa_files.cache()}"
            )
            raise
        self.eval().requires_grad_(False)
        self.files = tuple(WeightsFile(name=path.name, sha256=sha256_of(path)) for path in guard.read)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """(N, 3, H, W) twice to (N,), with a graph where `images` require one."""
        # The wrapper switches gradients to `as_loss`, on as well as off, whatever mode its caller is in.
        self.model.as_loss = torch.is_grad_enabled() and images.requires_grad
        distances: Tensor = self.model(images.clamp(0, 1), references.clamp(0, 1))
        return distances.reshape(len(images))
