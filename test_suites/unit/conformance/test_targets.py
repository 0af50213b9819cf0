"""What attacks are tried on: the reference of the gate's own proof, counted, noisy, or breaking down for one image."""

from __future__ import annotations

import pytest
import torch

from iqa_robustness import attacks
from iqa_robustness.conformance.pictures import photographs
from iqa_robustness.conformance.targets import Counted, Fragile, Noisy, reference_for
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams


def test_the_reference_is_the_one_that_cells_prove_attacks_on() -> None:
    found = reference_for(attacks.create("ifgsm"))
    assert type(found) is Vulnerable
    assert not found.training
    assert type(reference_for()) is Vulnerable


def test_a_counted_metric_scores_alike_and_counts_rows_without_padding() -> None:
    metric, images = Counted(reference_for()), photographs(3)
    scorer = Scorer(metric=metric, micro_batch=2)
    assert torch.equal(scorer.scores(images), Scorer(metric=reference_for(), micro_batch=2).scores(images))
    assert (metric.forwards, metric.backwards) == (3, 0)
    scorer.scores_and_gradients(images)
    assert (metric.forwards, metric.backwards) == (6, 3)


def test_facts_replace_those_of_the_spec() -> None:
    spec = Counted(reference_for(), name="remote", access="query-only").spec
    assert (spec.name, spec.access, spec.score_range) == ("remote", "query-only", Vulnerable.spec.score_range)


def test_a_noisy_metric_draws_from_its_streams_alone() -> None:
    metric, images = Noisy(reference_for()), photographs(2)
    scores = [metric(images, streams=Streams(key, ["a", "b"])) for key in ("one", "one", "two")]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    assert metric.spec.stochastic


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("how", ["every pixel", "one pixel", "far"])
def test_a_fragile_metric_breaks_down_for_changed_versions_of_one_image(row: int, how: str) -> None:
    clean = photographs(3)
    metric = Fragile(reference_for(), clean, row)
    changed = clean.clone()
    if how == "every pixel":
        changed = (changed + 1 / 255).clamp(0, 1)
    elif how == "one pixel":
        changed[:, :, 5, 5] = 1 - changed[:, :, 5, 5]
    else:
        changed = 0.8 * changed + 0.1
    assert torch.isfinite(metric(clean)).all()
    assert torch.isnan(metric(changed)).nonzero().flatten().tolist() == [row]


def test_zero_images_that_fill_a_batch_are_no_version_of_anything() -> None:
    clean = photographs(2) * 0.01
    assert torch.isfinite(Fragile(reference_for(), clean, 0)(torch.zeros(2, 3, 48, 64))).all()
