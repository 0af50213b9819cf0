"""Profiles: how much of the benchmark a run does; every number can be overridden by an option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iqa_robustness.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a slow metric is cut down to, on each axis where the user names nothing.

    images: at most so many.
    attacks, defenses, strengths: only these.
    doublings: by attack, as of `Profile`, for this metric.
    """

    images: int
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    strengths: tuple[str, ...]
    doublings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """What scenario `transfer` runs, on each axis where neither the user nor the suite names anything.

    defenses: each is attacked, and all score the images.
    attacks, strengths: of the attacks.
    """

    defenses: tuple[str, ...]
    attacks: tuple[str, ...] = ("ifgsm",)
    strengths: tuple[str, ...] = ("medium",)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sizes of a run.

    white_box_images, query_images, certified_images: images a cell of the kind uses, None for the whole data set.
    soundness_images: the same of cells that attack certificates inside their radii.
    size: (height, width) in pixels.
    queries: score queries an image.
    n0, n: samples of certified defenses.
    draws: forward passes averaged for one value of a stochastic target (EOT).
    metrics, attacks, defenses: run where neither the user nor the suite names one; all registered attacks or defenses
        when empty.
    limits: cuts for slow metrics.
    strengths: what weak, medium and strong are: `own`, the attacks', or `published`, the benchmark's where it says so.
    doublings: by attack, how often its iterations are doubled in adaptive cells, for it to converge.
    transfers: of attacks on other defenses and metrics; None for none.
    certified_strengths: of attacks on certified defenses, which are dear, where the user names none; all when empty.
    scenarios: by defense, the only ones that it takes part in, where the user names neither.
    """

    name: str
    white_box_images: int | None
    query_images: int
    certified_images: int
    soundness_images: int
    size: tuple[int, int]
    queries: int
    n0: int
    n: int
    draws: int
    metrics: tuple[str, ...] = ("compact", "lite0")
    attacks: tuple[str, ...] = ()
    defenses: tuple[str, ...] = ()
    limits: dict[str, Limit] = field(default_factory=dict)
    strengths: str = "own"
    doublings: Mapping[str, int] = field(default_factory=dict)
    certified_strengths: tuple[str, ...] = ()
    scenarios: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    transfers: Transfers | None = None

    def images(self, *, access: str, certified: bool) -> int | None:
        """Images of a cell by its attack's access and its defense's kind."""
        if certified:
            return self.certified_images
        return self.query_images if access == "black-box" else self.white_box_images


# The published attacks and purifications that need no weights from elsewhere; more are a matter of naming them.
_PUBLISHED_ATTACKS = (
    "facpa",
    "ifgsm",
    "korhonen",
    "madc",
    "nes",
    "onepixel",
    "parsimonious",
    "patch-rs",
    "square",
    "ssah",
    "stadv",
    "uap",
)
_PURIFICATIONS = (
    "color-quantization",
    "crop",
    "diffjpeg",
    "diffpure",
    "fcn",
    "flip",
    "gaussian-blur",
    "jpeg",
    "median-blur",
    "random-noise",
    "resize",
    "rotate",
    "unsharp",
    "upscale",
)
_CERTIFIED = ("ddrs", "densepure", "dms", "drs", "ms", "rs")
# Linear filters, codecs and a random defense: attacks on the ones of a kind are expected to reach each other.
_TRANSFERRED = ("none", "diffjpeg", "flip", "gaussian-blur", "jpeg", "random-noise", "resize")
_STUDIED = (
    "crop",
    "diffpure",
    "diffpure+unsharp",
    "fcn",
    "flip",
    "gaussian-blur",
    "jpeg",
    "median-blur",
    "resize",
    "rotate",
    "unsharp",
    "upscale",
    "upscale-bicubic",
    "upscale-nearest",
)
_PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            white_box_images=None,
            # Fewer images leave the interval of a mean too wide to decide anything.
            query_images=12,
            certified_images=6,
            soundness_images=2,
            size=(192, 256),
            queries=200,
            n0=20,
            n=200,
            draws=2,
            attacks=("ifgsm", "square"),
            defenses=("flip", "jpeg", "ms", "none", "rs"),
            doublings={"ifgsm": 1},
            limits={
                "lite0": Limit(
                    images=8,
                    attacks=("ifgsm",),
                    defenses=("none", "flip", "jpeg"),
                    strengths=("medium",),
                    doublings={"ifgsm": 2},
                )
            },
            certified_strengths=("medium", "strong"),
            # Its samples cost what those of ms do, again: a minute for each attack.
            scenarios={"rs": ("soundness",)},
            transfers=Transfers(defenses=("none", "flip", "jpeg")),
        ),
        Profile(
            name="standard",
            white_box_images=200,
            query_images=50,
            certified_images=20,
            soundness_images=20,
            size=(384, 512),
            queries=2_000,
            n0=100,
            n=1_000,
            draws=8,
            attacks=(*_PUBLISHED_ATTACKS, "apgd", "codec", "enhance", "single-entrant"),
            defenses=("none", *_PURIFICATIONS, *_CERTIFIED),
            doublings={"ifgsm": 1},
            transfers=Transfers(defenses=_TRANSFERRED),
        ),
        Profile(
            name="paper",
            white_box_images=1_000,
            query_images=50,
            certified_images=10,
            soundness_images=10,
            size=(384, 512),
            queries=10_000,
            n0=100,
            n=1_000,
            draws=8,
            attacks=_PUBLISHED_ATTACKS,
            defenses=("none", *_PURIFICATIONS, *_CERTIFIED),
            doublings={"ifgsm": 1},
            strengths="published",
            transfers=Transfers(defenses=_TRANSFERRED),
        ),
        Profile(
            name="purification-study",
            white_box_images=200,
            query_images=200,
            certified_images=200,
            soundness_images=20,
            size=(299, 299),
            queries=10_000,
            n0=100,
            n=1_000,
            draws=8,
            # The study's other attacks and networks need weights from elsewhere; diffpure and fcn have our own.
            attacks=("advcf", "ami-fgsm", "ifgsm", "korhonen", "madc", "mi-fgsm", "ssah", "zhang-ssim"),
            defenses=("none", *_STUDIED),
            doublings={"ifgsm": 1},
        ),
    )
}


def profile(name: str) -> Profile:
    """A profile by name. Raises UnknownNameError."""
    if name not in _PROFILES:
        raise UnknownNameError("profile", name, _PROFILES)
    return _PROFILES[name]


def names() -> list[str]:
    """All profiles."""
    return [*_PROFILES]
