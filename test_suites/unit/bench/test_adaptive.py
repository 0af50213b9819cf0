"""The adaptive result of a cell: each image's worst of three attacks, scored afresh; every defense has one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks, datasets, defenses
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.square import Square
from iqa_robustness.attacks.strengths import StrengthRow, StrengthTable
from iqa_robustness.bench.adaptive import Candidate, Worst
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.convergence import CONVERGENCE_IMAGES, doublings
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.plan import Selection, Sizes, cells
from iqa_robustness.bench.profiles import profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean, Picked
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets.base import view
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.similarity import l2, linf, psnr, ssim
from iqa_robustness.store import Record, Store
from iqa_robustness.streams import Streams

PLANTED = "iqa_robustness.metrics.planted:"
NUMERICS = Numerics(device="cpu", micro_batch=4)
BASE: dict[str, Any] = {
    "metric": f"{PLANTED}Vulnerable",
    "defense": "flip",
    "attack": "ifgsm",
    "strength": "medium",
    "scenario": "adaptive",
    "dataset": "mini",
    "images": 6,
    "size": (32, 48),
    "queries": 20,
    "draws": 2,
    "n0": 5,
    "n": 40,
    "query_images": 3,
}
NAMES = ("adaptive", "transferred", "queried")


class Noise(Metric):
    """Nothing but noise: whatever an attack seems to gain is luck."""

    spec = MetricSpec(name="noise", score_range=(0.0, 100.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return 50 + 10 * streams.normal() + 0 * images.mean(dim=(1, 2, 3))


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a metric that is nothing but noise, with a standard deviation of 10 % of its range."""
    module = ModuleType("own_noise")
    vars(module)["Noise"] = Noise
    monkeypatch.setitem(sys.modules, "own_noise", module)
    return "own_noise:Noise"


def cell(**change: Any) -> Cell:
    return Cell(**{**BASE, **change})


def runner_at(path: Path, **options: Any) -> LocalRunner:
    return LocalRunner(Store(path / "store"), NUMERICS, **options)


def columns(record: Record) -> np.ndarray:
    """(3, N) scores that the worst image was chosen by."""
    return np.stack([record.scores(f"defended_{name}") for name in NAMES])


# --- every defense --------------------------------------------------------------------------------------------------

DEFENSES = [entry for entry in defenses.list() if entry.kind != "none"]


@pytest.mark.parametrize("name", [entry.name for entry in DEFENSES])
def test_every_registered_defense_is_attacked_adaptively(name: str) -> None:
    """Also where the paper has a dash; by gradients and by queries, under a protocol that is named."""
    user = Selection(metric=("compact",), defense=(name,), attack=("ifgsm", "square"), strength=("medium",))
    found = cells(scenario="adaptive", profile=profile("standard"), sizes=Sizes(), user=user)
    assert [one.id for one in found] == [f"compact/{name}/{attack}/medium" for attack in ("ifgsm", "square")]
    defense = defenses.create(name)
    by_gradient, by_query = (attack_protocol(defense, draws=8, white_box=white) for white in (True, False))
    parts = by_gradient.split("+")
    assert ("eot-8" in parts) is defense.stochastic
    assert any(part.startswith("bpda-") for part in parts) is not defense.differentiable
    assert (by_gradient == "direct") is (defense.differentiable and not defense.stochastic)
    assert by_query == ("eot-8" if defense.stochastic else "direct")


@pytest.mark.parametrize("name", [entry.name for entry in DEFENSES if defenses.available(entry.name)])
def test_a_record_of_every_defense_that_runs_names_protocol_scoring_and_sources(tmp_path: Path, name: str) -> None:
    size = (128, 136) if name == "crop" else (32, 40)
    defense = defenses.create(name)
    trained = {"metric": "compact", "images": 2, "query_images": 1} if defense.kind == "training" else {}
    certified = isinstance(defense, Smoothing)
    # Diffusion models answer for each sample.
    facts: dict[str, Any] = {"images": 2, "query_images": 1, "n0": 2, "n": 6} if certified else {"images": 3, **trained}
    record = runner_at(tmp_path).record(
        cell(**{"defense": name, "attack": "fgsm", "query_images": 2, "size": size, **facts})
    )
    assert record.meta["protocol"]["attack"] == attack_protocol(defense, draws=2, white_box=True)
    named = {"ms": "median-of-6", "dms": "median-of-6"}.get(name, "class-of-6" if certified else "one-shot")
    assert record.meta["protocol"]["scoring"] == named
    assert set(record.meta["sources"]) == set(NAMES)
    assert record.images["gradient_nonzero"].all()
    assert np.isfinite(columns(record)[:2]).all()
    assert record.scores("defended_clean_again").size == facts["images"]
    assert np.isfinite(record.scores("defended_clean_again")).all() == defense.stochastic


