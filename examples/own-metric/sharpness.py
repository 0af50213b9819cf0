"""Somebody's own metric: mean gradient magnitude of luma. Sharper is better, so noise fools it."""

import torch
from torch import Tensor

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.preparation import refuse_smaller


class Sharpness(Metric):
    spec = MetricSpec(name="sharpness", score_range=(0.0, 60.0), version="1", licence="MIT")

    def forward(self, images: Tensor) -> Tensor:
        refuse_smaller(images, "sharpness", 2)
        luma = (images * torch.tensor([0.299, 0.587, 0.114], device=images.device)[:, None, None]).sum(dim=1)
        across, down = luma.diff(dim=2)[:, 1:], luma.diff(dim=1)[:, :, 1:]
        return 1000 * (across.square() + down.square() + 1e-8).sqrt().mean(dim=(1, 2))
