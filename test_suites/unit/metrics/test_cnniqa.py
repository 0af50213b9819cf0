"""`cnniqa`: against its published pipeline written again with Pillow and SciPy; its checkpoint; its gradient.

The authors' weights may not ship; these are random ones in their layout, so scores mean nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d, correlate2d
from torch import Tensor, nn

from iqa_robustness import metrics
from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.cnniqa import CnnIqa, CnnIqaNetwork, grey, locally_normalized
from iqa_robustness.metrics.weights import FOLDER_VARIABLE

SHAPES = {
    "conv1.weight": (50, 1, 7, 7),
    "conv1.bias": (50,),
    "fc1.weight": (800, 100),
    "fc1.bias": (800,),
    "fc2.weight": (800, 800),
    "fc2.bias": (800,),
    "fc3.weight": (1, 800),
    "fc3.bias": (1,),
}


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in randomised(CnnIqaNetwork, gain=2.0).state_dict().items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    """Saved as the authors did: the old format of torch.save, no suffix."""
    path = tmp_path_factory.mktemp("cnniqa") / "CNNIQA-LIVE"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def metric(file: Path) -> CnnIqa:
    return CnnIqa(file)


def pictures(count: int = 2, *, height: int = 64, width: int = 96) -> np.ndarray:
    random = np.random.default_rng(height + width)
    waves = np.sin(np.arange(width) / (3 + np.arange(count)[:, None, None])) * 60 + 120
    noise = random.normal(0, 25, (count, height, width, 3))
    return np.clip(np.rint(waves[..., None] + noise), 0, 255).astype(np.uint8)


# --- the pipeline again ---------------------------------------------------------------------------------------------


def reference_patch(patch: np.ndarray) -> np.ndarray:
    box = np.full((3, 3), 1 / 9)
    mean, square = (convolve2d(part, box, boundary="symm", mode="same") for part in (patch, patch**2))
    return (patch - mean) / (np.sqrt(np.maximum(square - mean**2, 0)) + 1)


def reference_network(patch: np.ndarray, weights: dict[str, np.ndarray]) -> float:
    kernels = zip(weights["conv1.weight"][:, 0], weights["conv1.bias"], strict=True)
    responses = [correlate2d(patch, kernel, mode="valid") + bias for kernel, bias in kernels]
    hidden = np.array([response.max() for response in responses] + [response.min() for response in responses])
    for layer in ("fc1", "fc2"):
        hidden = np.maximum(weights[f"{layer}.weight"] @ hidden + weights[f"{layer}.bias"], 0)
    return float((weights["fc3.weight"] @ hidden + weights["fc3.bias"])[0])


def reference_score(pixels: np.ndarray, state: dict[str, Tensor], *, paper: bool) -> float:
    weights = {name: value.double().numpy() for name, value in state.items()}
    picture = Image.fromarray(pixels).convert("L")
    width, height = picture.size
    # The published loop ends before `height - 32`; with one more it takes all whole patches.
    corners = [
        (left, top)
        for top in range(0, height - 32 + (not paper), 32)
        for left in range(0, width - 32 + (not paper), 32)
    ]
    crops = [np.asarray(picture.crop((left, top, left + 32, top + 32))) / 255.0 for left, top in corners]
    return float(np.mean([reference_network(reference_patch(crop), weights) for crop in crops]))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (65, 40), (95, 33)])
def test_equals_the_published_pipeline(
    file: Path, state: dict[str, Tensor], paper: bool, size: tuple[int, int]
) -> None:
    pixels = pictures(height=size[0], width=size[1])
    scores = CnnIqa(file, paper=paper)(from_uint8(pixels))
    expected = [reference_score(part, state, paper=paper) for part in pixels]
    assert scores.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 90, 110, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(part).convert("L")) for part in pixels])
    assert np.array_equal(np.rint(grey(from_uint8(pixels)).numpy() * 255), expected)


def test_rounding_passes_the_gradient_and_hides_small_changes() -> None:
    images = from_uint8(np.full((1, 32, 32, 3), 90, np.uint8)).requires_grad_()
    (gradient,) = torch.autograd.grad(grey(images).sum(), images)
    assert gradient[0, :, 0, 0].tolist() == pytest.approx([0.299, 0.587, 0.114], abs=1e-3)
    assert grey(images + 0.4 / 255).equal(grey(images))


def test_a_patch_is_normalised_within_itself() -> None:
    values = torch.rand((1, 2, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = locally_normalized(values)
    assert found[0, 0].numpy() == pytest.approx(reference_patch(values[0, 0].numpy()), abs=1e-9)
    changed = values.clone()
    changed[0, 1] = 0
    assert locally_normalized(changed)[0, 0].equal(found[0, 0])


def test_paper_leaves_the_last_patches_out(file: Path) -> None:
    images = from_uint8(pictures(1, height=64, width=96))
    changed = images.clone()
    changed[:, :, 32:] = 0.5
    changed[:, :, :, 64:] = 0.2
    assert CnnIqa(file, paper=True)(changed).equal(CnnIqa(file, paper=True)(images))
    assert not CnnIqa(file)(changed).equal(CnnIqa(file)(images))


# --- gradients ------------------------------------------------------------------------------------------------------


def test_the_gradient_equals_finite_differences(metric: CnnIqa) -> None:
    """Of everything after the grey levels, in float64."""
    network = CnnIqaNetwork().double()
    network.load_state_dict({name: value.double() for name, value in metric.network.state_dict().items()})
    values = torch.rand((1, 2, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def score(patches: Tensor) -> Tensor:
        return network(locally_normalized(patches)[0][:, None]).mean()

    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(leaf), leaf)
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        risen = float(score(values + 1e-7 * direction) - score(values - 1e-7 * direction)) / 2e-7
    assert float((gradient * direction).sum()) == pytest.approx(risen, rel=1e-4)


def test_a_step_against_the_gradient_lowers_the_score(metric: CnnIqa) -> None:
    images = from_uint8(pictures()).requires_grad_()
    scores = metric(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert all(bool(part.any()) for part in gradient)
    for sign in (1, -1):
        moved = metric((images + sign * 2 / 255 * gradient.sign()).clamp(0, 1)) - scores
        assert bool((sign * moved > 0).all())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_have_a_finite_score_and_gradient(metric: CnnIqa, value: float) -> None:
    images = torch.full((2, 3, 64, 32), value, requires_grad=True)
    scores = metric(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert bool(torch.isfinite(scores).all())
    assert bool(torch.isfinite(gradient).all())


# --- the contract ---------------------------------------------------------------------------------------------------


def test_the_layout_is_the_published_one(state: dict[str, Tensor]) -> None:
    assert {name: tuple(value.shape) for name, value in state.items()} == SHAPES
    parameters = sum(value.numel() for value in state.values())
    assert parameters == 724_901
    assert re.findall(r"(\d+) k parameters", CnnIqaNetwork.__doc__ or "") == [str(round(parameters / 1000))]


def test_companions_do_not_matter(metric: CnnIqa) -> None:
    images = from_uint8(pictures(4))
    apart = torch.cat([metric(images[k : k + 1]) for k in range(4)])
    assert metric(images).tolist() == pytest.approx(apart.tolist(), abs=1e-5 * metric.spec.diam)


def test_the_spec(metric: CnnIqa, file: Path) -> None:
    (described,) = metric.spec.weights
    assert metric.spec.name == "cnniqa"
    assert not metric.spec.higher_is_better
    assert described.name == "CNNIQA-LIVE"
    assert described.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metric.spec.version != CnnIqa(file, paper=True).spec.version
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_by_name(metric: CnnIqa, file: Path) -> None:
    images = from_uint8(pictures(1))
    assert metrics.create("cnniqa", weights=str(file))(images).equal(metric(images))


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_without_its_file_it_says_which_and_where_from(empty_folder: Path) -> None:
    with pytest.raises(WeightsError, match="needs the weights CNNIQA-LIVE") as raised:
        metrics.create("cnniqa")
    assert "lidq92/CNNIQA" in raised.value.fix


def test_another_file_in_the_folder_of_weights_is_refused(empty_folder: Path, file: Path) -> None:
    (empty_folder / "CNNIQA-LIVE").write_bytes(file.read_bytes())
    with pytest.raises(WeightsError, match="sha256"):
        metrics.create("cnniqa")


def test_weights_of_another_shape_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({**state, "fc1.weight": torch.zeros(800, 99)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit cnniqa: misshapen fc1\.weight \(800, 99\)"):
        CnnIqa(tmp_path / "other.pth")


@pytest.mark.parametrize(("paper", "least", "size"), [(False, 32, (31, 64)), (True, 33, (64, 32))])
def test_smaller_images_are_refused_by_name(file: Path, paper: bool, least: int, size: tuple[int, int]) -> None:
    message = re.escape(f"cnniqa takes images from {least} x {least}, got {size}")
    with pytest.raises(ImageContractError, match=message):
        CnnIqa(file, paper=paper)(torch.zeros(1, 3, *size))
