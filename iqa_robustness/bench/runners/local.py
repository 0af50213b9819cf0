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
from iqa_robustness.bench.adaptive import ADAPTIVE, QUERIED, TRANSFERRED, Search, Worst, choosing
from iqa_robustness.bench.cell import BLACK_BOX, Cell
from iqa_robustness.bench.convergence import CONVERGENCE_IMAGES, convergence
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.proof import PROOF_IMAGES, prove
from iqa_robustness.bench.scoring_protocol import Scoring, scoring_name, scorings
from iqa_robustness.bench.sources import Clean, Placebo, Source, stored_pixels
from iqa_robustness.bench.stages import Columns, Progress, Stages, no_progress
from iqa_robustness.bench.survival import documents, encoded_scores, is_measured
from iqa_robustness.datasets.base import View, view
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.errors import CapabilityError, IqaRobustnessError, MissingCellError, Where
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.store import Entry, Key, Record, Store, document_of

_NOT_ATTACKED = ("attacked", "defended_attacked", "placebo", "ssim", "psnr", "linf", "l2", "radius")
_NOT_ENCODED = ("clean_jpeg", "attacked_jpeg", "clean_resize", "attacked_resize")
_BOUNDS = ("clean_lower", "clean_upper", "attacked_lower", "attacked_upper")
_ADAPTIVE_ONLY = tuple(f"defended_{name}" for name in (ADAPTIVE, TRANSFERRED, QUERIED))
# What a record says of the judged image, and what of the cell's own attack.
_OF_IMAGES = ("ssim", "psnr", "linf", "l2")
_OF_ATTACK = ("forwards", "backwards", "gradient_finite", "gradient_nonzero", "responded")


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
            check_applicable(cell, pair, has_references=self._data(cell.dataset).has_references)
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
        return Key(
            {
                **self._training(attack, cell, pair, adaptive=cell.scenario == "adaptive"),
                **({"encoders": documents()} if is_measured(cell.scenario, pair.defense.kind) else {}),
                "stage": "cell",
                "schema": 2,
                "scenario": cell.scenario,
                "goal": cell.goal,
                "draws": cell.draws,
                "max_forwards": cell.max_forwards,
                "seed": cell.seed,
                "attack": document_of(attack) if attack else None,
                "target": pair.document,
                "images": self._view(cell.dataset, cell.images, cell.size).digest,
                "numerics": self.stages.numerics.document,
                **self._adaptive_key(cell, pair),
                "scoring": scoring_name(cell, pair),
            }
        )

    def attack(self, cell: Cell) -> Attack | None:
        """The cell's attack, with the profile's queries or doubled iterations; None in scenario `clean`."""
        if not cell.attack:
            return None
        attack = self._named(cell.attack, cell)
        for _ in range(cell.doublings if cell.scenario == "adaptive" else 0):
            attack = attack.doubled() or attack
        return attack

    def clean(self, cell: Cell) -> Clean:
        """The cell's clean images."""
        return Clean(self._view(cell.dataset, cell.images, cell.size))

    def adversarial(self, cell: Cell, pair: Pair) -> Entry:
        """The stage that holds the cell's adversarial images."""
        return self._searches(cell)[0].entry(cell, pair, self.stages)

    def attacked_pixels(self, cell: Cell, pair: Pair, record: Record) -> list[np.ndarray]:
        """The adversarial images that the cell's record is about, (H, W, 3) uint8 each."""
        if cell.scenario != "adaptive":
            return stored_pixels(self.adversarial(cell, pair))
        entries = [(search, search.entry(cell, pair, self.stages)) for search in self._searches(cell)]
        pixels = {s.name: dict(zip(s.clean.ids, stored_pixels(entry), strict=True)) for s, entry in entries}
        ids, names = (record.images[column].tolist() for column in ("id", "worst_source"))
        return [pixels[name][image] for image, name in zip(ids, names, strict=True)]

    def _named(self, name: str, cell: Cell) -> Attack:
        """An attack at the cell's strength, with the profile's number of queries where it takes one."""
        listed = self.strengths.fields(name, cell.metric, cell.strength)
        strength = cell.strength if listed is None else None
        attack = attacks.create(name, strength=strength, **(listed or {}))
        if "queries" in type(attack).__dataclass_fields__:
            attack = replace(attack, queries=cell.queries)  # type: ignore[call-arg]
        return attack

    def _searches(self, cell: Cell) -> list[Search]:
        """The cell's attack; in an adaptive cell also the others that it is the worst of.

        The transferred images are those of the non-adaptive cells, the black-box ones those of the pair's own cell.
        """
        attack, clean = self.attack(cell), self.clean(cell)
        if attack is None:
            raise MissingCellError("a cell without an attack has no adversarial images")
        if cell.scenario != "adaptive":
            return [Search(name=TRANSFERRED, attack=attack, clean=clean, adaptive=False)]
        found = [
            Search(name=ADAPTIVE, attack=attack, clean=clean, adaptive=True),
            Search(name=TRANSFERRED, attack=self._named(cell.attack, cell), clean=clean, adaptive=False),
        ]
        # Queries attack every image: no rival of an attack that lets most enter as they are.
        if cell.query_images and cell.attack != BLACK_BOX and attack.on_every_image() == attack:
            few = Clean(self._view(cell.dataset, cell.query_images, cell.size))
            found.append(Search(name=QUERIED, attack=self._named(BLACK_BOX, cell), clean=few, adaptive=True))
        return found

    def _adaptive_key(self, cell: Cell, pair: Pair) -> dict[str, Any]:
        """What else an adaptive record depends on: the other searches, and the samples that choose among them."""
        if cell.scenario != "adaptive":
            return {}
        return {
            **({"n0": cell.n0} if isinstance(pair.defense, Smoothing) else {}),
            **{
                search.name: {
                    **self._training(search.attack, cell, pair, adaptive=search.adaptive),
                    "attack": document_of(search.attack),
                    "images": search.clean.view.digest,
                }
                for search in self._searches(cell)[1:]
            },
        }

    def _training(self, attack: Attack | None, cell: Cell, pair: Pair, *, adaptive: bool) -> dict[str, str]:
        """What stands in the key for an artefact that is yet to be trained, or was."""
        if not isinstance(attack, TrainedAttack) or attack.artefact is not None:
            return {}
        training = self.stages.training(attack, pair, adaptive=adaptive, goal=cell.goal, size=cell.size, seed=cell.seed)
        return {"training": training.key.digest}

    def _compute(self, cell: Cell, pair: Pair, key: Key) -> Entry:
        started = time.time()
        _ = pair.subject.probe  # a metric that breaks its contract is not attacked at all
        clean, attack = self.clean(cell), self.attack(cell)
        undefended = Pair(pair.subject, "none", n0=cell.n0, n=cell.n)
        scored_clean, scored = scorings(cell, pair)
        columns: dict[str, Any] = {
            "id": clean.ids,
            "content": [item.content for item in clean.view.items],
            "mos": [item.mos for item in clean.view.items],
            "clean": self._scores(undefended, clean, clean, cell, scored_clean)["scores"],
        }
        states = {"clean": self._scores(pair, clean, clean, cell, scored_clean)}
        meta = self._meta(cell, pair, key, clean, attack)
        if attack is not None:
            attacked, linf = self._attacked(cell, pair, clean, columns, meta)
            placebo = Placebo(clean, linf, seed=cell.seed)
            states |= {"attacked": self._scores(pair, attacked, clean, cell, scored)}
            states |= {"placebo": self._scores(pair, placebo, clean, cell, scored)}
            columns["attacked"] = self._scores(undefended, attacked, clean, cell, scored)["scores"]
            if is_measured(cell.scenario, pair.defense.kind):
                columns |= encoded_scores(self.stages, pair, attacked, clean, seed=cell.seed)
                meta["encoders"] = documents()
            if pair.guarded.spec.stochastic:
                again = self._scores(pair, clean, clean, cell, scored, noise="again")
                states |= {"clean-again": again}
            meta["proof"] = prove(attack, cell, self._few(cell, PROOF_IMAGES), self.stages)
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
                "host": socket.gethostname(),
                "worker": os.environ.get("PYTEST_XDIST_WORKER", "main"),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )

    def _attacked(
        self, cell: Cell, pair: Pair, clean: Clean, columns: dict[str, Any], meta: dict[str, Any]
    ) -> tuple[Source, np.ndarray]:
        """The images to judge and their l∞; columns and meta get what is known of them and of the cell's attack."""
        first, *others = [search.candidate(cell, pair, self.stages) for search in self._searches(cell)]
        source = first.source
        columns |= {name: first.found[name] for name in (*_OF_IMAGES, *_OF_ATTACK, "entrant") if name in first.found}
        meta["attack"] |= {"trace": [float(value) for value in first.found["trace"]], "entry": first.entry.digest}
        if cell.scenario == "adaptive":
            worst = Worst.chosen(
                [first, *others], choosing(pair, cell), cell, clean, self.stages, scorings(cell, pair)[1]
            )
            source = worst.source
            columns |= {name: worst.column(name) for name in _OF_IMAGES}
            columns |= {f"defended_{name}": scores for name, scores in worst.scores.items()}
            columns["worst_source"] = worst.names
            meta["sources"] = {candidate.name: candidate.document for candidate in (first, *others)}
            meta["convergence"] = convergence(first, cell, pair, self._few(cell, CONVERGENCE_IMAGES), self.stages)
        return source, columns["linf"]

    def _scores(
        self, pair: Pair, source: Source, clean: Clean, cell: Cell, scoring: Scoring, *, noise: str = ""
    ) -> Columns:
        return self.stages.scores(pair, source, clean, seed=cell.seed, scoring=scoring, noise=noise)

    def _few(self, cell: Cell, most: int) -> Clean:
        count = most if cell.images is None else min(cell.images, most)
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
            "protocol": {"scoring": scoring_name(cell, pair)},
            "numerics": self.stages.numerics.document,
        }
        if attack is not None:
            meta["protocol"]["attack"] = attack_protocol(
                defense if cell.scenario == "adaptive" else Undefended(),
                draws=cell.draws,
                white_box=attack.access == "white-box",
                stochastic_metric=spec.stochastic,
            )
            meta["attack"] = {
                "access": attack.access,
                "restriction": attack.restriction,
                "limit": attack.budget.limit,
                "encoders": [encoder.name for encoder in attack.encoders],
                **document_of(attack),
            }
        return meta

    def _load_view(self, dataset: str, images: int | None, size: tuple[int, int]) -> View:
        return view(self._data(dataset), count=images, size=size)


