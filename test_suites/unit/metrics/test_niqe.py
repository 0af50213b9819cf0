"""`niqe`: against the algorithm written again in NumPy and SciPy, and against pyiqa; its file; blocks; its gradient.

The authors' parameters may not ship, so the file here has their format and other numbers: scores mean nothing, but
every step that leads to them is the published one. Scores of the published file are in the metric's docstring.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.ndimage import correlate
from scipy.special import gamma
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.natural_scene import grey_levels
from iqa_robustness.metrics.niqe import Niqe
from iqa_robustness.metrics.weights import FOLDER_VARIABLE

# Exponent, scale; then for each of four directions exponent, mean, left and right scale; at both scales of the image.
TYPICAL = (2.6, 0.7, *(0.8, 0.1, 0.2, 0.25) * 4) * 2


@pytest.fixture(scope="module")
def parameters() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    factor = random.normal(0, 0.05, (36, 36))
    return {
        "mu_prisparam": np.array([TYPICAL]) + random.normal(0, 0.05, (1, 36)),
        "cov_prisparam": factor @ factor.T + 0.03 * np.eye(36),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, np.ndarray]) -> Path:
    """A MATLAB file with the variables of the release."""
    path = tmp_path_factory.mktemp("niqe") / "modelparameters.mat"
    savemat(path, parameters)
    return path


@pytest.fixture(scope="module")
def metric(file: Path) -> Niqe:
    return Niqe(file)


def textures(count: int = 2, *, height: int = 192, width: int = 192) -> np.ndarray:
    """(N, H, W, 3) uint8, noise smoothed once and scaled differently from place to place."""
    random = np.random.default_rng(height * width)
    noise = random.normal(0, 1, (count, height, width, 3))
    noise = (noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2)) * np.linspace(5, 30, width)[:, None]
    return np.clip(np.rint(noise + 120 + 10 * np.arange(count)[:, None, None, None]), 0, 255).astype(np.uint8)


# --- the algorithm again --------------------------------------------------------------------------------------------

GRID = np.linspace(0.2, 10, 9801)
RATIOS = gamma(2 / GRID) ** 2 / (gamma(1 / GRID) * gamma(3 / GRID))


def reference_fit(values: np.ndarray) -> tuple[float, float, float]:
    left, right = np.sqrt(np.mean(values[values < 0] ** 2)), np.sqrt(np.mean(values[values > 0] ** 2))
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    ratio *= ((left / right) ** 3 + 1) * (left / right + 1) / ((left / right) ** 2 + 1) ** 2
    shape = GRID[np.argmin((RATIOS - ratio) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def reference_block(structure: np.ndarray) -> list[float]:
    shape, left, right = reference_fit(structure)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = reference_fit(structure * np.roll(structure, shift, axis=(0, 1)))
        features += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return features


def reference_features(grey: np.ndarray) -> np.ndarray:
    """(blocks, 36)."""
    rows, columns = np.mgrid[-3:4, -3:4]
    window = np.exp(-(rows**2 + columns**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    down, across = grey.shape[0] // 96, grey.shape[1] // 96
    grey, scales = grey[: down * 96, : across * 96], []
    for side in (96, 48):
        if side == 48:
            grey = reference_halved(reference_halved(grey).T).T
        mean = correlate(grey, window, mode="nearest")
        deviation = np.sqrt(np.abs(correlate(grey**2, window, mode="nearest") - mean**2))
        structure = (grey - mean) / (deviation + 1)
        corners = [(side * row, side * column) for row in range(down) for column in range(across)]
        scales.append([reference_block(structure[top : top + side, left : left + side]) for top, left in corners])
    return np.concatenate(scales, axis=1)


def reference_halved(grey: np.ndarray) -> np.ndarray:
    taps = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    wide = np.pad(grey, ((3, 3), (0, 0)), mode="symmetric")
    return np.stack([taps @ wide[2 * row : 2 * row + 8] for row in range(len(grey) // 2)])


def reference_score(features: np.ndarray, parameters: dict[str, np.ndarray]) -> float:
    covariance = np.cov(features, rowvar=False) if len(features) > 1 else 0
    difference = parameters["mu_prisparam"][0] - features.mean(axis=0)
    return np.sqrt(difference @ np.linalg.pinv((parameters["cov_prisparam"] + covariance) / 2) @ difference)


@pytest.mark.parametrize("size", [(96, 96), (192, 96), (200, 210)])
def test_equals_the_published_algorithm(metric: Niqe, parameters: dict[str, np.ndarray], size: tuple[int, int]) -> None:
    images = from_uint8(textures(height=size[0], width=size[1]))
    features, defined = metric.statistics(grey_levels(images))
    assert bool(defined.all())
    expected = [reference_features(grey) for grey in grey_levels(images).numpy()]
    assert features.numpy() == pytest.approx(np.stack(expected), abs=1e-8)
    assert metric(images).tolist() == pytest.approx([reference_score(part, parameters) for part in expected], rel=1e-5)
    assert metric(images).dtype == torch.float32


@pytest.mark.usefixtures("torchvision")
def test_agrees_with_pyiqa(metric: Niqe, parameters: dict[str, np.ndarray]) -> None:
    """Its window is float32 and its `imresize` mirrors without repeating the border pixel."""
    pytest.importorskip("pyiqa")
    from pyiqa.archs.niqe_arch import niqe

    images = from_uint8(textures(3))
    mean = torch.from_numpy(parameters["mu_prisparam"]).expand(3, 36)
    covariance = torch.from_numpy(parameters["cov_prisparam"]).expand(3, 36, 36)
    theirs = niqe(grey_levels(images)[:, None], mean, covariance)
    assert metric(images).tolist() == pytest.approx(theirs.tolist(), rel=2e-3)


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_what_is_over_whole_blocks_is_not_seen(metric: Niqe) -> None:
    images = from_uint8(textures(1, height=200, width=210))
    changed = images.clone()
    changed[:, :, 192:] = 0
    changed[..., 192:] = 1
    assert metric(changed).equal(metric(images))


def test_constant_blocks_are_left_out(metric: Niqe, parameters: dict[str, np.ndarray]) -> None:
    pixels = textures(1, height=192, width=288)
    pixels[:, 85:, 85:203] = 240
    features, defined = metric.statistics(grey_levels(from_uint8(pixels)))
    assert defined[0].tolist() == [True, True, True, True, False, True]
    kept = features[0][defined[0]].numpy()
    assert float(metric(from_uint8(pixels))) == pytest.approx(reference_score(kept, parameters), rel=1e-5)


def test_if_all_blocks_are_constant_all_count(metric: Niqe, parameters: dict[str, np.ndarray]) -> None:
    images = torch.full((1, 3, 192, 192), 0.5)
    features, defined = metric.statistics(grey_levels(images))
    assert not defined.any()
    assert features[0, 0].tolist() == pytest.approx([0.2, 0, *[0.2, 0, 0, 0] * 4] * 2, abs=1e-9)
    assert float(metric(images)) == pytest.approx(reference_score(features[0].numpy(), parameters), rel=1e-5)


# --- gradients ------------------------------------------------------------------------------------------------------


def test_a_step_against_the_gradient_lowers_the_score(metric: Niqe) -> None:
    images = from_uint8(textures()).requires_grad_()
    scores = metric(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert float((gradient != 0).float().mean()) > 0.9
    # One level on every pixel is far for textures as faint as the left ones: only where it matters most.
    strongest = gradient.sign() * (gradient.abs() > torch.quantile(gradient.abs(), 0.97))
    for sign in (1, -1):
        moved = metric((images + sign / 255 * strongest).clamp(0, 1)) - scores
        assert bool((sign * moved > 0).all())


def test_the_gradient_promises_what_a_step_does(metric: Niqe) -> None:
    """Many steps of the exponents' grid; the rest is what a change of signs does to the means over one side."""
    grey = grey_levels(from_uint8(textures(1))) / 255
    images = grey[:, None].expand(1, 3, 192, 192).float()
    direction = ((grey.roll(1, 2) + grey.roll(-1, 2)) / 2 - grey)[:, None].expand_as(images).float()
    step = 0.2
    risen = float(metric(images + step * direction) - metric(images - step * direction)) / (2 * step)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(metric(leaf).sum(), leaf)
    assert abs(risen) > 0.1
    assert float((gradient * direction).sum()) == pytest.approx(risen, rel=0.3)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("lively", [0, 1, 100])
