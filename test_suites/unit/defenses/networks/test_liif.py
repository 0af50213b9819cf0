"""EDSR and LIIF: the published layout and values, and what a query reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks import liif
from iqa_robustness.defenses.purification.networks.edsr import EDSR
from iqa_robustness.defenses.purification.networks.liif import LIIF

# Values of DISCO's own classes with the same weights, of 14 × 19 pixels read at two sizes.
PUBLISHED = {
    (14, 19): [0.3079667, 0.2603443, -1.919938, 3.144451, 1.28249, -0.9481725, 1.925778],
    (31, 9): [1.135618, 3.017807, 0.5331746, 2.341519, 2.193763, -1.101079, 1.732036],
}


class Middle(nn.Module):
    """Instead of a perceptron: the first three channels of the cell itself, the middle one of the 3 × 3."""

    def forward(self, seen: Tensor) -> Tensor:
        return seen[:, [4, 13, 22]]


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> LIIF:
    made: LIIF = filled(LIIF, gain=1.0)
    return made


def test_the_layout_is_the_published_one(network: LIIF, layout: Any) -> None:
    """The digest was taken from DISCO's own classes, with the shifts of the mean that it does not apply."""
    assert layout(network.state_dict()) == (82, "0a52637bdcba4e8d")
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_567_323


@pytest.mark.parametrize("size", PUBLISHED)
def test_values_are_the_published_ones(
    network: LIIF, size: tuple[int, int], probes: Any, noise: Callable[..., Tensor]
) -> None:
    with torch.inference_mode():
        read = network.read(network.encoder(2 * noise(2, 14, 19) - 1), size)
    assert read.shape == (2, 3, *size)
    assert probes(read) == pytest.approx(PUBLISHED[size], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("size", [(20, 13), (16, 31), (40, 40)])
def test_the_ensemble_is_bilinear_interpolation(size: tuple[int, int]) -> None:
    network = LIIF()
    network.imnet = Middle()  # type: ignore[assignment]
    features = torch.rand(2, 64, 7, 9, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(features[:, :3], size=size, mode="bilinear", align_corners=False)
    assert torch.allclose(network.read(features, size), expected, atol=1e-4)


def test_at_its_own_size_every_cell_answers_alone_but_for_the_last_ones() -> None:
    network = LIIF()
    network.imnet = Middle()  # type: ignore[assignment]
    features = torch.rand(1, 64, 7, 9, generator=torch.Generator().manual_seed(0))
    read, cells = network.read(features, (7, 9)), features[:, :3]
    assert torch.allclose(read[:, :, :-1, :-1], cells[:, :, :-1, :-1], atol=1e-5)
    assert torch.allclose(read[:, :, :-1, -1], (cells[:, :, :-1, -1] + cells[:, :, 1:, -1]) / 2, atol=1e-5)
    assert torch.allclose(read[:, :, -1, -1], cells[:, :, -1, -1], atol=1e-5)


def test_a_query_knows_its_offset_and_the_size_of_its_pixel() -> None:
    seen = []

    class Noting(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            seen.append(rows)
            return rows[:, :3]

    network = LIIF()
    network.imnet = Noting()  # type: ignore[assignment]
    network.read(torch.zeros(1, 64, 4, 5), (8, 5))
    offsets = torch.stack([rows[:, -4:-2] for rows in seen])
    assert len(seen) == 4
    # Twice as high: a pixel's centre lies a quarter of a cell from its cell's, in units of half a cell.
    assert sorted({round(float(value), 3) for value in offsets[:, :, 0].abs().unique()}) == [0.5, 1.5]
    assert torch.allclose(seen[0][:, -2:], torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("queries", [50, 100, 10_000])
def test_how_many_are_answered_at_once_does_not_matter(
    network: LIIF, queries: int, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = [network.encoder(noise(2, 8, 9)).requires_grad_(True) for _ in range(2)]
    results = [network.read(features[0], (12, 10))]
    monkeypatch.setattr(liif, "QUERIES", queries)
    results.append(network.read(features[1], (12, 10)))
    assert torch.allclose(*results, atol=1e-5)
    gradients = [torch.autograd.grad(r.square().sum(), f)[0] for r, f in zip(results, features, strict=True)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)


def test_the_graph_keeps_no_hidden_layers(network: LIIF, noise: Callable[..., Tensor]) -> None:
    features = network.encoder(noise(1, 16, 16)).requires_grad_(True)
    sizes = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.read(features, (16, 16))
    assert sum(sizes) < 4 * features.numel(), "the features alone, not 4 × 5 layers of 256 a pixel"


def test_images_are_read_one_by_one(network: LIIF, noise: Callable[..., Tensor]) -> None:
    features = network.encoder(noise(3, 6, 7))
    apart = torch.cat([network.read(features[row : row + 1], (6, 7)) for row in range(3)])
    assert torch.equal(network.read(features, (6, 7)), apart)


def test_the_encoder_is_residual_and_sees_no_farther_than_it_says(filled: Callable[..., Any]) -> None:
    encoder = filled(lambda: EDSR(blocks=2))
    assert (encoder.reach, EDSR().reach) == (6, 34)
    leaf = torch.rand(1, 3, 21, 3).requires_grad_(True)
    encoder(leaf)[:, :, 10].square().sum().backward()
    rows = leaf.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert [int(rows.min()), int(rows.max())] == [4, 16]
    for parameter in encoder.body.parameters():
        parameter.data.zero_()
    assert torch.equal(encoder(leaf), encoder.head(leaf))
