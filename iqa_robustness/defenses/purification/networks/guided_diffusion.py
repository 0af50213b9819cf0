"""Checkpoints of openai/guided-diffusion as diffusers' `UNet2DModel`: the same network under other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks.noise_model import diffusers

# 256x256_diffusion_uncond.pt: attention where the image has 32, 16 and 8 pixels a side.
CHANNELS = (256, 256, 512, 512, 1024, 1024)
ATTENTION_LEVELS = (3, 4, 5)
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "qkv": "to_q", "proj_out": "to_out.0"}
_SINGLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def guided_network(
    *,
    channels: tuple[int, ...] = CHANNELS,
    attention_levels: tuple[int, ...] = ATTENTION_LEVELS,
    layers: int = 2,
    head_channels: int = 64,
    groups: int = 32,
) -> nn.Module:
    """The network of guided-diffusion's unconditional ImageNet model, uninitialised; smaller ones for tests.

    Source: Dhariwal and Nichol, NeurIPS 2021 (openai/guided-diffusion, README: resblock_updown,
    use_scale_shift_norm, learn_sigma, num_head_channels 64, num_res_blocks 2).
    channels: of the levels.          attention_levels: those with self-attention.
    Raises: CapabilityError without diffusers.
    """
    down = [
        "AttnDownBlock2D" if level in attention_levels else "ResnetDownsampleBlock2D" for level in range(len(channels))
    ]
    up = ["AttnUpBlock2D" if level in attention_levels else "ResnetUpsampleBlock2D" for level in range(len(channels))]
    network: nn.Module = diffusers().UNet2DModel(
        in_channels=3,
        out_channels=6,
        block_out_channels=channels,
        down_block_types=tuple(down),
        up_block_types=tuple(reversed(up)),
        layers_per_block=layers,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=head_channels,
        norm_num_groups=groups,
        # Without it diffusers leaves out this norm beside "scale_shift".
        attn_norm_num_groups=groups,
    )
    return network


def converted(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state in guided-diffusion's names to one in those of `UNet2DModel`; unknown keys keep theirs.

    Queries, keys and values lie together there, head by head; the 1-d convolutions of attention are linear here.
    """
    modules, found = dict(module_names(config)), {}
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        name = modules.get(module, module)
        if ".attentions." in name and value.dim() == 3:
            value = value.squeeze(2)
        if name.endswith(".to_q"):
            heads = value.shape[0] // (3 * config["attention_head_dim"])
            parts = value.unflatten(0, (heads, 3, -1)).unbind(1)
            for letter, part in zip("qkv", parts, strict=True):
                found[f"{name[:-1]}{letter}.{parameter}"] = part.flatten(0, 1)
        else:
            found[f"{name}.{parameter}"] = value
    return found


def module_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(guided-diffusion's name, diffusers' name) of every module with parameters; `qkv` is given as `to_q`."""
    yield from _SINGLE.items()
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    block = 1
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            yield from _pair(f"input_blocks.{block}", f"down_blocks.{level}", layer, attention="Attn" in kind)
            block += 1
        if level < levels - 1:
            yield from _inner(f"input_blocks.{block}.0", f"down_blocks.{level}.downsamplers.0", _RESIDUAL)
            block += 1
    yield from _inner("middle_block.0", "mid_block.resnets.0", _RESIDUAL)
    yield from _inner("middle_block.1", "mid_block.attentions.0", _ATTENTION)
    yield from _inner("middle_block.2", "mid_block.resnets.1", _RESIDUAL)
    block = 0
    for level, kind in enumerate(config["up_block_types"]):
        attention = "Attn" in kind
        for layer in range(layers + 1):
            yield from _pair(f"output_blocks.{block}", f"up_blocks.{level}", layer, attention=attention)
            block += 1
        if level < levels - 1:
            last = f"output_blocks.{block - 1}.{2 if attention else 1}"
            yield from _inner(last, f"up_blocks.{level}.upsamplers.0", _RESIDUAL)


def _pair(theirs: str, ours: str, layer: int, *, attention: bool) -> Iterator[tuple[str, str]]:
    yield from _inner(f"{theirs}.0", f"{ours}.resnets.{layer}", _RESIDUAL)
    if attention:
        yield from _inner(f"{theirs}.1", f"{ours}.attentions.{layer}", _ATTENTION)


def _inner(theirs: str, ours: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for their_name, our_name in names.items():
        yield f"{theirs}.{their_name}", f"{ours}.{our_name}"
