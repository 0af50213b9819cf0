"""cAdv with a narrow network of random weights: hints, the two ways to show its colours, weights and identity."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from iqa_robustness import attacks
from iqa_robustness.attacks import cadv
from iqa_robustness.attacks.cadv import CAdv, Picture, answer_entropy, surest_places
from iqa_robustness.attacks.colorization import ColorizationNetwork
from iqa_robustness.attacks.lab import to_lab
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.weights import FOLDER_VARIABLE, entry_of, sha256_of
from iqa_robustness.similarity import ssim
from iqa_robustness.store import document_of
from iqa_robustness.streams import Streams


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of a network 32 times as narrow as the published one, whose answers are not flat."""
    torch.manual_seed(3)
    network = ColorizationNetwork(width=2)
    with torch.no_grad():
        network.model_out[0].weight.mul_(10)
    path = tmp_path_factory.mktemp("weights") / "narrow.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cadv, "ColorizationNetwork", partial(ColorizationNetwork, width=2))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))


def made(weights: Path, **parameters: object) -> CAdv:
    attack = attacks.create("cadv", **{"weights": str(weights), "rate": 0.1, "steps": 4, **parameters})
    assert isinstance(attack, CAdv)
    return attack


def patches(height: int = 40, width: int = 48) -> torch.Tensor:
    """(1, 3, height, width): six colours in blocks, with a little noise."""
    levels = np.random.RandomState(5).randint(60, 200, (1, 3, 2, 3)).astype(np.float32)
    blocks = F.interpolate(torch.from_numpy(levels), size=(height, width), mode="nearest")
    noise = torch.from_numpy(np.random.RandomState(6).randint(-4, 5, (1, 3, height, width)).astype(np.float32))
    return (blocks + noise) / 255


def start(attack: CAdv, image: torch.Tensor) -> Picture:
    _, (picture,) = attack.start(image, Streams("key", ["a"]))
    assert isinstance(picture, Picture)
    return picture


# --- hints ------------------------------------------------------------------------------------------------------------


def test_hints_are_true_colours_at_so_many_pixels(weights: Path) -> None:
    image = patches()
    picture = start(made(weights), image)
    told = picture.mask[0, 0] > 0.5
    assert int(told.sum()) == 50
    colours = to_lab(image)[0, 1:] / 110
    assert torch.allclose(picture.hints[0][:, told], colours[:, told])
    assert not picture.hints[0][:, ~told].any()
    assert set(picture.mask.unique().tolist()) == {0.0, 1.0}


def test_another_checkpoints_mask_is_centred(weights: Path) -> None:
    centred = start(made(weights, mask_centre=0.5), patches())
    plain = start(made(weights), patches())
    assert set(centred.mask.unique().tolist()) == {-0.5, 0.5}
    assert int((centred.mask > 0).sum()) == int((plain.mask > 0.5).sum()) == 50


@pytest.mark.parametrize("together", [False, True])
def test_the_surest_half_of_the_clusters_is_chosen(together: bool) -> None:
    image = patches()
    colours = to_lab(image)[0, 1:] / 110
    columns = torch.arange(48.0).expand(40, 48)  # surer to the left
    sure = surest_places(columns, colours, seed=1, blurred_together=together).view(40, 48)
    assert 0 < int(sure.sum()) < sure.numel()
    assert float(columns[sure].mean()) < float(columns[~sure].mean())
    assert torch.equal(sure, surest_places(columns, colours, seed=1, blurred_together=together).view(40, 48))


def test_a_grey_image_has_places_too() -> None:
    assert int(surest_places(torch.zeros(16, 16), torch.zeros(2, 16, 16), seed=0).sum()) > 0


def test_entropy_is_in_nats_at_the_images_size(weights: Path) -> None:
    blank = torch.zeros(1, 1, 16, 24)
    network = made(weights).network
    found = answer_entropy(network, blank, blank)
    assert found.shape == (16, 24)
    assert (found >= 0).all()
    assert float(found.max()) <= np.log(529) + 1e-4
    assert torch.equal(found[0, :4], found[0, :1].expand(4))


# --- colours ----------------------------------------------------------------------------------------------------------


