"""Certificates in records: of both forms, attacked, corrected for their companions, and attacked inside their radii."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from iqa_robustness import defenses
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.certificates import certificate_facts, corrected, estimate_bounds
from iqa_robustness.bench.columns import Columns
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.errors import CapabilityError
from iqa_robustness.gate.measurements import measure
from iqa_robustness.gate.thresholds import CellThresholds
from iqa_robustness.gate.verdict import judge
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Record, Store

NUMERICS = Numerics(device="cpu", micro_batch=4)
PLANTED = "iqa_robustness.metrics.planted:"
RANGE = (0.0, 100.0)
BASE: dict[str, Any] = {
    "metric": f"{PLANTED}Vulnerable",
    "defense": "rs",
    "scenario": "certified",
    "dataset": "mini",
    "images": 3,
    "size": (32, 48),
    "queries": 12,
    "draws": 2,
    "n0": 8,
    "n": 40,
}
ATTACK = {"attack": "ifgsm", "strength": "medium"}


def record_of(folder: Path, **changes: Any) -> Record:
    return LocalRunner(Store(folder / "store"), NUMERICS).record(Cell(**{**BASE, **changes}))


def state_of(defense: Smoothing, draws: np.ndarray, selection: np.ndarray | None = None) -> Columns:
    """What a scores stage says of given draws."""
    chosen = np.zeros((len(draws), 0)) if selection is None else selection
    found = defense.certificates(
        torch.from_numpy(draws).float(), selection=torch.from_numpy(chosen).float(), score_range=RANGE
    )
    return {name: value.numpy() for name, value in vars(found).items()}


# --- arithmetic on stored draws -------------------------------------------------------------------------------------


def test_bounds_for_all_images_at_once_are_those_of_a_smaller_alpha() -> None:
    draws = np.random.RandomState(0).normal(50, 5, (8, 300))
    defense = MedianSmoothing(n=300)
    found = corrected(defense, state_of(defense, draws), RANGE)
    alone = state_of(replace(defense, alpha=0.001 / 8), draws)
    np.testing.assert_array_equal(found["lower_familywise"], alone["lower"])
    np.testing.assert_array_equal(found["upper_familywise"], alone["upper"])
    assert (found["upper_familywise"] > found["upper"]).all()
    assert (found["radius_familywise"] == 0.05).all()


def test_radii_for_all_images_at_once_are_smaller_and_may_be_none() -> None:
    draws = np.where(np.arange(200) < np.array([[200], [190], [123]]), 55.0, 12.0)
    defense = RandomizedSmoothing(n=200, n0=10)
    found = corrected(defense, state_of(defense, draws, np.full((3, 10), 55.0)), RANGE)
    assert (found["radius_familywise"] < found["radius"]).all()
    assert found["radius"][2] > 0 == found["radius_familywise"][2]
    assert np.isnan(found["lower_familywise"]).all()


@pytest.mark.parametrize("n", [20, 200])
def test_the_estimates_interval_is_that_of_a_median(n: int) -> None:
    # Ranks from the sign test: the largest that fewer than half of the draws fall below with a chance above 1 − alpha.
    draws = np.random.RandomState(n).normal(50, 5, (3, n)).astype(np.float32).astype(np.float64)
    defense = MedianSmoothing(n=n, epsilon=0.2, alpha=0.01)
    low, high = estimate_bounds(defense, state_of(defense, draws))
    rank = max(k for k in range(1, n + 1) if binom.cdf(k - 1, n, 0.5) < 0.01)
    ordered = np.sort(draws, axis=1)
    np.testing.assert_array_equal(low, ordered[:, rank - 1])
    np.testing.assert_array_equal(high, ordered[:, n - rank])


def test_without_enough_draws_or_a_median_there_is_no_such_interval() -> None:
    few = MedianSmoothing(n=5)
    classes = RandomizedSmoothing(n=5, n0=2)
    for defense, chosen in ((few, None), (classes, np.full((2, 2), 55.0))):
        low, high = estimate_bounds(defense, state_of(defense, np.full((2, 5), 55.0), chosen))
        assert np.isnan([*low, *high]).all()


def test_a_record_says_what_its_certificates_are_about() -> None:
    facts = certificate_facts(RandomizedSmoothing(n=200, n0=20, resolution=64), 6)
    assert facts.pop("of") == "the ideal smoothed metric g, not the sampled estimate of it that is scored"
    assert facts == {
        "form": "classification",
        "sigma": 0.12,
        "n0": 20,
        "n": 200,
        "alpha": 0.001,
        "looks": 1,
        "resolution": 64,
        "family": 6,
    }


# --- records --------------------------------------------------------------------------------------------------------


def test_a_class_under_attack_has_votes_and_no_bounds(tmp_path: Path) -> None:
    record = record_of(tmp_path, **ATTACK)
    images = record.images
    assert record.meta["protocol"] == {"scoring": "class-of-40", "attack": "direct"}
    assert record.meta["certificate"]["form"] == "classification"
    assert (
        images[["clean_lower", "attacked_upper", "attacked_lower_familywise", "estimate_lower"]].isna().all(axis=None)
    )
    for state in ("clean", "attacked"):
        assert images[f"{state}_class"].between(0, 11).all()
        draws = record.draws[record.draws["state"] == state].groupby("id", sort=False)["score"]
        # Of the planted range, class k holds scores from 10 (k − 1) to 10 k; its end classes what lies beyond.
        classes = images.set_index("id")[f"{state}_class"]
        for name, scores in draws:
            own = np.clip(np.ceil(scores / 10), 0, 11) == classes[name]
            assert own.sum() == images.set_index("id").loc[name, f"{state}_votes"]
    assert (images["attacked_samples"] == 40).all()
    assert (images["radius_familywise"] <= images["radius"]).all()
    assert (images["abstained"] == (images["radius"] == 0)).all()
    assert {"cert_r", "same_class", "vote_error", "abstain"} <= set(measure(record))


@pytest.mark.parametrize("defense", ["rs", "ms", "drs:flip", "dms:flip"])
def test_every_form_is_attacked_by_who_knows_it(defense: str, tmp_path: Path) -> None:
    record = record_of(tmp_path, defense=defense, scenario="adaptive", query_images=2, images=2, **ATTACK)
    form = "class" if "rs" in defense else "median"
    assert record.meta["protocol"] == {"scoring": f"{form}-of-40", "attack": "eot-2"}
    assert {*record.meta["sources"]} == {"adaptive", "transferred", "queried"}
    assert record.images["gradient_nonzero"].all()
    # The objective is the score under the noise, which has a slope where classes have steps.
    trace = record.meta["attack"]["trace"]
    assert max(trace[1:]) > trace[0] + 0.05
    assert (record.scores("l2") > record.scores("clean_radius")).all()
    assert measure(record)["cert_share"].value == 0


@pytest.mark.parametrize(("defense", "form"), [("rs", "class"), ("ms", "median"), ("drs:jpeg", "class")])
def test_a_soundness_cell_attacks_inside_and_nothing_breaks(defense: str, form: str, tmp_path: Path) -> None:
    record = record_of(tmp_path, defense=defense, scenario="soundness", goal="lower")
    assert record.meta["protocol"] == {"scoring": f"{form}-of-40", "attack": "l2-pgd-10+eot-2"}
    assert (record.scores("l2") <= record.scores("clean_radius")).all()
    assert not record.images["broken"].any()
    assert "attack" not in record.meta
    assert record.images[["attacked", "placebo"]].isna().all(axis=None)
    assert {*record.draws["state"]} == {"clean", "attacked"}
    certain = not record.images["clean_abstained"].all()
    verdict = judge(record, CellThresholds(bounds={}))
    assert verdict.status == ("inconclusive" if certain else "invalid")  # no threshold applies
    assert verdict.measurements["broken"].value == 0 or not certain


def test_a_certificate_at_another_resolution_is_attacked_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = MedianSmoothing(n=40, resolution=24)
    monkeypatch.setattr(defenses, "create", lambda name, **_: small if name == "ms" else _create(name))
    record = record_of(tmp_path, defense="ms", scenario="soundness")
    np.testing.assert_allclose(record.scores("l2"), 0.05, rtol=1e-2)
    assert (record.scores("l2") <= 0.05).all()
    assert record.meta["certificate"]["resolution"] == 24


_create = defenses.create


def test_what_a_soundness_cell_depends_on_is_in_its_key(tmp_path: Path) -> None:
    runner = LocalRunner(Store(tmp_path), NUMERICS)
    base = Cell(**{**BASE, "scenario": "soundness"})
    changes: list[dict[str, Any]] = [{"draws": 3}, {"goal": "lower"}, {"n0": 9}, {"n": 41}, {"defense": "ms"}]
    cells = [base, *(replace(base, **change) for change in changes), replace(base, scenario="certified")]
    assert len({runner.key(one, runner.pair(one)).digest for one in cells}) == len(cells)


class Queries(Vulnerable):
    """Answers queries only."""

    spec = replace(Vulnerable.spec, access="query-only")


def test_a_metric_without_gradients_cannot_be_attacked_inside(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="the attack inside the radius needs gradients"):
        record_of(tmp_path, metric=f"{__name__}:Queries", scenario="soundness")
