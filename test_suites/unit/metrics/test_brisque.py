"""`brisque`: against the algorithm written again in NumPy and SciPy, and against pyiqa; its files; its gradient.

The authors' parameters may not ship, so the files here have their format and other numbers: scores mean nothing, but
every step that leads to them is the published one. Scores of the published files are in the metric's docstring.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate
from scipy.special import gamma

from iqa_robustness import metrics
from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.brisque import Brisque
from iqa_robustness.metrics.natural_scene import grey_levels
from iqa_robustness.metrics.weights import FOLDER_VARIABLE

# Lowest and highest values of the six kinds of features: exponent, energy; exponent, mean, left and right squares.
SYMMETRIC, ASYMMETRIC = ((0.3, 10), (0.01, 0.9)), ((0.2, 1.7), (-0.13, 0.2), (0.0001, 0.7), (0.001, 0.5))
BOUNDS = (*SYMMETRIC, *ASYMMETRIC * 4) * 2
# Of the 18 features of a scale, those that are mean squares and so hang on no exponent.
ENERGIES = (1, 4, 5, 8, 9, 12, 13, 16, 17)
GAMMA, RHO, VECTORS = 0.05, -150.0, 40


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """(40, 37): a coefficient and 36 scaled features each."""
    random = np.random.default_rng(5)
    return np.round(np.column_stack([random.uniform(-100, 100, VECTORS), random.uniform(-1, 1, (VECTORS, 36))]), 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    """A model and a range file in LIBSVM's format, named as in the release."""
    folder = tmp_path_factory.mktemp("brisque")
    header = f"svm_type epsilon_svr\nkernel_type rbf\ngamma {GAMMA}\nnr_class 2\ntotal_sv {VECTORS}\nrho {RHO}\n"
    rows = [" ".join([f"{row[0]}", *(f"{k}:{value}" for k, value in enumerate(row[1:], 1))]) for row in vectors]
    (folder / "allmodel").write_text(f"{header}probA 5.7\nSV\n" + "\n".join(rows) + "\n")
    bounds = [f"{number} {low} {high}" for number, (low, high) in enumerate(BOUNDS, start=1)]
    (folder / "allrange").write_text("\n".join(["x", "-1 1", *bounds]) + "\n")
    return folder


@pytest.fixture(scope="module")
def metric(folder: Path) -> Brisque:
    return Brisque(folder)


