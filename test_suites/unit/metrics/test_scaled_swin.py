"""The Swin stage on a small grid: windows, masks, and the whole against pyiqa's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.metrics.scaled_swin import (
    SEPARATION,
    WINDOW,
    ScaledSwin,
    SwinBlock,
    WindowAttention,
    relative_positions,
    separation,
    unwindowed,
    windowed,
)

SIDE, CHANNELS, HIDDEN = 8, 16, 24


def tokens(count: int = 2, channels: int = CHANNELS) -> Tensor:
    return torch.randn((count, SIDE * SIDE, channels), generator=torch.Generator().manual_seed(0))


def test_windows_are_cut_row_by_row_and_put_back() -> None:
    grid = tokens().view(2, SIDE, SIDE, CHANNELS)
    cut = windowed(grid)
    assert cut.shape == (2 * 4, 16, CHANNELS)
    assert torch.equal(cut[1].view(4, 4, CHANNELS), grid[0, :4, 4:])
    assert torch.equal(cut[6].view(4, 4, CHANNELS), grid[1, 4:, :4])
    assert torch.equal(unwindowed(cut, SIDE), grid)


def test_relative_positions_number_the_offsets() -> None:
    index = relative_positions()
    assert index.shape == (16, 16)
    assert bool((index.diagonal() == 24).all())
    assert index[0, 15] == 0
    assert index[15, 0] == 48
    assert index[1, 0] == index[2, 1] == index[7, 6] == 25
    assert len(index.unique()) == 49


def test_separation_keeps_the_sides_of_the_torus_apart() -> None:
    mask = separation(SIDE, 2)
    assert mask.shape == (4, 16, 16)
    assert bool((mask[0] == 0).all()), "the first window wraps nowhere"
    assert set(mask.unique().tolist()) == {0.0, SEPARATION}
    # Of the top-right window after the roll, columns 4–5 were columns 6–7, and columns 6–7 were columns 0–1.
    assert mask[1, 0, 1] == 0
    assert mask[1, 0, 2] == SEPARATION
    assert torch.equal(mask, mask.transpose(1, 2))


@pytest.mark.parametrize("shift", [0, 2])
def test_a_block_attends_within_its_windows_only(randomised: Callable[..., nn.Module], shift: int) -> None:
    block = randomised(lambda: SwinBlock(CHANNELS, side=SIDE, hidden=HIDDEN, shift=shift))
    images = tokens(1).requires_grad_()
    (slope,) = torch.autograd.grad(block(images)[0, 0].sum(), images)
    reached = slope[0].abs().sum(dim=1).view(SIDE, SIDE) > 1e-12
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[: WINDOW - shift, : WINDOW - shift] = True
    assert torch.equal(reached, expected)


def test_attention_written_by_hand(randomised: Callable[..., nn.Module]) -> None:
    attention = randomised(lambda: WindowAttention(CHANNELS))
    state = attention.state_dict()
    window = tokens(1)[:, :16]
    query, key, value = (window[0] @ state["qkv.weight"].T + state["qkv.bias"]).view(16, 3, 4, 4).unbind(1)
    mixed = torch.zeros(16, 4, 4)
    for head in range(4):
        for place in range(16):
            logits = torch.stack([query[place, head] @ key[other, head] / 2 for other in range(16)])
            bias = state["relative_position_bias_table"][state["relative_position_index"][place], head]
            mixed[place, head] = (logits + bias).softmax(dim=0) @ value[:, head]
    expected = mixed.flatten(1) @ state["proj.weight"].T + state["proj.bias"]
    assert torch.allclose(attention(window, None)[0], expected, atol=1e-5)


def test_it_is_pyiqas(randomised: Callable[..., nn.Module], torchvision: object) -> None:
    pyiqa = pytest.importorskip("pyiqa.archs.maniqa_swin")
    ours = randomised(lambda: ScaledSwin(CHANNELS, side=SIDE, hidden=HIDDEN, scale=0.8))
    theirs = pyiqa.SwinTransformer(
        patches_resolution=(SIDE, SIDE),
        depths=[2, 2],
        num_heads=[4, 4],
        embed_dim=CHANNELS,
        window_size=WINDOW,
        dim_mlp=HIDDEN,
        scale=0.8,
    ).eval()
    fresh = theirs.state_dict()
    kept = [key for key in fresh if key.endswith(("attn_mask", "relative_position_index"))]
    assert len(kept) == 6
    assert all(torch.equal(fresh[key], ours.state_dict()[key]) for key in kept)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    maps = tokens().transpose(1, 2).reshape(2, CHANNELS, SIDE, SIDE)
    with torch.inference_mode():
        expected = theirs(maps)
        assert (ours(maps) - expected).norm() < 1e-5 * expected.norm()
