"""Codec: a perturbation that is still there after the file has been compressed or shrunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from iqa_robustness.attacks.apgd import APGD
from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail


@dataclass(frozen=True, kw_only=True)
class Codec(APGD):
    """`apgd` on the mean of three scores: of the image as it is (PNG loses nothing), as a JPEG file, and resized.

    The scores are those of the real encoders, JPEG by Pillow among them; the slope through JPEG's rounding is that of
    the same codec in floating point, through the rounding of pixels that of the identity (BPDA). The image that is best
    after the round trips is kept.

    Source: Shin and Song, NIPS 2017 workshop (JPEG-resistant adversarial images); Athalye, Carlini and Wagner, ICML
    2018 (BPDA). The search is that of Croce and Hein, ICML 2020.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding and before the encoder.
    Cost: three forwards and backwards for each of `steps` steps and restarts, three forwards for each restart's result.
    `paper=True` returns the result of the last restart.
    Raises: ConfigurationError for fewer than two steps or less than one restart, a quality outside 1 … 100, a scale
        outside 0 … 1.

    quality: of the JPEG file.      scale: share of height and width that the resized image has in between.
    """

    name: ClassVar[str] = "codec"
    version: ClassVar[int] = 1

    steps: int = 20
    quality: int = 75
    scale: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.encoders  # refuses an impossible quality or scale

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """The three ways to the judge."""
        return Lossless(), JpegFile(quality=self.quality), Thumbnail(scale=self.scale)
