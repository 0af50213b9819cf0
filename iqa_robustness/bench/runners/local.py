"""Computes cells in this process, or reads them from the store."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.strengths import StrengthTable
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.proof import PROOF_IMAGES, prove
from iqa_robustness.bench.sources import Clean, Placebo, Source
from iqa_robustness.bench.stages import Columns, Progress, Stages, no_progress, stored_images
from iqa_robustness.datasets.base import View, view
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.errors import CapabilityError, IqaRobustnessError, MissingCellError, Where
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.store import Entry, Key, Record, Store, document_of

_NOT_ATTACKED = ("attacked", "defended_attacked", "placebo", "ssim", "psnr", "linf", "l2", "radius")
_BOUNDS = ("clean_lower", "clean_upper", "attacked_lower", "attacked_upper")


class LocalRunner:
    """Cells to records, through the store.

    Args:
        store: where records and stages are kept.
        numerics: device and micro-batch.
        from_store: never compute; raise MissingCellError for what is not there.
        progress: told how far long stages are.
        ranges: calibrated score ranges that declared ones are held to; None is the package's.
        strengths: what weak, medium and strong are, where it says so; the attacks' own otherwise.
    """

    def __init__(
        self,
        store: Store,
        numerics: Numerics,
        *,
        from_store: bool = False,
        progress: Progress = no_progress,
        ranges: Ranges | None = None,
        strengths: StrengthTable | None = None,
    ) -> None:
        self.store = store
        self.strengths = strengths or StrengthTable()
        self.stages = Stages(store=store, numerics=numerics, compute=not from_store, progress=progress)
        self.from_store = from_store
        self.computed = 0
        self._subject = cache(lambda name: Subject(name, device=numerics.device, ranges=ranges))
        self._data = cache(datasets.load)
        self._view = cache(self._load_view)

    def pair(self, cell: Cell) -> Pair:
        """The cell's pair."""
        return self.pair_of(cell.metric, cell.defense, n0=cell.n0, n=cell.n)

    def pair_of(self, metric: str, defense: str, *, n0: int, n: int) -> Pair:
        """A pair by names; the metric is loaded once for all pairs of this runner."""
        return Pair(self._subject(metric), defense, n0=n0, n=n)

    def attacked(self, cell: Cell, pair: Pair) -> Pair:
        """The pair that the cell's attack looks at: in a transfer the source, the cell's own otherwise."""
        return self.pair_of(*cell.attacked, n0=cell.n0, n=cell.n) if cell.source else pair

    def record(self, cell: Cell, pair: Pair | None = None) -> Record:
        """The cell's record, computed if the store does not have it.

        Raises:
            CapabilityError: the cell is not applicable, see `check_applicable`.
            MissingCellError: `from_store`, and it is not there.
            IqaRobustnessError: whatever of ours stopped the computation, with the cell named.
            Exception: the metric's own; a note names the cell.
        """
        place: dict[str, Any] = {axis: getattr(cell, axis) for axis in ("metric", "defense", "attack", "scenario")}
        pair = pair or self.pair(cell)
        try:
            has_references = self._data(cell.dataset).has_references
            check_applicable(cell, pair, self.attacked(cell, pair), has_references=has_references)
            key = self.key(cell, pair)
            entry = self.store.get(key)
            if entry is None and self.from_store:
                raise MissingCellError(
                    f"the cell is not in the store {self.store.url}",
                    fix="run without --iqa-from-store to compute it, or give the store that holds it",
                )
            if entry is None:
                with self.store.lock(key):
                    entry = self.store.get(key) or self._compute(cell, pair, key)
            return Record.from_files(entry.files(), volatile=entry.volatile)
        except IqaRobustnessError as error:
            raise error.at(**place) from error.__cause__
        except Exception as error:
            error.add_note(f"  where: {Where(**place)}")
            raise

    def key(self, cell: Cell, pair: Pair) -> Key:
        """Everything the record depends on: what names stand for rather than names, so a data set may move."""
        attack = self.attack(cell)
        attacked = self.attacked(cell, pair)
        return Key(
            {
                **self._training(attack, cell, attacked),
                **({"source": attacked.document} if cell.source else {}),
                "stage": "cell",
                "schema": 1,
                "scenario": cell.scenario,
                "goal": cell.goal,
                "draws": cell.draws,
                "max_forwards": cell.max_forwards,
                "seed": cell.seed,
                "attack": document_of(attack) if attack else None,
                "target": pair.document,
                "images": self._view(cell.dataset, cell.images, cell.size).digest,
                "numerics": self.stages.numerics.document,
            }
        )

    def attack(self, cell: Cell) -> Attack | None:
        """The cell's attack, with the profile's number of queries where it takes one; None in scenario `clean`."""
        if not cell.attack:
            return None
        listed = self.strengths.fields(cell.attack, cell.attacked[0], cell.strength)
        strength = cell.strength if listed is None else None
        attack = attacks.create(cell.attack, strength=strength, **(listed or {}))
        if "queries" in type(attack).__dataclass_fields__:
            attack = replace(attack, queries=cell.queries)  # type: ignore[call-arg]
        return attack

    def clean(self, cell: Cell) -> Clean:
        """The cell's clean images."""
        return Clean(self._view(cell.dataset, cell.images, cell.size))

    def adversarial(self, cell: Cell, pair: Pair) -> Entry:
        """The stage that holds the cell's adversarial images."""
        attack = self.attack(cell)
        if attack is None:
            raise MissingCellError("a cell without an attack has no adversarial images")
        clean, attacked = self.clean(cell), self.attacked(cell, pair)
        adaptive = _adaptive(cell, attacked)
        return self.stages.adversarial(attack, attacked, clean, adaptive=adaptive, goal=cell.goal, cell=cell.document)

    def _training(self, attack: Attack | None, cell: Cell, pair: Pair) -> dict[str, str]:
        """What stands in the key for an artefact that is yet to be trained, or was."""
        if not isinstance(attack, TrainedAttack) or attack.artefact is not None:
            return {}
        adaptive = _adaptive(cell, pair)
        training = self.stages.training(attack, pair, adaptive=adaptive, goal=cell.goal, size=cell.size, seed=cell.seed)
        return {"training": training.key.digest}

    def _compute(self, cell: Cell, pair: Pair, key: Key) -> Entry:
        started = time.time()
        _ = pair.subject.probe  # a metric that breaks its contract is not attacked at all
        clean, attack = self.clean(cell), self.attack(cell)
        undefended = Pair(pair.subject, "none", n0=cell.n0, n=cell.n)
        columns: dict[str, Any] = {
            "id": clean.ids,
            "content": [item.content for item in clean.view.items],
            "mos": [item.mos for item in clean.view.items],
            "clean": self._scores(undefended, clean, clean, cell)["scores"],
        }
        states = {"clean": self._scores(pair, clean, clean, cell)}
        meta = self._meta(cell, pair, key, clean, attack)
        if attack is not None:
            entry = self.adversarial(cell, pair)
            found = self.stages.values(entry)
            attacked: Source = stored_images(entry, clean)
            placebo = Placebo(clean, found["linf"], seed=cell.seed)
            states |= {"attacked": self._scores(pair, attacked, clean, cell)}
            states |= {"placebo": self._scores(pair, placebo, clean, cell)}
            columns["attacked"] = self._scores(undefended, attacked, clean, cell)["scores"]
            columns |= {name: values for name, values in found.items() if len(values) == len(clean) and name != "trace"}
            meta["attack"]["trace"] = [float(value) for value in found["trace"]]
            meta["attack"]["entry"] = entry.digest
            meta["proof"] = prove(attack, cell, self._proof_images(cell), self.stages)
        record = Record(
            images=_images_table(columns, states),
            draws=_draws_table(clean.ids, states),
            meta=meta,
        )
        self.computed += 1
        return self.store.put(
            key,
            record.files(),
            volatile={
                "seconds": round(time.time() - started, 3),
                "cost": self.stages.cost(pair, clean, seed=cell.seed),
                "host": socket.gethostname(),
                "worker": os.environ.get("PYTEST_XDIST_WORKER", "main"),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )

    def _scores(self, pair: Pair, source: Source, clean: Clean, cell: Cell) -> Columns:
        return self.stages.scores(pair, source, clean, seed=cell.seed)

    def _proof_images(self, cell: Cell) -> Clean:
        count = PROOF_IMAGES if cell.images is None else min(cell.images, PROOF_IMAGES)
        return Clean(self._view(cell.dataset, count, cell.size))

    def _meta(self, cell: Cell, pair: Pair, key: Key, clean: Clean, attack: Attack | None) -> dict[str, Any]:
        spec, defense = pair.subject.metric.spec, pair.defense
        meta: dict[str, Any] = {
            "cell": cell.document,
            "key": key.digest,
            "key_document": key.document,
            "metric": {
                "name": cell.metric,
                "version": spec.version,
                "score_range": [*spec.score_range],
                "higher_is_better": spec.higher_is_better,
                "licence": spec.licence,
                "access": spec.access,
                "differentiable": pair.subject.probe.differentiable,
                "full_reference": spec.full_reference,
            },
            "defense": {"kind": defense.kind, "keeps_geometry": defense.keeps_geometry, **document_of(defense)},
            "dataset": {
                "name": cell.dataset,
                "mos_kind": clean.view.mos_kind,
                "digest": clean.view.digest,
                "images": len(clean),
                "has_references": clean.view.has_references,
            },
            "protocol": {"scoring": f"median-of-{defense.n}" if isinstance(defense, Smoothing) else "one-shot"},
            "numerics": self.stages.numerics.document,
        }
        if attack is not None:
            attacked = self.attacked(cell, pair)
            meta["protocol"]["attack"] = attack_protocol(
                attacked.defense if _adaptive(cell, attacked) else Undefended(),
                draws=cell.draws,
                white_box=attack.access == "white-box",
                stochastic_metric=attacked.subject.metric.spec.stochastic,
            )
            meta["attack"] = {
                "access": attack.access,
                "restriction": attack.restriction,
                "limit": attack.budget.limit,
                **document_of(attack),
            }
        return meta

    def _load_view(self, dataset: str, images: int | None, size: tuple[int, int]) -> View:
        return view(self._data(dataset), count=images, size=size)


def _adaptive(cell: Cell, attacked: Pair) -> bool:
    """Whether the attack looks at the defended metric."""
    return cell.scenario == "adaptive" or (bool(cell.source) and attacked.defense.kind != "none")


def check_applicable(cell: Cell, pair: Pair, attacked: Pair, *, has_references: bool) -> None:
    """Raise CapabilityError for a cell without meaning; many are never planned, but some metrics tell only when made.

    Either pair, the one that is scored and the one that is attacked, can make a cell meaningless:

    - A white-box attack on a metric that answers queries only.
    - A full-reference metric behind a defense that moves pixels.
    - A full-reference metric on images that are their own references, unless it is attacked to lower the quality it
      reports: all clean scores are alike, and nothing is better.
    """
    for one in (pair, attacked):
        if not one.subject.metric.spec.full_reference:
            continue
        _ = one.guarded
        if not has_references and not (cell.attack and cell.goal == "lower"):
            raise CapabilityError(
                "the data set has no references: each image is its own, and nothing scores better than that",
                fix="take a data set with references (folder: with a column reference), or attack with goal lower",
            )
    if not cell.attack or attacks.registry.resolve(cell.attack).access == "black-box":
        return
    if attacked.subject.metric.spec.access == "query-only":
        raise CapabilityError(
            f"{cell.attack} needs gradients, and the metric answers queries only",
            fix="attack it with a black-box attack (square)",
        )


def _images_table(columns: dict[str, Any], states: dict[str, Columns]) -> pd.DataFrame:
    count = len(columns["id"])
    unknown = np.full(count, np.nan)
    table: dict[str, Any] = dict.fromkeys((*_NOT_ATTACKED, *_BOUNDS, "ssim_purified", "psnr_purified"), unknown)
    table |= dict.fromkeys(("forwards", "backwards"), np.zeros(count, np.int64))
    table |= dict.fromkeys(("gradient_finite", "gradient_nonzero", "responded"), np.ones(count, bool))
    table |= {"abstained": np.zeros(count, bool)}
    table |= {name: values for name, values in columns.items() if name not in ("clean_values", "values")}
    table["defended_clean"] = states["clean"]["scores"]
    judged = states.get("attacked", states["clean"])
    table["ssim_purified"], table["psnr_purified"] = judged["ssim_purified"], judged["psnr_purified"]
    if "attacked" in states:
        table["defended_attacked"] = states["attacked"]["scores"]
        table["placebo"] = states["placebo"]["scores"]
    if "lower" in judged:
        table["clean_lower"], table["clean_upper"] = states["clean"]["lower"], states["clean"]["upper"]
        table["radius"], table["abstained"] = judged["radius"], judged["abstained"]
        if "attacked" in states:
            table["attacked_lower"], table["attacked_upper"] = judged["lower"], judged["upper"]
    return pd.DataFrame(table)


def _draws_table(ids: Sequence[str], states: dict[str, Columns]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "id": np.repeat(ids, columns["draws"].shape[1]),
                "state": state,
                "draw": np.tile(np.arange(columns["draws"].shape[1]), len(ids)),
                "score": columns["draws"].ravel(),
            }
        )
        for state, columns in states.items()
        if "draws" in columns
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", "state", "draw", "score"])
