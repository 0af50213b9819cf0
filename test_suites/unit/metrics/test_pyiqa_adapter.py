"""`pyiqa:NAME`: the library's wrapper tamed, its files missing or found, its facts carried over.

Most tests use a stand-in that has the traps of the library's wrapper and needs none of its packages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, ScoreShapeError, UnknownNameError, WeightsError
from iqa_robustness.metrics import pyiqa_adapter, pyiqa_table
from iqa_robustness.metrics.probe import probe, probe_images
from iqa_robustness.metrics.pyiqa_table import Row
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.metrics.weights import sha256_of

REAL = pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed")


class Mean(nn.Module):
    """(N, 1) scores; keeps a network where torch does not see it."""

    def __init__(self, weights: str | None = None, **_: Any) -> None:
        super().__init__()
        print("chatter")
        nn.Linear(3, 3)  # draws from torch's generator, as every constructor does
        self.hidden = [nn.Dropout(0.9), nn.Linear(1, 1)]
        self.scale = torch.load(weights)["scale"] if weights else 40.0

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.hidden[0](images).mean(dim=(1, 2, 3))[:, None]


class Wrapper(nn.Module):
    """As the library's: gradients are switched on and off, images are checked, losses are averaged."""

    def __init__(self, net: nn.Module, as_loss: bool, loss_reduction: str, check_input_range: bool) -> None:
        super().__init__()
        self.net = net.eval()
        self.as_loss, self.loss_reduction = as_loss, loss_reduction
        self.check_input_range = check_input_range and not as_loss
        self.dummy_param = nn.Parameter(torch.empty(0))

    def forward(self, *images: Tensor) -> Any:
        if self.check_input_range:
            assert images[0].min() > -1e-6
            assert images[0].max() < 1 + 1e-6
        with torch.set_grad_enabled(self.as_loss):
            scores = self.net(*images)
        return scores.mean() if self.as_loss and self.loss_reduction == "mean" else scores


class Likeness(Mean):
    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        return 1 - (images - reference).abs().mean(dim=(1, 2, 3))[:, None]


class Shaped(Mean):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Any:
        return self.change(super().forward(images))


class Fetching(Mean):
    def forward(self, images: Tensor) -> Tensor:
        torch.hub.load_state_dict_from_url("https://weights.invalid/late.pth", model_dir="cache")
        return super().forward(images)


def _raising(error: Exception) -> Callable[..., nn.Module]:
    def build(*_: Any, **__: Any) -> nn.Module:
        raise error

    return build


class HeadlessError(Exception):
    """Named as Hugging Face's client names it."""


HeadlessError.__name__ = "LocalEntryNotFoundError"


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., nn.Module]]:
    """Networks by name; a stand-in for pyiqa builds them."""
    found: dict[str, Callable[..., nn.Module]] = {"mean": Mean}

    def rows() -> dict[str, Row]:
        made = {
            name: Row(
                name=name,
                kind="Mean",
                full_reference=False,
                higher_is_better=False,
                score_range=(0.0, 40.0),
                stated="~0, ~40",
            )
            for name in found
        }
        made["open"] = Row(
            name="open", kind="Mean", full_reference=False, higher_is_better=True, score_range=None, stated="~0, ~"
        )
        made["likeness"] = Row(
            name="likeness", kind="SSIM", full_reference=True, higher_is_better=True, score_range=(0, 1), stated="0, 1"
        )
        return made

    def create_metric(
        name: str,
        as_loss: bool = False,
        device: str | None = None,
        loss_reduction: str = "mean",
        check_input_range: bool = True,
        **options: Any,
    ) -> nn.Module:
        assert device == "cpu"
        network = Likeness if name == "likeness" else found.get(name, Mean)
        return Wrapper(network(**options), as_loss, loss_reduction, check_input_range)

    module = ModuleType("pyiqa")
    module.create_metric = create_metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr(pyiqa_adapter, "ensure_torchvision", lambda: "native")
    monkeypatch.setattr(pyiqa_table, "installed", lambda: True)
    monkeypatch.setattr(pyiqa_table, "version", lambda: "7.8")
    monkeypatch.setattr(pyiqa_table, "rows", rows)
    return found


@pytest.fixture
def images() -> Tensor:
    return probe_images()[:3, :, :32, :40].clone()


