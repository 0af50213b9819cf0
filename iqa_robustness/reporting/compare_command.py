"""Compare two versions of a metric by the stores of their runs: which is harder to fool, cell by cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Stored
from iqa_robustness.errors import BaselineError, ExitCode, IqaRobustnessError
from iqa_robustness.gate.baseline import SUFFIX, Baseline
from iqa_robustness.reporting.comparison import cell_of, compared, described, markdown
from iqa_robustness.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness compare`."""
    parser.add_argument("base", metavar="BASE", help="store of the earlier version's run, or a file exported from it")
    parser.add_argument("head", metavar="HEAD", help="store of the later version's run")
    parser.add_argument(
        "--iqa-store-base",
        metavar="URL",
        help="a store below HEAD, only read: for cells that HEAD lacks and the same version of the metric has there",
    )
    parser.add_argument(
        "--on-base-images",
        action="store_true",
        help="score BASE's adversarial images with the metric that is installed now (HEAD); both must be stores",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the comparison for a pull request")
    parser.add_argument("--iqa-device", default="auto", help="auto, cpu, cuda, cuda:1 …")


def run(options: argparse.Namespace) -> int:
    """Print the comparison; exit code 1 where HEAD has lost a cell."""
    base, head = Baseline.load(options.base), Baseline.load(options.head, below=options.iqa_store_base)
    scores = _on_base(options, base, head) if options.on_base_images else {}
    found = compared(base, head, on_base=scores)
    if not found.pairings and not found.incomparable:
        raise BaselineError(
            f"{options.base} and {options.head} have no cell in common",
            fix="run both versions under one name with the same profile, data set and seed",
        )
    print(described(found))
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(found), encoding="utf-8")
        print(f"written: {options.markdown}")
    return int(ExitCode.FAIL) if found.count("lost") else 0


def _on_base(options: argparse.Namespace, base: Baseline, head: Baseline) -> dict[str, np.ndarray]:
    """HEAD's scores of the images that fooled BASE, kept in HEAD's store; cells whose images are gone are left out."""
    if SUFFIX in (Path(options.base).suffix, Path(options.head).suffix):
        raise BaselineError("an exported file holds no images", fix="give both stores, or leave --on-base-images out")
    images, results = Store(options.base, read_only=True), Store(options.head, base=options.iqa_store_base)
    found: dict[str, np.ndarray] = {}
    for key, record in base.records.items():
        if key not in head.records or record.meta["cell"]["scenario"] not in ("nonadaptive", "certified"):
            continue
        entry = images.find(record.meta["attack"]["entry"])
        if entry is None:
            continue
        numerics = Numerics(
            device=prepared_device(options.iqa_device), micro_batch=record.meta["numerics"]["micro_batch"]
        )
        runner, cell = LocalRunner(results, numerics), cell_of(record)
        try:
            pair, clean = runner.pair(cell), runner.clean(cell)
            columns = runner.stages.scores(pair, Stored(entry, clean.ids), clean, seed=cell.seed)
        except IqaRobustnessError as error:
            print(f"{cell.name} on BASE's images: {error}", file=sys.stderr)
            continue
        found[key] = columns["scores"]
    return found
