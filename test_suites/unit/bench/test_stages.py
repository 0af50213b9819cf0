"""Stages: what their keys depend on, that each is computed once, and that a broken one leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.square import Square
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.scoring_protocol import Scoring
from iqa_robustness.bench.sources import Clean, Placebo, stored_pixels
from iqa_robustness.bench.stages import Stages, stored_images
from iqa_robustness.datasets.base import view
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import MissingCellError, StoreError
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.planted import Robust, Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.similarity import linf, psnr, ssim
from iqa_robustness.store import Entry, Key, Store
from iqa_robustness.streams import Streams

NUMERICS = Numerics(device="cpu", micro_batch=2)
LIMITS = {"draws": 2, "max_forwards": None, "seed": 0}


@pytest.fixture(scope="module")
def clean() -> Clean:
    """Three images: one whole micro-batch and a part of one."""
    return images_of(3)


def images_of(count: int, size: tuple[int, int] = (48, 64)) -> Clean:
    return Clean(view(MINI, count=count, size=size))


MINI = datasets.load("mini")


class Noisy(Vulnerable):
    """Draws."""

    spec = replace(Vulnerable.spec, name="noisy", stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + streams.normal()


class OwnSubject(Subject):
    """A subject around a given metric."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric.spec.name, device="cpu")
        self.__dict__["metric"] = metric.eval()
        self.__dict__["document"] = {"name": metric.spec.name, "version": metric.spec.version}


def pair_of(metric: Metric | None = None, defense: Any = None) -> Pair:
    pair = Pair(OwnSubject(metric or Vulnerable()), "none", n0=5, n=10)
    if defense is not None:
        pair.__dict__["defense"] = defense
        pair.defense_name = defense.name
    return pair


def stages_at(path: Path, **options: Any) -> Stages:
    return Stages(**{"store": Store(path / "store"), "numerics": NUMERICS, **options})


class Spy(Store):
    """Remembers the keys it was asked for."""

    keys: ClassVar[list[Key]] = []

    def get(self, key: Key) -> Entry | None:
        self.keys.append(key)
        return super().get(key)


@pytest.fixture
def key_of(tmp_path: Path) -> Callable[..., str]:
    """The digest that a stage asks the store for, without computing it."""

    def ask(stage: Callable[[Stages], object], *, numerics: Numerics = NUMERICS) -> str:
        with pytest.raises(MissingCellError):
            stage(Stages(store=Spy(tmp_path / "spied"), numerics=numerics, compute=False))
        return Spy.keys[-1].digest

    return ask


def snapshot(store: Store) -> set[str]:
    return {
        path.relative_to(store.root).as_posix() for path in Path(store.root).rglob("*") if "locks" not in path.parts
    }


# --- what the keys depend on ----------------------------------------------------------------------------------------


def attack_stage(attack: Any = None, pair: Pair | None = None, images: Clean | None = None, **over: Any) -> Callable:
    options = {"adaptive": False, "goal": "raise", **{k: v for k, v in over.items() if k in ("adaptive", "goal")}}
    cell = {**LIMITS, **{k: v for k, v in over.items() if k in LIMITS}}
    return lambda stages: stages.adversarial(
        attack or IFGSM(), pair or pair_of(), images or images_of(3), cell=cell, **options
    )


def test_another_attack_target_image_or_number_is_another_adversarial_stage(key_of: Callable[..., str]) -> None:
    names = {"__module__": IFGSM.__module__, "__qualname__": IFGSM.__qualname__}
    newer = type("Newer", (IFGSM,), {"version": IFGSM.version + 1, **names})
    updated = Vulnerable()
    updated.spec = replace(Vulnerable.spec, version="2")
    stages = [
        attack_stage(),
        attack_stage(IFGSM(alpha=0.5 / 255)),
        attack_stage(IFGSM(steps=9)),
        attack_stage(IFGSM(paper=True)),
        attack_stage(newer()),
        attack_stage(Square(queries=10)),
        attack_stage(Square(queries=11)),
        attack_stage(pair=pair_of(Robust())),
        attack_stage(pair=pair_of(updated)),
        attack_stage(images=images_of(4)),
        attack_stage(images=images_of(3, (50, 64))),
        attack_stage(goal="lower"),
        attack_stage(max_forwards=50),
        attack_stage(seed=1),
        attack_stage(pair=pair_of(defense=JPEG()), adaptive=True),
        attack_stage(pair=pair_of(defense=JPEG(quality=40)), adaptive=True),
        attack_stage(pair=pair_of(defense=MedianSmoothing(n=10)), adaptive=True),
        attack_stage(pair=pair_of(defense=MedianSmoothing(n=10)), adaptive=True, draws=3),
        attack_stage(pair=pair_of(Noisy())),
        attack_stage(pair=pair_of(Noisy()), draws=3),
    ]
    digests = [key_of(stage) for stage in stages]
    digests.append(key_of(attack_stage(), numerics=Numerics(device="cpu", micro_batch=3)))
    assert len(set(digests)) == len(digests)


