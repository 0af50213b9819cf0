"""Zhang et al.: the Lagrangian against closed forms, and one name for one distance."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness import attacks
from iqa_robustness.attacks.zhang import Zhang, ZhangDISTS, ZhangLite0Features, ZhangLPIPS, ZhangSSIM, slopes
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics import pyiqa_distance, pyiqa_files, pyiqa_table
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.similarity import ssim
from iqa_robustness.store import document_of


class Squares(nn.Module):
    """Σ (x − r)², in the place of a network of pyiqa."""

    files = (WeightsFile(name="vgg.pth", sha256="ab" * 32), WeightsFile(name="dists.pth", sha256="cd" * 32))

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        assert len(images) == 1  # a network's last bit depends on the size of its batch
        return (images - references).square().sum(dim=(1, 2, 3))


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa_distance, "PyiqaDistance", Squares)


# --- the Lagrangian ---------------------------------------------------------------------------------------------------


def test_without_weight_a_linear_metric_is_driven_to_its_optimum(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(2, 16, 20), toys.gaussian(16, 20)
    for epsilon in (2, 4, 8):
        result = ZhangSSIM(epsilon=epsilon / 255, weight=0.0)(toys.Linear(weights), clean)
        assert torch.equal(((result.images - clean) * 255).round(), (epsilon * weights.sign()).expand_as(clean))


def test_the_score_and_the_distance_balance_where_their_slopes_are_equal(toys: SimpleNamespace, squares: None) -> None:
    clean, signs = toys.pictures(2, 12, 14), toys.gaussian(12, 14).sign()
    # Slope 0.02 of the score against 2 · weight · change of the distance: even at 4/255.
    weight = 0.02 / (2 * 4 / 255)
    result = ZhangDISTS(epsilon=8 / 255, weight=weight, steps=40)(toys.Linear(0.02 * signs), clean)
    change = 255 * (result.images - clean) * signs
    assert float(change.mean()) == pytest.approx(4, abs=1.2)
    free = ZhangDISTS(epsilon=8 / 255, weight=0.0, steps=40)(toys.Linear(0.02 * signs), clean)
    assert float((255 * (free.images - clean) * signs).mean()) == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("kind", [ZhangSSIM, ZhangLite0Features])
def test_a_heavier_distance_leaves_more_likeness_and_less_gain(toys: SimpleNamespace, kind: type[Zhang]) -> None:
    clean, metric = toys.pictures(2, 32, 34), toys.Linear(toys.gaussian(32, 34, scale=0.001))
    results = [kind(epsilon=8 / 255, weight=weight)(metric, clean) for weight in (0.0, 3.0, 100.0)]
    likeness = [float(ssim(result.images, clean).mean()) for result in results]
    gains = [float((result.values - result.clean_values).mean()) for result in results]
    assert likeness[0] < likeness[2]
    assert gains[0] > gains[1] > gains[2]


def test_slopes_are_each_images_own_and_zero_where_they_are_not_finite(toys: SimpleNamespace) -> None:
    images, references = toys.pictures(3, 8, 9), toys.pictures(3, 8, 9, seed=1)
    references[1] = images[1]

    def norm(first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().sum(dim=(1, 2, 3)).sqrt()

    found = slopes(norm, images, references)
    for row in (0, 2):
        difference = images[row] - references[row]
        assert torch.allclose(found[row], difference / difference.norm(), atol=1e-6)
    assert not found[1].any()


def test_paper_leaves_the_gradients_size_to_adam_and_returns_the_last_image(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    hill = toys.Quadratic(torch.ones(3, 8, 9) * 0.01, clean[0] + 1.3 / 255)
    ours, published = ZhangSSIM(weight=0.0)(hill, clean[:1]), ZhangSSIM(weight=0.0, paper=True)(hill, clean[:1])
    assert float(ours.values) >= float(published.values)
    assert set(published.backwards.tolist()) == {10}


def test_the_cost_is_ten_gradients_and_the_check(toys: SimpleNamespace) -> None:
    for strength in attacks.STRENGTHS:
        result = attacks.create("zhang-ssim", strength=strength)(toys.Linear(toys.gaussian()), toys.pictures(2))
        assert result.backwards.tolist() == [10, 10]
        assert set(result.forwards.tolist()) <= {11, 12}


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_ssim_distance_is_one_minus_ssim_and_the_features_are_the_bundled_backbones(toys: SimpleNamespace) -> None:
    images, references = toys.pictures(2, 32, 34), toys.pictures(2, 32, 34, seed=1)
    device = torch.device("cpu")
    assert torch.equal(ZhangSSIM().distance(device)(images, references), 1 - ssim(images, references))
    features = ZhangLite0Features()
    network = features.distance(device)
    assert type(network).__name__ == "Lite0Features"
    assert features.distance(device) is network  # it is made once


def test_no_two_names_share_a_document(squares: None) -> None:
    documents = [document_of(kind())["class"] for kind in (ZhangSSIM, ZhangLite0Features, ZhangDISTS, ZhangLPIPS)]
    assert len(set(documents)) == 4


def test_a_network_from_outside_is_in_the_record_with_its_digests(squares: None) -> None:
    attack = ZhangDISTS()
    assert attack.weights == (("vgg.pth", "ab" * 32), ("dists.pth", "cd" * 32))
    assert attack.library.startswith("pyiqa ")
    fields = document_of(attack)["fields"]
    assert fields["weights"] == [["vgg.pth", "ab" * 32], ["dists.pth", "cd" * 32]]
    assert "ab" * 32 in repr(attack)
    assert [ZhangDISTS.network, ZhangLPIPS.network] == ["dists", "lpips"]
    with pytest.raises(ConfigurationError):
        attacks.create("zhang-dists", weights=())


@pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed (extra pyiqa)")
@pytest.mark.parametrize("name", ["zhang-dists", "zhang-lpips"])
def test_without_its_files_an_attack_is_not_made_and_nothing_takes_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not attacks.available(name)
    with pytest.raises(WeightsError, match=r"needs .*\.pth"):
        attacks.create(name)


@pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed (extra pyiqa)")
@pytest.mark.parametrize("name", ["zhang-dists", "zhang-lpips"])
def test_it_is_available_once_its_files_are_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for file in pyiqa_files.FILES[name.removeprefix("zhang-")]:
        (tmp_path / "hub" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub" / file).write_bytes(b"weights")
    assert attacks.available(name)


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"weight": -1.0}, {"weight": float("nan")}, {"epsilon": 4.0}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        ZhangSSIM(**parameters)
