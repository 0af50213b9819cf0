"""A pytest-style robustness harness for image-quality metrics.

>>> import iqa_robustness as ir
>>> [entry.name for entry in ir.metrics.list()]  # doctest: +ELLIPSIS
[...'compact'...]
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["attacks", "datasets", "defenses", "measures", "metrics"]

try:
    __version__ = version("iqa-robustness")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # Lazily, so that `import iqa_robustness` (which pytest does in every run) stays free of torch.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
