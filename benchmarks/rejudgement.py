"""How long it takes to judge a stored run again: `pytest --iqa-from-store` over ten thousand cells.

    python benchmarks/rejudgement.py [--cells 10000]

One cell is computed; its record, and what a judgement takes from it, then stand in a store under the keys of as many
cells of made-up metrics, each with bytes of its own. A run in one process judges them all and writes its summaries.
Of a cell: less what a run of 42 cells takes. At most 60 s are wanted for 10,000 cells, 5 ms a cell.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from scaling import REGISTERED, project, pytest_run

MOST_MILLISECONDS = 5.0
DEFENSES = ("none", "flip", "jpeg", "resize", "crop", "rotate", "gaussian-blur", "unsharp")
ATTACKS = ("fgsm", "ifgsm", "mi-fgsm", "ami-fgsm", "pgd", "apgd", "cw", "square", "nes", "onepixel", "parsimonious")
ATTACKS += ("madc", "ssah", "korhonen")
STRENGTHS = ("weak", "medium", "strong")
FABRICATED = """
import json
import os
from dataclasses import asdict, replace

import pytest
from iqa_robustness.plugin.session import robustness_session
from iqa_robustness.reporting.readings import VERSION, Reading, Readings
from iqa_robustness.store import Key, Record

TEMPLATE = []


@pytest.mark.iqa_cells(scenario="nonadaptive")
def test_gate(pair, cell, gate, request):
    if "FABRICATE" not in os.environ:
        gate.check(cell, pair)
        return
    runner = robustness_session(request.config).runner
    if not TEMPLATE:
        record = runner.record(cell, pair)
        reading = Reading.of(record)
        TEMPLATE.append((record, {**reading.document(), "attempt": None, "harm": None}))
    record, reading = TEMPLATE[0]
    key = runner.key(cell, pair)
    if runner.store.get(key) is None:
        names = {name: getattr(cell, name) for name in ("metric", "defense", "attack", "strength")}
        meta = {**record.meta, "cell": {**record.meta["cell"], **names}, "key": key.digest}
        entry = runner.store.put(key, Record(images=record.images, draws=record.draws, meta=meta).files())
        kept = Key({"stage": "reading", "version": VERSION, "record": entry.contents["record.parquet"]})
        document = {**reading, "facts": {**reading["facts"], "record": key.digest}}
        runner.store.put(kept, {"reading.json": json.dumps(document, sort_keys=True).encode()})
"""


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    options = parser.parse_args()
    each = len(ATTACKS) * len(STRENGTHS)
    metrics = -(-options.cells // (len(DEFENSES) * each))
    count = metrics * len(DEFENSES) * each
    usual = ("--iqa-images=8", "--iqa-attachments=none", f"--iqa-strength={','.join(STRENGTHS)}")
    usual += (f"--iqa-defense={','.join(DEFENSES)}", f"--iqa-attack={','.join(ATTACKS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = project(Path(name), conftest=REGISTERED.format(metrics=metrics), test_gate=FABRICATED)
        os.environ["FABRICATE"] = "1"
        pytest_run(folder, *usual, "--iqa-metric=made-up-*")
        del os.environ["FABRICATE"]
        few = pytest_run(folder, *usual, "--iqa-from-store", "--iqa-metric=made-up-0", "--iqa-defense=none")
        wall, spent, output = pytest_run(folder, *usual, "--iqa-from-store", "--iqa-metric=made-up-*")
    if f"0 computed in this run, {count} taken from the store" not in output:
        raise SystemExit(output[-600:])
    print(f"judged {count} cells: {wall:.1f} s, processor time {spent:.1f} s; {each}: {few[0]:.1f} s, {few[1]:.1f} s")
    spent_each = 1000 * (spent - few[1]) / (count - each)
    print(f"{spent_each:.2f} ms of processor time a cell; at most {MOST_MILLISECONDS} are wanted")
    return spent_each <= MOST_MILLISECONDS


if __name__ == "__main__":
    sys.exit(not main())
