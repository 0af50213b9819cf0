"""Which files the distances of pyiqa read from torch's cache; nothing is imported, so that planning can ask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from iqa_robustness.metrics import pyiqa_table

# Below the cache: torchvision keeps its backbones in `checkpoints`, pyiqa its own files in `pyiqa`.
FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dists": ("checkpoints/vgg16-397923af.pth", "pyiqa/DISTS_weights-f5e65c96.pth"),
        "lpips": ("checkpoints/alexnet-owt-7be5be79.pth", "pyiqa/LPIPS_v0.1_alex-df73285e.pth"),
    }
)


def cache() -> Path:
    """By the rule of torch itself: $TORCH_HOME/hub, else $XDG_CACHE_HOME/torch/hub, else ~/.cache/torch/hub."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(base, "torch")  # noqa: PTH118
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached(name: str) -> bool:
    """Whether pyiqa is installed and all files of a distance are in the cache."""
    return pyiqa_table.installed() and all((cache() / file).is_file() for file in FILES[name])
