"""Detectors: suspicions against Pillow, SciPy and NumPy, names, and what an attack against one can do."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.objectives import RAISE
from iqa_robustness.defenses import detectors
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.detectors.base import Detector, Suspicion
from iqa_robustness.defenses.detectors.feature_squeezing import FeatureSqueezing
from iqa_robustness.defenses.detectors.score_change import ScoreChange
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.errors import CapabilityError, ConfigurationError, UnknownNameError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams

EVERY = [ScoreChange(), ScoreChange(transformation=Flip()), FeatureSqueezing()]


class Slope(Metric):
    """A linear functional without symmetries, on a scale of its own."""

    spec = MetricSpec(name="slope", score_range=(-20.0, 30.0))

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = images.shape[2:]
        weights = torch.linspace(0, 1, rows)[:, None] ** 2 + torch.linspace(0, 3, columns).sin()[None, :]
        return 40 * (images * weights).mean(dim=(1, 2, 3)) + 100 * images.diff(dim=3).abs().mean(dim=(1, 2, 3))


def of_numpy(pixels: np.ndarray) -> np.ndarray:
    """`Slope` in NumPy, of (N, H, W, 3) levels."""
    images = pixels.astype(np.float64) / 255
    rows, columns = images.shape[1:3]
    weights = np.linspace(0, 1, rows)[:, None] ** 2 + np.sin(np.linspace(0, 3, columns))[None, :]
    return 40 * (images * weights[..., None]).mean(axis=(1, 2, 3)) + 100 * np.abs(np.diff(images, axis=2)).mean(
        axis=(1, 2, 3)
    )


def recoded(pixels: np.ndarray, quality: int) -> np.ndarray:
    found = []
    for picture in pixels:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
        found.append(np.array(Image.open(buffer)))
    return np.stack(found)


# --- what they compute ----------------------------------------------------------------------------------------------


def test_a_score_change_is_what_pillow_does_to_the_score(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    for quality in (30, 80):
        found = detectors.create("score-change", transformation=JPEG(quality=quality)).suspicion(Slope(), images)
        expected = np.abs(of_numpy(photographs) - of_numpy(recoded(photographs, quality))) / 50
        np.testing.assert_allclose(found, expected, atol=2e-6)
    found = detectors.create("score-change:flip").suspicion(Slope(), images)
    np.testing.assert_allclose(found, np.abs(of_numpy(photographs) - of_numpy(photographs[:, :, ::-1])) / 50, atol=2e-6)


def test_feature_squeezing_is_the_larger_change_of_the_two(photographs: np.ndarray) -> None:
    for bits, size in ((5, 3), (2, 5)):
        found = FeatureSqueezing(bits=bits, kernel_size=size).suspicion(Slope(), from_uint8(photographs))
        steps = 2**bits - 1
        few = np.rint(photographs / 255.0 * steps) / steps * 255
        median = median_filter(photographs, size=(1, size, size, 1), mode="mirror")
        changes = [np.abs(of_numpy(photographs) - of_numpy(squeezed)) / 50 for squeezed in (few, median)]
        np.testing.assert_allclose(found, np.maximum(*changes), atol=2e-6)
        assert not np.allclose(*changes, rtol=0.05)


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_the_scale_and_the_direction_of_a_metric_do_not_matter(detector: Detector, photographs: np.ndarray) -> None:
    class Turned(Slope):
        spec = replace(Slope.spec, score_range=(0.0, 500.0), higher_is_better=False)

        def forward(self, images: Tensor) -> Tensor:
            return 7 - 10 * super().forward(images)

    images = from_uint8(photographs)
    assert torch.allclose(detector.suspicion(Turned(), images), detector.suspicion(Slope(), images), atol=1e-5)


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_what_cannot_change_is_not_suspected(detector: Detector) -> None:
    grey = torch.full((2, 3, 24, 24), 0.0)
    assert detector.suspicion(Slope(), grey).tolist() == [0, 0]


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_forwards_are_as_declared(detector: Detector, photographs: np.ndarray) -> None:
    class Counted(Slope):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            Counted.calls += 1
            return super().forward(images)

    detector.suspicion(Counted(), from_uint8(photographs))
    assert Counted.calls == detector.forwards


def test_attacked_images_are_more_suspicious(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    attacked = attacks.create("ifgsm", strength="medium")(Vulnerable(), images).images
    for name in ("score-change:gaussian-blur", "feature-squeezing"):
        scorer = Scorer(metric=Suspicion(Vulnerable(), detectors.create(name)), micro_batch=4)
        assert (scorer.scores(attacked) > scorer.scores(images)).float().mean() >= 0.5, name


# --- as a metric ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_a_suspicion_repeats_in_any_company(detector: Detector, photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    scorer = Scorer(metric=Suspicion(Vulnerable(), detector), micro_batch=2)
    whole = scorer.scores(images)
    assert torch.equal(scorer.scores(images[[3, 0, 1]]), whole[[3, 0, 1]])
    assert torch.equal(scorer.scores(images[2:3]), whole[2:3])


def test_a_random_transformation_draws_from_the_streams(photographs: np.ndarray) -> None:
    detector = ScoreChange(transformation=RandomNoise())
    suspicion = Suspicion(Slope(), detector)
    assert detector.stochastic
    assert suspicion.spec.stochastic
    assert not Suspicion(Slope(), ScoreChange()).spec.stochastic
    images = from_uint8(photographs)[:2]
    first, again, other = (suspicion(images, streams=Streams(key, ["a", "b"])) for key in ("k", "k", "l"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ConfigurationError, match="streams"):
        suspicion(images)


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_an_attack_can_try_to_evade_it(detector: Detector, photographs: np.ndarray) -> None:
    suspicion = Suspicion(Slope(), detector)
    assert (suspicion.spec.score_range, suspicion.spec.higher_is_better) == ((0, 1), False)
    result = attacks.create("ifgsm", strength="strong")(suspicion, from_uint8(photographs), goal=RAISE)
    assert result.gradient_nonzero.all()
    assert (result.values >= result.clean_values).all()
    assert (result.values > result.clean_values).any()  # "better" is less suspicious


def test_a_full_reference_metric_needs_pixels_that_stay(photographs: np.ndarray) -> None:
    from iqa_robustness import metrics

    images = from_uint8(photographs)
    psnr = metrics.create("psnr")
    moved = (images + 0.02).clamp(0, 1)
    assert (ScoreChange().suspicion(psnr, moved, reference=images) > 0).all()
    with pytest.raises(CapabilityError, match="moves pixels"):
        ScoreChange(transformation=Flip()).suspicion(psnr, moved, reference=images)


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_make_detectors() -> None:
    assert [entry.name for entry in detectors.list()] == ["feature-squeezing", "score-change"]
    assert detectors.create("feature-squeezing", bits=4) == FeatureSqueezing(bits=4)
    assert detectors.create("score-change") == ScoreChange(transformation=JPEG())
    assert detectors.create("score-change:jpeg", quality=30) == ScoreChange(transformation=JPEG(quality=30))
    assert detectors.create("score-change:jpeg+flip").name == "score-change:jpeg+flip"
    own = "iqa_robustness.defenses.detectors.feature_squeezing:FeatureSqueezing"
    assert detectors.create(own) == FeatureSqueezing()
    assert "score-change:flip" in detectors.registry.matching("score-change:f*")


def test_equal_detectors_have_equal_keys() -> None:
    made = [*EVERY, FeatureSqueezing(bits=4), ScoreChange(transformation=JPEG(quality=60)), ScoreChange()]
    digests = [Key(document_of(detector)).digest for detector in made]
    assert len(set(digests)) == len(made) - 1
    assert digests[0] == digests[-1]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("score-chnge", {}, "unknown detector 'score-chnge'"),
        ("score-change:jepg", {}, "unknown defense 'jepg'"),
        ("score-change:ms", {}, "'ms' is no purification"),
        ("score-change:none", {}, "'none' is no purification"),
        ("score-change:jpeg", {"qualty": 3}, "unknown parameter of defense jpeg 'qualty'"),
        ("feature-squeezing", {"bit": 3}, "unknown parameter of detector feature-squeezing 'bit'"),
        ("feature-squeezing", {"bits": 8}, "1 to 7 bits"),
        ("feature-squeezing", {"kernel_size": 4}, "kernel"),
        ("iqa_robustness.metrics.planted:Robust", {}, "is no detector"),
        ("iqa_robustness.defenses.detectors.base:Detector", {}, "cannot be constructed"),
    ],
)
def test_what_is_no_detector_is_said_to_be_none(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        detectors.create(name, **parameters)
    assert isinstance(caught.value, UnknownNameError) is message.startswith("unknown")


@pytest.mark.parametrize("transformation", [Undefended(), MedianSmoothing(), "jpeg"])
def test_only_a_purification_transforms(transformation: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no purification"):
        ScoreChange(transformation=transformation)


def test_a_transformation_may_change_the_size(photographs: np.ndarray) -> None:
    assert ScoreChange(transformation=Resize()).suspicion(Slope(), from_uint8(photographs)).shape == (4,)