def test_what_an_attack_does_not_see_does_not_split_its_stage(key_of: Callable[..., str]) -> None:
    expected = key_of(attack_stage())
    for same in (
        attack_stage(),
        attack_stage(draws=8),  # a deterministic target is not averaged
        attack_stage(pair=pair_of(defense=JPEG())),  # a non-adaptive attack does not know the defense
        attack_stage(pair=pair_of(defense=MedianSmoothing(n=10))),
        attack_stage(adaptive=True),  # of an undefended metric, adaptive or not is the same
    ):
        assert key_of(same) == expected
    flipped = pair_of(defense=Flip())
    assert key_of(attack_stage(pair=flipped, adaptive=True, draws=8)) == key_of(
        attack_stage(pair=flipped, adaptive=True)
    )


def score_stage(pair: Pair | None = None, source: Any = None, images: Clean | None = None, seed: int = 0) -> Callable:
    images = images or images_of(3)
    return lambda stages: stages.scores(pair or pair_of(), source or images, images, seed=seed)


def test_another_pair_image_or_seed_is_another_score_stage(key_of: Callable[..., str], tmp_path: Path) -> None:
    clean = images_of(3)
    entry = attack_stage()(stages_at(tmp_path))
    stages = [
        score_stage(),
        score_stage(pair_of(Robust())),
        score_stage(pair_of(defense=Flip())),
        score_stage(pair_of(defense=Flip(paper=True))),
        score_stage(pair_of(defense=MedianSmoothing(n=10))),
        score_stage(pair_of(defense=MedianSmoothing(n=11))),
        score_stage(images=images_of(4)),
        score_stage(seed=1),
        score_stage(source=stored_images(entry, clean)),
        score_stage(source=Placebo(clean, np.full(3, 2 / 255), seed=0)),
        score_stage(source=Placebo(clean, np.full(3, 4 / 255), seed=0)),
        score_stage(source=Placebo(clean, np.full(3, 4 / 255), seed=1)),
    ]
    digests = [key_of(stage) for stage in stages]
    assert len(set(digests)) == len(digests)
    assert key_of(score_stage(source=Placebo(clean, np.full(3, 4 / 255 + 1e-9), seed=0))) == digests[10]