def test_no_change_is_the_clean_image_and_with_paper_the_networks_picture(weights: Path) -> None:
    image = patches()
    ours, published = (start(made(weights, paper=paper), image) for paper in (False, True))
    zeros = torch.zeros(3, 40, 48)
    with torch.no_grad():
        assert float((ours(zeros) - image).abs().max()) < 0.02 / 255
        shown = published(zeros)
        answer = published.network(published.lightness, published.hints, published.mask)
    assert float(ssim(shown, image)) < 0.99
    inside = (shown > 0.01).all(dim=1) & (shown < 0.99).all(dim=1)
    assert torch.allclose(to_lab(shown).movedim(1, -1)[inside][:, 1:], 110 * answer.movedim(1, -1)[inside], atol=0.1)


@pytest.mark.parametrize("size", [(40, 48), (33, 47)])
def test_it_attacks_within_its_budget_at_sizes_that_the_network_does_not_take(
    weights: Path, size: tuple[int, int]
) -> None:
    clean = (patches(*size) * 255).round() / 255
    for paper in (False, True):
        result = made(weights, paper=paper, rate=0.05, published_rate=0.05)(Vulnerable(), clean)
        assert result.images.shape == clean.shape
        assert (ssim(result.images, clean) >= 0.85 - 1e-6).all()
        assert result.backwards.tolist() == [4]
        if not paper:
            assert float(result.values - result.clean_values) > 0.01
            assert result.trace[-1] > result.trace[0]


def test_in_company_an_image_is_attacked_alike(weights: Path) -> None:
    clean = torch.cat([patches(), patches().flip(3), patches().flip(2)]).mul(255).round().div(255)
    whole = made(weights, steps=2)(Vulnerable(), clean, ids=["a", "b", "c"])
    alone = made(weights, steps=2)(Vulnerable(), clean[1:2], ids=["b"])
    assert torch.equal(whole.images[1:2], alone.images)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_the_files_digest_is_part_of_the_record(weights: Path) -> None:
    attack = made(weights)
    assert attack.sha256 == sha256_of(weights)
    assert document_of(attack)["fields"]["sha256"] == attack.sha256
    assert attack.network is attack.network


def test_without_the_file_it_is_not_made_and_the_file_is_named() -> None:
    assert not attacks.available("cadv")
    with pytest.raises(WeightsError, match=r"siggraph17-df00044c\.pth") as raised:
        attacks.create("cadv")
    assert entry_of("cadv").origin in str(raised.value)


def test_a_file_under_the_published_name_has_to_have_the_published_digest(weights: Path, tmp_path: Path) -> None:
    (tmp_path / entry_of("cadv").file).write_bytes(weights.read_bytes())
    assert attacks.available("cadv")
    with pytest.raises(WeightsError, match="is expected"):
        _ = attacks.create("cadv").network  # type: ignore[attr-defined]


def test_a_file_of_other_keys_is_refused(toys: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model1.0.weight": torch.zeros(2, 4, 3, 3)}, path)
    with pytest.raises(WeightsError, match="do not fit"):
        made(path)(Vulnerable(), toys.pictures(1, 16, 16))


@pytest.mark.parametrize("parameters", [{"hints": 0}, {"steps": 0}, {"rate": 0.0}])
def test_impossible_parameters_are_refused(weights: Path, parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        made(weights, **parameters)


def test_the_published_rates_are_the_means_over_the_benchmarks_metrics() -> None:
    """Benchmark, section 3.3, cAdv: category 0 is the strongest."""
    rates = {
        "strong": (0.00609859, 0.00458041, 0.00401356, 0.00435677, 0.00207826, 0.00495279, 0.00313296),
        "medium": (0.00168729, 0.00163323, 0.000882467, 0.0011244, 0.000531442, 0.00144752, 0.00112442),
        "weak": (0.000189717, 0.000158383, 5e-05, 5.90613e-05, 0.00011, 7.7395e-05, 0.00023),
    }
    for strength, published in rates.items():
        assert CAdv.strengths[strength]["published_rate"] == pytest.approx(np.mean(published), rel=0.01)