def test_constant_images_have_a_finite_score_and_gradient(metric: Niqe, value: float, lively: int) -> None:
    """Also with a few pixels that are not constant."""
    images = torch.full((1, 3, 96, 192), value)
    images[:, :, 40, :lively] = 0.25
    images.requires_grad_()
    score = metric(images)
    (gradient,) = torch.autograd.grad(score.sum(), images)
    assert bool(torch.isfinite(score).all())
    assert bool(torch.isfinite(gradient).all())


def test_a_perfect_score_has_a_finite_gradient(tmp_path: Path, metric: Niqe) -> None:
    images = from_uint8(textures(1, height=96, width=96))
    features, _ = metric.statistics(grey_levels(images))
    savemat(tmp_path / "own.mat", {"mu_prisparam": features[0].numpy(), "cov_prisparam": np.eye(36)})
    own, leaf = Niqe(tmp_path / "own.mat"), images.clone().requires_grad_()
    score = own(leaf)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    assert float(score.detach()) == pytest.approx(0, abs=1e-5)
    assert bool(torch.isfinite(gradient).all())


# --- the contract ---------------------------------------------------------------------------------------------------


def test_companions_do_not_matter(metric: Niqe) -> None:
    images = from_uint8(textures(4, height=96, width=192))
    apart = torch.cat([metric(images[k : k + 1]) for k in range(4)])
    assert metric(images).tolist() == pytest.approx(apart.tolist(), rel=1e-6)


