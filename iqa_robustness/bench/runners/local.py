"""Computes cells in this process, or reads them from the store."""

from __future__ import annotations

import os
import socket
import time
from copy import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.strengths import StrengthTable
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.bench.adaptive import ADAPTIVE, QUERIED, TRANSFERRED, Search, Worst, choosing
from iqa_robustness.bench.applicable import check_applicable
from iqa_robustness.bench.cell import BLACK_BOX, Cell
from iqa_robustness.bench.certificates import certificate_facts, corrected
from iqa_robustness.bench.columns import Columns
from iqa_robustness.bench.convergence import CONVERGENCE_IMAGES, convergence
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.memory import held_mebibytes
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.proof import PROOF_IMAGES, prove
from iqa_robustness.bench.runners.fitting import repaired_entry
from iqa_robustness.bench.scoring_protocol import Scoring, scoring_name, scorings
from iqa_robustness.bench.soundness import STEPS, attacked_inside
from iqa_robustness.bench.sources import Clean, Placebo, Source, stored_pixels
from iqa_robustness.bench.stages import Progress, Stages, no_progress
from iqa_robustness.bench.survival import documents, encoded_scores, is_measured
from iqa_robustness.bench.tables import draws_table, images_table
from iqa_robustness.datasets.base import View, view
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.errors import IqaRobustnessError, MissingCellError, Where
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.store import Entry, Key, Record, Store, document_of

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
        deadline: of `time.monotonic()`; from then on no cell is begun that the store does not have. None for none.

    computed, repaired: how many records this runner computed; which damaged entries it computed again.
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
        deadline: float | None = None,
    ) -> None:
        self.store = store
        self.deadline = deadline
        self.ranges = ranges
        self.strengths = strengths or StrengthTable()
        self.stages = Stages(store=store, numerics=numerics, compute=not from_store, progress=progress)
        self.from_store = from_store
        self.computed = 0
        self.repaired: list[str] = []
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
        """The cell's record, computed if the store does not have it. Raises what `entry` raises."""
        return self.read(cell, self.entry(cell, pair))

    def read(self, cell: Cell, entry: Entry) -> Record:
        """The record in an entry. Raises CorruptEntryError or ConfigurationError, with the cell named."""
        try:
            return Record.from_files(entry.files(), volatile=entry.volatile)
        except IqaRobustnessError as error:
            raise error.at(**_place(cell)) from error.__cause__

    def entry(self, cell: Cell, pair: Pair | None = None) -> Entry:
        """The entry of the cell's record, computed if the store does not have it.

        What the store has of it but damaged is set aside, computed again, and said in `repaired`.

        Raises:
            CapabilityError: the cell is not applicable, see `check_applicable`.
            MissingCellError: `from_store`, and it is not there; or (TimeSpentError) the deadline is over.
            DeviceMemoryError: memory does not suffice for a micro-batch of one.
            IqaRobustnessError: whatever of ours stopped the computation, with the cell named.
            Exception: the metric's own; a note names the cell.
        """
        place = _place(cell)
        pair = pair or self.pair(cell)
        try:
            has_references = self._data(cell.dataset).has_references
            check_applicable(cell, pair, self.attacked(cell, pair), has_references=has_references)
            return repaired_entry(self, cell, pair)
        except IqaRobustnessError as error:
            raise error.at(**place) from error.__cause__
        except Exception as error:
            error.add_note(f"  where: {Where(**place)}")
            raise

    def with_micro_batch(self, size: int) -> LocalRunner:
        """This runner with another number of rows of every forward pass; what it has loaded is shared."""
        if size == self.stages.numerics.micro_batch:
            return self
        other = copy(self)
        other.stages = replace(self.stages, numerics=replace(self.stages.numerics, micro_batch=size))
        return other

    def key(self, cell: Cell, pair: Pair) -> Key:
        """Everything the record depends on: what names stand for rather than names, so a data set may move."""
        attack = self.attack(cell)
        attacked = self.attacked(cell, pair)
        return Key(
            {
                **self._training(attack, cell, attacked, adaptive=cell.knows_defense),
                **({"encoders": documents()} if is_measured(cell.scenario, pair.defense.kind) else {}),
                **({"source": attacked.document} if cell.source else {}),
                **({"inside": STEPS} if cell.scenario == "soundness" else {}),
                "stage": "cell",
                "schema": 3,
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
        for _ in range(cell.doublings if cell.knows_defense else 0):
            attack = attack.doubled() or attack
        return attack

    def clean(self, cell: Cell) -> Clean:
        """The cell's clean images."""
        return Clean(self._view(cell.dataset, cell.images, cell.size))

    def adversarial(self, cell: Cell, pair: Pair) -> Entry:
        """The stage that holds the cell's adversarial images."""
        return self.searches(cell)[0].entry(cell, self.attacked(cell, pair), self.stages)

    def attacked_pixels(self, cell: Cell, pair: Pair, record: Record) -> list[np.ndarray]:
        """The adversarial images that the cell's record is about, (H, W, 3) uint8 each."""
        size = record.meta["numerics"]["micro_batch"]
        if size != self.stages.numerics.micro_batch:
            return self.with_micro_batch(size).attacked_pixels(cell, pair, record)
        if cell.scenario != "adaptive":
            return stored_pixels(self.adversarial(cell, pair))
        entries = [(search, search.entry(cell, pair, self.stages)) for search in self.searches(cell)]
        pixels = {s.name: dict(zip(s.clean.ids, stored_pixels(entry), strict=True)) for s, entry in entries}
        ids, names = (record.images[column].tolist() for column in ("id", "worst_source"))
        return [pixels[name][image] for image, name in zip(ids, names, strict=True)]

    def _named(self, name: str, cell: Cell) -> Attack:
        """An attack at the cell's strength, with the profile's number of queries where it takes one."""
        listed = self.strengths.fields(name, cell.attacked[0], cell.strength)
        strength = cell.strength if listed is None else None
        attack = attacks.create(name, strength=strength, **(listed or {}))
        if "queries" in type(attack).__dataclass_fields__:
            attack = replace(attack, queries=cell.queries)  # type: ignore[call-arg]
        return attack

    def searches(self, cell: Cell) -> list[Search]:
        """The cell's attack; in an adaptive cell also the others that it is the worst of.

        The transferred images are those of the non-adaptive cells, the black-box ones those of the pair's own cell.
        """
        attack, clean = self.attack(cell), self.clean(cell)
        if attack is None:
            raise MissingCellError("a cell without an attack has no adversarial images")
        if cell.scenario != "adaptive":
            name = ADAPTIVE if cell.knows_defense else TRANSFERRED
            return [Search(name=name, attack=attack, clean=clean, adaptive=cell.knows_defense)]
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
                for search in self.searches(cell)[1:]
            },
        }

    def _training(self, attack: Attack | None, cell: Cell, pair: Pair, *, adaptive: bool) -> dict[str, str]:
        """What stands in the key for an artefact that is yet to be trained, or was."""
        if not isinstance(attack, TrainedAttack) or attack.artefact is not None:
            return {}
        training = self.stages.training(attack, pair, adaptive=adaptive, goal=cell.goal, size=cell.size, seed=cell.seed)
        return {"training": training.key.digest}

    def compute(self, cell: Cell, pair: Pair, key: Key) -> Entry:
        """Compute a cell that the store does not have, and put it there."""
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
        if cell.scenario == "soundness":
            found, more = attacked_inside(self.stages, pair, clean, states["clean"], cell.document)
            states, columns = states | {"attacked": found}, columns | more
        if isinstance(pair.defense, Smoothing):
            judged = "attacked" if "attacked" in states else "clean"
            states[judged] = corrected(pair.defense, states[judged], pair.subject.metric.spec.score_range)
        record = Record(
            images=images_table(columns, states),
            draws=draws_table(clean.ids, states),
            meta=meta,
        )
        self.computed += 1
        return self.store.put(
            key,
            record.files(),
            volatile={
                "cell": cell.name,
                "sizes": cell.sizes,
                "seconds": round(time.time() - started, 3),
                "cost": self.stages.cost(pair, clean, seed=cell.seed, scoring=scored_clean),
                **held_mebibytes(self.stages.numerics.device),
                "device": self.stages.numerics.document["device"],
                "host": socket.gethostname(),
                "worker": os.environ.get("PYTEST_XDIST_WORKER", "main"),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )

    def _attacked(
        self, cell: Cell, pair: Pair, clean: Clean, columns: dict[str, Any], meta: dict[str, Any]
    ) -> tuple[Source, np.ndarray]:
        """The images to judge and their l∞; columns and meta get what is known of them and of the cell's attack."""
        attacked = self.attacked(cell, pair)
        first, *others = [search.candidate(cell, attacked, self.stages) for search in self.searches(cell)]
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
            "defense": {
                "kind": defense.kind,
                "keeps_geometry": defense.keeps_geometry,
                **document_of(defense),
                **pair.guarded.facts,
            },
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
        if isinstance(defense, Smoothing):
            meta["certificate"] = certificate_facts(defense, len(clean))
        if cell.scenario == "soundness":
            meta["protocol"]["attack"] = f"l2-pgd-{STEPS}+eot-{cell.draws}"
        if attack is not None:
            attacked = self.attacked(cell, pair)
            meta["protocol"]["attack"] = attack_protocol(
                attacked.defense if cell.knows_defense else Undefended(),
                draws=cell.draws,
                white_box=attack.access == "white-box",
                stochastic_metric=attacked.subject.metric.spec.stochastic,
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


def _place(cell: Cell) -> dict[str, Any]:
    """What names a cell in an error."""
    return {axis: getattr(cell, axis) for axis in ("metric", "defense", "attack", "scenario")}