# --- facts ----------------------------------------------------------------------------------------------------------


def test_the_spec_carries_the_tables_facts(networks: Any) -> None:
    spec = metrics.create("pyiqa:mean").spec
    assert (spec.name, spec.score_range, spec.higher_is_better) == ("pyiqa:mean", (0.0, 40.0), False)
    assert spec.version == "pyiqa 7.8"
    assert spec.licence == metrics.registry.resolve("pyiqa:mean").licence == pyiqa_adapter.LICENCE
    assert spec.access == "white-box"


def test_the_files_that_were_read_are_part_of_the_identity(networks: Any, tmp_path: Path) -> None:
    torch.save({"scale": 20.0}, tmp_path / "scale.pth")
    metric = metrics.create("pyiqa:mean", weights=str(tmp_path / "scale.pth"))
    assert [(file.name, file.sha256) for file in metric.spec.weights] == [
        ("scale.pth", sha256_of(tmp_path / "scale.pth"))
    ]


def test_an_open_range_must_be_declared(networks: Any) -> None:
    with pytest.raises(ConfigurationError, match="no finite score range: its table says '~0, ~'") as caught:
        metrics.create("pyiqa:open")
    assert "score_range=(low, high)" in caught.value.fix
    assert metrics.create("pyiqa:open", score_range=(2.0, 12.0)).spec.score_range == (2.0, 12.0)


def test_a_declared_range_replaces_the_tables(networks: Any) -> None:
    assert metrics.create("pyiqa:mean", score_range=(5.0, 30.0)).spec.diam == 25


def test_an_unknown_name_is_refused(networks: Any) -> None:
    with pytest.raises(UnknownNameError):
        metrics.create("pyiqa:meen")


def test_a_metric_with_a_reference_is_given_one(networks: Any, images: Tensor) -> None:
    metric = metrics.create("pyiqa:likeness")
    assert metric.spec.full_reference
    assert metric.spec.access == "white-box"
    reference = images.flip(0) * 1.0000005  # out of range by rounding noise
    expected = 1 - (images - reference.clamp(max=1)).abs().mean(dim=(1, 2, 3))
    scorer = Scorer(metric=metric, micro_batch=2)
    assert torch.allclose(scorer.scores(images, references=reference), expected)
    values, gradients = scorer.scores_and_gradients(images, references=reference)
    assert torch.allclose(values, expected)
    assert gradients.flatten(1).any(dim=1).sum() >= 2


@pytest.mark.parametrize("option", ["as_loss", "device", "loss_reduction", "check_input_range"])
def test_the_wrappers_switches_belong_to_the_adapter(networks: Any, option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} belong to the adapter"):
        pyiqa_adapter.PyIQA("mean", **{option: 1})


# --- gradients ------------------------------------------------------------------------------------------------------


def test_scores_and_gradients_are_each_images_own(networks: Any, images: Tensor) -> None:
    scores, gradients = Scorer(metric=metrics.create("pyiqa:mean"), micro_batch=2).scores_and_gradients(images)
    assert torch.allclose(scores, 40 * images.mean(dim=(1, 2, 3)))
    assert torch.allclose(gradients, torch.full_like(images, 40 / (3 * 32 * 40)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_query_builds_no_graph_even_between_two_gradients(networks: Any, images: Tensor, mode: Any) -> None:
    metric = metrics.create("pyiqa:mean")
    leaf = images.clone().requires_grad_(True)
    assert metric(leaf).requires_grad
    with mode():
        assert not metric(images).requires_grad
        if mode is not torch.enable_grad:
            assert not metric(leaf).requires_grad
    assert metric(leaf).requires_grad


def _rounded(scores: Tensor) -> Tensor:
    return scores.round()


def _through_numpy(scores: Tensor) -> Tensor:
    return torch.from_numpy(scores.detach().numpy())


@torch.no_grad()
def _without_graph(scores: Tensor) -> Tensor:
    return scores * 2


class _OneWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return scores * 1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    "change",
    [_rounded, _through_numpy, _without_graph, _OneWay.apply, lambda scores: (scores * 0).sqrt() + scores],
    ids=["zero", "numpy", "no_grad", "no derivative", "not finite"],
)
def test_a_metric_without_usable_gradients_is_query_only(networks: Any, change: Any) -> None:
    networks["dull"] = lambda: Shaped(change)
    assert metrics.create("pyiqa:dull").spec.access == "query-only"


def test_stated_access_is_not_measured(networks: Any) -> None:
    networks["dear"] = lambda: Shaped(_raising(MemoryError()))
    assert metrics.create("pyiqa:dear", access="query-only").spec.access == "query-only"
    with pytest.raises(MemoryError):
        metrics.create("pyiqa:dear")


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [lambda s: s, lambda s: s[:, 0], lambda s: s[:, :, None], lambda s: (s, "more"), lambda s: s.double()],
    ids=["(N, 1)", "(N,)", "(N, 1, 1)", "tuple", "float64"],
)
def test_scores_become_one_an_image_in_the_images_type(networks: Any, images: Tensor, change: Any) -> None:
    networks["shaped"] = lambda: Shaped(change)
    scores = metrics.create("pyiqa:shaped")(images)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, 40 * images.mean(dim=(1, 2, 3)))


