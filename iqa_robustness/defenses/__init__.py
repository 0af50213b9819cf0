"""Defenses by name. A new defense is one file here and one line below."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.defenses.base import Defense

__all__ = ["DefenseEntry", "available", "create", "list", "registry"]


@dataclass(frozen=True, kw_only=True)
class DefenseEntry(Entry):
    """A registered defense.

    kind: `none`, `purification`, `certified` or `training`, as its class declares (a test compares them).
    """

    kind: str = "purification"


registry = Registry("defense", DefenseEntry, "iqa_robustness.defenses")
for _entry in (
    DefenseEntry(
        name="disco",
        target="iqa_robustness.defenses.purification.disco:Disco",
        summary="local implicit function that reads clean colours off the image's features (weights not included)",
    ),
    DefenseEntry(
        name="dncnn",
        target="iqa_robustness.defenses.purification.dncnn:DnCNNDenoising",
        summary="learned denoiser, blind or told the noise level (weights not included)",
    ),
    DefenseEntry(
        name="fcn",
        target="iqa_robustness.defenses.purification.fcn:FCNFilter",
        summary="small convolutional filter trained to undo a colour attack (weights not included)",
    ),
    DefenseEntry(
        name="ffdnet",
        target="iqa_robustness.defenses.purification.ffdnet:FFDNetDenoising",
        summary="learned denoiser told the noise level (weights not included)",
    ),
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
        name="mprnet",
        target="iqa_robustness.defenses.purification.mprnet:MPRNetDenoising",
        summary="multi-stage restoration network, its denoising model (weights not included)",
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
    DefenseEntry(
        name="realesrgan",
        target="iqa_robustness.defenses.purification.realesrgan:RealESRGAN",
        summary="blind super-resolution and back to the image's size (weights not included)",
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


def available(name: str) -> bool:
    """Whether `create(name)` makes a defense that works here: it reads no published weights, or they are present."""
    from iqa_robustness.metrics.weights import available as weights_available

    return weights_available(name)


def list() -> tuple[DefenseEntry, ...]:
    """All registered defenses, sorted by name."""
    return (*registry,)
