"""Full-reference metrics: each image is compared with its own reference, in every form that a metric may have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, ImageContractError, MetricDeclarationError
from iqa_robustness.metrics import pyiqa_table
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.declaration import declared_spec
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.probe import probe, probe_images, probe_references
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

PROGRAM = """
import json, sys
from PIL import Image
import numpy as np
request = json.loads(sys.stdin.readline())
if request["request"] == "describe":
    print(json.dumps({"score_range": [0, 255], "higher_is_better": False, "full_reference": True}))
else:
    pairs = zip(request["images"], request["references"], strict=True)
    read = lambda path: np.asarray(Image.open(path), float)
    print(json.dumps({"scores": [float(np.abs(read(a) - read(b)).mean()) for a, b in pairs]}))
"""


def pictures(count: int, *, seed: int = 0, size: tuple[int, int] = (40, 48)) -> Tensor:
    levels = np.random.RandomState(seed).randint(0, 256, (count, 3, *size))
    return torch.from_numpy(levels.astype(np.float32)) / 255


class Distance(Metric):
    """Mean absolute difference; remembers how many rows it was shown."""

    spec = MetricSpec(name="distance", score_range=(0.0, 1.0), higher_is_better=False, full_reference=True)
    rows: tuple[int, ...] = ()

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        self.rows += (len(images),)
        assert reference.shape == images.shape
        return (images - reference).abs().mean(dim=(1, 2, 3))


# --- the contract ---------------------------------------------------------------------------------------------------


def test_evaluate_passes_on_what_the_spec_says_and_nothing_else() -> None:
    images, reference = pictures(2), pictures(2, seed=1)
    assert torch.equal(Vulnerable().evaluate(images, reference=reference), Vulnerable()(images))
    expected = (images - reference).abs().mean(dim=(1, 2, 3))
    assert torch.equal(Distance().evaluate(images, streams=Streams("k", "ab"), reference=reference), expected)


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(ConfigurationError, match="compares with a reference") as caught:
        Scorer(metric=Distance(), micro_batch=2).scores(pictures(2))
    assert caught.value.where.metric == "distance"
    assert "references=" in caught.value.fix


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8])
def test_each_image_meets_its_own_reference_in_padded_batches(micro_batch: int) -> None:
    images, references, metric = pictures(5), pictures(5, seed=1), Distance()
    scorer = Scorer(metric=metric, micro_batch=micro_batch)
    expected = (images - references).abs().mean(dim=(1, 2, 3))
    assert torch.allclose(scorer.scores(images, references=references), expected)
    values, gradients = scorer.scores_and_gradients(images, references=references)
    assert torch.allclose(values, expected)
    assert torch.equal(gradients, (images - references).sign() / images[0].numel())
    order = [3, 0, 4]
    assert torch.equal(scorer.scores(images[order], references=references[order]), values[order])
    assert set(metric.rows) == {micro_batch}


def test_a_metric_without_references_is_not_shown_any() -> None:
    images = pictures(3)
    scorer = Scorer(metric=Vulnerable(), micro_batch=2)
    assert torch.equal(scorer.scores(images, references=pictures(3, seed=1)), scorer.scores(images))


def test_the_probe_compares_with_pictures_that_differ() -> None:
    images = probe_images()
    assert (probe_references(images) != images).flatten(1).any(dim=1).all()
    found = probe(Distance())
    assert found.differentiable
    assert len(set(found.fingerprint)) > 4


# --- the metrics ----------------------------------------------------------------------------------------------------


def test_ssim_is_scikit_images() -> None:
    images, reference = pictures(3), pictures(3, seed=1) * 0.5 + pictures(3) * 0.5
    expected = [
        structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1)
        for a, b in zip(images, reference, strict=True)
    ]
    found = metrics.create("ssim").evaluate(images, reference=reference)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert metrics.create("ssim").evaluate(images, reference=images).tolist() == pytest.approx([1.0] * 3)


def test_psnr_is_scikit_images_up_to_the_stated_floor() -> None:
    images = pictures(3)
    for noise in (1, 8, 64):
        levels = (images * 255 + noise).round().clamp(max=255) / 255
        found = metrics.create("psnr").evaluate(levels, reference=images)
        expected = [
            peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1) for a, b in zip(levels, images, strict=True)
        ]
        assert found.tolist() == pytest.approx(expected, abs=0.35 if noise == 1 else 0.01)
        assert (found <= torch.tensor(expected, dtype=torch.float32)).all()
    assert metrics.create("psnr").evaluate(images, reference=images).tolist() == pytest.approx([60.0] * 3)


def test_psnr_has_a_slope_at_and_near_its_top() -> None:
    images = pictures(1)
    for step in (0.0, 1e-4, 1 / 255):
        leaf = (images + step).clamp(0, 1).requires_grad_(True)
        (gradient,) = torch.autograd.grad(metrics.create("psnr").evaluate(leaf, reference=images).sum(), leaf)
        assert torch.isfinite(gradient).all()
        assert bool(gradient.any()) == (step > 0)


def test_ssim_refuses_what_is_too_small() -> None:
    with pytest.raises(ImageContractError):
        metrics.create("ssim").evaluate(torch.zeros(1, 3, 16, 64), reference=torch.zeros(1, 3, 16, 64))


# --- the user's own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["white-box", "query-only"])
def test_a_function_of_two_batches_becomes_a_metric(access: str) -> None:
    metric = metrics.from_function(
        lambda images, reference: (images - reference).square().mean(dim=(1, 2, 3)),
        name="mse",
        score_range=(0, 1),
        higher_is_better=False,
        full_reference=True,
        access=access,  # type: ignore[arg-type]
    )
    images, reference = pictures(3), pictures(3, seed=1)
    found = Scorer(metric=metric, micro_batch=2).scores(images, references=reference)
    assert torch.allclose(found, (images - reference).square().mean(dim=(1, 2, 3)))


def test_a_program_is_given_the_paths_of_the_references(tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text(PROGRAM, encoding="utf-8")
    metric = metrics.create(f"exec:{sys.executable} {script}")
    assert metric.spec.full_reference
    images, reference = pictures(3), pictures(3, seed=1)
    found = Scorer(metric=metric, micro_batch=4).scores(images, references=reference)
    assert found.tolist() == pytest.approx((255 * (images - reference).abs().mean(dim=(1, 2, 3))).tolist(), abs=1e-3)


def test_whether_a_program_compares_is_true_or_false() -> None:
    said = {"score_range": [0, 1], "higher_is_better": True}
    assert not declared_spec(said, name="x", fix="", input_policy="").full_reference
    assert declared_spec({**said, "full_reference": True}, name="x", fix="", input_policy="").full_reference
    with pytest.raises(MetricDeclarationError, match="full_reference is 1"):
        declared_spec({**said, "full_reference": 1}, name="x", fix="", input_policy="")


@pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed")
@pytest.mark.parametrize("name", ["gmsd", "psnr"])
def test_metrics_of_pyiqa_that_need_no_weights_compare(name: str) -> None:
    metric = metrics.create(f"pyiqa:{name}")
    assert metric.spec.full_reference
    assert metric.spec.access == "white-box"
    reference = pictures(2, size=(64, 64))
    near, far = (reference * share + 0.5 * (1 - share) for share in (0.95, 0.5))
    better = [metric.spec.sign * metric.evaluate(images, reference=reference) for images in (near, far)]
    assert (better[0] > better[1]).all()
    if name == "psnr":
        expected = [-10 * np.log10(float((near - reference)[row].square().mean())) for row in range(2)]
        assert better[0].tolist() == pytest.approx(expected, rel=1e-3)