def test_a_scalar_is_one_images_score_and_never_three_images(networks: Any, images: Tensor) -> None:
    networks["averaged"] = lambda: Shaped(lambda scores: scores.mean())
    metric = metrics.create("pyiqa:averaged")
    assert metric(images[:1]).shape == (1,)
    with pytest.raises(ScoreShapeError):
        Scorer(metric=metric, micro_batch=3).scores(images)


@pytest.mark.parametrize(
    "change", [lambda s: s.expand(-1, 2), lambda s: s.T, lambda s: 3.0], ids=["two", "row", "float"]
)
def test_other_shapes_are_left_for_the_scorer_to_refuse(networks: Any, images: Tensor, change: Any) -> None:
    networks["odd"] = lambda: Shaped(change)
    metric = metrics.create("pyiqa:odd", access="query-only")
    with pytest.raises(ScoreShapeError):
        Scorer(metric=metric, micro_batch=3).scores(images)


def test_images_a_little_outside_the_range_are_clamped(networks: Any, images: Tensor) -> None:
    metric = metrics.create("pyiqa:mean")
    images[:, :, 0, 0], images[:, :, 0, 1] = 1.2, -1e-5
    assert metric(images).equal(metric(images.clamp(0, 1)))


def test_hidden_networks_follow_mode_and_freezing(networks: Any, images: Tensor) -> None:
    metric = metrics.create("pyiqa:mean")
    hidden = metric.model.net.hidden
    assert not any(network.training for network in hidden)
    assert not any(parameter.requires_grad for parameter in hidden[1].parameters())
    assert metric(images).equal(metric(images))
    metric.train()
    assert all(network.training for network in hidden)


