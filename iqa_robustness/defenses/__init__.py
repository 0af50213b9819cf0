"""Defenses by name. A new defense is one file here and one line below."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.defenses.base import Defense

__all__ = ["DefenseEntry", "create", "list", "registry"]


@dataclass(frozen=True, kw_only=True)
class DefenseEntry(Entry):
    """A registered defense.

    kind: `none`, `purification`, `certified` or `training`, as its class declares (a test compares them).
    """

    kind: str = "purification"


registry = Registry("defense", DefenseEntry, "iqa_robustness.defenses")
for _entry in (
    DefenseEntry(
        name="flip",
        target="iqa_robustness.defenses.purification.flip:Flip",
        summary="mirror the image left to right",
    ),
    DefenseEntry(
        name="jpeg",
        target="iqa_robustness.defenses.purification.jpeg:JPEG",
        summary="JPEG compression and decompression",
    ),
    DefenseEntry(
        name="ms",
        target="iqa_robustness.defenses.certified.smoothing:MedianSmoothing",
        summary="median smoothing: the median score under Gaussian noise, with certified bounds",
        kind="certified",
    ),
    DefenseEntry(
        name="none",
        target="iqa_robustness.defenses.purification.none:Undefended",
        summary="the metric as it is",
        kind="none",
    ),
):
    registry.register(_entry)


def create(name: str, **parameters: Any) -> Defense:
    """A defense with its default or own parameters.

    Args:
        name: a registered name or `package.module:Class`.
        parameters: fields of the defense.

    Raises:
        UnknownNameError: no such defense or parameter.
        ConfigurationError: the name is no defense's, or a value is refused.
    """
    from iqa_robustness.defenses.base import Defense

    kind = registry.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Defense)):
        raise ConfigurationError(f"{name!r} is no defense", fix="subclass iqa_robustness.defenses.base.Purification")
    known = {field.name for field in dataclasses.fields(kind)}
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError(f"parameter of defense {name}", parameter, known)
    try:
        return kind(**parameters)
    except TypeError as error:
        raise ConfigurationError(f"defense {name!r} cannot be constructed: {error}") from error


def list() -> tuple[DefenseEntry, ...]:
    """All registered defenses, sorted by name."""
    return (*registry,)
