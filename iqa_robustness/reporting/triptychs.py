"""Pictures for the page, read from the store at the end of a run: the worst image of the cells that need a look."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from PIL import Image

from iqa_robustness import datasets
from iqa_robustness.bench.sources import stored_image
from iqa_robustness.datasets.base import View, view
from iqa_robustness.errors import IqaRobustnessError, MissingCellError
from iqa_robustness.reporting.figures import amplified_difference, spoken
from iqa_robustness.reporting.gallery import Gallery, Triptych
from iqa_robustness.reporting.pictures import worst_rows
from iqa_robustness.reporting.results import Outcome, is_control, ordered
from iqa_robustness.store import Record, Store

MOST = 24
"""Cells of a run that get pictures, the worst verdicts first."""
BUDGET = 1_500_000
"""Bytes that all pictures of a page may take as data URIs; with text, a page of 400 cells stays below 3 MB."""
SIDE = 256
"""Longest side of what is shown, pixels; of a larger image the window that was changed most."""
# The stored images are lossless; these are for looking at. Amplified noise is what compresses worst.
_QUALITY, _DIFFERENCE_QUALITY = 75, 40


def gallery(cells: Sequence[Outcome], store: Store, *, most: int = MOST, budget: int = BUDGET) -> Gallery:
    """The worst image of at most `most` attacked cells, worst verdicts first, in at most `budget` bytes.

    Nothing is computed. A cell whose images cannot be read (another folder, another store) goes without.
    """
    views = cache(_view)
    found: dict[str, Triptych] = {}
    left_out: dict[str, str] = {}
    spent = 0
    for cell in _wanted(cells, most):
        try:
            triptych = _triptych(cell, store, views)
        except IqaRobustnessError as error:
            left_out[cell["name"]] = error.what
            continue
        spent += triptych.size
        if spent > budget:
            break
        found[cell["name"]] = triptych
    return Gallery(triptychs=found, left_out=left_out)


def _wanted(cells: Sequence[Outcome], most: int) -> Iterator[Outcome]:
    pictured = [cell for cell in cells if cell["attack"] and cell["record"] and not is_control(cell)]
    yield from ordered(pictured)[:most]


def _triptych(cell: Outcome, store: Store, views: Callable[[str, int | None, tuple[int, int]], View]) -> Triptych:
    entry = store.find(cell["record"])
    if entry is None:
        raise MissingCellError("the record is not in the store")
    record = Record.from_files(entry.files())
    (row,) = worst_rows(record, 1)
    facts, document = record.images.iloc[row], record.meta["cell"]
    size = (int(document["size"][0]), int(document["size"][1]))
    shown = views(document["dataset"], document["images"], size)
    if shown.digest != record.meta["dataset"]["digest"]:
        raise MissingCellError("the data set holds other images than those that were attacked")
    kept = record.meta["sources"][facts["worst_source"]] if facts["worst_source"] else record.meta["attack"]
    # A black-box attack takes some of the cell's images.
    searched = views(document["dataset"], kept.get("images", document["images"]), size)
    images = store.find(kept["entry"])
    if images is None:
        raise MissingCellError("the adversarial images are not in the store")
    clean = shown.pixels(row)
    attacked = stored_image(images, [item.id for item in searched.items].index(str(facts["id"])))
    window, named = _window(clean, attacked)
    clean, attacked = clean[window], attacked[window]
    difference, factor = amplified_difference(clean, attacked)
    return Triptych(
        image=str(facts["id"]),
        clean=_data_uri(clean),
        adversarial=_data_uri(attacked),
        difference=_data_uri(difference, quality=_DIFFERENCE_QUALITY),
        factor=factor,
        texts=(
            f"score {spoken(facts['clean'])}, defended {spoken(facts['defended_clean'])}",
            f"score {spoken(facts['attacked'])}, defended {spoken(facts['defended_attacked'])}",
            f"l∞ {facts['linf'] * 255:.0f}/255, SSIM {spoken(facts['ssim'], 3)}, PSNR {spoken(facts['psnr'])} dB",
        ),
        window=named,
    )


def _view(dataset: str, images: int | None, size: tuple[int, int]) -> View:
    return view(datasets.load(dataset), count=images, size=size)


def _window(clean: np.ndarray, attacked: np.ndarray) -> tuple[tuple[slice, slice], str]:
    """The window of at most `SIDE` by `SIDE` pixels that was changed most: scaled down, noise would be grey."""
    height, width = clean.shape[:2]
    tall, wide = min(height, SIDE), min(width, SIDE)
    if (tall, wide) == (height, width):
        return (slice(None), slice(None)), ""
    changed = np.abs(attacked.astype(np.int64) - clean).sum(axis=2)
    sums = np.pad(changed, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    top, left = (int(place) for place in np.unravel_index(int(inside.argmax()), inside.shape))
    named = f"{wide} × {tall} of {width} × {height} pixels, where most was changed"
    return (slice(top, top + tall), slice(left, left + wide)), named


def _data_uri(pixels: np.ndarray, *, quality: int = _QUALITY) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
