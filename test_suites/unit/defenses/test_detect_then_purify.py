"""Detect, then purify: which branch an image takes, where its threshold comes from, and how attacks get through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import attacks, defenses
from iqa_robustness.datasets.base import Dataset, Item, view
from iqa_robustness.datasets.leaves import Leaves
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.detect_then_purify import DetectThenPurify
from iqa_robustness.defenses.detectors.base import Detector
from iqa_robustness.defenses.detectors.feature_squeezing import FeatureSqueezing
from iqa_robustness.defenses.detectors.score_change import ScoreChange
from iqa_robustness.defenses.purification.composition import Composition
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.defenses.purification.unsharp import Unsharp
from iqa_robustness.errors import CapabilityError, ConfigurationError, UnknownNameError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Bright(Detector):
    """Suspects bright images."""

    name: ClassVar[str] = "bright"
    version: ClassVar[int] = 1
    forwards: ClassVar[int] = 0

    def suspicion(
        self, metric: Metric, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None
    ) -> Tensor:
        return images.mean(dim=(1, 2, 3))


class Ramp(Dataset):
    """Grey images of rising brightness: `Bright`'s suspicions are known."""

    name = "ramp"
    mos_kind = "pseudo"
    digest = "ramp"

    def __init__(self, count: int = 20) -> None:
        self.count = count

    @property
    def items(self) -> Sequence[Item]:
        return [Item(id=f"{n:02d}", mos=float(n), content=f"{n:02d}") for n in range(self.count)]

    def pixels(self, index: int) -> np.ndarray:
        return np.full((32, 32, 3), 5 * index, np.uint8)


class Few(Ramp):
    def __init__(self) -> None:
        super().__init__(18)


RAMP, FEW = f"{__name__}:Ramp", f"{__name__}:Few"


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, list(ids))


# --- branches -------------------------------------------------------------------------------------------------------


