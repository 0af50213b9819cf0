"""Which parameters count as heads."""

from __future__ import annotations

import pytest
from torch import nn

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.compact import CompactNetwork
from iqa_robustness.training.heads import parameter_groups


def test_heads_are_what_comes_after_the_last_convolution() -> None:
    heads, features = parameter_groups(CompactNetwork())
    assert set(heads) == {"head.hidden.weight", "head.hidden.bias", "head.output.weight", "head.output.bias"}
    assert len(features) == 12
    assert all(name.startswith("convolutions.") for name in features)


def test_normalised_features_are_no_heads() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 1))
    heads, features = parameter_groups(network)
    assert {*heads} == {"3.weight", "3.bias", "4.weight", "4.bias"}
    assert {*features} == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_linear_layers_between_normalisations_are_features_as_in_a_transformer() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    heads, features = parameter_groups(network)
    assert {*heads} == {"2.weight", "2.bias"}
    assert "0.weight" in features


def test_where_convolutions_are_last_the_last_module_is_the_head() -> None:
    heads, features = parameter_groups(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 1)))
    assert {*heads} == {"1.weight", "1.bias"}
    assert {*features} == {"0.weight", "0.bias"}


def test_patterns_decide_where_they_are_given() -> None:
    heads, features = parameter_groups(CompactNetwork(), ["head.output.*", "convolutions.5.bias"])
    assert {*heads} == {"head.output.weight", "head.output.bias", "convolutions.5.bias"}
    assert len(features) == 13
    with pytest.raises(ConfigurationError, match=r"head\.output\.bias"):
        parameter_groups(CompactNetwork(), ["regression.*"])
