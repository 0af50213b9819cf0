"""The local runner: records from cells, computed once, equal in any order and process, and whole after a crash."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from iqa_robustness import datasets, defenses
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import stored_pixels
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import (
    BatchDependenceError,
    ConfigurationError,
    IqaRobustnessError,
    MissingCellError,
    NonFiniteScoreError,
)
from iqa_robustness.images import encode_png, from_uint8
from iqa_robustness.metrics.planted import Robust, Vulnerable
from iqa_robustness.store import Record, Store

PLANTED = "iqa_robustness.metrics.planted:"
NUMERICS = Numerics(device="cpu", micro_batch=2)
BASE: dict[str, Any] = {
    "metric": f"{PLANTED}Robust",
    "defense": "none",
    "attack": "ifgsm",
    "strength": "medium",
    "scenario": "nonadaptive",
    "dataset": "mini",
    "images": 3,
    "size": (48, 64),
    "queries": 12,
    "draws": 2,
    "n0": 5,
    "n": 40,
}


def cell(**change: Any) -> Cell:
    if change.get("scenario") == "clean":
        change = {"attack": "", "strength": "", **change}
    return Cell(**{**BASE, **change})


def runner_at(path: Path, *, numerics: Numerics = NUMERICS, **options: Any) -> LocalRunner:
    return LocalRunner(Store(path / "store"), numerics, **options)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Images that the planted metrics scored, zero padding and probe images not counted."""
    rows = {"Robust": 0, "Vulnerable": 0}

    def counting(kind: type, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def count(self: Any, images: Tensor) -> Tensor:
            if images.shape[-2:] != (224, 256):
                rows[kind.__name__] += int(images.detach().flatten(1).any(dim=1).sum())
            return forward(self, images)

        return count

    for kind in (Robust, Vulnerable):
        monkeypatch.setattr(kind, "forward", counting(kind, kind.forward))
    return rows


def clean_images(count: int = 3) -> Tensor:
    return view(datasets.load("mini"), count=count, size=(48, 64)).batch(range(count))


def entries(store: Store, stage: str) -> list[Path]:
    """Folders of finished stages of a kind."""
    manifests = Path(store.root).glob("entries/*/*/manifest.json")
    return [path.parent for path in manifests if json.loads(path.read_text())["key"]["stage"] == stage]


# --- what a record says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", ["none", "flip", "jpeg"])
@pytest.mark.parametrize("scenario", ["nonadaptive", "adaptive"])
def test_the_scores_of_a_record_are_those_of_its_images(tmp_path: Path, defense: str, scenario: str) -> None:
    runner, one = runner_at(tmp_path), cell(defense=defense, scenario=scenario)
    record = runner.record(one)
    attacked = torch.stack([from_uint8(p) for p in runner.attacked_pixels(one, runner.pair(one), record)])
    clean, metric, purify = clean_images(), Robust(), defenses.create(defense).purify
    for column, expected in (
        ("clean", metric(clean)),
        ("attacked", metric(attacked)),
        ("defended_clean", metric(purify(clean))),
        ("defended_attacked", metric(purify(attacked))),
    ):
        np.testing.assert_allclose(record.scores(column), expected, rtol=1e-5, err_msg=column)
    assert record.images["id"].tolist() == [item.id for item in runner.clean(one).view.items]
    assert record.scores("linf").max() == pytest.approx(4 / 255, abs=1e-7)
    target = record.scores("defended_attacked" if scenario == "adaptive" else "attacked")
    before = record.scores("defended_clean" if scenario == "adaptive" else "clean")
    assert (target > before + 0.1).all()
    # A placebo is as large as the attack and moves the score less.
    assert (np.abs(record.scores("placebo") - record.scores("defended_clean")) < target - before).all()


def test_lowering_lowers(tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(cell(goal="lower"))
    assert (record.scores("attacked") < record.scores("clean")).all()


def test_a_clean_cell_attacks_nothing(tmp_path: Path, scored: dict[str, int]) -> None:
    record = runner_at(tmp_path).record(cell(scenario="clean", defense="jpeg"))
    assert scored == {"Robust": 6, "Vulnerable": 0}
    assert "attack" not in record.meta
    assert "proof" not in record.meta
    assert record.images[["attacked", "defended_attacked", "placebo", "linf"]].isna().all(axis=None)
    assert (record.images["forwards"] == 0).all()
    assert record.scores("psnr_purified").min() > 15


def test_a_certified_cell_brings_bounds_draws_and_its_protocol(tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(cell(defense="ms", scenario="certified", attack="ifgsm"))
    images, draws = record.images, record.draws
    assert record.meta["protocol"] == {"scoring": "median-of-40", "attack": "direct"}
    assert len(draws) == 4 * 3 * 40
    for state, column in (
        ("clean", "defended_clean"),
        ("attacked", "defended_attacked"),
        ("placebo", "placebo"),
        ("clean-again", "defended_clean_again"),
    ):
        medians = draws[draws["state"] == state].groupby("id", sort=False)["score"].median()
        np.testing.assert_allclose(medians, images[column], rtol=1e-6)
    assert (images["clean_lower"] <= images["defended_clean"]).all()
    assert (images["attacked_lower"] <= images["defended_attacked"]).all()
    assert (images["defended_attacked"] <= images["attacked_upper"]).all()
    assert (images["radius"] == 0.05).all()
    assert not images["abstained"].any()


def test_with_too_few_samples_a_certified_cell_abstains(tmp_path: Path) -> None:
    images = runner_at(tmp_path).record(cell(defense="ms", scenario="certified", n=6)).images
    assert images["abstained"].all()
    assert (images["radius"] == 0).all()
    assert images[["clean_lower", "attacked_upper"]].isna().all(axis=None)
    assert np.isfinite(images["defended_attacked"]).all()


@pytest.mark.parametrize(
    ("defense", "attack", "scenario", "protocol"),
    [
        ("jpeg", "ifgsm", "nonadaptive", "direct"),
        ("jpeg", "ifgsm", "adaptive", "bpda-diffjpeg"),
        ("jpeg", "square", "adaptive", "direct"),
        ("ms", "ifgsm", "adaptive", "eot-2"),
    ],
)
def test_the_protocol_tells_how_the_attack_got_through(
    tmp_path: Path, defense: str, attack: str, scenario: str, protocol: str
) -> None:
    record = runner_at(tmp_path).record(cell(defense=defense, attack=attack, scenario=scenario, images=1, n=5))
    assert record.meta["protocol"]["attack"] == protocol
    expected = 2 if protocol == "eot-2" else 1
    assert record.images["backwards"].tolist() == [10 * expected if attack == "ifgsm" else 0]


def test_the_meta_names_everything_the_numbers_rest_on(tmp_path: Path) -> None:
    runner, one = runner_at(tmp_path), cell(attack="square", strength="weak")
    meta = runner.record(one).meta
    assert meta["cell"] == one.document
    assert meta["key"] == runner.key(one, runner.pair(one)).digest
    assert meta["key_document"] == json.loads(runner.key(one, runner.pair(one)).text)
    assert (meta["attack"]["access"], meta["attack"]["restriction"]) == ("black-box", "linf")
    assert meta["attack"]["limit"] == pytest.approx(2 / 255)
    assert meta["attack"]["fields"]["queries"] == 12
    assert meta["attack"]["trace"] == []
    assert meta["dataset"]["mos_kind"] == "pseudo"
    assert meta["dataset"]["images"] == 3
    assert meta["metric"]["differentiable"] is True
    assert meta["proof"]["reference"] == "planted-vulnerable"
    assert len(meta["proof"]["gains"]) == 3


def test_attacks_without_gradients_are_not_said_to_have_met_a_zero_one(tmp_path: Path) -> None:
    images = runner_at(tmp_path).record(cell(attack="square")).images
    assert images["gradient_finite"].all()
    assert images["gradient_nonzero"].all()


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_second_record_computes_nothing(tmp_path: Path, scored: dict[str, int]) -> None:
    runner, one = runner_at(tmp_path), cell(defense="jpeg", scenario="adaptive")
    first = runner.record(one)
    assert runner.computed == 1
    before = dict(scored)
    assert min(before.values()) > 0
    for again in (runner, runner_at(tmp_path), runner_at(tmp_path, from_store=True)):
        assert again.record(one).files() == first.files()
    assert scored == before
    assert runner.computed == 1


def test_stages_are_shared_between_cells(
    tmp_path: Path, scored: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked: list[int] = []
    run = IFGSM.run
    monkeypatch.setattr(
        IFGSM, "run", lambda self, o, images, s: attacked.append(len(images)) or run(self, o, images, s)
    )
    runner = runner_at(tmp_path)

    def costs(**change: Any) -> tuple[int, int, int]:
        before = (len(attacked), scored["Robust"], scored["Vulnerable"])
        runner.record(cell(**change))
        after = (len(attacked), scored["Robust"], scored["Vulnerable"])
        return tuple(later - earlier for later, earlier in zip(after, before, strict=True))

    n, chunks, search = 3, 2, 3 * 11
    # Clean, attacked, placebo, clean and attacked behind two encoders, and the search; the proof is another search.
    assert costs(defense="none") == (2 * chunks, 3 * n + 4 * n + search, search)
    # The undefended scores and the adversarial images are there already.
    assert costs(defense="flip") == (0, 3 * n, 0)
    assert costs(defense="jpeg") == (0, 3 * n, 0)
    # An adaptive attack is another search; its images are new, the transferred ones, clean and placebo scores are not.
    # It is proved already. Whether it converged: a search of twice the steps, and three scorings more.
    assert costs(defense="flip", scenario="adaptive") == (2 * chunks, search + 2 * n + 3 * 21 + 2 * n, 0)
    # Clean scores behind the defense are there.
    assert costs(defense="jpeg", scenario="clean") == (0, 0, 0)
    # Another strength attacks again, on known clean scores, also those behind encoders.
    assert costs(defense="none", strength="weak") == (2 * chunks, 2 * n + 2 * n + search, search)


def test_two_at_once_compute_a_record_once(tmp_path: Path) -> None:
    def slowly(stage: str, done: int, total: int) -> None:
        time.sleep(0.01)

    runners = [runner_at(tmp_path, progress=slowly) for _ in range(3)]
    threads = [threading.Thread(target=runner.record, args=(cell(),)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(runner.computed for runner in runners) == 1


def test_draws_do_not_repeat_the_attack_on_a_deterministic_target(tmp_path: Path, scored: dict[str, int]) -> None:
    runner = runner_at(tmp_path)
    first = runner.record(cell(draws=2))
    before = dict(scored)
    second = runner.record(cell(draws=8))
    assert scored == before
    assert second.images.equals(first.images)


# --- repeatability --------------------------------------------------------------------------------------------------

CELLS = [
    cell(),
    cell(defense="jpeg", scenario="adaptive"),
    cell(attack="square", defense="flip"),
    cell(defense="ms", scenario="certified", n=7),
    cell(defense="ms", scenario="adaptive", n=7),
]

REPEAT = """
import hashlib, sys
import torch
torch.set_num_threads(1)
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.store import Store
runner = LocalRunner(Store(sys.argv[1]), Numerics(device="cpu", micro_batch=2))
for text in sys.argv[2:]:
    fields = eval(text)
    record = runner.record(Cell(**{**fields, "size": tuple(fields["size"])}))
    print(hashlib.sha256(b"".join(record.files().values())).hexdigest())
"""


def digest(record: Record) -> str:
    return hashlib.sha256(b"".join(record.files().values())).hexdigest()


def test_records_are_bit_equal_in_another_process_and_another_order(tmp_path: Path) -> None:
    here = [digest(runner_at(tmp_path / "here").record(one)) for one in CELLS]
    there = subprocess.run(
        [sys.executable, "-c", REPEAT, str(tmp_path / "there"), *(repr(one.document) for one in reversed(CELLS))],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert there.stdout.split() == here[::-1]
    assert len(set(here)) == len(CELLS)


def test_an_images_row_does_not_depend_on_how_many_others_the_micro_batch_holds(tmp_path: Path) -> None:
    # Other images join the cell: keys differ, so noise does; what is deterministic must not.
    few, many = (runner_at(tmp_path).record(cell(images=images)).images.set_index("id") for images in (2, 5))
    shared = few.index.intersection(many.index)
    assert len(shared) == 2
    columns = ["clean", "attacked", "defended_attacked", "ssim", "psnr", "linf", "l2"]
    assert few.loc[shared, columns].equals(many.loc[shared, columns])


# --- keys -----------------------------------------------------------------------------------------------------------

CHANGES = [
    {"metric": f"{PLANTED}Vulnerable"},
    {"defense": "jpeg"},
    {"attack": "square"},
    {"strength": "weak"},
    {"scenario": "adaptive"},
    {"scenario": "transfer", "source": f"{PLANTED}Robust/flip"},
    {"goal": "lower"},
    {"dataset": "ladder"},
    {"source": f"{PLANTED}Vulnerable/flip"},
    {"images": 4},
    {"size": (64, 64)},
    {"max_forwards": 50},
    {"draws": 3},
    {"seed": 1},
]
ADAPTIVE: dict[str, Any] = {"scenario": "adaptive", "defense": "flip"}
# Sizes that a query attack or a certified defense uses, and nothing else.
BY_USE = [
    ({"attack": "square"}, "queries", 13),
    ({"defense": "ms", "scenario": "certified"}, "n", 41),
    ({"defense": "ms", "scenario": "adaptive"}, "n0", 6),
    ({"defense": "random-noise"}, "scoring", "mean-of-2"),
    (ADAPTIVE, "doublings", 1),
    (ADAPTIVE, "query_images", 2),
]


def test_every_field_of_a_cell_is_in_its_key(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    known = {name for change in CHANGES for name in change} | {name for _, name, _ in BY_USE}
    assert known == {field.name for field in fields(Cell)}
    digests = {runner.key(one, runner.pair(one)).digest for one in [cell(), *(cell(**change) for change in CHANGES)]}
    assert len(digests) == len(CHANGES) + 1


@pytest.mark.parametrize(("user", "field", "value"), BY_USE)
def test_a_size_is_in_the_key_of_what_uses_it_and_in_no_other(
    tmp_path: Path, user: dict[str, Any], field: str, value: int
) -> None:
    runner = runner_at(tmp_path)

    def digest(**changes: Any) -> str:
        one = cell(**changes)
        return runner.key(one, runner.pair(one)).digest

    assert digest(**user) != digest(**user, **{field: value})
    assert digest() == digest(**{field: value})


def test_a_data_set_may_move(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / name / "a.png")
        (tmp_path / name / "mos.csv").write_text("file,mos\na.png,3\n", encoding="utf-8")
    here, there = (cell(dataset=f"folder:{tmp_path / name}", images=1) for name in ("here", "there"))
    assert runner.key(here, runner.pair(here)).digest == runner.key(there, runner.pair(there)).digest


def test_numerics_metric_and_attack_versions_are_in_the_key_and_the_place_of_the_store_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(numerics: Numerics = NUMERICS, place: str = "a") -> str:
        runner = runner_at(tmp_path / place, numerics=numerics)
        return runner.key(cell(), runner.pair(cell())).digest

    base = key()
    assert key(place="b") == base
    found = {base, key(Numerics(device="cpu", micro_batch=3))}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.99.0")
        found.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", torch.__version__.partition("+")[0] + "+other")
        assert key() == base
    with monkeypatch.context() as patch:
        patch.setattr(IFGSM, "version", IFGSM.version + 1)
        found.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(Robust, "spec", replace(Robust.spec, version="2"))
        found.add(key())
    with monkeypatch.context() as patch:
        patch.setattr(IFGSM, "strengths", {"medium": {"alpha": 0.5 / 255}})
        found.add(key())
    assert len(found) == 6
    assert key() == base


def test_pictures_that_change_under_the_same_path_are_other_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "mos.csv").write_text("file,mos\na.png,1\nb.png,2\n")

    def digest_with(level: int) -> str:
        for name in "ab":
            (folder / f"{name}.png").write_bytes(encode_png(np.full((64, 64, 3), level, np.uint8)))
        runner, one = runner_at(tmp_path), cell(dataset=f"folder:{folder}", images=None)
        return runner.key(one, runner.pair(one)).digest

    assert digest_with(3) == digest_with(3)
    assert digest_with(3) != digest_with(4)


# --- from the store only --------------------------------------------------------------------------------------------


def test_from_store_computes_nothing_and_says_what_is_missing(tmp_path: Path, scored: dict[str, int]) -> None:
    store = Store(tmp_path / "store")
    before = sorted(Path(store.root).rglob("*"))
    runner = LocalRunner(store, NUMERICS, from_store=True)
    with pytest.raises(MissingCellError, match="not in the store") as caught:
        runner.record(cell(defense="jpeg", scenario="adaptive"))
    where = caught.value.where
    assert (where.metric, where.defense, where.attack, where.scenario) == (
        f"{PLANTED}Robust",
        "jpeg",
        "ifgsm",
        "adaptive",
    )
    assert scored == {"Robust": 0, "Vulnerable": 0}
    assert sorted(Path(store.root).rglob("*")) == before
    assert runner.computed == 0


def test_a_read_only_store_is_enough_to_read(tmp_path: Path) -> None:
    first = runner_at(tmp_path).record(cell())
    reader = LocalRunner(Store(tmp_path / "store", read_only=True), NUMERICS, from_store=True)
    assert reader.record(cell()).files() == first.files()
    assert len(stored_pixels(reader.adversarial(cell(), reader.pair(cell())))) == 3


# --- errors ---------------------------------------------------------------------------------------------------------

OWN = '''
"""Somebody's own metrics, some of them broken."""
import os, pathlib, time
import torch
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Robust, Vulnerable

BROKEN = True
LOG = os.environ.get("OWN_LOG", "")


class NanUnderAttack(Robust):
    """Finite on the probe and on clean images."""

    def forward(self, images):
        scores = super().forward(images)
        if BROKEN and images.requires_grad and images.shape[-1] == 64:
            scores = torch.where(images.detach().flatten(1).any(dim=1), scores * torch.nan, scores)
        return scores


class Crashing(Robust):
    def forward(self, images):
        if BROKEN and images.requires_grad and images.shape[-1] == 64:
            raise ZeroDivisionError("my own bug")
        return super().forward(images)


class BatchMean(Robust):
    def forward(self, images):
        return super().forward(images) + 10 * images.mean()


class Noisy(Robust):
    spec = MetricSpec(name="noisy", score_range=(0.0, 60.0), stochastic=True)

    def forward(self, images, *, streams):
        return super().forward(images) + 0.01 * streams.normal()


class Slow(Robust):
    """Says in a file what it scores; where asked to, it hangs in the middle of an attack."""

    def forward(self, images):
        if LOG and images.shape[-1] == 64:
            kind = "gradient" if images.requires_grad else "query"
            with open(LOG, "a") as log:
                log.write(kind + "\\n")
            if os.environ.get("OWN_HANG") and pathlib.Path(LOG).read_text().count("gradient") == 7:
                pathlib.Path(LOG + ".hanging").touch()
                time.sleep(600)
        return super().forward(images)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A user's module `own_local_metrics`."""
    (tmp_path / "own_local_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_local_metrics", raising=False)
    yield importlib.import_module("own_local_metrics")
    sys.modules.pop("own_local_metrics", None)


@pytest.mark.parametrize(
    ("name", "error", "image"),
    [("NanUnderAttack", NonFiniteScoreError, "-"), ("BatchMean", BatchDependenceError, "probe-")],
)
def test_errors_of_ours_carry_the_whole_place(
    tmp_path: Path, own: ModuleType, name: str, error: type[IqaRobustnessError], image: str
) -> None:
    with pytest.raises(error) as caught:
        runner_at(tmp_path).record(cell(metric=f"own_local_metrics:{name}", defense="flip"))
    where = caught.value.where
    assert (where.defense, where.attack, where.scenario) == ("flip", "ifgsm", "nonadaptive")
    assert where.metric == "planted-robust"
    assert image in where.image


def test_a_metric_that_breaks_its_contract_is_not_scored_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Robust.forward
    monkeypatch.setattr(Robust, "forward", lambda self, images: forward(self, images) + 10 * images.mean())
    runner = runner_at(tmp_path)
    with pytest.raises(BatchDependenceError):
        runner.record(cell())
    assert [*Path(runner.store.root).glob("entries/*/*")] == []


def test_an_error_of_the_metrics_own_stays_itself_and_gets_a_note_of_the_cell(tmp_path: Path, own: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError, match="my own bug") as caught:
        runner_at(tmp_path).record(cell(metric="own_local_metrics:Crashing", defense="jpeg", scenario="adaptive"))
    (note,) = caught.value.__notes__
    for part in ("metric=own_local_metrics:Crashing", "defense=jpeg", "attack=ifgsm", "scenario=adaptive"):
        assert part in note


def test_after_an_error_nothing_half_made_is_left_and_the_next_run_finds_the_finished_stages(
    tmp_path: Path, own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cell(metric="own_local_metrics:Crashing")
    runner = runner_at(tmp_path)
    with pytest.raises(ZeroDivisionError):
        runner.record(one)
    assert len(entries(runner.store, "scores")) == 1
    assert entries(runner.store, "adversarial") == entries(runner.store, "cell") == []
    assert [*Path(runner.store.root, "tmp").glob("*")] == []
    monkeypatch.setattr(own, "BROKEN", False)
    made = entries(runner.store, "scores")[0].stat().st_mtime_ns
    assert len(runner_at(tmp_path).record(one).images) == 3
    assert made in [path.stat().st_mtime_ns for path in entries(runner.store, "scores")]


def test_a_metric_whose_code_changed_is_computed_again_although_its_version_did_not(
    tmp_path: Path, own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cell(metric="own_local_metrics:Slow", scenario="clean")
    before = runner_at(tmp_path).record(one)
    forward = own.Slow.forward
    monkeypatch.setattr(own.Slow, "forward", lambda self, images: forward(self, images) * 1.01)
    runner = runner_at(tmp_path)
    after = runner.record(one)
    assert runner.computed == 1
    np.testing.assert_allclose(after.scores("clean"), 1.01 * before.scores("clean"), rtol=1e-5)
    monkeypatch.setattr(own.Slow, "forward", lambda self, images: forward(self, images) * 1.02)
    with pytest.raises(MissingCellError):
        runner_at(tmp_path, from_store=True).record(one)


def test_a_metric_that_draws_is_attacked_by_averaging_and_the_record_says_so(tmp_path: Path, own: ModuleType) -> None:
    record = runner_at(tmp_path).record(cell(metric="own_local_metrics:Noisy", draws=3))
    assert record.meta["protocol"]["attack"] == "eot-3"
    assert set(record.images["backwards"]) == {30}
    again = runner_at(tmp_path / "again").record(cell(metric="own_local_metrics:Noisy", draws=3))
    assert again.files() == record.files()


def test_no_images_and_too_few_queries_are_errors_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no images"):
        runner_at(tmp_path).record(cell(images=0))
    with pytest.raises(ConfigurationError, match="do not pay") as caught:
        runner_at(tmp_path).record(cell(max_forwards=1))
    assert caught.value.where.scenario == "nonadaptive"


def test_max_forwards_limits_every_attack(tmp_path: Path) -> None:
    for attack in ("ifgsm", "square"):
        images = runner_at(tmp_path).record(cell(attack=attack, max_forwards=7)).images
        assert images["forwards"].max() <= 7


# --- a process that dies --------------------------------------------------------------------------------------------

VICTIM = """
import sys
import torch
torch.set_num_threads(1)
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.store import Store
fields = eval(sys.argv[2])
cell = Cell(**{**fields, "size": tuple(fields["size"])})
LocalRunner(Store(sys.argv[1]), Numerics(device="cpu", micro_batch=2)).record(cell)
"""


def test_after_a_kill_in_the_middle_of_an_attack_the_next_run_finishes_with_what_was_finished(
    tmp_path: Path, own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, log = cell(metric="own_local_metrics:Slow"), tmp_path / "log"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path / "store"), repr(one.document)],
        env={**os.environ, "PYTHONPATH": path, "OWN_LOG": str(log), "OWN_HANG": "1"},
    )
    try:
        deadline = time.monotonic() + 90
        while not Path(f"{log}.hanging").exists():
            assert victim.poll() is None, "the victim ended by itself"
            assert time.monotonic() < deadline, "the victim was never attacked"
            time.sleep(0.02)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    scratch = Path(tmp_path, "store", "v1", "tmp")
    assert len([*scratch.glob("*")]) == 1, "the kill did not hit in the middle of an attack"

    monkeypatch.setattr(own, "LOG", str(log))
    log.write_text("")
    runner = runner_at(tmp_path)  # opening the store clears what the dead left
    assert [*scratch.glob("*")] == []
    assert len(entries(runner.store, "scores")) == 1
    assert entries(runner.store, "adversarial") == []
    record = runner.record(one)
    finished = log.read_text().split()
    log.write_text("")
    assert runner_at(tmp_path / "unkilled").record(one).files() == record.files()
    whole = log.read_text().split()
    # Ten steps on two chunks are searched again; the clean scores (two chunks) are the dead process' work.
    assert finished.count("gradient") == whole.count("gradient") == 20
    assert finished.count("query") == whole.count("query") - 2