def test_only_what_is_suspected_is_purified(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    means = images.mean(dim=(1, 2, 3))
    threshold = float(means.sort().values[1:3].mean())
    for purification in (JPEG(quality=20), GaussianBlur(kernel_size=9), Resize(), JPEG(quality=10, paper=True)):
        guarded = DetectThenPurify(detector=Bright(), purification=purification, threshold=threshold).protect(
            Vulnerable()
        )
        found, plain = guarded(images), Vulnerable()(images)
        purified = Vulnerable()(purification.purify(images))
        assert torch.equal(guarded.detected(images), means > threshold)
        assert torch.equal(found, torch.where(means > threshold, purified, plain))
        assert not torch.equal(purified, plain)


@given(st.floats(-0.1, 1.1))
@settings(max_examples=20)
def test_a_threshold_beyond_all_suspicions_is_no_defense_and_one_below_is_the_purification(threshold: float) -> None:
    images = torch.linspace(0.2, 0.7, 3 * 3 * 16 * 16).view(3, 3, 16, 16)
    means = images.mean(dim=(1, 2, 3))
    found = DetectThenPurify(detector=Bright(), purification=Unsharp(), threshold=threshold).protect(Vulnerable())
    if threshold >= float(means.max()):
        assert torch.equal(found(images), Vulnerable()(images))
    elif threshold < float(means.min()):
        assert torch.equal(found(images), Unsharp().protect(Vulnerable())(images))
    else:
        assert 0 < int(found.detected(images).sum()) < 3


def test_a_full_reference_metric_keeps_its_reference(photographs: np.ndarray) -> None:
    from iqa_robustness import metrics

    images, psnr = from_uint8(photographs), metrics.create("psnr")
    reference = (images + 0.1).clamp(0, 1)
    guarded = DetectThenPurify(detector=ScoreChange(), purification=JPEG(), threshold=0.0).protect(psnr)
    expected = psnr(JPEG().purify(images), reference=reference)
    assert torch.equal(guarded(images, reference=reference), expected)
    with pytest.raises(CapabilityError, match="moves pixels"):
        DetectThenPurify(detector=ScoreChange(), purification=Flip()).protect(psnr)


def test_what_draws_is_declared_and_repeats_in_any_company(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    for detector, purification in ((Bright(), RandomNoise()), (ScoreChange(transformation=RandomNoise()), JPEG())):
        defense = DetectThenPurify(detector=detector, purification=purification, threshold=0.0)
        assert defense.stochastic
        scorer = Scorer(metric=defense.protect(Vulnerable()), micro_batch=2)
        whole = scorer.scores(images, streams=streams_of("abcd"))
        assert torch.equal(scorer.scores(images[[2, 1]], streams=streams_of("cb")), whole[[2, 1]])
    assert not DetectThenPurify().stochastic


# --- the threshold --------------------------------------------------------------------------------------------------


def test_the_threshold_is_the_order_statistic_of_other_images() -> None:
    defense = DetectThenPurify(detector=Bright(), dataset=RAMP, images=20, false_positive_rate=0.05)
    threshold = defense.protect(Vulnerable()).threshold((32, 32))
    assert threshold == pytest.approx(95 / 255)  # number ⌈21 · 0.95⌉ of 20
    tenth = DetectThenPurify(detector=Bright(), dataset=RAMP, false_positive_rate=0.1).protect(Vulnerable())
    assert tenth.threshold((32, 32)) == pytest.approx(90 / 255)


def test_on_leaves_as_few_are_purified_as_is_promised_and_each_size_has_its_own_threshold() -> None:
    defense = DetectThenPurify(images=20, false_positive_rate=0.1)  # to paint all forty takes its time
    guarded = defense.protect(Vulnerable())
    chosen = view(Leaves(), count=20, size=(48, 64))
    images = chosen.batch(range(len(chosen)))
    assert int(guarded.detected(images).sum()) == 1  # above number ⌈21 · 0.9⌉ = 19 of 20
    assert guarded.threshold((48, 64)) != guarded.threshold((64, 64))
    assert defense.protect(Vulnerable()).threshold((48, 64)) == guarded.threshold((48, 64))


def test_too_few_images_for_a_rate_are_refused() -> None:
    guarded = DetectThenPurify(detector=Bright(), dataset=FEW).protect(Vulnerable())
    with pytest.raises(ConfigurationError, match=r"18 images of .* are too few for a false positive rate of 0\.05"):
        guarded(torch.full((1, 3, 32, 32), 0.5))


# --- attacks --------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_branch_taken(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    means = images.mean(dim=(1, 2, 3))
    threshold = float(means.sort().values[1:3].mean())
    for purification in (JPEG(), GaussianBlur(kernel_size=9)):
        defense = DetectThenPurify(detector=Bright(), purification=purification, threshold=threshold)
        slopes = [
            Scorer(metric=metric, micro_batch=4).scores_and_gradients(images)[1]
            for metric in (defense.protect(Vulnerable()), purification.protect(Vulnerable()), Vulnerable())
        ]
        found = means > threshold
        assert torch.equal(slopes[0][found], slopes[1][found])
        assert torch.equal(slopes[0][~found], slopes[2][~found])


def test_the_protocol_names_the_branch_and_the_surrogate() -> None:
    for defense, expected in (
        (DetectThenPurify(), "bpda-branch-taken+bpda-diffjpeg"),
        (DetectThenPurify(purification=Flip()), "bpda-branch-taken"),
        (DetectThenPurify(purification=RandomNoise()), "bpda-branch-taken+eot-3"),
    ):
        assert attack_protocol(defense, draws=3, white_box=True) == expected
    assert attack_protocol(DetectThenPurify(), draws=3, white_box=False) == "direct"


def test_an_adaptive_attack_gains_what_a_non_adaptive_one_does_not(photographs: np.ndarray) -> None:
    images = from_uint8(photographs)
    guarded = DetectThenPurify(
        detector=ScoreChange(transformation=GaussianBlur(kernel_size=9)),
        purification=GaussianBlur(kernel_size=9),
        threshold=0.02,
    ).protect(Vulnerable())
    attack = attacks.create("ifgsm", strength="medium")
    adaptive = attack(guarded, images)
    transferred = Scorer(metric=guarded, micro_batch=4).scores(attack(Vulnerable(), images).images) / 100
    assert adaptive.gradient_nonzero.all()
    assert float((adaptive.values - adaptive.clean_values).mean()) > 0.02
    assert float(adaptive.values.mean()) >= float(transferred.mean())


# --- names and keys -------------------------------------------------------------------------------------------------


def test_expressions_name_the_detector_and_the_purification() -> None:
    made = defenses.create("detect-then-purify:score-change:flip:jpeg+unsharp")
    expected = DetectThenPurify(
        detector=ScoreChange(transformation=Flip()), purification=Composition(parts=(JPEG(), Unsharp()))
    )
    assert made == expected
    assert defenses.create("detect-then-purify") == DetectThenPurify(
        detector=ScoreChange(transformation=Flip()), purification=JPEG()
    )
    assert defenses.create("detect-then-purify:feature-squeezing:jpeg", threshold=0.1).threshold == 0.1  # type: ignore[attr-defined]
    assert defenses.create("detect-then-purify", paper=True).purification == JPEG(paper=True)  # type: ignore[attr-defined]
    names = defenses.registry.matching("detect-then-purify:*:flip")
    assert names == ["detect-then-purify:feature-squeezing:flip", "detect-then-purify:score-change:flip"]
    assert defenses.registry.resolve(names[0]).kind == "detection"


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("detect-then-purify:jpeg", {}, "does not say what detects"),
        ("detect-then-purify:feature-squeezng:jpeg", {}, "unknown detector 'feature-squeezng'"),
        ("detect-then-purify:feature-squeezing:jepg", {}, "unknown defense 'jepg'"),
        ("detect-then-purify:feature-squeezing:ms", {}, "'ms' is no purification"),
        ("detect-then-purify:feature-squeezing:none", {}, "'none' is no purification"),
        ("detect-then-purify:feature-squeezing:detect-then-purify", {}, "is no purification"),
        ("detect-then-purify:feature-squeezing:jpeg", {"treshold": 1}, "unknown parameter of defense"),
        ("flip+detect-then-purify", {}, "is no purification"),
        ("flip+detect-then-purify:feature-squeezing:jpeg", {}, "is no purification"),
        ("detect-then-purify", {"false_positive_rate": 1.0}, "strictly between"),
        ("detect-then-purify", {"detector": "feature-squeezing"}, "is no detector"),
        ("detect-then-purify", {"purification": Undefended()}, "is no purification"),
    ],
)
def test_what_makes_no_defense_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        defenses.create(name, **parameters)
    assert isinstance(caught.value, UnknownNameError) is message.startswith("unknown")


def test_a_key_holds_what_the_threshold_depends_on() -> None:
    def digest(**fields: Any) -> str:
        return Key(document_of(DetectThenPurify(**fields))).digest

    own = [
        digest(),
        digest(false_positive_rate=0.1),
        digest(images=30),
        digest(dataset="mini"),
        digest(threshold=0.1),
        digest(threshold=0.2),
        digest(purification=Flip()),
        digest(detector=FeatureSqueezing(bits=4)),
    ]
    assert len(set(own)) == len(own)
    assert digest(threshold=0.1, dataset="mini", images=3, false_positive_rate=0.5) == own[4]
    assert document_of(DetectThenPurify())["fields"]["dataset"] == ["leaves", Leaves().digest]
