"""Adversarial attacks by name. A new attack is one file here and one line below."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.attacks.base import Attack

__all__ = ["STRENGTHS", "AttackEntry", "available", "create", "list", "registry"]

STRENGTHS = ("weak", "medium", "strong")


@dataclass(frozen=True, kw_only=True)
class AttackEntry(Entry):
    """A registered attack.

    access: `white-box` or `black-box`, as its class declares (a test compares them); known without importing torch.
    weights: what `available` looks for: a name in `metrics.weights.MANIFEST`, or `pyiqa:NAME` for the files of one of
        its distances; empty when nothing beside this package is needed.
    """

    access: str = "white-box"
    weights: str = ""


registry = Registry("attack", AttackEntry, "iqa_robustness.attacks")
for _entry in (
    AttackEntry(
        name="advcf",
        target="iqa_robustness.attacks.advcf:AdvCF",
        summary="a colour curve for each channel, within an SSIM",
    ),
    AttackEntry(
        name="ami-fgsm",
        target="iqa_robustness.attacks.ami_fgsm:AMIFGSM",
        summary="iterated signs of summed gradients within an l∞ ball that may depend on the image's quality",
        access="white-box",
    ),
    AttackEntry(
        name="apgd",
        target="iqa_robustness.attacks.apgd:APGD",
        summary="gradient signs with momentum and self-halving steps within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="apgd-l2",
        target="iqa_robustness.attacks.apgd:APGDL2",
        summary="normalised gradients with momentum and self-halving steps, down to a least PSNR",
        access="white-box",
    ),
    AttackEntry(
        name="cadv",
        target="iqa_robustness.attacks.cadv:CAdv",
        summary="colour hints to a colourisation network, within an SSIM (weights not included)",
        weights="cadv",
    ),
    AttackEntry(
        name="codec",
        target="iqa_robustness.attacks.codec:Codec",
        summary="gradient signs within an l∞ ball whose gain outlasts JPEG and resizing",
        access="white-box",
    ),
    AttackEntry(
        name="colour-hints",
        target="iqa_robustness.attacks.colour_hints:ColourHints",
        summary="sparse changes of colour, spread to what is near and alike, within an SSIM",
    ),
    AttackEntry(
        name="cumulative-uap",
        target="iqa_robustness.attacks.cumulative_uap:CumulativeUAP",
        summary="one trained perturbation for all images: the signs of many gradients added up",
        access="white-box",
    ),
    AttackEntry(
        name="cw",
        target="iqa_robustness.attacks.cw:CW",
        summary="a Lagrangian in tanh space, its constant searched for, down to a least PSNR",
        access="white-box",
    ),
    AttackEntry(
        name="enhance",
        target="iqa_robustness.attacks.enhance:Enhance",
        summary="sharpening, CLAHE, contrast, saturation and gamma within an SSIM bound, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="facpa",
        target="iqa_robustness.attacks.facpa:FACPA",
        summary="a trained U-Net that makes a perturbation for each image",
        access="white-box",
    ),
    AttackEntry(
        name="fgsm",
        target="iqa_robustness.attacks.fgsm:FGSM",
        summary="one gradient sign on the border of an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="ifgsm",
        target="iqa_robustness.attacks.ifgsm:IFGSM",
        summary="iterated gradient signs within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="korhonen",
        target="iqa_robustness.attacks.korhonen:Korhonen",
        summary="Adam on the pixels, hidden where the image is busy, within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="madc",
        target="iqa_robustness.attacks.madc:MADC",
        summary="gradient steps along the level sets of the mean squared error, within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="mi-fgsm",
        target="iqa_robustness.attacks.mi_fgsm:MIFGSM",
        summary="iterated signs of l1-normalised gradients with momentum within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="nes",
        target="iqa_robustness.attacks.nes:NES",
        summary="gradient ascent with gradients estimated from pairs of queries within an l∞ ball",
        access="black-box",
    ),
    AttackEntry(
        name="onepixel",
        target="iqa_robustness.attacks.onepixel:OnePixel",
        summary="a few pixels of any colour, found by differential evolution, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="parsimonious",
        target="iqa_robustness.attacks.parsimonious:Parsimonious",
        summary="greedy choice of blocks to raise or lower within an l∞ ball, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="patch-rs",
        target="iqa_robustness.attacks.patch_rs:PatchRS",
        summary="random search over the place and the colours of one square patch, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="pgd",
        target="iqa_robustness.attacks.pgd:PGD",
        summary="iterated gradient signs from random starts within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="single-entrant",
        target="iqa_robustness.attacks.single_entrant:SingleEntrant",
        summary="gradient signs within an l∞ ball on a share of the images, the others enter clean",
        access="white-box",
    ),
    AttackEntry(
        name="square",
        target="iqa_robustness.attacks.square:Square",
        summary="random search over square patches within an l∞ ball, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="ssah",
        target="iqa_robustness.attacks.ssah:SSAH",
        summary="Adam on the pixels, kept out of the low frequencies, within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="stadv",
        target="iqa_robustness.attacks.stadv:StAdv",
        summary="a flow field that moves pixels, within an SSIM",
    ),
    AttackEntry(
        name="uap",
        target="iqa_robustness.attacks.uap:UAP",
        summary="one trained perturbation for all images, by gradient descent",
        access="white-box",
    ),
    AttackEntry(
        name="zhang-dists",
        target="iqa_robustness.attacks.zhang:ZhangDISTS",
        summary="the score against DISTS, within an l∞ ball (weights not included)",
        weights="pyiqa:dists",
    ),
    AttackEntry(
        name="zhang-lite0-features",
        target="iqa_robustness.attacks.zhang:ZhangLite0Features",
        summary="the score against a distance of EfficientNet-Lite0's features, within an l∞ ball",
    ),
    AttackEntry(
        name="zhang-lpips",
        target="iqa_robustness.attacks.zhang:ZhangLPIPS",
        summary="the score against LPIPS, within an l∞ ball (weights not included)",
        weights="pyiqa:lpips",
    ),
    AttackEntry(
        name="zhang-ssim",
        target="iqa_robustness.attacks.zhang:ZhangSSIM",
        summary="the score against SSIM, within an l∞ ball",
    ),
):
    registry.register(_entry)


def create(name: str, *, strength: str | None = None, **parameters: Any) -> Attack:
    """An attack with the parameters of a strength, or its own.

    Args:
        name: a registered name or `package.module:Class`.
        strength: `weak`, `medium` or `strong`; its values are the defaults that `parameters` override.
        parameters: fields of the attack.

    Raises:
        UnknownNameError: no such attack, strength or parameter.
        ConfigurationError: the name is no attack's, or a value is refused.
    """
    from iqa_robustness.attacks.base import Attack

    kind = registry.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Attack)):
        raise ConfigurationError(f"{name!r} is no attack", fix="subclass iqa_robustness.attacks.base.Attack")
    chosen: dict[str, Any] = {}
    if strength is not None:
        if strength not in kind.strengths:
            raise UnknownNameError(f"strength of attack {name}", strength, kind.strengths)
        chosen = dict(kind.strengths[strength])
    known = {field.name for field in dataclasses.fields(kind)}
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError(f"parameter of attack {name}", parameter, known)
    try:
        return kind(**{**chosen, **parameters})
    except TypeError as error:
        raise ConfigurationError(f"attack {name!r} cannot be constructed: {error}") from error


def available(name: str) -> bool:
    """Whether the files that an attack reads are on this machine; True for attacks that read none.

    Raises:
        UnknownNameError: no such attack.
    """
    from iqa_robustness.metrics import pyiqa_files, weights

    needed = registry.resolve(name).weights
    library, _, distance = needed.partition(":")
    return pyiqa_files.cached(distance) if library == "pyiqa" else weights.available(needed)


def list() -> tuple[AttackEntry, ...]:
    """All registered attacks, sorted by name."""
    return (*registry,)