def check_applicable(cell: Cell, pair: Pair, *, has_references: bool) -> None:
    """Raise CapabilityError for a cell without meaning; many are never planned, but some metrics tell only when made.

    - A white-box attack on a metric that answers queries only.
    - A full-reference metric behind a defense that moves pixels.
    - A full-reference metric on images that are their own references, unless it is attacked to lower the quality it
      reports: all clean scores are alike, and nothing is better.
    """
    if pair.subject.metric.spec.full_reference:
        _ = pair.guarded
        if not has_references and not (cell.attack and cell.goal == "lower"):
            raise CapabilityError(
                "the data set has no references: each image is its own, and nothing scores better than that",
                fix="take a data set with references (folder: with a column reference), or attack with goal lower",
            )
    if not cell.attack or attacks.registry.resolve(cell.attack).access == "black-box":
        return
    if pair.subject.metric.spec.access == "query-only":
        raise CapabilityError(
            f"{cell.attack} needs gradients, and the metric answers queries only",
            fix="attack it with a black-box attack (square)",
        )


def _images_table(columns: dict[str, Any], states: dict[str, Columns]) -> pd.DataFrame:
    count = len(columns["id"])
    unknown = np.full(count, np.nan)
    known_later = (*_NOT_ATTACKED, *_NOT_ENCODED, *_ADAPTIVE_ONLY, *_BOUNDS, "defended_clean_again")
    table: dict[str, Any] = dict.fromkeys((*known_later, "ssim_purified", "psnr_purified"), unknown)
    table |= dict.fromkeys(("forwards", "backwards"), np.zeros(count, np.int64))
    table |= dict.fromkeys(("entrant", "gradient_finite", "gradient_nonzero", "responded"), np.ones(count, bool))
    table |= {"abstained": np.zeros(count, bool), "worst_source": [""] * count, **columns}
    table["defended_clean"] = states["clean"]["scores"]
    judged = states.get("attacked", states["clean"])
    table["ssim_purified"], table["psnr_purified"] = judged["ssim_purified"], judged["psnr_purified"]
    if "attacked" in states:
        table["defended_attacked"] = states["attacked"]["scores"]
        table["placebo"] = states["placebo"]["scores"]
    if "clean-again" in states:
        table["defended_clean_again"] = states["clean-again"]["scores"]
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
