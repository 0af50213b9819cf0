"""The JSON Schema: the shipped file is what the code says, and knows every name that the loader knows."""

from __future__ import annotations

import json
from importlib.resources import files

from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.thresholds import Match, Rule
from iqa_robustness.gate.thresholds_schema import FILE, as_text, thresholds_schema
from iqa_robustness.gate.waivers import Waiver


def test_the_shipped_file_is_the_schema() -> None:
    shipped = files("iqa_robustness.gate").joinpath(FILE).read_text(encoding="utf-8")
    assert shipped == as_text(), f"write it anew: iqa-robustness thresholds schema > iqa_robustness/gate/{FILE}"


def test_every_key_of_the_file_is_in_the_schema_and_no_other_is_allowed() -> None:
    schema = thresholds_schema()
    assert {*schema["properties"]} == {"version", "defaults", "rules"}
    for model in (Rule, Match, Waiver):
        defined = schema["$defs"][model.__name__]
        assert {*defined["properties"]} == {*model.model_fields}
        assert defined["additionalProperties"] is False


def test_measures_and_scenarios_are_completed_by_name() -> None:
    schema = thresholds_schema()
    assert schema["properties"]["defaults"]["propertyNames"] == {"enum": [*SCENARIOS]}
    for bounds in (
        schema["properties"]["defaults"]["additionalProperties"],
        schema["$defs"]["Rule"]["properties"]["thresholds"],
    ):
        assert {*bounds["properties"]} == {*MEASURES}
        assert bounds["additionalProperties"] is False
    assert bounds["properties"]["d_score"]["description"] == "D_score, % of range"


def test_a_name_may_stand_for_a_list_of_one_and_a_pattern_for_a_goal() -> None:
    match = thresholds_schema()["$defs"]["Match"]["properties"]
    for axis in Match.model_fields:
        single, listed = match[axis]["anyOf"]
        assert listed["items"] == single
        assert listed["minItems"] == 1
    assert match["metric"]["anyOf"][0] == {"type": "string"}
    assert match["goal"]["anyOf"][0]["anyOf"][0] == {"enum": [*GOALS]}


def test_the_schema_is_plain_json() -> None:
    assert json.loads(as_text()) == thresholds_schema()