# --- the worst of three ---------------------------------------------------------------------------------------------


def candidate(name: str, rows: list[int]) -> Candidate:
    clean = SimpleNamespace(ids=[f"image-{row}" for row in rows])
    found = {"linf": np.array([10.0 * row + NAMES.index(name) for row in rows])}
    source = SimpleNamespace(document={"source": name})
    values = {"attack": Square(), "entry": None, "found": found, "clean": clean, "source": source}
    return Candidate(name=name, **cast("Any", values))


def test_each_image_has_the_worst_of_those_that_attacked_it() -> None:
    three = [candidate("adaptive", [0, 1, 2, 3]), candidate("transferred", [0, 1, 2, 3]), candidate("queried", [1, 3])]
    found = [np.array([5.0, 1, 2, 7]), np.array([4.0, 3, 2, 1]), np.array([2.0, 9])]
    ids = [f"image-{row}" for row in range(4)]
    up, down = (Worst.of(three, ids, found, up=way) for way in (True, False))
    assert up.names == ["adaptive", "transferred", "adaptive", "queried"]  # of equals the adaptive one
    assert down.names == ["transferred", "adaptive", "adaptive", "transferred"]
    np.testing.assert_array_equal(up.scores["queried"], [np.nan, 2.0, np.nan, 9.0])
    assert up.column("linf").tolist() == [0.0, 11.0, 20.0, 32.0]
    assert isinstance(up.source, Picked)


def test_a_source_that_wins_everything_is_taken_as_it_is() -> None:
    two = [candidate("adaptive", [0, 1]), candidate("transferred", [0, 1])]
    worst = Worst.of(two, ["image-0", "image-1"], [np.array([2.0, 2]), np.array([1.0, 1])], up=True)
    assert worst.source is two[0].source


