"""Fitting a purifier: it learns, chooses by unseen contents, and an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, structural_similarity
from torch import nn

from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8
from iqa_robustness.training import purifier
from iqa_robustness.training.attacked_pairs import AttackedPairs
from iqa_robustness.training.progress import Progress
from iqa_robustness.training.purifier import Recipe, fit_purifier

Picture = Callable[..., np.ndarray]
SHORT = Recipe(epochs=3, batch=2, side=32)


@pytest.fixture(scope="module")
def pairs(picture: Picture) -> AttackedPairs:
    """Six pictures of five contents, and darker ones with less contrast."""
    clean = np.stack([picture(40, 48, seed=seed) for seed in range(6)])
    return AttackedPairs(
        clean=clean,
        attacked=(0.55 * clean.astype(np.float64) + 10).round().astype(np.uint8),
        contents=("a", "b", "c", "d", "e", "e"),
        images="images",
        entry="entry",
        forwards=0,
        backwards=0,
    )


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


class Stop(Exception):
    """Stands for a kill."""


def stopping_after(steps: int) -> Callable[[int, int], Progress]:
    class Stopping(Progress):
        def at(self, done: int, note: str = "") -> None:
            if done == steps:
                raise Stop

    return lambda total, first: Stopping(label="", total=total, start=first)


# --- what it learns ---------------------------------------------------------------------------------------------------


def test_it_learns_to_undo_what_was_done(pairs: AttackedPairs) -> None:
    fitted = fit_purifier(FCN, pairs, replace(SHORT, loss="mse+ssim", epochs=30, learning_rate=1e-2))
    attacked, purified = fitted.report["attacked"], fitted.report["purified"]
    assert purified["PSNR"] > attacked["PSNR"] + 3  # type: ignore[index]
    assert purified["SSIM"] > attacked["SSIM"]  # type: ignore[index]
    assert not any(parameter.requires_grad for parameter in fitted.network.parameters())
    assert not fitted.network.training


def test_the_report_is_of_whole_unseen_images(pairs: AttackedPairs) -> None:
    fitted = fit_purifier(FCN, pairs, SHORT)
    _, unseen = purifier._split(pairs, SHORT)
    for name, change in (
        ("attacked", lambda row: pairs.attacked[row] / np.float32(255)),
        ("purified", lambda row: filtered(fitted.network, pairs.attacked[row])),
        ("purified clean", lambda row: filtered(fitted.network, pairs.clean[row])),
    ):
        clean = [pairs.clean[row] / np.float32(255) for row in unseen]
        others = [change(row) for row in unseen]
        ssim = [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in zip(others, clean, strict=True)]
        error = np.mean([mean_squared_error(a, b) for a, b in zip(others, clean, strict=True)])
        found: Any = fitted.report[name]
        assert found["SSIM"] == pytest.approx(np.mean(ssim), abs=1e-4)
        assert found["PSNR"] == pytest.approx(-10 * np.log10(error), abs=0.01)
    assert fitted.steps == 3 * -(-(len(pairs) - len(unseen)) // 2)


def filtered(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    purified = network(from_uint8(pixels[None])).clamp(0, 1)[0]
    return np.ascontiguousarray(purified.movedim(0, -1).numpy())


def test_the_epoch_with_the_best_validation_is_kept(pairs: AttackedPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    values = iter((0.2, 0.9, 0.9, 0.5))

    def judged(network: nn.Module, *_: object) -> float:
        seen.append(weights(network))
        return next(values)

    monkeypatch.setattr(purifier, "_validation", judged)
    fitted = fit_purifier(FCN, pairs, replace(SHORT, epochs=4))
    assert fitted.report["epoch"] == 2
    assert torch.equal(weights(fitted.network), seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_the_rate_falls_along_a_cosine(pairs: AttackedPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noting(self: torch.optim.Adam, *rest: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    fitted = fit_purifier(FCN, pairs, SHORT)
    shares = np.arange(fitted.steps) / fitted.steps
    assert rates == pytest.approx((1e-3 * (1 + np.cos(np.pi * shares)) / 2).tolist())


# --- what it is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_validation_has_contents_of_its_own(pairs: AttackedPairs, seed: int, share: float) -> None:
    seen, unseen = purifier._split(pairs, replace(SHORT, seed=seed, validation=share))
    assert sorted([*seen, *unseen]) == list(range(6))
    assert not {pairs.contents[row] for row in seen} & {pairs.contents[row] for row in unseen}
    assert len({pairs.contents[row] for row in unseen}) == min(max(1, round(5 * share)), 4)


def test_one_content_is_too_few(pairs: AttackedPairs) -> None:
    with pytest.raises(ConfigurationError, match="1 content is too few"):
        fit_purifier(FCN, replace(pairs, contents=("a",) * 6), SHORT)


def test_squares_are_the_same_place_of_both_images(coordinates: Callable[[int, int], np.ndarray]) -> None:
    clean = np.stack([coordinates(60, 70)] * 3)
    pairs = AttackedPairs(
        clean=clean, attacked=255 - clean, contents="abc", images="", entry="", forwards=0, backwards=0
    )
    places, mirrored = set(), 0
    for epoch in range(20):
        attacked, clean_square = purifier._squares(pairs, np.arange(3), SHORT, epoch)
        assert attacked.shape == (3, 3, 32, 32)
        assert torch.equal((attacked * 255).round(), 255 - (clean_square * 255).round())
        for square in (clean_square * 255).round().int():
            rows, columns = square[0, :, 0], square[1, 0]
            assert torch.equal(rows.diff(), torch.ones(31, dtype=torch.int32))
            assert abs(int(columns[1] - columns[0])) == 1
            mirrored += int(columns[1] < columns[0])
            places.add((int(rows[0]), int(columns.min())))
    assert len(places) > 30
    assert 10 < mirrored < 50


def test_a_square_depends_on_image_and_epoch_and_not_on_its_batch(pairs: AttackedPairs) -> None:
    both, _ = purifier._squares(pairs, np.array([3, 1]), SHORT, 7)
    alone, _ = purifier._squares(pairs, np.array([1]), SHORT, 7)
    other, _ = purifier._squares(pairs, np.array([1]), SHORT, 8)
    assert torch.equal(both[1:], alone)
    assert not torch.equal(other, alone)


def test_small_images_are_shown_whole(pairs: AttackedPairs) -> None:
    attacked, _ = purifier._squares(pairs, np.array([0]), replace(SHORT, side=46), 0)
    assert attacked.shape == (1, 3, 40, 46)


# --- repeatable, resumable --------------------------------------------------------------------------------------------


def test_equal_recipes_give_equal_bits_and_other_seeds_others(pairs: AttackedPairs) -> None:
    torch.manual_seed(1)
    first = fit_purifier(FCN, pairs, SHORT)
    torch.manual_seed(2)
    again, other = fit_purifier(FCN, pairs, SHORT), fit_purifier(FCN, pairs, replace(SHORT, seed=1))
    assert torch.equal(weights(first.network), weights(again.network))
    assert first.report == again.report
    assert not torch.equal(weights(first.network), weights(other.network))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_interrupted_training_ends_as_if_nothing_had_been(
    steps: int, pairs: AttackedPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    file = tmp_path / "unfinished"
    whole = fit_purifier(FCN, pairs, SHORT)
    with pytest.raises(Stop):
        fit_purifier(FCN, pairs, SHORT, checkpoint=file, progress=stopping_after(steps + 1))
    starts: list[int] = []

    def noted(total: int, first: int) -> Progress:
        starts.append(first)
        return Progress(label="", total=total, start=first)

    resumed = fit_purifier(FCN, pairs, SHORT, checkpoint=file, progress=noted)
    assert starts == [steps]
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert resumed.report == whole.report


def test_the_checkpoint_of_another_training_is_not_taken_up(
    pairs: AttackedPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    file, starts = tmp_path / "unfinished", []
    fit_purifier(FCN, pairs, replace(SHORT, epochs=1), checkpoint=file)
    content = file.read_bytes()
    others = ((pairs, SHORT), (replace(pairs, entry="x"), replace(SHORT, epochs=1)))
    for data, recipe in (*others, (pairs, replace(SHORT, epochs=1, loss="ssim"))):
        file.write_bytes(content)

        def noted(total: int, first: int) -> Progress:
            starts.append(first)
            return Progress(label="", total=total, start=first)

        fit_purifier(FCN, data, recipe, checkpoint=file, progress=noted)
    assert starts == [0, 0, 0]


@pytest.mark.parametrize("values", [{"epochs": 0}, {"batch": 0}, {"side": 31}, {"learning_rate": 0.0}])
def test_impossible_recipes_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(values.values())))):
        Recipe(**values)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_validation_share_leaves_something_on_either_side(share: float) -> None:
    with pytest.raises(ConfigurationError, match="validation share between 0 and 1"):
        Recipe(validation=share)