def textures(count: int = 3, *, height: int = 48, width: int = 64) -> np.ndarray:
    """(N, H, W, 3) uint8, smoothed noise of growing strength: no two neighbours are alike for long."""
    random = np.random.default_rng(height * width)
    coarse = random.uniform(40, 210, (count, height // 8, width // 8, 3))
    smooth = [Image.fromarray(np.uint8(part)).resize((width, height), Image.Resampling.BICUBIC) for part in coarse]
    grain = random.normal(0, 1, (count, height, width, 3)) * (4 + 8 * np.arange(count)).reshape(-1, 1, 1, 1)
    return np.clip(np.stack([np.asarray(part) for part in smooth]) + grain, 0, 255).astype(np.uint8)


# --- the algorithm again --------------------------------------------------------------------------------------------

GRID = np.linspace(0.2, 10, 9801)
RATIOS = gamma(2 / GRID) ** 2 / (gamma(1 / GRID) * gamma(3 / GRID))


def reference_features(grey: np.ndarray) -> list[float]:
    rows, columns = np.mgrid[-3:4, -3:4]
    window = np.exp(-(rows**2 + columns**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    features: list[float] = []
    for scale in range(2):
        if scale:
            grey = reference_halved(reference_halved(grey).T).T
        mean = correlate(grey, window, mode="constant")
        deviation = np.sqrt(np.abs(correlate(grey**2, window, mode="constant") - mean**2))
        structure = (grey - mean) / (deviation + 1)
        energy = np.mean(structure**2)
        features += [GRID[np.argmin(np.abs(energy / np.mean(np.abs(structure)) ** 2 - 1 / RATIOS))], energy]
        for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
            product = structure * np.roll(structure, shift, axis=(0, 1))
            left = np.sqrt(np.mean(product[product < 0] ** 2))
            right = np.sqrt(np.mean(product[product > 0] ** 2))
            ratio = np.mean(np.abs(product)) ** 2 / np.mean(product**2)
            ratio *= ((left / right) ** 3 + 1) * (left / right + 1) / ((left / right) ** 2 + 1) ** 2
            shape = GRID[np.argmin((RATIOS - ratio) ** 2)]
            between = gamma(2 / shape) / gamma(1 / shape) * np.sqrt(gamma(1 / shape) / gamma(3 / shape))
            features += [shape, (right - left) * between, left**2, right**2]
    return features


def reference_halved(grey: np.ndarray) -> np.ndarray:
    """Rows only: eight taps of the stretched cubic kernel, which are these, over 256."""
    taps = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    wide = np.pad(grey, ((3, 5), (0, 0)), mode="symmetric")
    return np.stack([taps @ wide[2 * row : 2 * row + 8] for row in range((len(grey) + 1) // 2)])


def reference_score(pixels: np.ndarray, vectors: np.ndarray) -> float:
    weights = np.linalg.inv(np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]]))[0]
    features = np.array(reference_features(np.floor(pixels @ weights + 0.5)))
    low, high = np.array(BOUNDS).T
    scaled = -1 + 2 * (features - low) / (high - low)
    return sum(row[0] * np.exp(-GAMMA * np.sum((scaled - row[1:]) ** 2)) for row in vectors) - RHO


@pytest.mark.parametrize("size", [(48, 64), (33, 51), (32, 32)])
def test_equals_the_published_algorithm(metric: Brisque, vectors: np.ndarray, size: tuple[int, int]) -> None:
    pixels = textures(height=size[0] // 8 * 8, width=size[1] // 8 * 8)
    pixels = np.pad(pixels, ((0, 0), (0, size[0] % 8), (0, size[1] % 8), (0, 0)), mode="reflect")
    images = from_uint8(pixels)
    features = metric.statistics(grey_levels(images)).numpy()
    for found, grey in zip(features, grey_levels(images).numpy(), strict=True):
        assert found == pytest.approx(reference_features(grey), abs=1e-8)
    expected = [reference_score(part, vectors) for part in pixels]
    assert metric(images).tolist() == pytest.approx(expected, rel=1e-5)
    assert metric(images).dtype == torch.float32


@pytest.mark.usefixtures("torchvision")
def test_agrees_with_pyiqa(metric: Brisque, vectors: np.ndarray) -> None:
    """Its filters are float32 and its `imresize` mirrors without repeating the border pixel."""
    pytest.importorskip("pyiqa")
    from pyiqa.archs.brisque_arch import natural_scene_statistics

    grey = grey_levels(from_uint8(textures(height=64, width=80)))
    theirs = natural_scene_statistics(grey[:, None]).flatten(1).double()
    assert metric.statistics(grey)[:, :18].numpy() == pytest.approx(theirs.numpy(), abs=2e-3)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "features", "tolerance"),
    [
        pytest.param(1e-6, [k for k in range(36) if k % 18 in ENERGIES], 1e-4, id="tiny"),
        # What the gradient leaves out: a step this long changes signs, and with them what a mean is taken over.
        pytest.param(0.1, [*range(36)], 0.25, id="over many steps of the exponents' grid"),
    ],
)
def test_gradients_promise_what_a_step_does(
    metric: Brisque, step: float, features: list[int], tolerance: float
) -> None:
    grey = grey_levels(from_uint8(textures(1, height=64, width=96)))
    direction = (grey.roll(1, 2) + grey.roll(-1, 2)) / 2 - grey
    risen = (metric.statistics(grey + step * direction) - metric.statistics(grey - step * direction))[0] / (2 * step)
    grey.requires_grad_()
    slopes = [torch.autograd.grad(feature, grey, retain_graph=True)[0] for feature in metric.statistics(grey)[0]]
    promised = torch.stack([(slope * direction).sum() for slope in slopes])
    assert float(risen[features].norm()) > 0.1
    assert float((promised - risen)[features].norm()) < tolerance * float(risen[features].norm())


def test_a_step_against_the_gradient_lowers_the_score(metric: Brisque) -> None:
    images = from_uint8(textures()).requires_grad_()
    scores = metric(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert float((gradient != 0).float().mean()) > 0.9
    for sign in (1, -1):
        moved = metric((images + sign * 2 / 255 * gradient.sign()).clamp(0, 1)) - scores
        assert bool((sign * moved > 0).all())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_have_a_finite_score_and_gradient(metric: Brisque, value: float) -> None:
    images = torch.full((2, 3, 40, 48), value, requires_grad=True)
    scores = metric(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert bool(torch.isfinite(scores).all())
    assert bool(torch.isfinite(gradient).all())


def test_half_constant_images_do_not_hang_on_rounding_errors(metric: Brisque) -> None:
    """Summed in another order (the image mirrored, where the shifts allow it) the score stays; see `normalized`."""
    pixels = textures(2)
    pixels[:, 8:40, 10:50] = 233
    mirrored = np.ascontiguousarray(pixels.transpose(0, 2, 1, 3))
    found, again = (metric.statistics(grey_levels(from_uint8(part))) for part in (pixels, mirrored))
    # Transposed, the products with the right and the lower neighbour change places.
    order = [*range(2), *range(6, 10), *range(2, 6), *range(10, 14)]
    assert found[:, :14].numpy() == pytest.approx(again[:, order].numpy(), abs=1e-9)


# --- the contract ---------------------------------------------------------------------------------------------------


def test_companions_do_not_matter(metric: Brisque) -> None:
    images = from_uint8(textures(4))
    apart = torch.cat([metric(images[k : k + 1]) for k in range(4)])
    assert metric(images).tolist() == pytest.approx(apart.tolist(), rel=1e-6)


def test_the_spec(metric: Brisque, folder: Path) -> None:
    spec = metric.spec
    assert spec.name == "brisque"
    assert not spec.higher_is_better
    assert spec.sign == -1
    assert [file.name for file in spec.weights] == ["allmodel", "allrange"]
    assert [file.sha256 for file in spec.weights] == [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("allmodel", "allrange")
    ]
    assert all(file.origin.startswith("https://") for file in spec.weights)


def test_by_name_with_a_folder_or_both_files(metric: Brisque, folder: Path) -> None:
    images = from_uint8(textures(1))
    for weights in (str(folder), [folder / "allmodel", folder / "allrange"]):
        assert metrics.create("brisque", weights=weights)(images).equal(metric(images))


def test_without_its_files_it_says_which_and_where_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match="needs the weights brisque_allmodel") as raised:
        metrics.create("brisque")
    assert "https://" in raised.value.fix
    assert str(tmp_path) in raised.value.fix


def test_other_files_in_the_folder_of_weights_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("allmodel", "allrange"):
        (tmp_path / f"brisque_{name}").write_bytes((folder / name).read_bytes())
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match="brisque_allmodel has sha256"):
        Brisque()
    assert Brisque(tmp_path).spec.weights[0].name == "brisque_allmodel"


def test_ranges_of_another_number_of_features_are_refused(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "allrange").read_text().splitlines()
    (tmp_path / "range").write_text("\n".join([*lines, "37 0 1"]))
    with pytest.raises(WeightsError, match="range holds the ranges of 37 features, BRISQUE has 36") as raised:
        Brisque([folder / "allmodel", tmp_path / "range"])
    assert raised.value.where.file == str(tmp_path / "range")


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_smaller_images_are_refused_by_name(metric: Brisque, size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match=re.escape(f"brisque takes images from 32 x 32, got {size}")):
        metric(torch.zeros(1, 3, *size))