# --- what is computed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [IFGSM(), Square(queries=60)])
def test_the_columns_describe_the_stored_images(attack: Any, clean: Clean, tmp_path: Path) -> None:
    stages, metric = stages_at(tmp_path), Vulnerable()
    entry = attack_stage(attack, images=clean)(stages)
    columns = stages.values(entry)
    before = clean.batch(range(3))
    after = torch.stack([from_uint8(pixels) for pixels in stored_pixels(entry)])
    np.testing.assert_allclose(columns["clean_values"], metric(before) / 100, rtol=1e-5)
    np.testing.assert_allclose(columns["values"], metric(after) / 100, rtol=1e-5)
    for name, measure in (("linf", linf), ("psnr", psnr), ("ssim", ssim)):
        np.testing.assert_allclose(columns[name], measure(before, after), rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(columns["l2"], (after - before).flatten(1).norm(dim=1), rtol=1e-4)
    assert columns["linf"] == pytest.approx([4 / 255] * 3, abs=1e-7)
    assert columns["forwards"].tolist() == ([60] * 3 if attack.access == "black-box" else [11] * 3)
    assert columns["gradient_finite"].all()
    assert columns["gradient_nonzero"].all()
    assert len(columns["trace"]) == (10 if attack.access == "white-box" else 0)


def test_the_attacks_randomness_comes_from_the_key_the_seed_and_the_ids(clean: Clean, tmp_path: Path) -> None:
    entry = attack_stage(Square(queries=60), images=clean, seed=3)(stages_at(tmp_path))
    alone = Square(queries=60)(Vulnerable(), clean.batch(range(3)), seed=3, key=entry.digest, ids=clean.ids)
    assert np.array_equal(np.stack(stored_pixels(entry)), to_uint8(alone.images))


def test_the_trace_is_the_mean_over_all_images_not_over_chunks(clean: Clean, tmp_path: Path) -> None:
    trace = stages_at(tmp_path).values(attack_stage(images=clean)(stages_at(tmp_path)))["trace"]
    whole = IFGSM()(Vulnerable(), clean.batch(range(3)), micro_batch=2).trace
    assert trace == pytest.approx(whole, rel=1e-6)


def test_scores_of_a_purified_pair_are_those_of_the_purified_images(clean: Clean, tmp_path: Path) -> None:
    images = clean.batch(range(3))
    for defense in (JPEG(quality=30), Flip()):
        found = stages_at(tmp_path).scores(pair_of(defense=defense), clean, clean, seed=0)
        purified = defense.purify(images)
        np.testing.assert_allclose(found["scores"], Vulnerable()(purified), rtol=1e-5)
        if defense.keeps_geometry:
            np.testing.assert_allclose(found["psnr_purified"], psnr(images, purified), rtol=1e-5)
            np.testing.assert_allclose(found["ssim_purified"], ssim(images, purified), rtol=1e-5)
        else:
            assert np.isnan(found["psnr_purified"]).all()


def test_purified_images_are_compared_with_the_clean_ones_not_with_the_attacked(clean: Clean, tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    entry = attack_stage(images=clean)(stages)
    found = stages.scores(pair_of(defense=JPEG()), stored_images(entry, clean), clean, seed=0)
    attacked = torch.stack([from_uint8(pixels) for pixels in stored_pixels(entry)])
    expected = psnr(clean.batch(range(3)), JPEG().purify(attacked))
    np.testing.assert_allclose(found["psnr_purified"], expected, rtol=1e-5)


def test_certified_scores_bring_bounds_and_draws(clean: Clean, tmp_path: Path) -> None:
    defense = MedianSmoothing(n=40, epsilon=0.01, alpha=0.05)
    found = stages_at(tmp_path).scores(pair_of(defense=defense), clean, clean, seed=0)
    assert found["draws"].shape == (3, 40)
    assert (found["lower"] <= found["scores"]).all()
    assert (found["scores"] <= found["upper"]).all()
    assert not found["abstained"].any()
    np.testing.assert_allclose(found["scores"], np.median(found["draws"], axis=1), rtol=1e-6)


def test_a_stochastic_metric_is_averaged_over_when_it_is_attacked(clean: Clean, tmp_path: Path) -> None:
    entry = attack_stage(pair=pair_of(Noisy()), images=clean, draws=3)(stages_at(tmp_path))
    assert set(stages_at(tmp_path).values(entry)["backwards"]) == {30}


def test_scores_of_different_images_draw_different_noise(clean: Clean, tmp_path: Path) -> None:
    stages, pair = stages_at(tmp_path), pair_of(Noisy())
    first = stages.scores(pair, clean, clean, seed=0)["scores"]
    other_seed = stages.scores(pair, clean, clean, seed=1)["scores"]
    same = stages_at(tmp_path / "again").scores(pair, clean, clean, seed=0)["scores"]
    assert np.array_equal(first, same)
    assert (first != other_seed).all()
    nothing = Placebo(clean, np.zeros(3), seed=0)
    assert (stages.scores(pair, nothing, clean, seed=0)["scores"] != first).all()


def test_each_purpose_and_protocol_draws_noise_of_its_own(clean: Clean, tmp_path: Path) -> None:
    pair = pair_of(Noisy())
    options: list[dict[str, Any]] = [
        {},
        {"noise": "selection"},
        {"noise": "again"},
        {"scoring": Scoring(draws=2)},
        {"scoring": Scoring(draws=2), "noise": "selection"},
        {"scoring": Scoring(draws=3)},
        {"scoring": Scoring(statistic="highest", draws=3)},
    ]
    found = [stages_at(tmp_path).scores(pair, clean, clean, seed=0, **option) for option in options]
    scores = np.stack([columns["scores"] for columns in found])
    assert len(np.unique(scores)) == scores.size
    for columns, option in zip(found[3:], options[3:], strict=True):
        scoring = option["scoring"]
        assert columns["draws"].shape == (3, scoring.draws)
        np.testing.assert_array_equal(columns["scores"], scoring.of(columns["draws"], columns["draws"]))


def test_where_nothing_is_random_purpose_and_protocol_make_no_difference(key_of: Callable[..., str]) -> None:
    clean = images_of(3)

    def stage(**options: Any) -> Callable[[Stages], object]:
        return lambda stages: stages.scores(pair_of(), clean, clean, seed=0, **options)

    assert len({key_of(stage(**o)) for o in ({}, {"noise": "again"}, {"scoring": Scoring(draws=4)})}) == 1


# --- once -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every forward pass of any metric."""
    rows: list[int] = []
    forward = Scorer._forward
    monkeypatch.setattr(
        Scorer, "_forward", lambda self, batch, *rest: rows.append(len(batch)) or forward(self, batch, *rest)
    )
    return rows


def test_what_is_in_the_store_is_not_computed_again(clean: Clean, tmp_path: Path, scored: list[int]) -> None:
    first = attack_stage(images=clean)(stages_at(tmp_path))
    scores = stages_at(tmp_path).scores(pair_of(), clean, clean, seed=0)
    assert scored
    scored.clear()
    for options in ({}, {"compute": False}, {"store": Store(tmp_path / "store", read_only=True), "compute": False}):
        stages = stages_at(tmp_path, **options)
        assert attack_stage(images=clean)(stages).digest == first.digest
        again = stages.scores(pair_of(), clean, clean, seed=0)
        assert all(np.array_equal(again[name], scores[name], equal_nan=True) for name in scores)
    assert scored == []


def test_without_computing_a_missing_stage_is_named(clean: Clean, tmp_path: Path, scored: list[int]) -> None:
    stages = stages_at(tmp_path, compute=False)
    with pytest.raises(MissingCellError, match="attack ifgsm on planted-vulnerable"):
        attack_stage(images=clean)(stages)
    with pytest.raises(MissingCellError, match="scores of planted-vulnerable") as caught:
        stages.scores(pair_of(), clean, clean, seed=0)
    assert "--iqa-from-store" in str(caught.value)
    assert scored == []


def test_two_at_once_compute_a_stage_once(clean: Clean, tmp_path: Path) -> None:
    runs: list[int] = []

    class Slow(IFGSM):
        name: ClassVar[str] = "slow"

        def run(self, objective: Any, images: Tensor, streams: Streams) -> Tensor:
            runs.append(len(images))
            time.sleep(0.1)
            return super().run(objective, images, streams)

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(attack_stage(Slow(), images=clean)(stages_at(tmp_path)).digest))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert runs == [2, 1]


def test_progress_is_told_before_every_chunk_and_at_the_end(clean: Clean, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    stages = stages_at(tmp_path, progress=lambda stage, done, total: told.append((stage, done, total)))
    attack_stage(images=clean)(stages)
    assert told == [("attack ifgsm on planted-vulnerable", done, 3) for done in (0, 2, 3)]


def test_seconds_are_kept_apart_from_what_the_digest_names(clean: Clean, tmp_path: Path) -> None:
    entry = attack_stage(images=clean)(stages_at(tmp_path))
    assert entry.volatile["seconds"] >= 0
    assert set(entry.manifest["files"]) == {"values.safetensors", "images.tar"}
    other = attack_stage(images=clean)(stages_at(tmp_path / "other"))
    assert entry.manifest == other.manifest


# --- when it breaks -------------------------------------------------------------------------------------------------


class Trap(Vulnerable):
    """Fails on the n-th forward pass."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, images: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of memory")
        return super().forward(images)


@pytest.mark.parametrize("after", [0, 3, 14])
def test_an_exception_in_the_middle_leaves_no_entry_and_no_scratch(after: int, clean: Clean, tmp_path: Path) -> None:
    stages = stages_at(tmp_path)
    before = snapshot(stages.store)
    with pytest.raises(RuntimeError, match="out of memory"):
        attack_stage(pair=pair_of(Trap(after)), images=clean)(stages)
    assert {path for path in snapshot(stages.store) - before if path != "tmp"} == set()
    # The lock is free and the stage can be computed.
    assert attack_stage(images=clean)(stages).digest


def test_an_interrupt_leaves_no_scratch_either(clean: Clean, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    stages = stages_at(tmp_path, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        attack_stage(images=clean)(stages)
    assert [path for path in snapshot(stages.store) if path.startswith(("tmp/", "entries/"))] == []


def test_a_store_that_refuses_the_result_leaves_no_scratch(
    clean: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = stages_at(tmp_path)

    def refuse(*_: Any, **__: Any) -> Entry:
        raise StoreError("disk full")

    monkeypatch.setattr(Store, "put", refuse)
    with pytest.raises(StoreError, match="disk full"):
        attack_stage(images=clean)(stages)
    assert [path for path in snapshot(stages.store) if path.startswith(("tmp/", "entries/"))] == []


@dataclass(frozen=True, kw_only=True)
class Halving(Purification):
    """Returns half of the height."""

    name: ClassVar[str] = "halving"
    version: ClassVar[int] = 1
    keeps_geometry: ClassVar[bool] = False

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        del streams
        return images[:, :, ::2]


def test_a_defense_that_changes_the_size_is_scored_and_not_compared(clean: Clean, tmp_path: Path) -> None:
    found = stages_at(tmp_path).scores(pair_of(Robust(), Halving()), clean, clean, seed=0)
    np.testing.assert_allclose(found["scores"], Robust()(clean.batch(range(3))[:, :, ::2]), rtol=1e-5)
    assert np.isnan(found["ssim_purified"]).all()
