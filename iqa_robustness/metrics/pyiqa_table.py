"""What IQA-PyTorch's own table says of its metrics, read without importing the library (and torch with it)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError, Where

EXTRA = "pyiqa"
_TABLE = "default_model_configs.py"
# These are listed as no-reference metrics and give no score to an image alone.
_UNUSABLE = {
    "FID": "is a distance between two sets of images",
    "InceptionScore": "is a number of a set of images",
    "CLIPScore": "scores an image against a caption",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of the table.

    kind: the class of its network.
    full_reference: it compares with a reference.
    score_range: (low, high) in score units where the table says both, roughly; None where it is open.
    stated: the range as the table writes it.
    """

    name: str
    kind: str
    full_reference: bool
    higher_is_better: bool
    score_range: tuple[float, float] | None
    stated: str


def installed() -> bool:
    """Whether the library is there; nothing is imported."""
    return importlib.util.find_spec("pyiqa") is not None


def version() -> str:
    """Of the installed distribution; `0` for a loose copy without metadata."""
    try:
        return importlib.metadata.version("pyiqa")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def require(name: str = "") -> None:
    """Raise ConfigurationError, naming the extra, when the library is not installed."""
    if not installed():
        raise ConfigurationError(
            "pyiqa is not installed",
            where=Where(metric=f"pyiqa:{name}" if name else ""),
            fix=f"pip install 'iqa-robustness[{EXTRA}]' (IQA-PyTorch is licensed for non-commercial use only)",
        )


def parsed_range(stated: str) -> tuple[float, float] | None:
    """`"~0, ~100"` to (0.0, 100.0); None when an end is open, or when it is no pair of numbers in order."""
    try:
        low, high = (float(part.strip().removeprefix("~")) for part in stated.split(","))
    except ValueError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def rows() -> Mapping[str, Row]:
    """All metrics by name. Raises ConfigurationError: no pyiqa, or no table in it."""
    require()
    spec = importlib.util.find_spec("pyiqa")
    folders = [*(spec.submodule_search_locations or ())] if spec else []
    return _read(Path(folders[0]) / _TABLE if folders else Path(_TABLE))


def row(name: str) -> Row:
    """The facts of a metric.

    Raises:
        ConfigurationError: pyiqa is not installed, or the metric needs a caption or a set of images.
        UnknownNameError: pyiqa has no such metric.
    """
    require(name)
    table = rows()
    where = Where(metric=f"pyiqa:{name}")
    if name not in table:
        raise UnknownNameError("metric of pyiqa", name, names(), where=where)
    found = table[name]
    if found.kind in _UNUSABLE:
        raise ConfigurationError(
            f"pyiqa's metric {name!r} {_UNUSABLE[found.kind]}; it gives no score to an image alone",
            where=where,
            fix="choose a metric that scores one image, alone or against a reference",
        )
    return found


def names() -> tuple[str, ...]:
    """Metrics that score one image, alone or against a reference, sorted. Raises ConfigurationError without pyiqa."""
    return tuple(sorted(name for name, found in rows().items() if found.kind not in _UNUSABLE))


def check(name: str) -> None:
    """Raise what `row` raises; without pyiqa every name passes, since a stored result is judged without it."""
    if installed():
        row(name)


@cache
def _read(path: Path) -> Mapping[str, Row]:
    spec = importlib.util.spec_from_file_location("_iqa_robustness_pyiqa_table", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError("the installed pyiqa has no table of metrics", where=Where(file=str(path)))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return {name: _row(name, facts) for name, facts in module.DEFAULT_CONFIGS.items()}
    except Exception as error:  # another version's table may fail in any way
        raise ConfigurationError(
            f"pyiqa {version()}'s table of metrics cannot be read: {type(error).__name__}: {error}",
            where=Where(file=str(path)),
            fix=f"install the version that the extra {EXTRA} asks for",
        ) from error


def _row(name: str, facts: Mapping[str, Any]) -> Row:
    stated = str(facts.get("score_range") or "")
    return Row(
        name=name,
        kind=str(facts["metric_opts"]["type"]),
        full_reference=facts.get("metric_mode") == "FR",
        higher_is_better=not facts.get("lower_better", False),
        score_range=parsed_range(stated),
        stated=stated,
    )
