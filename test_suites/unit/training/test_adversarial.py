"""Adversarial training: it hardens, repeats, goes on after a kill, and leaves statistics of batches alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from iqa_robustness import metrics
from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.errors import CapabilityError, ConfigurationError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.ssim import Ssim
from iqa_robustness.training import adversarial
from iqa_robustness.training.adversarial import Row, Trained, fit_adversarially
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe
from iqa_robustness.training.label_penalty import LabelPenalty
from iqa_robustness.training.ranks import Ranks

pytestmark = pytest.mark.usefixtures("torchvision")

Picture = Callable[..., np.ndarray]
SHORT = AdversarialRecipe(penalty="none", epsilon=4 / 255, epochs=3, batch=4, side=32, learning_rate=3e-3)


class Tiny(Metric):
    """A convolution with batch normalisation, the mean of its activations, and a linear head."""

    spec = MetricSpec(name="tiny", score_range=(0.0, 100.0))

    def __init__(self, *, momentum: float = 0.1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=momentum), nn.ReLU())
            self.head = nn.Linear(6, 1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = 50 + 20 * self.head(self.features(images).mean(dim=(2, 3))).squeeze(1)
        return scores


class Blurred(Dataset):
    """Thirty scenes, each a content, sharp or blurred; the blurred ones are judged worse."""

    name = "blurred"
    mos_kind: MosKind = "human"
    digest = "blurred-1"

    def __init__(self, picture: Picture) -> None:
        sharp = [picture(36, 36, seed=number, texture=14).astype(np.float64) for number in range(30)]
        self._pixels = [ndimage.gaussian_filter(p, (n % 4, n % 4, 0)).astype(np.uint8) for n, p in enumerate(sharp)]

    @property
    def items(self) -> Sequence[Item]:
        return [Item(id=f"{n:02d}", mos=90.0 - 25 * (n % 4), content=str(n)) for n in range(30)]

    def pixels(self, index: int) -> np.ndarray:
        return self._pixels[index]


class Part(Dataset):
    """The first images of another data set, with opinions or without."""

    mos_kind: MosKind = "human"
    digest = "part"

    def __init__(self, data: Dataset, count: int, *, judged: bool = True) -> None:
        self.name = f"{count} of {data.name}"
        self._data, self._count, self._judged = data, count, judged

    @property
    def items(self) -> Sequence[Item]:
        return [item if self._judged else replace(item, mos=float("nan")) for item in self._data.items[: self._count]]

    def pixels(self, index: int) -> np.ndarray:
        return self._data.pixels(index)


@pytest.fixture(scope="module")
def blurred(picture: Picture) -> Blurred:
    return Blurred(picture)


@pytest.fixture(scope="module")
def whole(blurred: Blurred) -> Trained:
    """An uninterrupted training."""
    return fitted(blurred)


def fitted(data: Dataset, recipe: AdversarialRecipe = SHORT, metric: Metric | None = None, **more: Any) -> Trained:
    return fit_adversarially(metric or Tiny().eval(), data, recipe, **more)


def same(one: Trained, other: Trained) -> bool:
    states = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_shrinks_the_shift_that_an_attack_makes(blurred: Blurred) -> None:
    recipe = replace(SHORT, epochs=4, labels="own", learning_rate=2e-3, feature_share=1.0)
    found = fitted(blurred, recipe, metrics.create("compact"))
    assert found.steps == 4 * (21 // 4)
    for part in ("validation", "test"):
        report: Any = found.report[part]
        assert report["shift after, %"] < 0.6 * report["shift before, %"]


def test_scores_come_back_to_the_scale_of_the_labels(whole: Trained) -> None:
    low, high = whole.scale.score_range
    assert 0 < low < high < 110
    assert not any(parameter.requires_grad for parameter in whole.network.parameters())
    assert not whole.network.training


def test_equal_arguments_give_equal_bits_and_another_seed_others(blurred: Blurred, whole: Trained) -> None:
    metric = Tiny().eval()
    before = {name: value.clone() for name, value in metric.state_dict().items()}
    assert same(whole, fitted(blurred, metric=metric))
    assert not same(whole, fitted(blurred, replace(SHORT, seed=1), metric=metric))
    assert all(torch.equal(value, before[name]) for name, value in metric.state_dict().items())


@pytest.mark.parametrize("stop", [1, 5, 12])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    blurred: Blurred, whole: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    taken = 0

    class Killed(Exception):
        pass

    usual = adversarial._Learner.step

    def step(self: Any, *arguments: Any, **more: Any) -> float:
        nonlocal taken
        if taken == stop:
            raise Killed
        taken += 1
        return usual(self, *arguments, **more)

    monkeypatch.setattr(adversarial._Learner, "step", step)
    with pytest.raises(Killed):
        fitted(blurred, checkpoint=tmp_path / "unfinished")
    monkeypatch.setattr(adversarial._Learner, "step", usual)
    first: list[int] = []
    again = fitted(blurred, checkpoint=tmp_path / "unfinished", progress=lambda _total, start: first.append(start))
    assert first == [stop]
    assert same(whole, again)
    assert whole.report == again.report
    assert whole.scale == again.scale


def test_a_checkpoint_of_another_training_is_not_taken_up(
    blurred: Blurred, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    fitted(blurred, checkpoint=tmp_path / "unfinished")
    first: list[int] = []
    fitted(
        blurred,
        replace(SHORT, epsilon=2 / 255),
        checkpoint=tmp_path / "unfinished",
        progress=lambda _total, start: first.append(start),
    )
    assert first == [0]


def learner(recipe: AdversarialRecipe) -> Any:
    return adversarial._Learner(Tiny(), recipe, torch.device("cpu"), Ranks())


def images(blurred: Blurred) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(blurred.pixels(row)).permute(2, 0, 1) / 255 for row in range(4)]
    return torch.stack(rows), torch.tensor([item.mos for item in blurred.items[:4]])


def test_attacks_leave_the_statistics_of_batches_alone(blurred: Blurred) -> None:
    one = learner(SHORT)
    before = {name: value.clone() for name, value in one.metric.named_buffers()}
    attacked = one.attacked(*images(blurred), "somewhere")
    assert not torch.equal(attacked, images(blurred)[0])
    assert all(torch.equal(value, before[name]) for name, value in one.metric.named_buffers())
    assert one.metric.training
    one.step(*images(blurred), LabelPenalty("none", low=0, high=100), number=0, epoch=0)
    assert int(one.metric.features[1].num_batches_tracked) == 1


def test_the_published_code_moves_them_with_every_forward(blurred: Blurred) -> None:
    one = learner(replace(SHORT, paper=True))
    one.attacked(*images(blurred), "somewhere")
    assert int(one.metric.features[1].num_batches_tracked) == 3


@pytest.mark.parametrize(("adversary", "signs"), [("raise", {1}), ("lower", {-1}), ("both", {1, -1})])
def test_the_adversary_is_after_the_score(blurred: Blurred, adversary: str, signs: set[int]) -> None:
    one = learner(replace(SHORT, adversary=adversary))
    clean, labels = images(blurred)
    found = set()
    for purpose in "abcd":
        attacked = one.attacked(clean, labels, purpose)
        one.metric.eval()
        with torch.no_grad():
            found |= {int(sign) for sign in (one.metric(attacked) - one.metric(clean)).sign()}
        one.metric.train()
    assert found == signs


def test_the_published_adversary_is_after_the_error(blurred: Blurred) -> None:
    one = learner(replace(SHORT, paper=True, adversary="raise"))
    clean, labels = images(blurred)
    attacked = one.attacked(clean, labels, "a")
    # In training mode, as it was attacked; the batch that normalises an error is attacked with it.
    with torch.no_grad():
        errors = [float(adversarial.norm_in_norm(one.metric(each), labels)) for each in (clean, attacked)]
    assert errors[1] > 1.1 * errors[0]


def test_rates_fall_to_a_tenth_every_third_and_features_learn_slower(blurred: Blurred) -> None:
    recipe = replace(SHORT, epochs=9)
    one, rates = learner(recipe), []
    for epoch in range(9):
        one.step(*images(blurred), LabelPenalty("none", low=0, high=100), number=epoch, epoch=epoch)
        rates.append([group["lr"] for group in one.optimizer.param_groups])
    expected = [[3e-3 * 0.1**third, 3e-4 * 0.1**third] for third in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    assert np.allclose(rates, expected, rtol=1e-12)


def test_the_log_has_a_row_for_every_epoch(blurred: Blurred) -> None:
    rows: list[Row] = []
    found = fitted(blurred, log=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [5, 10, 15]
    assert all(-1 <= row[name] <= 1 for row in rows for name in ("clean", "attacked"))
    assert found.report["epoch"] == 1 + max(range(3), key=lambda place: rows[place]["clean"] + rows[place]["attacked"])


@pytest.mark.parametrize("selection", ["clean", "attacked"])
def test_an_epoch_is_chosen_by_what_is_asked_for(blurred: Blurred, selection: str) -> None:
    rows: list[Row] = []
    found = fitted(blurred, replace(SHORT, selection=selection, learning_rate=0.05), log=rows.append)
    assert found.report["epoch"] == 1 + max(range(3), key=lambda place: rows[place][selection])


def test_half_precision_is_what_was_measured(blurred: Blurred) -> None:
    found = fitted(blurred, half=True)
    for value in found.network.state_dict().values():
        assert torch.equal(value, value.half().to(value.dtype)) or not value.is_floating_point()


def test_own_labels_need_no_opinions(blurred: Blurred) -> None:
    unjudged = Part(blurred, 30, judged=False)
    with pytest.raises(ConfigurationError, match="no opinion scores"):
        fitted(unjudged)
    found: Any = fitted(unjudged, replace(SHORT, labels="own", damage=True)).report
    assert found["validation"]["SROCC before"] == 1


def test_metrics_that_cannot_be_trained_are_refused(blurred: Blurred) -> None:
    with pytest.raises(CapabilityError, match="nothing to learn"):
        fitted(blurred, metric=Vulnerable())
    with pytest.raises(CapabilityError):
        fitted(blurred, metric=Ssim())
    with pytest.raises(ConfigurationError, match="less than a batch"):
        fitted(blurred, replace(SHORT, batch=50))


def test_validation_without_an_order_is_refused(blurred: Blurred, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="1 views of validation images"):
        fitted(Part(blurred, 9))
    monkeypatch.setattr(adversarial, "srocc", lambda *_: float("nan"))
    with pytest.raises(ConfigurationError, match="no epoch"):
        fitted(blurred)
