"""What the bundled weights say they were trained on: nothing that the bundled data set judges metrics by."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from iqa_robustness.datasets import mini_build
from iqa_robustness.datasets.mini import LEVELS
from iqa_robustness.metrics.compact import bundled_weights
from iqa_robustness.metrics.lite0 import bundled_head
from iqa_robustness.metrics.trained import TrainedWeights
from iqa_robustness.training import metric_head


def plain(name: str) -> str:
    """Letters and digits only, so that `Grace_Hopper.jpg` and `grace-hopper` are one name."""
    return re.sub("[^a-z0-9]", "", re.sub(r"\.(jpe?g|png)$", "", name.casefold()))


# The contents of `mini`, and the names under which other packages carry the same photographs.
JUDGED_BY = {plain(name) for name in [*LEVELS, *(cut.photograph for cut in mini_build.CUTS.values())]}


@pytest.fixture(params=[bundled_weights, bundled_head], ids=["compact", "lite0"])
def weights(request: pytest.FixtureRequest) -> TrainedWeights:
    bundled: Callable[[], TrainedWeights] = request.param
    return bundled()


def test_the_forbidden_names_are_those_of_all_ten_photographs() -> None:
    assert {"astronaut", "hopper", "gracehopper", "hubble", "hubbledeepfield", "china", "flower"} <= JUDGED_BY
    assert len(JUDGED_BY) == 12


def test_no_photograph_of_the_bundled_data_set_was_trained_on(weights: TrainedWeights) -> None:
    contents = weights.training["contents"]
    assert contents
    assert all(isinstance(content, str) and content for content in contents)
    assert contents == sorted(set(contents))
    met = [content for content in contents if any(name in plain(content) for name in JUDGED_BY)]
    assert not met, f"{weights.metric} was trained on {met}: its scores on `mini` prove nothing"


def test_the_training_can_be_done_again(weights: TrainedWeights) -> None:
    assert re.fullmatch("[0-9a-f]{64}", weights.training["digest"])
    assert isinstance(weights.training["seed"], int)
    assert weights.version == metric_head.VERSION


def test_the_report_says_what_the_weights_are_worth(weights: TrainedWeights) -> None:
    report = weights.training["report"]
    assert 0 < report["SRCC of photographs of unseen contents"] <= 1
    assert report["order kept"]
    assert all(0 <= share <= 1 for share in report["order kept"].values())
    assert math.isfinite(report["examples"])
    assert report["examples"] > 0