def test_the_spec(metric: Niqe, file: Path) -> None:
    (described,) = metric.spec.weights
    assert metric.spec.name == "niqe"
    assert not metric.spec.higher_is_better
    assert described.name == file.name
    assert described.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_by_name_with_a_file_or_its_folder(metric: Niqe, file: Path) -> None:
    images: Tensor = from_uint8(textures(1, height=96, width=96))
    for weights in (str(file), file, file.parent):
        assert metrics.create("niqe", weights=weights)(images).equal(metric(images))


def test_without_its_file_it_says_which_and_where_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match=r"needs the weights niqe_modelparameters\.mat") as raised:
        metrics.create("niqe")
    assert "https://" in raised.value.fix
    assert str(tmp_path) in raised.value.fix


def asymmetric(parameters: dict[str, np.ndarray]) -> dict[str, Any]:
    return {**parameters, "cov_prisparam": np.triu(parameters["cov_prisparam"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"mu_prisparam": p["mu_prisparam"]}, "has no variable 'cov_prisparam'"),
        (lambda p: {**p, "mu_prisparam": np.zeros((1, 35))}, r"mu_prisparam \(1, 35\)"),
        (lambda p: {**p, "cov_prisparam": np.eye(35)}, r"cov_prisparam \(35, 35\), \(1, 36\) and \(36, 36\)"),
        (lambda p: {**p, "mu_prisparam": np.full((1, 36), np.nan)}, "no finite mean and symmetric covariance"),
        (asymmetric, "no finite mean and symmetric covariance"),
        (lambda p: {**p, "cov_prisparam": "text"}, "is no MATLAB file with numbers"),
    ],
)
def test_other_files_are_refused_by_name(
    tmp_path: Path, parameters: dict[str, np.ndarray], change: Any, message: str
) -> None:
    savemat(tmp_path / "other.mat", change(parameters))
    with pytest.raises(WeightsError, match=message) as raised:
        Niqe(tmp_path / "other.mat")
    assert raised.value.where.file == str(tmp_path / "other.mat")
    assert raised.value.fix


def test_what_is_no_matlab_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.mat").write_bytes(b"PNG" * 100)
    with pytest.raises(WeightsError, match=r"other\.mat is no MATLAB file"):
        Niqe(tmp_path / "other.mat")


@pytest.mark.parametrize("size", [(95, 192), (192, 95)])
def test_smaller_images_are_refused_by_name(metric: Niqe, size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match=re.escape(f"niqe takes images from 96 x 96, got {size}")):
        metric(torch.zeros(1, 3, *size))
