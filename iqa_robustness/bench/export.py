"""The non-adaptive set of adversarial images: made through the store, and taken out of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iqa_robustness.bench.adversarial_set import MANIFEST, VERSION, Container, write_group
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import ImageTarReader
from iqa_robustness.errors import ConfigurationError, IqaRobustnessError, Where
from iqa_robustness.store import Entry, document_of

INDEX = "index.csv"
_VALUES = ("ssim", "psnr", "linf", "l2", "forwards", "backwards")
COLUMNS = ("path", "id", "content", "mos", "metric", "attack", "strength", "goal", "gain", *_VALUES, "sha256")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A cell whose images are in the store, or what stopped them."""

    cell: Cell
    entry: Entry | None
    error: IqaRobustnessError | None = None


def made(runner: LocalRunner, cells: Sequence[Cell]) -> Iterator[Made]:
    """The images of each cell, computed where the store lacks them; a cell that cannot be does not stop the others."""
    for cell in cells:
        try:
            yield Made(cell=cell, entry=runner.adversarial(cell, runner.pair(cell)))
        except IqaRobustnessError as error:
            place = {"metric": cell.metric, "attack": cell.attack}
            yield Made(cell=cell, entry=None, error=error.at(**place))


def export(runner: LocalRunner, found: Sequence[Made], root: Path, *, container: Container) -> dict[str, Any]:
    """Write the images, an index (a row each) and the manifest, which is written last; returns the manifest.

    Args:
        runner: whose store holds them.
        found: at least one, all with an entry, all of one data set.
        root: the folder; empty, not there yet, or one that this function wrote.
        container: `png` or `tar`.

    Raises:
        ConfigurationError: the folder has files of somebody else.
    """
    if root.is_dir() and any(root.iterdir()) and not (root / MANIFEST).is_file() and not (root / INDEX).is_file():
        raise ConfigurationError(
            f"the folder {str(root)!r} is not empty", where=Where(file=str(root)), fix="give a new folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    groups = []
    with (root / INDEX).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for one in found:
            group, rows = _group(runner, one, root, container)
            groups.append(group)
            writer.writerows(rows)
    view = runner.clean(found[0].cell).view
    manifest = {
        "adversarial": VERSION,
        "container": container,
        "dataset": {
            # Where it lies on this machine is nobody's business.
            "name": view.name.partition(":")[0],
            "digest": view.base.digest,
            "mos_kind": view.mos_kind,
            "size": [*view.size],
        },
        "numerics": runner.stages.numerics.document,
        "groups": groups,
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _group(
    runner: LocalRunner, one: Made, root: Path, container: Container
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cell, entry = one.cell, one.entry
    if entry is None:
        raise one.error or ConfigurationError("a cell without images cannot be exported")
    labels = {"strength": cell.strength, "attack": cell.attack, "metric": cell.metric}
    values, clean = runner.stages.values(entry), runner.clean(cell)
    # Values are in units of diam, and every attack raises them.
    gains = 100 * (np.asarray(values["values"]) - np.asarray(values["clean_values"]))
    rows: list[dict[str, Any]] = []

    def images(reader: ImageTarReader) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
        for row, item in enumerate(clean.view.items):
            facts = {
                "content": item.content,
                "mos": None if np.isnan(item.mos) else item.mos,
                **labels,
                "goal": cell.goal,
                "gain": round(float(gains[row]), 4),
                **{name: _plain(values[name][row]) for name in _VALUES},
            }
            rows.append({"id": item.id, **facts})
            yield item.id, reader.data(row), facts

    with entry.open("images.tar") as file:
        group = write_group(root, labels, images(ImageTarReader(file)), container)
    for number, facts in enumerate(rows):
        inner = f"{facts['id']}.png" if container == "png" else f"{number:06d}.png"
        facts |= {"path": f"{group['path']}/{inner}", "sha256": group["sha256"][facts["id"]]}
    attack = runner.attack(cell)
    more = {"goal": cell.goal, "seed": cell.seed, "key": entry.digest, "parameters": document_of(attack)}
    return {**group, **more, "mean_gain": float(gains.mean())}, rows


def _plain(value: Any) -> float | int | None:
    number = value.item()
    if isinstance(number, float):
        return round(number, 6) if np.isfinite(number) else None
    return int(number)
