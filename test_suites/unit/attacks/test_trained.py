"""The template of trained attacks: what an artefact may be used for, what `run` spends, what a training depends on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.artefact import Artefact
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.attacks.trained import ScoreUp, TrainedAttack
from iqa_robustness.attacks.uap import UAP
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import ArtefactError, CapabilityError, ConfigurationError, NonFiniteScoreError
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.store import Key, document_of

NAMES = ("cumulative-uap", "facpa", "uap")
SHORT: dict[str, Any] = {"epochs": 3, "batch": 2}


def made(name: str, **fields: Any) -> TrainedAttack:
    attack = attacks.create(name, **{**SHORT, **fields})
    assert isinstance(attack, TrainedAttack)
    return attack


def levels(images: Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


@pytest.fixture(scope="module")
def learned(toys: SimpleNamespace) -> dict[str, bytes]:
    """An artefact of each attack, trained to raise the linear toy metric."""
    pictures = toys.pictures(5, 32, 32, seed=9)
    return {name: made(name).train(toys.Linear(toys.gaussian(32, 32)), pictures) for name in NAMES}


# --- artefacts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_without_an_artefact_the_command_that_trains_one_is_told(name: str, toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    with pytest.raises(ArtefactError, match="no artefact is given") as caught:
        made(name)(metric, toys.pictures(1))
    assert f"iqa-robustness train attack {name} --iqa-metric" in caught.value.fix
    assert f"artefact='{name}.safetensors'" in caught.value.fix
    assert (caught.value.where.metric, caught.value.where.attack) == ("toy", name)
    assert metric.rows == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_file_its_bytes_and_its_artefact_are_the_same(name: str, learned: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(learned[name])
    given = [path, str(path), learned[name], Artefact(data=learned[name])]
    assert len({made(name, artefact=one) for one in given}) == 1
    assert made(name, artefact=path) != made(name)


def test_the_digest_is_part_of_the_key_and_the_path_is_not(learned: dict[str, bytes], tmp_path: Path) -> None:
    texts = set()
    for place in ("here.safetensors", "there.safetensors"):
        (tmp_path / place).write_bytes(learned["uap"])
        texts.add(Key(document_of(made("uap", artefact=tmp_path / place))).text)
    assert len(texts) == 1
    assert Artefact(data=learned["uap"]).sha256 in texts.pop()


def test_an_artefact_of_another_attack_version_or_direction_is_refused(
    learned: dict[str, bytes], toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric, clean = toys.Linear(toys.gaussian(32, 32)), toys.pictures(1, 32, 32)
    with pytest.raises(ArtefactError, match="for attack 'facpa', and 'uap'"):
        made("uap", artefact=learned["facpa"])(metric, clean)
    with pytest.raises(ArtefactError, match="for direction 'raise', and 'lower'") as caught:
        made("uap", artefact=learned["uap"])(metric, clean, goal=LOWER)
    assert caught.value.fix.endswith("--goal lower")
    with pytest.raises(ArtefactError, match="'no direction'"):
        made("uap", artefact=learned["uap"])(metric, clean, goal=Towards(score=0.0))
    monkeypatch.setattr(UAP, "version", 2)
    with pytest.raises(ArtefactError, match="for version 1, and 2"):
        made("uap", artefact=learned["uap"])(metric, clean)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epsilon_levels", [0, 2, 4, 8])
def test_an_artefact_is_scaled_to_the_epsilon(
    name: str, epsilon_levels: int, learned: dict[str, bytes], toys: SimpleNamespace
) -> None:
    clean = toys.pictures(2, 32, 32)
    attack = made(name, artefact=learned[name], epsilon=epsilon_levels / 255)
    result = attack(toys.Linear(toys.gaussian(32, 32)), clean)
    change = np.abs(levels(result.images) - levels(clean)).max()
    assert change <= epsilon_levels
    assert (change == epsilon_levels) or name == "facpa"
    assert bool((result.values > result.clean_values).all()) == (epsilon_levels > 0)


def test_a_file_that_is_not_there_is_refused_when_the_attack_is_made() -> None:
    with pytest.raises(ArtefactError, match="cannot read the artefact"):
        attacks.create("uap", artefact="no/such/file.safetensors")


# --- costs and evidence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_image_costs_one_gradient_at_the_clean_image_and_one_check(
    name: str, learned: dict[str, bytes], toys: SimpleNamespace
) -> None:
    metric, clean = toys.Linear(toys.gaussian(32, 32)), toys.pictures(3, 32, 32)
    result = made(name, artefact=learned[name])(metric, clean, micro_batch=3)
    assert metric.modes == ["gradient", "query"]
    assert torch.equal(metric.batches[0], clean)
    assert result.forwards.tolist() == [2, 2, 2]
    assert result.backwards.tolist() == [1, 1, 1]
    assert result.gradient_nonzero.all()
    assert len(result.trace) == 1


def test_a_perturbation_that_does_harm_is_not_used(toys: SimpleNamespace) -> None:
    weights, clean = toys.gaussian(32, 32), toys.pictures(2, 32, 32)
    data = made("uap").train(toys.Linear(-weights), toys.pictures(4, 32, 32))
    result = made("uap", artefact=data)(toys.Linear(weights), clean)
    assert torch.equal(result.images, clean)
    published = made("uap", artefact=data, paper=True)(toys.Linear(weights), clean)
    assert (published.values < published.clean_values).all()


def test_a_flat_score_shows_as_a_gradient_of_zero(learned: dict[str, bytes], toys: SimpleNamespace) -> None:
    result = made("uap", artefact=learned["uap"])(toys.Linear(torch.zeros(3, 32, 32)), toys.pictures(2, 32, 32))
    assert not result.gradient_nonzero.any()


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_equal_arguments_train_equal_bytes_whatever_torch_drew_before(name: str, toys: SimpleNamespace) -> None:
    metric, pictures = toys.Linear(toys.gaussian(32, 32)), toys.pictures(5, 32, 32)
    torch.manual_seed(1)
    first = made(name).train(metric, pictures, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert made(name).train(metric, pictures, seed=3) == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [{"seed": 1}, {"key": "other"}, {"goal": LOWER}])
def test_seed_key_and_goal_train_something_else(change: dict[str, Any], toys: SimpleNamespace) -> None:
    metric, pictures = toys.Quadratic(torch.ones(3, 8, 9), torch.full((3, 8, 9), 0.5)), toys.pictures(5)
    attack = made("uap", epochs=1)
    assert attack.train(metric, pictures, **change) != attack.train(metric, pictures)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_the_goal_and_the_direction_of_the_metric_are_followed(
    name: str, higher_is_better: bool, goal: Any, toys: SimpleNamespace
) -> None:
    metric = toys.Linear(toys.gaussian(32, 32), higher_is_better=higher_is_better)
    clean = toys.pictures(2, 32, 32)
    attack = made(name, epochs=6)
    trained = dataclasses.replace(attack, artefact=attack.train(metric, toys.pictures(6, 32, 32, seed=4), goal=goal))
    result = trained(metric, clean, goal=goal)
    up = (goal == RAISE) == higher_is_better
    assert ((metric(result.images) > metric(clean)) == up).all()
    assert (result.values > result.clean_values).all()


def test_a_tensor_and_a_view_of_a_data_set_train_the_same() -> None:
    from iqa_robustness.metrics.planted import Vulnerable

    seen = view(datasets.load("mini"), count=5, size=(16, 24))
    attack = made("uap")
    assert attack.train(Vulnerable(), seen) == attack.train(Vulnerable(), seen.batch(range(5)))


def test_every_image_is_seen_once_an_epoch_mirrored_or_not(toys: SimpleNamespace) -> None:
    metric, pictures = toys.Linear(toys.gaussian() * 0), toys.pictures(5)
    made("uap", epochs=4, epsilon=0.0).train(metric, pictures, micro_batch=2)
    seen = torch.cat(metric.batches)
    seen = seen[seen.flatten(1).any(dim=1)]  # without padding
    assert len(seen) == 4 * 5
    found: list[tuple[int, bool]] = []
    for image in seen:
        (which,) = [
            (row, mirrored)
            for row in range(5)
            for mirrored in (False, True)
            if torch.equal(image, pictures[row].flip(2) if mirrored else pictures[row])
        ]
        found.append(which)
    for epoch in range(4):
        assert sorted(row for row, _ in found[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]
    assert len({mirrored for _, mirrored in found}) == 2
    assert [row for row, _ in found[:5]] != [row for row, _ in found[5:10]]


def test_progress_is_told_in_images(toys: SimpleNamespace) -> None:
    told: list[tuple[int, int]] = []
    made("uap", epochs=2).train(
        toys.Linear(toys.gaussian()), toys.pictures(5), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("paper", [False, True])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    name: str, paper: bool, toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if paper and name == "facpa":
        monkeypatch.setattr("iqa_robustness.attacks.facpa._PAPER_WIDTH", 2)
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    side = 256 if paper and name == "facpa" else 32
    metric = toys.Noisy(toys.gaussian(side, side))
    pictures, attack = toys.pictures(5, side, side), made(name, paper=paper)
    whole = attack.train(metric, pictures)
    told: list[int] = []

    def interrupt(done: int, total: int) -> None:
        told.append(done)
        if len(told) in (3, 6):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            attack.train(metric, pictures, checkpoint=tmp_path / "c", progress=interrupt)
    assert attack.train(metric, pictures, checkpoint=tmp_path / "c", progress=interrupt) == whole
    # Progress is told before a step is saved: the interrupted steps are done again, and no others.
    assert told == [2, 4, 5, 5, 7, 9, 9, 10, 12, 14, 15]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"key": "k"}, {"goal": LOWER}, {"epsilon": 0.01}, {"epochs": 4}, {"batch": 3}, {"size": 1}]
)
def test_the_checkpoint_of_another_training_is_not_taken_up(
    change: dict[str, Any], toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    width = 9 + change.pop("size", 0)
    fields = {name: change.pop(name) for name in ("epsilon", "epochs", "batch") if name in change}
    metric = toys.Linear(toys.gaussian())
    made("uap").train(metric, toys.pictures(5), checkpoint=tmp_path / "c")
    told: list[int] = []
    made("uap", **fields).train(
        toys.Linear(toys.gaussian(8, width)),
        toys.pictures(5, 8, width),
        checkpoint=tmp_path / "c",
        progress=lambda done, total: told.append(done),
        **change,
    )
    assert told[0] == fields.get("batch", 2)


def test_a_random_metric_is_trained_against_and_draws_anew_at_every_step(toys: SimpleNamespace) -> None:
    metric = toys.Dimmed(toys.gaussian(16, 16))
    attack = made("uap", epochs=5)
    data = attack.train(metric, toys.pictures(6, 16, 16))
    assert data == attack.train(metric, toys.pictures(6, 16, 16))
    (values,) = Artefact(data=data).tensors().values()
    assert torch.equal(values[0].sign(), toys.gaussian(16, 16).sign())


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_metric_without_gradients_cannot_be_trained_against(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian(), access="query-only")
    with pytest.raises(CapabilityError, match="is trained with gradients"):
        made("uap").train(metric, toys.pictures(2))
    assert metric.rows == 0


def test_no_images_and_no_direction_are_refused(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    with pytest.raises(ConfigurationError, match="trained on images"):
        made("uap").train(metric, toys.pictures(1)[:0])
    with pytest.raises(ConfigurationError, match="to raise or to lower"):
        made("uap").train(metric, toys.pictures(1), goal=Towards(score=1.0))  # type: ignore[arg-type]


def test_a_metric_that_breaks_down_in_training_is_named(toys: SimpleNamespace) -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        made("uap").train(toys.Broken(lambda images: images.mean(dim=(1, 2, 3)) * torch.nan), toys.pictures(2))
    assert (caught.value.where.metric, caught.value.where.attack) == ("toy", "uap")


@pytest.mark.parametrize("fields", [{"epochs": 0}, {"batch": 0}, {"epsilon": 4.0}, {"epsilon": -0.1}])
@pytest.mark.parametrize("name", NAMES)
def test_impossible_parameters_are_refused_when_the_attack_is_made(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        made(name, **fields)


def test_upwards_is_upwards_whatever_is_better() -> None:
    scores = torch.tensor([2.0, -4.0])
    for higher in (True, False):
        spec = MetricSpec(name="m", score_range=(0.0, 8.0), higher_is_better=higher)
        assert ScoreUp().values(scores, spec).tolist() == [0.25, -0.5]
    assert not ScoreUp().reached(scores).any()
