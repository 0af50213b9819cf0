"""Tiles: the values and gradients of the whole image, in the memory of one tile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks.tiling import tiled

REACH = 3


def chain(scale: int = 1, depth: int = REACH) -> nn.Sequential:
    """3 × 3 convolutions with zeros around the image, so that its border differs from a tile's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 3 * (scale**2 if k == depth - 1 else 1), 3, padding=1) for k in range(depth)]
        return nn.Sequential(*layers, nn.PixelShuffle(scale)).requires_grad_(False)


class Halved(nn.Module):
    """Works on sub-images of half the size; odd sides are lengthened."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = chain()

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        parts = [self.inner(even[:, :, row::2, column::2]) for row in (0, 1) for column in (0, 1)]
        whole = F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)
        return whole[:, :, :height, :width]


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(height))


# --- values -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(height=st.integers(1, 60), width=st.integers(1, 60), tile=st.integers(1, 70), more=st.integers(0, 4))
def test_tiles_that_see_far_enough_agree_with_the_whole(height: int, width: int, tile: int, more: int) -> None:
    images, function = pictures(height, width, 1), chain()
    found = tiled(function, images, tile=tile, halo=REACH + more)
    assert torch.allclose(found, function(images), atol=1e-5)


@settings(max_examples=20)
@given(height=st.integers(1, 30), width=st.integers(1, 30), tile=st.integers(1, 20), scale=st.sampled_from([2, 4]))
def test_enlarged_tiles_fit_together(height: int, width: int, tile: int, scale: int) -> None:
    images, function = pictures(height, width, 1), chain(scale)
    found = tiled(function, images, tile=tile, halo=REACH, scale=scale)
    assert found.shape == (1, 3, scale * height, scale * width)
    assert torch.allclose(found, function(images), atol=1e-5)


@settings(max_examples=20)
@given(height=st.integers(2, 50), width=st.integers(2, 50), tile=st.integers(1, 30))
def test_tiles_keep_to_the_stride(height: int, width: int, tile: int) -> None:
    images, function = pictures(height, width, 1), Halved()
    found = tiled(function, images, tile=tile, halo=2 * REACH + 1, multiple=2)
    assert torch.allclose(found, function(images), atol=1e-5)


def test_a_halo_too_small_shows() -> None:
    images, function = pictures(40, 40), chain()
    assert not torch.allclose(tiled(function, images, tile=16, halo=REACH - 1), function(images), atol=1e-4)


def test_global_statistics_are_the_tiles() -> None:
    images = pictures(40, 40)

    def centred(part: Tensor) -> Tensor:
        return part - part.mean(dim=(2, 3), keepdim=True)

    assert not torch.allclose(tiled(centred, images, tile=16, halo=REACH), centred(images), atol=1e-3)


@pytest.mark.parametrize("tile", [0, 40, 41, 1000])
def test_what_fits_into_one_tile_is_not_cut(tile: int) -> None:
    images, seen = pictures(40, 33), []

    def watched(part: Tensor) -> Tensor:
        seen.append(part)
        return part

    assert tiled(watched, images, tile=tile, halo=5) is images
    assert len(seen) == 1


def test_every_part_is_a_tile_with_its_halo() -> None:
    images, sizes = pictures(40, 33), []

    def watched(part: Tensor) -> Tensor:
        sizes.append(tuple(part.shape[2:]))
        return part

    assert torch.equal(tiled(watched, images, tile=16, halo=3, multiple=4), images)
    assert sizes == [(rows, columns) for rows in (20, 24, 12) for columns in (20, 21, 5)]


# --- gradients and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [8, 16, 23])
def test_gradients_are_those_of_the_whole(tile: int) -> None:
    images, function = pictures(37, 30), chain()
    weights = pictures(37, 30).flip(0)
    gradients = []
    for size in (0, tile):
        leaf = images.clone().requires_grad_(True)
        result = (tiled(function, leaf, tile=size, halo=REACH).square() * weights).sum()
        gradients.append(torch.autograd.grad(result, leaf)[0])
    assert torch.allclose(*gradients, atol=1e-4)


def kept_for_backward(call: Callable[[], Tensor]) -> int:
    """Bytes that a graph keeps."""
    sizes = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(sizes)


def test_a_graph_keeps_no_activations_of_tiles() -> None:
    leaf, function = pictures(64, 64).requires_grad_(True), nn.Sequential(*(nn.Tanh() for _ in range(20)))
    whole = kept_for_backward(lambda: tiled(function, leaf, tile=0, halo=0))
    parts = kept_for_backward(lambda: tiled(function, leaf, tile=16, halo=0))
    assert whole >= 20 * leaf.numel() * 4
    assert parts <= 2 * leaf.numel() * 4


@pytest.mark.parametrize(("inference", "calls"), [(True, 6), (False, 12)])
def test_a_tile_is_computed_once_and_again_only_for_gradients(inference: bool, calls: int) -> None:
    images, seen = pictures(40, 32), []

    def watched(part: Tensor) -> Tensor:
        seen.append(part.requires_grad)
        return part.square()

    with torch.inference_mode(inference):
        leaf = images if inference else images.clone().requires_grad_(True)
        result = tiled(watched, leaf, tile=16, halo=2)
    assert result.requires_grad is not inference
    if not inference:
        result.sum().backward()
        assert torch.allclose(leaf.grad, 2 * images)
    assert len(seen) == calls
    assert set(seen) == {not inference}