@pytest.mark.parametrize("goal", ["raise", "lower"])
@pytest.mark.parametrize("metric", ["Vulnerable", "MaskedGradient"])
def test_a_deterministic_record_is_its_own_maximum(tmp_path: Path, metric: str, goal: str) -> None:
    runner, one = runner_at(tmp_path), cell(metric=f"{PLANTED}{metric}", goal=goal)
    record = runner.record(one)
    worst = np.nanmax(columns(record), axis=0) if goal == "raise" else np.nanmin(columns(record), axis=0)
    np.testing.assert_allclose(record.scores("defended_attacked"), worst, rtol=1e-6)
    assert np.isfinite(record.scores("defended_queried")).sum() == record.meta["sources"]["queried"]["images"] == 3
    winners = record.images["worst_source"].tolist()
    # A gradient that is masked leaves the field to queries, on the images that have them.
    expected = np.isfinite(record.scores("defended_queried")) & (metric == "MaskedGradient")
    assert winners == ["queried" if queried else "adaptive" for queried in expected]
    pixels = runner.attacked_pixels(one, runner.pair(one), record)
    attacked = torch.stack([from_uint8(image) for image in pixels])
    clean = view(datasets.load("mini"), count=6, size=(32, 48)).batch(range(6))
    for name, measure in (("ssim", ssim), ("psnr", psnr), ("linf", linf), ("l2", l2)):
        np.testing.assert_allclose(record.scores(name), measure(clean, attacked), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(record.scores("attacked"), runner.pair(one).subject.metric(attacked), rtol=1e-5)


def test_each_source_is_held_to_its_own_budget(tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(cell(metric=f"{PLANTED}MaskedGradient", strength="strong"))
    assert not any("budget" in reason for reason in invalid_reasons(record))
    record.meta["sources"]["queried"]["limit"] = 2 / 255
    (reason,) = [reason for reason in invalid_reasons(record) if "budget" in reason]
    assert reason.startswith("50% of the adversarial images are outside the budget")


def test_a_transferred_image_can_win(tmp_path: Path) -> None:
    """An adaptive attack without a single useful step loses to images that do not know the defense."""
    steps = {"alpha": 1e-6, "epsilon": 4 / 255}
    blind = StrengthTable().completed(StrengthRow(attack="ifgsm", weak=steps, medium=steps, strong=steps))
    runner = runner_at(tmp_path, strengths=blind)
    stored = Stages.adversarial

    def stronger(self: Stages, attack: Any, *args: Any, adaptive: bool, **kwargs: Any) -> Any:
        known = attack if adaptive else IFGSM()
        return stored(self, known, *args, adaptive=adaptive, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "adversarial", stronger)
        record = runner.record(cell(defense="gaussian-blur", query_images=0))
    assert set(record.images["worst_source"]) == {"transferred"}
    assert record.scores("defended_queried").size == 6
    assert np.isnan(record.scores("defended_queried")).all()


def test_a_query_attack_has_its_own_and_the_transferred_images(tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(cell(attack="square"))
    assert set(record.meta["sources"]) == {"adaptive", "transferred"}
    assert record.meta["convergence"] == []


def test_outside_of_the_scenario_nothing_is_compared(tmp_path: Path) -> None:
    record = runner_at(tmp_path).record(cell(scenario="nonadaptive"))
    assert set(record.images["worst_source"]) == {""}
    assert np.isnan(columns(record)).all()
    assert "sources" not in record.meta


def test_what_other_cells_computed_is_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[str, int]] = []
    for kind in (IFGSM, Square):

        def counting(self: Any, objective: Any, images: Tensor, streams: Streams, run: Any = kind.run) -> Tensor:
            searches.append((self.name, len(images)))
            result: Tensor = run(self, objective, images, streams)
            return result

        monkeypatch.setattr(kind, "run", counting)
    runner = runner_at(tmp_path)
    runner.record(cell(attack="square", images=3, query_images=3))
    runner.record(cell(scenario="nonadaptive"))
    searches.clear()
    runner.record(cell())
    # In micro-batches of four: the adaptive search, the doubled one; the proof and all others are known.
    assert searches == [("ifgsm", 4), ("ifgsm", 2), ("ifgsm", 4), ("ifgsm", 2)]
    assert CONVERGENCE_IMAGES == 6


# --- noise ----------------------------------------------------------------------------------------------------------


def test_the_largest_of_three_noisy_scores_is_not_what_is_reported(tmp_path: Path, noise: str) -> None:
    runner = runner_at(tmp_path)
    record = runner.record(cell(metric=noise, images=50, query_images=50, queries=5, draws=1, size=(16, 16)))
    chosen = columns(record)
    # The expected maximum of three draws is 0.85 standard deviations, of 10 points.
    assert chosen.max(axis=0).mean() > 50 + 6
    # What is reported is one fresh draw: the mean of 50 has a standard error of 1.4.
    assert abs(record.scores("defended_attacked").mean() - 50) < 4
    assert abs(chosen.mean() - 50) < 4
    assert not np.isclose(chosen, record.scores("defended_attacked")).any()


def test_lucky_draws_of_queries_are_scored_again(tmp_path: Path, noise: str) -> None:
    runner, one = (
        runner_at(tmp_path),
        cell(metric=noise, attack="square", images=50, queries=40, draws=1, size=(16, 16)),
    )
    record = runner.record(one)
    believed = runner.stages.values(runner.adversarial(one, runner.pair(one)))["values"]
    assert believed.mean() > 0.5 + 0.15  # the best of forty draws, in units of the range
    assert abs(record.scores("defended_attacked").mean() - 50) < 4
    assert abs(record.scores("defended_adaptive").mean() - 50) < 4


@pytest.mark.parametrize("attack", ["ifgsm", "square"])
def test_no_two_purposes_share_their_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    """Attack, selection, report, placebo, second clean scoring, convergence: each draws from streams of its own."""
    seen: dict[str, list[bytes]] = {}
    place = [""]
    normal, attacked, scored = Streams.normal, Stages._attack, Stages._scored

    def drawn(self: Streams, *shape: int) -> Tensor:
        found = normal(self, *shape)
        rows = [row for row, name in enumerate(self.ids) if not name.startswith("padding")]
        seen.setdefault(place[0], []).extend(found[row].numpy().tobytes() for row in rows)
        return found

    def while_attacking(self: Stages, attack: Any, metric: Any, clean: Any, key: Any) -> Any:
        place[0] = f"attack {key.digest}"
        return attacked(self, attack, metric, clean, key)

    def while_scoring(self: Stages, pair: Any, images: Any, originals: Any, streams: Streams, *rest: Any) -> Any:
        place[0] = f"scores {streams.key}"
        return scored(self, pair, images, originals, streams, *rest)

    monkeypatch.setattr(Streams, "normal", drawn)
    monkeypatch.setattr(Stages, "_attack", while_attacking)
    monkeypatch.setattr(Stages, "_scored", while_scoring)
    runner_at(tmp_path).record(cell(defense="random-noise", attack=attack, scoring="mean-of-2"))
    draws = [draw for found in seen.values() for draw in found]
    assert sum(name.startswith("attack") for name in seen) >= (1 if attack == "square" else 4)
    assert sum(name.startswith("scores") for name in seen) >= 6
    assert len(set(draws)) == len(draws) > 100


@pytest.mark.parametrize(
    ("scoring", "goal", "clean", "attacked"),
    [
        ("mean-of-3", "raise", "mean", "mean"),
        ("worst-of-3", "raise", "mean", "max"),
        ("worst-of-3", "lower", "mean", "min"),
    ],
)
def test_a_score_is_the_statistic_of_its_draws(
    tmp_path: Path, scoring: str, goal: str, clean: str, attacked: str
) -> None:
    record = runner_at(tmp_path).record(cell(defense="random-noise", scoring=scoring, goal=goal))
    assert record.meta["protocol"]["scoring"] == scoring
    draws = record.draws.groupby(["state", "id"], sort=False)["score"]
    assert set(draws.size()) == {3}
    ids = record.images["id"]
    for state, column, statistic in (
        ("clean", "defended_clean", clean),
        ("attacked", "defended_attacked", attacked),
        ("placebo", "placebo", attacked),
        ("clean-again", "defended_clean_again", attacked),
    ):
        expected = draws.agg(statistic)[state].loc[ids]
        np.testing.assert_allclose(record.scores(column), expected, rtol=1e-6, err_msg=column)
    assert draws.std().min() > 0


def test_a_protocol_is_of_random_pairs_only(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    for defense, random in (("flip", False), ("ms", False), ("random-noise", True)):
        keys = [cell(defense=defense, scoring=scoring) for scoring in ("one-shot", "mean-of-4", "worst-of-4")]
        found = {runner.key(one, runner.pair(one)).digest for one in keys}
        assert len(found) == (3 if random else 1)
    record = runner.record(cell(scoring="worst-of-4"))
    assert record.meta["protocol"]["scoring"] == "one-shot"
    assert record.draws.empty


# --- convergence ----------------------------------------------------------------------------------------------------


def test_what_is_doubled_depends_on_attack_and_target() -> None:
    ifgsm, fgsm, square = (attacks.create(name) for name in ("ifgsm", "fgsm", "square"))
    wants = {
        (attack.name, random): [one.wants for one in doublings(attack, draws=2, stochastic=random)]
        for attack in (ifgsm, fgsm, square)
        for random in (False, True)
    }
    steps, draws = "steps 20 instead of 10", "eot-4 instead of eot-2"
    assert wants == {
        ("ifgsm", False): [steps],
        ("ifgsm", True): [steps, draws],
        ("fgsm", False): [],
        ("fgsm", True): [draws],
        ("square", False): [],
        ("square", True): [],
    }


def test_a_cell_that_wants_more_steps_is_invalid_and_one_that_gets_them_is_not(tmp_path: Path) -> None:
    short = {"alpha": 0.4 / 255, "steps": 4, "epsilon": 4 / 255}
    strengths = StrengthTable().completed(StrengthRow(attack="ifgsm", weak=short, medium=short, strong=short))
    runner = runner_at(tmp_path, strengths=strengths)
    first, second = (runner.record(cell(doublings=number)) for number in (0, 1))
    (reason,) = [reason for reason in invalid_reasons(first) if "converged" in reason]
    assert reason.endswith("it wants steps 8 instead of 4 (--iqa-doublings)")
    assert invalid_reasons(second) == []
    assert second.meta["attack"]["fields"]["steps"] == 8
    assert second.meta["sources"]["transferred"]["fields"]["steps"] == 4  # shared with the non-adaptive cells


def test_the_gains_are_those_of_the_stored_images(tmp_path: Path) -> None:
    runner, one = runner_at(tmp_path), cell(max_forwards=30)
    record = runner.record(one)
    (entry,) = record.meta["convergence"]
    clean = Clean(view(datasets.load("mini"), count=6, size=(32, 48)))
    assert entry["contents"] == [item.content for item in clean.view.items]
    gains = record.scores("defended_adaptive") - record.scores("defended_clean")
    assert entry["gains"] == pytest.approx(gains.tolist(), abs=1e-4)
    assert entry["doubled"] == pytest.approx(gains.tolist(), abs=1)  # a linear score is at its corner already


def test_noise_does_not_look_like_a_change(tmp_path: Path, noise: str) -> None:
    record = runner_at(tmp_path).record(cell(metric=noise, images=20, size=(16, 16)))
    assert [entry["what"] for entry in record.meta["convergence"]] == ["steps", "draws"]
    assert not any("converged" in reason for reason in invalid_reasons(record))
