"""`maniqa`: the published layout loads strictly, the network is pyiqa's, and the crops are the authors' script's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics import maniqa
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.metrics.maniqa import CROPS, SIDE, Maniqa, Maniqa224, TransposedAttention, crop_corners

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module], torchvision: Any) -> dict[str, Tensor]:
    return randomised(Maniqa224).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("maniqa", {"module." + key: value for key, value in state.items()}, file="ckpt_koniq10k.pt")


class Brightness(nn.Module):
    """Stands for the network, whose forward takes 2 s on a core. Quadratic, so that its gradient needs the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return images.square().mean(dim=(1, 2, 3))


@pytest.fixture
def hollow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Maniqa]:
    file = WeightsFile(name="ckpt_koniq10k.pt", sha256="0" * 64)
    monkeypatch.setattr(maniqa, "load_published", lambda *_: (Brightness(), file))
    return Maniqa


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the authors' network class.
    assert layout(state) == (316, "22474ac083c21cfd")
    assert state["vit.pos_embed"].shape == (1, 785, 768)
    assert state["tablock1.0.c_q.weight"].shape == (784, 784)
    assert state["swintransformer1.layers.0.blocks.1.attn_mask"].shape == (49, 16, 16)
    assert state["fc_weight.3.weight"].shape == (1, 384)


@pytest.mark.slow
def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: Maniqa) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.slow
@pytest.mark.usefixtures("uninitialised")
def test_the_score_is_pyiqas(metric: Maniqa, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """One crop; pyiqa builds its backbone with a download, which is left out."""
    pyiqa = pytest.importorskip("pyiqa.archs.maniqa_arch")
    plain = pyiqa.timm.create_model
    monkeypatch.setattr(pyiqa.timm, "create_model", lambda name, pretrained: plain(name, weight_init="skip"))
    monkeypatch.setattr(pyiqa, "uniform_crop", lambda images, crop_size, crop_num: images)
    theirs = pyiqa.MANIQA(pretrained=False, scale=0.8).eval()
    theirs.load_state_dict(metric.network.state_dict(), strict=True)
    images = noise(1, SIDE, SIDE)
    with torch.inference_mode():
        expected = theirs(images).flatten().tolist()
        assert metric.network(images * 2 - 1).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_gradients_of_the_network_reach_the_pixels_and_recomputation_changes_nothing(
    metric: Maniqa, noise: Callable[..., Tensor], gradient: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maniqa, "CROPS", 1)
    images = noise(1, SIDE, SIDE)
    slope = gradient(metric, images)
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9
    monkeypatch.setattr(maniqa, "checkpoint", lambda network, crops, use_reentrant: network(crops))
    assert torch.equal(gradient(metric, images), slope)


@pytest.mark.slow
def test_a_score_of_the_network_does_not_depend_on_the_batch(metric: Maniqa, noise: Callable[..., Tensor]) -> None:
    images = noise(2, SIDE, SIDE)
    with torch.inference_mode():
        together = metric.network(images)
        assert together.tolist() == pytest.approx(
            metric.network(images[:1]).tolist() + metric.network(images[1:]).tolist(), rel=1e-5
        )
    assert together[0] != together[1]


def test_attention_among_channels_mixes_as_it_was_trained(randomised: Callable[..., nn.Module]) -> None:
    block = randomised(TransposedAttention)
    state = block.state_dict()
    channels = torch.randn((1, 12, 784), generator=torch.Generator().manual_seed(0))
    query, key, value = (F.linear(channels[0], state[f"c_{n}.weight"], state[f"c_{n}.bias"]) for n in "qkv")
    mixed = torch.softmax(query @ key.T / 28, dim=1) @ value
    transposed_and_misread = mixed.T.flatten().view(12, 784)
    assert torch.allclose(block(channels)[0], channels[0] + transposed_and_misread, atol=1e-5)


def test_crops_are_those_of_the_authors_script() -> None:
    """Seed 20, then top and left in turn for twenty crops, from NumPy's global generator."""
    before = np.random.get_state()  # noqa: NPY002 - the script draws from it
    try:
        np.random.seed(20)  # noqa: NPY002
        expected = [
            (np.random.randint(0, 384 - 224), np.random.randint(0, 512 - 224))  # noqa: NPY002
            for _ in range(20)
        ]
    finally:
        np.random.set_state(before)  # noqa: NPY002
    assert crop_corners(384, 512, CROPS) == expected
    assert len(set(expected)) > 10


@pytest.mark.parametrize("size", [(224, 224), (224, 300), (225, 225), (384, 512)])
def test_crops_lie_inside(size: tuple[int, int]) -> None:
    for top, left in crop_corners(*size, CROPS):
        assert 0 <= top <= size[0] - SIDE
        assert 0 <= left <= size[1] - SIDE


def test_the_score_is_the_mean_over_twenty_normalised_crops(
    hollow: Callable[..., Maniqa], noise: Callable[..., Tensor]
) -> None:
    images, metric = noise(2, 240, 300), hollow()
    scores = metric(images)
    assert len(metric.network.seen) == 20
    crops = torch.stack([images[:, :, top : top + 224, left : left + 224] for top, left in crop_corners(240, 300, 20)])
    assert torch.allclose(torch.stack(metric.network.seen), crops * 2 - 1, atol=1e-6)
    assert scores.tolist() == pytest.approx((crops * 2 - 1).square().mean(dim=(0, 2, 3, 4)).tolist(), abs=1e-6)


def test_small_images_are_enlarged(hollow: Callable[..., Maniqa], noise: Callable[..., Tensor]) -> None:
    images, metric = noise(1, 112, 120), hollow()
    metric(images)
    enlarged = F.interpolate(images, size=(224, 240), mode="bilinear") * 2 - 1
    top, left = crop_corners(224, 240, 1)[0]
    assert torch.allclose(metric.network.seen[0], enlarged[:, :, top : top + 224, left : left + 224], atol=1e-6)


def test_paper_scales_the_whole_image_once(hollow: Callable[..., Maniqa], noise: Callable[..., Tensor]) -> None:
    images, metric = noise(1, 384, 512), hollow(paper=True)
    metric(images)
    (seen,) = metric.network.seen
    assert torch.equal(seen, F.interpolate(images, size=(224, 224), mode="bilinear", antialias=False) * 2 - 1)


def test_each_crop_is_computed_again_only_for_a_gradient(
    hollow: Callable[..., Maniqa], noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    images, metric = noise(1, 230, 230), hollow()
    slope = gradient(metric, images)
    assert len(metric.network.seen) == 40
    with torch.no_grad():
        metric(images.requires_grad_())
    assert len(metric.network.seen) == 60
    assert bool((slope != 0).any())
