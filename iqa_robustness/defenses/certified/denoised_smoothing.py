"""Denoised smoothing: every noisy sample is denoised before it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from iqa_robustness import defenses
from iqa_robustness.defenses.base import Defense, Purification
from iqa_robustness.defenses.certified.denoisers import Denoiser, denoiser
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.store import document_of


@dataclass(frozen=True, kw_only=True)
class Denoised(Smoothing):
    """What both forms share. A metric scores denoised images better than noisy ones, and the certificate holds alike.

    Source: Salman et al., NeurIPS 2020 (denoised smoothing). The benchmark's denoiser is a DnCNN of its own; its
    results on attacked images were computed without it.

    denoiser: `diffusion` (the bundled model at one stroke), the name of a purification (`dncnn`; `ffdnet`, which is
        told sigma), written `drs:NAME` where a name is taken, or a purification. Empty: `dncnn` where its published
        weights are present, and `diffusion` elsewhere; the store's keys and the records name it.
    """

    denoiser: str | Purification = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Refuse what is none when the defense is made.
        denoiser(self.denoiser, sigma=self.sigma)

    @cached_property
    def denoises(self) -> Denoiser:
        """The denoiser that was chosen."""
        return denoiser(self.denoiser, sigma=self.sigma)

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: the denoiser with its parameters and digests. Raises WeightsError."""
        return {"denoiser": document_of(self.denoises)}


@dataclass(frozen=True, kw_only=True)
class DenoisedSmoothing(Denoised, RandomizedSmoothing):
    """Randomized smoothing of denoised samples.

    Cost: `n0` + `n` forwards of denoiser and metric an image.
    Raises: ConfigurationError for values out of range, what is no denoiser, and without streams.
    """

    name: ClassVar[str] = "drs"
    version: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class DenoisedMedianSmoothing(Denoised, MedianSmoothing):
    """Median smoothing of denoised samples.

    Cost: `n` forwards of denoiser and metric an image.
    Raises: ConfigurationError for values out of range, what is no denoiser, and without streams.
    """

    name: ClassVar[str] = "dms"
    version: ClassVar[int] = 1


def drs(member: str, **parameters: Any) -> Defense:
    """The defense `drs:DENOISER`; parameters are its other fields."""
    return defenses.create(DenoisedSmoothing.name, denoiser=member, **parameters)


def dms(member: str, **parameters: Any) -> Defense:
    """The defense `dms:DENOISER`; parameters are its other fields."""
    return defenses.create(DenoisedMedianSmoothing.name, denoiser=member, **parameters)
