"""What cells leave in the store, estimated before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iqa_robustness import defenses
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.estimate import CERTIFIED_STATES, images_of

# PNG files of photographs with an attack's noise, bytes a pixel (measured on the bundled set).
_PNG_BYTES = 2.2
# A cell's record, its stages without their images, and what a judgement takes from it, with their manifests. Measured
# on 711 stored cells of 1 to 50 images (certified ones: 1 to 6): 22 kB are the record, most of which does not grow; an
# image adds 0.1 kB there and about as much in the stages, a draw 5.6 bytes there and a float32 in its stage.
_CELL_BYTES = 42_000
_IMAGE_BYTES = 200
_DRAW_BYTES = 10
_MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Space:
    """MiB of a store. images: adversarial ones.      records: everything else."""

    images: float = 0.0
    records: float = 0.0

    def __add__(self, other: Space) -> Space:
        """Both together."""
        return Space(images=self.images + other.images, records=self.records + other.records)


def space_by_cell(cells: Iterable[Cell]) -> dict[str, Space]:
    """What each cell adds, by its name; images that several need count at the first of them."""
    kept: set[tuple[str, ...]] = set()
    found = {}
    for cell in cells:
        fresh = [own for own in _image_sets(cell) if own not in kept]
        kept |= {*fresh}
        images = images_of(cell)
        pixels = len(fresh) * images * cell.size[0] * cell.size[1]
        records = _CELL_BYTES + images * (_IMAGE_BYTES + _DRAW_BYTES * _draws(cell))
        found[cell.name] = Space(images=_PNG_BYTES * pixels / _MEBIBYTE, records=records / _MEBIBYTE)
    return found


def _image_sets(cell: Cell) -> list[tuple[str, ...]]:
    """What names the adversarial images that a cell needs; an adaptive one also has those of the bare metric."""
    if not cell.attack:
        return []
    metric, defense = cell.attacked
    shared = (cell.attack, cell.strength, cell.goal)
    own = (metric, defense if cell.knows_defense else "", *shared)
    return [own, (metric, "", *shared)] if cell.scenario == "adaptive" else [own]


def _draws(cell: Cell) -> int:
    """Scores that are kept of an image besides the one that counts."""
    certified = defenses.registry.resolve(cell.defense).kind == "certified"
    return cell.n * (CERTIFIED_STATES if cell.attack else 1) if certified else 0
