"""The JSON Schema of thresholds.yaml, which editors read to complete and check names while the file is written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from iqa_robustness import attacks
from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.thresholds import ThresholdsModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "thresholds.schema.json"
"""Shipped beside this module; `iqa-robustness thresholds schema` prints the same."""


def thresholds_schema() -> dict[str, Any]:
    """As JSON values. Names of metrics, attacks and defenses stay free: they may be patterns, or somebody's own."""
    schema = ThresholdsModel.model_json_schema()
    schema |= {"$schema": _DIALECT, "title": "thresholds.yaml of iqa_robustness"}
    defined, properties = schema["$defs"], schema["properties"]
    _only(properties["defaults"], SCENARIOS)
    _measures(properties["defaults"]["additionalProperties"])
    _measures(defined["Rule"]["properties"]["thresholds"])
    for axis, patterns in defined["Match"]["properties"].items():
        _one_or_many(patterns, {"strength": attacks.STRENGTHS, "scenario": SCENARIOS, "goal": GOALS}.get(axis, ()))
    return schema


def as_text() -> str:
    """As the file holds it."""
    return json.dumps(thresholds_schema(), indent=1, ensure_ascii=False) + "\n"


def _measures(schema: dict[str, Any]) -> None:
    """Only known measures, each explained."""
    bound = schema.pop("additionalProperties")
    schema |= {
        "additionalProperties": False,
        "properties": {
            name: {**bound, "description": f"{info.title}{f', {info.unit}' if info.unit else ''}"}
            for name, info in MEASURES.items()
        },
    }


def _only(schema: dict[str, Any], names: Iterable[str]) -> None:
    schema["propertyNames"] = {"enum": [*names]}


def _one_or_many(schema: dict[str, Any], names: Iterable[str]) -> None:
    """A single name may stand for a list of one; a pattern may stand for a name of an axis without a registry."""
    listed = next(choice for choice in schema["anyOf"] if choice.get("type") == "array")
    name: dict[str, Any] = {"type": "string"}
    if names:
        name = {"anyOf": [{"enum": [*names]}, {"type": "string", "pattern": r"[*?\[]"}]}
    listed["items"] = name
    schema["anyOf"] = [name, listed]
    schema.pop("default", None)
