"""The pictures that a page shows of its cells; without any dependency, so that a page without pictures loads none."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Triptych:
    """An image before and after an attack.

    image: its id.      clean, adversarial, difference: data URIs.      factor: that the difference is enlarged by.
    texts: of the three, what was measured.      window: which part of the image is shown, empty for all of it.
    """

    image: str
    clean: str
    adversarial: str
    difference: str
    factor: int
    texts: tuple[str, str, str]
    window: str = ""

    @property
    def size(self) -> int:
        """Bytes that its pictures take in a page."""
        return len(self.clean) + len(self.adversarial) + len(self.difference)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of a run.

    triptychs: by cell.      left_out: by cell, why one that was wanted is not there.
    """

    triptychs: dict[str, Triptych] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that its pictures take in a page."""
        return sum(triptych.size for triptych in self.triptychs.values())
