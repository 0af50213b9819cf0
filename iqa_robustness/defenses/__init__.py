"""Defenses by name. A new defense is one file here and one line below."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Family, Registry

if TYPE_CHECKING:
    from iqa_robustness.defenses.base import Defense

__all__ = ["DefenseEntry", "available", "create", "list", "registry"]


@dataclass(frozen=True, kw_only=True)
class DefenseEntry(Entry):
    """A registered defense.

    kind: `none`, `purification`, `detection`, `certified` or `training`, as its class declares (a test compares them).
    library: a module of an optional extra that it cannot do without.
    """

    kind: str = "purification"
    library: str = ""


def _composed(parts: Sequence[DefenseEntry]) -> DefenseEntry:
    """The entry of `a+b`. Raises ConfigurationError for a part that is no purification."""
    name = "+".join(part.name for part in parts)
    for part in parts:
        if part.kind != "purification":
            raise ConfigurationError(
                f"{name!r}: {part.name} is no purification (its kind is {part.kind})",
                fix="compose purifications only, no certified, detecting or trained defense, and leave `none` out",
            )
    return DefenseEntry(
        name=name,
        target="iqa_robustness.defenses.purification.composition:Composition",
        summary="one purification after another",
    )


registry = Registry("defense", DefenseEntry, "iqa_robustness.defenses", compose=_composed)
for _entry in (
    DefenseEntry(
        name="at",
        target="iqa_robustness.defenses.adversarial_training:AdversarialTraining",
        summary="adversarial training, any of its variants (weights=FILE, see train metric)",
        kind="training",
    ),
    DefenseEntry(
        name="at-lite0-2",
        target="iqa_robustness.defenses.adversarial_training:AtLite02",
        summary="adversarial training against 2/255, label penalty distance in lite0-features",
        kind="training",
    ),
    DefenseEntry(
        name="at-lite0-4",
        target="iqa_robustness.defenses.adversarial_training:AtLite04",
        summary="adversarial training against 4/255, label penalty distance in lite0-features",
        kind="training",
    ),
    DefenseEntry(
        name="at-lite0-8",
        target="iqa_robustness.defenses.adversarial_training:AtLite08",
        summary="adversarial training against 8/255, label penalty distance in lite0-features",
        kind="training",
    ),
    DefenseEntry(
        name="at-lpips-2",
        target="iqa_robustness.defenses.adversarial_training:AtLpips2",
        summary="adversarial training against 2/255, label penalty LPIPS (weights not included)",
        kind="training",
    ),
    DefenseEntry(
        name="at-lpips-4",
        target="iqa_robustness.defenses.adversarial_training:AtLpips4",
        summary="adversarial training against 4/255, label penalty LPIPS (weights not included)",
        kind="training",
    ),
    DefenseEntry(
        name="at-lpips-8",
        target="iqa_robustness.defenses.adversarial_training:AtLpips8",
        summary="adversarial training against 8/255, label penalty LPIPS (weights not included)",
        kind="training",
    ),
    DefenseEntry(
        name="at-ssim-2",
        target="iqa_robustness.defenses.adversarial_training:AtSsim2",
        summary="adversarial training against 2/255, label penalty 1 - SSIM",
        kind="training",
    ),
    DefenseEntry(
        name="at-ssim-4",
        target="iqa_robustness.defenses.adversarial_training:AtSsim4",
        summary="adversarial training against 4/255, label penalty 1 - SSIM",
        kind="training",
    ),
    DefenseEntry(
        name="at-ssim-8",
        target="iqa_robustness.defenses.adversarial_training:AtSsim8",
        summary="adversarial training against 8/255, label penalty 1 - SSIM",
        kind="training",
    ),
    DefenseEntry(
        name="color-quantization",
        target="iqa_robustness.defenses.purification.color_quantization:ColorQuantization",
        summary="few levels a channel",
    ),
    DefenseEntry(
        name="crop",
        target="iqa_robustness.defenses.purification.crop:Crop",
        summary="a random square window, which is what the metric is given",
    ),
    DefenseEntry(
        name="ddrs",
        target="iqa_robustness.defenses.certified.diffusion_smoothing:DiffusionDenoisedSmoothing",
        summary="randomized smoothing, each noisy sample denoised by a diffusion model at one stroke",
        kind="certified",
        library="diffusers",
    ),
    DefenseEntry(
        name="densepure",
        target="iqa_robustness.defenses.certified.diffusion_smoothing:DensePure",
        summary="randomized smoothing, each noisy sample classified by a vote of several reverse diffusions",
        kind="certified",
        library="diffusers",
    ),
    DefenseEntry(
        name="detect-then-purify",
        target="iqa_robustness.defenses.detect_then_purify:DetectThenPurify",
        summary="purify (jpeg) only what a detector suspects (score change under a flip)",
        kind="detection",
    ),
    DefenseEntry(
        name="diffjpeg",
        target="iqa_robustness.defenses.purification.diffjpeg:DiffJPEG",
        summary="JPEG in floating point, with a slope where it rounds",
    ),
    DefenseEntry(
        name="diffpure",
        target="iqa_robustness.defenses.purification.diffpure:DiffPure",
        summary="noise, then reverse diffusion back to the image",
        library="diffusers",
    ),
    DefenseEntry(
        name="disco",
        target="iqa_robustness.defenses.purification.disco:Disco",
        summary="local implicit function that reads clean colours off the image's features (weights not included)",
    ),
    DefenseEntry(
        name="dms",
        target="iqa_robustness.defenses.certified.denoised_smoothing:DenoisedMedianSmoothing",
        summary="median smoothing, each noisy sample denoised before it is scored",
        kind="certified",
        library="diffusers",
    ),
    DefenseEntry(
        name="dncnn",
        target="iqa_robustness.defenses.purification.dncnn:DnCNNDenoising",
        summary="learned denoiser, blind or told the noise level (weights not included)",
    ),
    DefenseEntry(
        name="drs",
        target="iqa_robustness.defenses.certified.denoised_smoothing:DenoisedSmoothing",
        summary="randomized smoothing, each noisy sample denoised before it is scored",
        kind="certified",
        library="diffusers",
    ),
    DefenseEntry(
        name="fcn",
        target="iqa_robustness.defenses.purification.fcn:FCNFilter",
        summary="small convolutional filter trained to undo a colour attack",
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
        name="gaussian-blur",
        target="iqa_robustness.defenses.purification.gaussian_blur:GaussianBlur",
        summary="means with Gaussian weights",
    ),
    DefenseEntry(
        name="jpeg",
        target="iqa_robustness.defenses.purification.jpeg:JPEG",
        summary="JPEG compression and decompression",
    ),
    DefenseEntry(
        name="median-blur",
        target="iqa_robustness.defenses.purification.median_blur:MedianBlur",
        summary="the median of each neighbourhood",
    ),
    DefenseEntry(
        name="mprnet",
        target="iqa_robustness.defenses.purification.mprnet:MPRNetDenoising",
        summary="multi-stage restoration network, its denoising model (weights not included)",
    ),
    DefenseEntry(
        name="ms",
        target="iqa_robustness.defenses.certified.median_smoothing:MedianSmoothing",
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
        name="random-noise",
        target="iqa_robustness.defenses.purification.random_noise:RandomNoise",
        summary="Gaussian noise",
    ),
    DefenseEntry(
        name="realesrgan",
        target="iqa_robustness.defenses.purification.realesrgan:RealESRGAN",
        summary="blind super-resolution and back to the image's size (weights not included)",
    ),
    DefenseEntry(
        name="resize",
        target="iqa_robustness.defenses.purification.resize:Resize",
        summary="a smaller image, which is what the metric is given",
    ),
    DefenseEntry(
        name="rotate",
        target="iqa_robustness.defenses.purification.rotate:Rotate",
        summary="turn by a random angle",
    ),
    DefenseEntry(
        name="rs",
        target="iqa_robustness.defenses.certified.randomized_smoothing:RandomizedSmoothing",
        summary="randomized smoothing: the class of score that most noisy copies fall into, with a certified radius",
        kind="certified",
    ),
    DefenseEntry(
        name="unsharp",
        target="iqa_robustness.defenses.purification.unsharp:Unsharp",
        summary="sharpen by what a blur would take away",
    ),
    DefenseEntry(
        name="upscale",
        target="iqa_robustness.defenses.purification.upscale:Upscale",
        summary="shrink, and bring back to size bilinearly",
    ),
    DefenseEntry(
        name="upscale-bicubic",
        target="iqa_robustness.defenses.purification.upscale:UpscaleBicubic",
        summary="shrink, and bring back to size bicubically",
    ),
    DefenseEntry(
        name="upscale-nearest",
        target="iqa_robustness.defenses.purification.upscale:UpscaleNearest",
        summary="shrink, and bring back to size by repeating pixels",
    ),
):
    registry.register(_entry)
registry.register_family(
    Family(
        entry=DefenseEntry(
            name="detect-then-purify",
            target="iqa_robustness.defenses.detect_then_purify:expressed",
            summary="DETECTOR:PURIFICATION, the named ones: detect-then-purify:score-change:flip:jpeg",
            kind="detection",
        ),
        catalogue="iqa_robustness.defenses.detectors.expressions",
    )
)
for _name, _smoothing in (("dms", "median smoothing"), ("drs", "randomized smoothing")):
    registry.register_family(
        Family(
            entry=DefenseEntry(
                name=_name,
                target=f"iqa_robustness.defenses.certified.denoised_smoothing:{_name}",
                summary=f"{_smoothing} behind any purification as denoiser, or `diffusion`: {_name}:ffdnet",
                kind="certified",
            ),
            catalogue="iqa_robustness.defenses.certified.denoisers",
        )
    )


def create(name: str, **parameters: Any) -> Defense:
    """A defense with its default or own parameters.

    Args:
        name: a registered name, `package.module:Class`, purifications joined by `+`, the first applied first,
            `detect-then-purify:DETECTOR:PURIFICATION`, or `drs:DENOISER` and `dms:DENOISER`.
        parameters: fields of the defense. (Parts that are joined have their defaults; for others, give their
            instances to `purification.composition.Composition`.)

    Raises:
        UnknownNameError: no such defense or parameter.
        ConfigurationError: the name is no defense's, what is joined is no purification, or a value is refused.
    """
    from iqa_robustness.defenses.base import Defense

    kind = registry.load(name)
    if registry.family(name) is not None:
        made: Defense = kind(**parameters)
        return made
    if not (isinstance(kind, type) and issubclass(kind, Defense)):
        raise ConfigurationError(f"{name!r} is no defense", fix="subclass iqa_robustness.defenses.base.Purification")
    joined = registry.resolve(name).name.split("+")
    parts: dict[str, Any] = {"parts": tuple(create(part) for part in joined)} if len(joined) > 1 else {}
    known = {field.name for field in dataclasses.fields(kind)} - {*parts}
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError(f"parameter of defense {name}", parameter, known)
    try:
        return kind(**parts, **parameters)
    except TypeError as error:
        raise ConfigurationError(f"defense {name!r} cannot be constructed: {error}") from error


def available(name: str) -> bool:
    """Whether `create(name)` makes a defense that works here: the weights and the library that it needs are present."""
    from iqa_robustness.metrics.weights import available as weights_available

    entry = registry.resolve(name)
    if entry.kind == "training" and entry.target.startswith(f"{__name__}."):
        return bool(registry.load(name)().trained_metrics)
    library = entry.library
    return weights_available(name) and (not library or find_spec(library) is not None)


def list() -> tuple[DefenseEntry, ...]:
    """All registered defenses, sorted by name."""
    return (*registry,)