def test_constructing_leaves_the_generator_and_the_terminal_alone(
    networks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    metrics.create("pyiqa:mean")
    assert torch.get_rng_state().equal(before)
    assert capsys.readouterr().out == ""


# --- what is missing ------------------------------------------------------------------------------------------------


def _fetching(**_: Any) -> nn.Module:
    torch.hub.load_state_dict_from_url("https://weights.invalid/musiq.pth", model_dir="cache")
    raise AssertionError


@pytest.mark.parametrize("name", ["early", "late"])
def test_a_file_that_would_be_fetched_is_named_with_its_place(
    networks: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    networks |= {"early": _fetching, "late": Fetching}
    file = {"early": "musiq.pth", "late": "late.pth"}[name]
    with pytest.raises(WeightsError, match=f"pyiqa:{name} needs {file}") as caught:
        metrics.create(f"pyiqa:{name}")
    assert Path(caught.value.where.file) == Path("cache") / file
    assert f"https://weights.invalid/{file}" in caught.value.fix
    assert "download=True" in caught.value.fix


def test_an_address_opened_directly_is_named_with_the_librarys_folder(networks: Any) -> None:
    import urllib.request

    networks["clip"] = lambda: urllib.request.urlopen("https://cdn.invalid/clip/models/abc/RN50.pt")
    with pytest.raises(WeightsError, match=r"needs RN50\.pt") as caught:
        metrics.create("pyiqa:clip")
    assert Path(caught.value.where.file).parts[-2:] == ("clip", "RN50.pt")


def test_a_file_of_the_hub_is_named_where_the_client_names_it(networks: Any) -> None:
    error = HeadlessError("not in the cache")
    error.__cause__ = ConnectionError("Cannot reach https://huggingface.co/timm/net/resolve/main/model.bin: offline")
    networks["hub"] = _raising(error)
    with pytest.raises(WeightsError, match=r"needs model\.bin of timm/net from Hugging Face's hub"):
        metrics.create("pyiqa:hub")


def test_otherwise_the_clients_own_words_are_passed_on(networks: Any) -> None:
    networks["hub"] = _raising(OSError("Can't load 'a/b' from 'https://huggingface.co/models'.\nmore"))
    with pytest.raises(WeightsError, match="Can't load 'a/b'") as caught:
        metrics.create("pyiqa:hub")
    assert caught.value.where.file.endswith("hub")


def test_a_given_file_that_does_not_exist_is_a_weights_error(networks: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not exist: .*nothing\.pth"):
        metrics.create("pyiqa:mean", weights=str(tmp_path / "nothing.pth"))


def test_downloads_are_allowed_on_request(networks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    asked: list[str] = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_, **__: asked.append(url))

    def build(**_: Any) -> nn.Module:
        torch.hub.download_url_to_file("https://weights.invalid/net.pth", "net.pth")
        return Mean()

    networks["build"] = build
    metrics.create("pyiqa:build", download=True)
    assert asked == ["https://weights.invalid/net.pth"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError):
        metrics.create("pyiqa:build", download=True)


def test_any_other_failure_is_a_configuration_error_with_its_cause(networks: Any) -> None:
    networks["broken"] = _raising(ModuleNotFoundError("No module named 'icecream'"))
    with pytest.raises(
        ConfigurationError, match=r"cannot construct 'broken': ModuleNotFoundError: .*icecream"
    ) as caught:
        metrics.create("pyiqa:broken")
    assert not isinstance(caught.value, WeightsError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_library_that_cannot_be_imported_is_a_configuration_error(
    networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ConfigurationError, match="installed and cannot be imported"):
        metrics.create("pyiqa:mean")


# --- the installed library ------------------------------------------------------------------------------------------


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The library with nothing cached; its folder was fixed when it was imported."""
    pyiqa_adapter.ensure_torchvision()
    import pyiqa.utils.download_util

    monkeypatch.setattr(pyiqa.utils.download_util, "DEFAULT_CACHE_DIR", str(tmp_path / "pyiqa"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return SimpleNamespace(path=tmp_path)


@REAL
@pytest.mark.parametrize(("name", "lower"), [("entropy", False), ("piqe", True)])
def test_metrics_without_weights_run_as_they_are(name: str, lower: bool) -> None:
    metric = metrics.create(f"pyiqa:{name}")
    assert metric.spec.access == "query-only"
    assert metric.spec.higher_is_better != lower
    assert metric.spec.weights == ()
    assert not probe(metric).differentiable
    low, high = metric.spec.score_range
    assert all(low <= float(score) <= high for score in metric(probe_images()[:2]))


@REAL
@pytest.mark.parametrize(("name", "options"), [("cnniqa", {"pretrained": None}), ("wadiqam_nr", {"pretrained": False})])
def test_networks_of_the_library_have_gradients_and_keep_the_contract(name: str, options: dict[str, Any]) -> None:
    """With random weights: what holds of their code, nothing about their scores."""
    metric = metrics.create(f"pyiqa:{name}", **options)
    assert metric.spec.access == "white-box"
    images = probe_images()[:2, :, :96, :128].contiguous()
    scores, gradients = Scorer(metric=metric, micro_batch=2).scores_and_gradients(images)
    assert scores.shape == (2,)
    assert gradients.isfinite().all()
    assert all(bool(gradient.any()) for gradient in gradients)


@REAL
@pytest.mark.parametrize(("name", "file"), [("brisque", "brisque_svm_weights.pth"), ("musiq", "musiq_koniq")])
def test_real_missing_weights_are_named(name: str, file: str, empty_caches: SimpleNamespace) -> None:
    with pytest.raises(WeightsError, match=f"pyiqa:{name} needs {file}") as caught:
        metrics.create(f"pyiqa:{name}")
    assert Path(caught.value.where.file).is_relative_to(empty_caches.path)
