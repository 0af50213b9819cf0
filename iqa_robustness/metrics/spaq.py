"""`spaq`: the baseline model (BL) of the SPAQ smartphone data set, ResNet-50 over patches."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from iqa_robustness.metrics.backbones import torchvision_model
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import enlarged, patches, refuse_smaller, shorter_side

PATCH, STRIDE = 224, 112
SHORTER_SIDE = 512


class SpaqNetwork(nn.Module):
    """ResNet-50 with one output (`backbone`), in the key layout of BL_release.pt.

    Patches: (N, 3, 224, 224) in [0, 1]; no mean is subtracted. Returns (N,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torchvision_model("resnet50", metric="spaq", num_classes=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) to (N,)."""
        scores: Tensor = self.backbone(images)
        return scores.squeeze(1)


class Spaq(Metric):
    """No-reference metric SPAQ-BL: the mean of ResNet-50's scores of overlapping patches, higher is better.

    Source: Fang et al., CVPR 2020, and its demo (h4nwei/SPAQ): images with both sides of at least 512 are scaled to a
    shorter side of 512, smaller ones are left alone; 224 × 224 patches every 112 pixels, the last flush with the edge.
    The demo scales with Pillow (rounded to 8 bits); the benchmark's code never scales (`paper=True`), which is the same
    at its 384 × 512, and returns one mean over the whole batch, which nothing here does.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32; a shorter side under 224 is enlarged to 224, under
    `paper=True` refused (the benchmark's cells are missing there).   Scores: about 0 to 100, unclamped.
    Cost: 4.1 G multiply-adds a patch; 12 patches for 384 × 512.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: BL_release.pt; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(SpaqNetwork, "spaq", weights)
        self.paper = paper
        self.spec = MetricSpec(
            name="spaq",
            score_range=(21.749107360839844, 77.75585174560547),
            version="1-paper" if paper else "1",
            input_policy=f"{PATCH} x {PATCH} patches of the image as it is"
            if paper
            else f"shorter side scaled down to {SHORTER_SIDE} or up to {PATCH}, then {PATCH} x {PATCH} patches",
            licence="research and education only",
            paper="https://openaccess.thecvf.com/content_CVPR_2020/papers/"
            "Fang_Perceptual_Quality_Assessment_of_Smartphone_Photography_CVPR_2020_paper.pdf",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def prepared(self, images: Tensor) -> Tensor:
        """The images at the size that patches are cut from."""
        if self.paper:
            refuse_smaller(images, "spaq", PATCH)
            return images
        refuse_smaller(images, "spaq")
        if min(images.shape[2:]) >= SHORTER_SIDE:
            return shorter_side(images, SHORTER_SIDE, antialias=True)
        return enlarged(images, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        cut = patches(self.prepared(images), PATCH, STRIDE)
        scores: Tensor = self.network(cut.flatten(0, 1))
        return scores.view(cut.shape[:2]).mean(dim=1)
