"""Makes torchvision importable where its wheel was built for another torch than the installed one.

torchvision's registry wheel links CUDA libraries; beside a CPU build of torch its compiled operators do not load, and
its Python part then fails on declaring fake kernels for operators that do not exist. Declaring the two operators it
asks for is enough for everything that is pure Python and torch: transforms, models, feature extraction.
Compiled operators (`nms`, `roi_pool`, `deform_conv2d`, image decoding) stay unavailable.
"""

from __future__ import annotations

import importlib
import sys
from typing import Literal

import torch

_MISSING = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# The library object unregisters its operators when it is collected, so it lives as long as the process.
_kept: list[torch.library.Library] = []


def ensure_torchvision() -> Literal["native", "shim"]:
    """Import torchvision, declaring its missing operators first where that is needed.

    Call it before anything that imports torchvision (timm, pyiqa, diffusers with transformers).

    Returns:
        `native` when torchvision's own operators work, `shim` when they were declared here.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for another reason.
    """
    if _kept:
        return "shim"
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return "native"
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _MISSING.values():
        library.define(schema)
    importlib.import_module("torchvision")
    _kept.append(library)
    return "shim"
