"""How the bundled photographs were cut: `python -m iqa_robustness.datasets.mini_build` writes them and mos.csv anew.

scikit-image, scikit-learn and matplotlib carry the photographs.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from iqa_robustness.datasets.mini import COLUMNS, LEVELS, level_pixels
from iqa_robustness.datasets.pseudo_mos import pseudo_mos

WIDTH, HEIGHT = 512, 384


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a photograph comes from and which part of it is kept: the largest 4:3 region from a corner on.

    package: the distribution's import name: `skimage`, `sklearn` or `matplotlib`.
    photograph: its name there.
    left: pixels left out at the left; 0 when the whole width is kept.
    top: pixels left out at the top.
    """

    package: str
    photograph: str
    left: int = 0
    top: int = 0


CUTS: Mapping[str, Cut] = MappingProxyType(
    {
        "astronaut": Cut(package="skimage", photograph="astronaut"),
        "camera": Cut(package="skimage", photograph="camera", top=40),
        "chelsea": Cut(package="skimage", photograph="chelsea", left=25),
        "china": Cut(package="sklearn", photograph="china.jpg", left=30),
        "coffee": Cut(package="skimage", photograph="coffee", left=25),
        "flower": Cut(package="sklearn", photograph="flower.jpg", left=30),
        "gravel": Cut(package="skimage", photograph="gravel"),
        "hopper": Cut(package="matplotlib", photograph="grace_hopper.jpg", top=10),
        "hubble": Cut(package="skimage", photograph="hubble_deep_field", top=61),
        "rocket": Cut(package="skimage", photograph="rocket", left=40),
    }
)


def photograph(cut: Cut) -> Image.Image:
    """The whole photograph, grey or RGB, from the package that carries it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if cut.package == "skimage":
        return Image.fromarray(getattr(import_module("skimage.data"), cut.photograph)())
    if cut.package == "sklearn":
        return Image.fromarray(import_module("sklearn.datasets").load_sample_image(cut.photograph))
    folder = Path(import_module("matplotlib").get_data_path(), "sample_data")
    with Image.open(folder / cut.photograph) as image:
        return image.convert("RGB")


def cut_out(cut: Cut) -> Image.Image:
    """The kept part at 384x512, grey or RGB; Lanczos where it is not that size already."""
    whole = photograph(cut)
    unit = min(whole.width // 4, whole.height // 3)
    box = (cut.left, cut.top, cut.left + 4 * unit, cut.top + 3 * unit)
    part = whole.crop(box)
    return part if part.size == (WIDTH, HEIGHT) else part.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def build(folder: Path) -> None:
    """Write a PNG a content and mos.csv; what is there is replaced. Grey photographs stay grey."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mos.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for content, cut in CUTS.items():
            image = cut_out(cut)
            image.save(folder / f"{content}.png", optimize=True)
            reference = np.array(image.convert("RGB"))
            for level in range(len(LEVELS[content]) + 1):
                mos = pseudo_mos(reference, level_pixels(reference, content, level))
                table.writerow((f"{content}-{level}", content, level, f"{mos:.2f}"))


def main(arguments: list[str] | None = None) -> int:
    """Recreate the bundled folder, or the folder given as the only argument."""
    chosen = sys.argv[1:] if arguments is None else arguments
    folder = Path(chosen[0]) if chosen else Path(__file__).parent / "bundled" / "mini"
    build(folder)
    print(f"wrote {len(CUTS)} photographs and mos.csv to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
