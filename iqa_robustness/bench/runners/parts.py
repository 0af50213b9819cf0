"""Work that several cells share, and what has to be there before a cell is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iqa_robustness import defenses
from iqa_robustness.bench.adaptive import ADAPTIVE, QUERIED, TRANSFERRED
from iqa_robustness.bench.cell import BLACK_BOX, Cell
from iqa_robustness.bench.estimate import attack_passes, images_of, passes_of
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.scoring_protocol import scorings

WHOLE, BARE, CLEAN = "cell", "bare", "clean"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of work, done once however many cells need it.

    cell: whose record, or one of the cells that share the stage.
    kind: `cell` is the record; `bare` and `clean` are the scores of the clean images by the metric and by the pair; an
        attack's images are `adaptive`, `transferred` or `queried`, as `bench.adaptive` calls its searches.
    needs: places, in the list that this part is in, of what is done before it.
    """

    cell: Cell
    kind: str = WHOLE
    needs: tuple[int, ...] = ()

    @property
    def weight(self) -> int:
        """What it costs at most, in forwards."""
        cell = self.cell
        if self.kind in (BARE, CLEAN):
            return images_of(cell)
        if self.kind == WHOLE:
            return passes_of([cell]).weight
        name = BLACK_BOX if self.kind == QUERIED else cell.attack
        return attack_passes(name, cell.queries).weight * images_of(cell)

    def do(self, runner: LocalRunner) -> str:
        """Have it in the store of a runner; returns the digest of the record, of a stage an empty string."""
        pair = runner.pair(self.cell)
        if self.kind == WHOLE:
            return str(runner.record(self.cell, pair).meta["key"])
        _ = pair.subject.probe  # a metric that breaks its contract is not attacked at all
        if self.kind in (BARE, CLEAN):
            scored = (
                runner.pair_of(self.cell.metric, "none", n0=self.cell.n0, n=self.cell.n) if self.kind == BARE else pair
            )
            clean, scoring = runner.clean(self.cell), scorings(self.cell, pair)[0]
            runner.stages.scores(scored, clean, clean, seed=self.cell.seed, scoring=scoring)
            return ""
        for search in runner.searches(self.cell):
            if search.name == self.kind:
                search.entry(self.cell, runner.attacked(self.cell, pair), runner.stages)
        return ""


def parts_of(cells: Iterable[Cell]) -> list[Part]:
    """The records of cells, and before them the stages that two or more of them share, in the cells' order."""
    cells = list(cells)
    sharing: dict[tuple[object, ...], list[tuple[int, str]]] = {}
    for number, cell in enumerate(cells):
        for kind, identity in _stages(cell):
            sharing.setdefault((kind in (BARE, CLEAN), *identity), []).append((number, kind))
    shared: list[Part] = []
    needs: list[list[int]] = [[] for _ in cells]
    for users in sharing.values():
        if len(users) > 1:
            number, kind = users[0]
            for user, _ in users:
                needs[user].append(len(shared))
            shared.append(Part(cell=cells[number], kind=kind))
    return [*shared, *(Part(cell=cell, needs=tuple(found)) for cell, found in zip(cells, needs, strict=True))]


def ready(parts: Sequence[Part], done: set[int], begun: set[int]) -> list[int]:
    """Places of the parts that can begin, the longest first; what others wait for goes before what nobody does."""
    found = [n for n, part in enumerate(parts) if n not in begun and done.issuperset(part.needs)]
    return sorted(found, key=lambda n: (parts[n].kind == WHOLE, -parts[n].weight, n))


def _stages(cell: Cell) -> list[tuple[str, tuple[object, ...]]]:
    """The stages of a cell by what they depend on; two that differ in nothing here are the same entry of the store."""
    images = (cell.dataset, cell.images, cell.size, cell.seed)
    found: list[tuple[str, tuple[object, ...]]] = [(BARE, (cell.metric, "none", cell.scoring, *images))]
    if defenses.registry.resolve(cell.defense).kind != "none":
        found.append((CLEAN, (*cell.pair, cell.n0, cell.n, cell.scoring, *images)))
    if not cell.attack:
        return found
    spent = (cell.strength, cell.goal, cell.queries, cell.max_forwards, cell.draws, cell.seed)
    bare = (cell.attacked[0], "", cell.attack, 0, cell.dataset, cell.images, cell.size, *spent)
    defended = (*cell.attacked, cell.attack, cell.doublings, cell.dataset, cell.images, cell.size, *spent)
    if cell.scenario != "adaptive":
        return [*found, (ADAPTIVE, defended) if cell.knows_defense else (TRANSFERRED, bare)]
    found += [(ADAPTIVE, defended), (TRANSFERRED, bare)]
    if cell.query_images and cell.attack != BLACK_BOX:
        found.append((QUERIED, (*cell.pair, BLACK_BOX, 0, cell.dataset, cell.query_images, cell.size, *spent)))
    return found
