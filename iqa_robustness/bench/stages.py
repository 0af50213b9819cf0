"""The steps a cell is made of, each computed once and shared by all cells that need it.

trained(metric, attack) ──▶ adversarial(metric, attack) ──▶ scores(pair, its images) ─┐ (and suspicions)
scores(pair, clean) · scores(pair, placebo) · scores(pair, either, encoded) ──────────┴──▶ the cell's record
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.bench.attack_training import AttackTraining, artefact_of
from iqa_robustness.bench.certificates import NAMES
from iqa_robustness.bench.columns import VALUES, Columns, array, joined, mean_trace, packed, unpacked
from iqa_robustness.bench.cost import Meter
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.leakage import share_contents
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.scoring_protocol import ONE_SHOT, Scoring
from iqa_robustness.bench.soundness import InsideAttack
from iqa_robustness.bench.sources import Clean, ImageTar, Source, Stored
from iqa_robustness.datasets.base import View, view
from iqa_robustness.defenses.base import PurifiedMetric
from iqa_robustness.defenses.certified.smoothing import SmoothedMetric
from iqa_robustness.defenses.detect_then_purify import DetectThenPurify
from iqa_robustness.defenses.detectors.base import Detector, Suspicion
from iqa_robustness.errors import ConfigurationError, MissingCellError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer, transformed
from iqa_robustness.similarity import l2, linf, psnr, ssim
from iqa_robustness.store import Entry, Key, Store, document_of
from iqa_robustness.streams import Streams


class Progress(Protocol):
    """Told how far a stage is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take in the stage's name, images done, images in all."""
        ...


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Computes stages, or takes them from the store.

    store: where they are kept.
    numerics: device and micro-batch.
    compute: False to raise MissingCellError instead of computing.
    progress: told after every micro-batch.
    """

    store: Store
    numerics: Numerics
    compute: bool = True
    progress: Progress = no_progress

    def training(
        self, attack: TrainedAttack, pair: Pair, *, adaptive: bool, goal: str, size: tuple[int, int], seed: int
    ) -> AttackTraining:
        """What an attack on images of `size` = (height, width) has to learn first; see `AttackTraining`."""
        images = self._training_images(attack.dataset, attack.training_size(size))
        return AttackTraining(
            attack=attack, pair=pair, adaptive=adaptive, goal=goal, images=images, seed=seed, numerics=self.numerics
        )

    def trained(self, training: AttackTraining) -> Entry:
        """The artefact of a training. Files: artefact.safetensors. Interrupted, it goes on from its checkpoint."""

        def compute(key: Key) -> dict[str, bytes | Path]:
            checkpoint = self.store.unfinished(key) / "checkpoint.safetensors"
            return training.files(lambda done, total: self.progress(training.label, done, total), checkpoint)

        return self._stage(training.label, training.key, compute)

    def adversarial(
        self, attack: Attack, pair: Pair, clean: Clean, *, adaptive: bool, goal: str, cell: Mapping[str, Any]
    ) -> Entry:
        """Images of an attack on the pair's metric, or (adaptive) on the defended one.

        Values: clean_values, values (in units of diam), forwards, backwards, three flags, ssim, psnr, linf, l2, trace;
        of attacks that leave images out also the flag entrant.
        Files: values.safetensors, images.tar.

        Args:
            attack: configured.
            pair: its metric, or the whole of it, is the target.
            clean: the images.
            adaptive: attack the defended metric.
            goal: `raise` or `lower`.
            cell: `draws`, `max_forwards` and `seed`.
        """
        target = pair.document if adaptive else {"metric": pair.subject.document}
        metric = pair.guarded if adaptive else pair.subject.metric
        if isinstance(attack, TrainedAttack) and attack.artefact is None:
            size, seed = clean.view.size, cell["seed"]
            training = self.training(attack, pair, adaptive=adaptive, goal=goal, size=size, seed=seed)
            training.refuse_leakage(clean)
            attack = replace(attack, artefact=artefact_of(self.trained(training)))
        document = {
            "stage": "adversarial",
            "schema": 1,
            "attack": document_of(attack),
            "goal": goal,
            "target": target,
            "images": clean.document,
            # Deterministic targets are not averaged: the number of draws must not split their cells.
            "draws": cell["draws"] if metric.spec.stochastic else 1,
            "max_forwards": cell["max_forwards"],
            "seed": cell["seed"],
            "numerics": self.numerics.document,
        }

        def compute(key: Key) -> dict[str, bytes | Path]:
            return self._attack(attack, metric, clean, key)

        return self._stage(f"attack {attack.name} on {pair.subject.name}", Key(document), compute)

    def scores(
        self, pair: Pair, source: Source, clean: Clean, *, seed: int, scoring: Scoring = ONE_SHOT, noise: str = ""
    ) -> Columns:
        """Scores of the pair on some images.

        Columns: scores; ssim_purified, psnr_purified (against the clean image, NaN where pixels do not correspond);
        for certified defenses those of `certificates.NAMES`; draws (N, n) for them and where there are several.

        Args:
            pair: what scores.
            source: what is scored.
            clean: what it is compared with.
            seed: of the noise.
            scoring: statistic and number of draws of a random pair; certified defenses have their own.
            noise: what the scores are for: each purpose has noise of its own.

        Raises:
            ConfigurationError: the defense would choose its threshold on the images that it is judged on.
        """
        if isinstance(pair.defense, DetectThenPurify):
            _refuse_leakage(pair.defense, clean)
        repeated = _repeated(pair, scoring)
        meter = Meter(self.numerics.device, self.numerics.micro_batch)

        def compute(key: Key) -> dict[str, bytes | Path]:
            parts: list[Columns] = []
            for rows in self._chunks(source, f"scores of {pair.subject.name} behind {pair.defense_name}"):
                images, originals = (self._on_device(s.batch(rows)) for s in (source, clean))
                streams = Streams(f"{key.digest}/{seed}", [source.ids[r] for r in rows], device=self.numerics.device)
                references = self._references(pair.subject.metric, clean, rows)
                parts.append(self._scored(pair, images, originals, streams, references, repeated, meter))
            return {VALUES: packed(joined(parts))}

        key = self._scores_key(pair, source, clean, seed, repeated, noise)
        return unpacked(self._stage(f"scores of {pair.subject.name}", key, compute, meter=meter))

    def cost(self, pair: Pair, clean: Clean, *, seed: int, scoring: Scoring = ONE_SHOT) -> dict[str, Any]:
        """What scoring the clean images cost where it was done, as `Meter.document`; empty where nobody measured it."""
        found = self.store.get(self._scores_key(pair, clean, clean, seed, _repeated(pair, scoring)))
        return dict(found.volatile.get("cost", {})) if found is not None else {}

    def suspicions(self, detector: Detector, subject: Subject, source: Source, clean: Clean, *, seed: int) -> Columns:
        """What a detector thinks of some images. Columns: suspicion (N,), larger where an attack is more likely."""
        document = {
            "stage": "suspicions",
            "schema": 1,
            "detector": document_of(detector),
            "target": {"metric": subject.document},
            "images": source.document,
            "clean": clean.document,
            "seed": seed,
            "numerics": self.numerics.document,
        }
        label = f"{detector.name} of {subject.name}"

        def compute(key: Key) -> dict[str, bytes | Path]:
            scorer = Scorer(metric=Suspicion(subject.metric, detector), micro_batch=self.numerics.micro_batch)
            found: list[Columns] = []
            for rows in self._chunks(source, label):
                images = self._on_device(source.batch(rows))
                streams = Streams(f"{key.digest}/{seed}", [source.ids[r] for r in rows], device=self.numerics.device)
                references = self._references(subject.metric, clean, rows)
                found.append({"suspicion": array(scorer.scores(images, streams=streams, references=references))})
            return {VALUES: packed(joined(found))}

        return unpacked(self._stage(label, Key(document), compute))

    def inside(self, search: InsideAttack) -> Columns:
        """What an attack inside certified radii found; see `InsideAttack.files`."""
        return unpacked(self._stage(search.label, search.key, lambda _: {**search.files(self.progress)}))

    def values(self, entry: Entry) -> Columns:
        """The columns of an adversarial stage."""
        return unpacked(entry)

    @cached_property
    def _training_images(self) -> Callable[[str, tuple[int, int]], View]:
        """All images of a data set at a size; its files are hashed once."""
        return cache(lambda dataset, size: view(datasets.load(dataset), size=size))

    def _scores_key(
        self, pair: Pair, source: Source, clean: Clean, seed: int, repeated: Scoring, noise: str = ""
    ) -> Key:
        return Key(
            {
                "stage": "scores",
                "schema": 2 if pair.defense.kind == "certified" else 1,
                "target": pair.document,
                "images": source.document,
                "clean": clean.document,
                "seed": seed,
                "numerics": self.numerics.document,
                **repeated.document,
                **({"noise": noise} if noise and pair.guarded.spec.stochastic else {}),
            }
        )

    def _attack(self, attack: Attack, metric: Metric, clean: Clean, key: Key) -> dict[str, bytes | Path]:
        scratch = self.store.scratch()
        with self.store.named_failures("written"):
            tar = ImageTar(scratch / "images.tar")
        parts: list[Columns] = []
        traces: list[tuple[int, tuple[float, ...]]] = []
        try:
            for rows in self._chunks(clean, f"attack {attack.name} on {metric.spec.name}"):
                result = attack(
                    metric,
                    self._on_device(clean.batch(rows)),
                    references=self._references(metric, clean, rows),
                    seed=key.document["seed"],
                    ids=[clean.ids[row] for row in rows],
                    goal=RAISE if key.document["goal"] == "raise" else LOWER,
                    draws=key.document["draws"],
                    max_forwards=key.document["max_forwards"],
                    micro_batch=self.numerics.micro_batch,
                    key=key.digest,
                )
                with self.store.named_failures("written"):
                    tar.add(result.images)
                attacked = len(rows) if result.entrants is None else int(result.entrants.sum())
                if attacked:
                    traces.append((attacked, result.trace))
                parts.append(
                    {
                        **({} if result.entrants is None else {"entrant": array(result.entrants)}),
                        "clean_values": array(result.clean_values),
                        "values": array(result.values),
                        "forwards": array(result.forwards),
                        "backwards": array(result.backwards),
                        "gradient_finite": array(result.gradient_finite),
                        "gradient_nonzero": array(result.gradient_nonzero),
                        "responded": array(result.responded),
                        "ssim": array(ssim(result.clean, result.images)),
                        "psnr": array(psnr(result.clean, result.images)),
                        "linf": array(linf(result.clean, result.images)),
                        "l2": array(l2(result.clean, result.images)),
                    }
                )
            columns = {**joined(parts), "trace": mean_trace(traces)}
            with self.store.named_failures("written"):
                return {VALUES: packed(columns), "images.tar": tar.close()}
        except BaseException:
            with contextlib.suppress(OSError):
                tar.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _scored(
        self,
        pair: Pair,
        images: Tensor,
        originals: Tensor,
        streams: Streams,
        references: Tensor | None,
        scoring: Scoring,
        meter: Meter,
    ) -> Columns:
        if scoring.draws == 1:
            return self._scored_once(pair, images, originals, streams, references, meter)
        draws = [self._scored_once(pair, images, originals, streams, references, meter) for _ in range(scoring.draws)]
        stacked = {name: np.stack([draw[name] for draw in draws], axis=1) for name in draws[0]}
        columns = {name: scoring.of(values, stacked["scores"]) for name, values in stacked.items()}
        return {**columns, "draws": stacked["scores"]}

    def _scored_once(
        self,
        pair: Pair,
        images: Tensor,
        originals: Tensor,
        streams: Streams,
        references: Tensor | None,
        meter: Meter,
    ) -> Columns:
        guarded, size = pair.guarded, self.numerics.micro_batch
        unknown = np.full(len(images), np.nan)
        columns: Columns = {"ssim_purified": unknown, "psnr_purified": unknown}
        if isinstance(guarded, SmoothedMetric):
            with meter.step("forward"):
                found = guarded.certify(images, streams=streams, micro_batch=size, references=references)
            return columns | {name: array(getattr(found, name)) for name in NAMES}
        scored: Metric = guarded
        if isinstance(guarded, PurifiedMetric):
            scored = guarded.metric
            with meter.step("purify"):
                images = transformed(guarded.purified, images, size=size, streams=streams)
            if pair.defense.keeps_geometry:
                columns["ssim_purified"] = array(ssim(originals, images))
                columns["psnr_purified"] = array(psnr(originals, images))
        scorer = Scorer(metric=scored, micro_batch=size)
        with meter.step("forward"):
            scores = scorer.scores(images, streams=streams, references=references)
        columns["scores"] = array(scores)
        return columns

    def _stage(
        self, label: str, key: Key, compute: Callable[[Key], dict[str, bytes | Path]], *, meter: Meter | None = None
    ) -> Entry:
        found = self.store.get(key)
        if found is not None:
            return found
        if not self.compute:
            raise MissingCellError(
                f"a stage is not in the store {self.store.url}: {label}",
                fix="run without --iqa-from-store to compute it, or give the store that holds it",
            )
        with self.store.lock(key):
            found = self.store.get(key)
            if found is not None:
                return found
            started = time.time()
            files = compute(key)
            try:
                volatile: dict[str, Any] = {"seconds": time.time() - started, "label": label}
                return self.store.put(key, files, volatile=volatile | ({"cost": meter.document} if meter else {}))
            finally:
                for content in files.values():
                    if isinstance(content, Path):
                        shutil.rmtree(content.parent, ignore_errors=True)

    def _chunks(self, source: Source, stage: str) -> Iterator[range]:
        """Slices of a source, one micro-batch each; progress is told before each and at the end."""
        size, total = self.numerics.micro_batch, len(source)
        for start in range(0, total, size):
            self.progress(stage, start, total)
            yield range(start, min(start + size, total))
        self.progress(stage, total, total)

    def _references(self, metric: Metric, clean: Clean, rows: range) -> Tensor | None:
        return self._on_device(clean.references(rows)) if metric.spec.full_reference else None

    def _on_device(self, images: Tensor) -> Tensor:
        return images.to(self.numerics.device)


def _refuse_leakage(defense: DetectThenPurify, judged: Clean) -> None:
    if defense.threshold is None and share_contents(datasets.load(defense.dataset), judged.view):
        raise ConfigurationError(
            f"{defense.name} would choose its threshold on the images that it is judged on",
            where=Where(defense=defense.name, dataset=defense.dataset),
            fix="choose it on another data set (leaves needs no files), give a threshold, or judge on another one",
        )


def stored_images(entry: Entry, clean: Clean) -> Stored:
    """The images of an adversarial stage, in the clean images' order."""
    return Stored(entry, clean.ids)


def _repeated(pair: Pair, scoring: Scoring) -> Scoring:
    """What is asked for where something is random; certified defenses repeat by themselves."""
    return scoring if pair.guarded.spec.stochastic and pair.defense.kind != "certified" else ONE_SHOT
