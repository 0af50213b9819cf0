"""What a training leaves: a safetensors file that says of itself what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from iqa_robustness.errors import ConfigurationError


def check_output(path: Path) -> None:
    """Refuse another kind of file before anything is trained. Raises ConfigurationError."""
    if path.suffix != ".safetensors":
        raise ConfigurationError(f"{path} is no .safetensors file", fix="give --output FILE.safetensors")


def write_weights(network: nn.Module, path: Path, *, facts: Mapping[str, object], half: bool = False) -> None:
    """The network's weights, with the facts (JSON) in the header; equal arguments give equal bytes.

    Args:
        network: whose state is kept.
        path: of the file; its folder is made.
        facts: JSON values.
        half: keep floating-point numbers as float16.
    """
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry, since safetensors writes several in any order.
    path.write_bytes(save(tensors, metadata={"facts": json.dumps(facts, sort_keys=True)}))
