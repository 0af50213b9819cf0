"""thresholds.yaml: what it may say, what wins, and errors that name file, line and remedy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks import AttackEntry
from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import ExitCode, ThresholdsFileError
from iqa_robustness.gate.thresholds import Bound, CellThresholds, Thresholds

# As in the architecture document.
EXAMPLE = """\
version: 1
defaults:
  nonadaptive: {d_score: {max: 20}, d_score_excess: {max: 15}, srocc_adv: {min: 0.6}}
  certified:   {cert_rd: {max: 0.05}, abstain: {max: 0.1}}
rules:                      # later and more specific wins
  - match: {defense: flip, scenario: adaptive}
    tier: normal            # blocker | critical | normal
    known_weakness: "a flip is differentiable and invertible; see docs/threat-model.md"
  - match: {metric: compact, attack: [square, nes]}
    thresholds: {d_score: {max: 12}}
"""
Load = Callable[[str], Thresholds]
MakeCell = Callable[..., Cell]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a thresholds file with this text; the attack `nes` is known."""
    nes = AttackEntry(name="nes", target="nowhere:NES", access="black-box")
    monkeypatch.setitem(attacks.registry._entries, "nes", nes)

    def written(text: str) -> Thresholds:
        path = tmp_path / "thresholds.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return Thresholds.load(path)

    return written


def limits(found: CellThresholds) -> dict[str, str]:
    return {name: str(bound) for name, bound in found.bounds.items()}


@pytest.mark.parametrize("given", ["flip+jpeg", "flip+*", "[none, flip+jpeg]", "'*+jpeg'"])
def test_a_rule_may_be_about_a_composition(load: Load, make_cell: MakeCell, given: str) -> None:
    text = f"version: 1\ndefaults: {{}}\nrules:\n  - match: {{defense: {given}}}\n    tier: blocker\n"
    thresholds = load(text)
    assert thresholds.for_cell(make_cell(defense="flip+jpeg")).tier == "blocker"
    assert thresholds.for_cell(make_cell(defense="jpeg")).tier != "blocker"


# --- the example ----------------------------------------------------------------------------------------------------


def test_the_architectures_example_says_what_it_seems_to_say(load: Load, make_cell: MakeCell) -> None:
    thresholds = load(EXAMPLE)
    plain = thresholds.for_cell(make_cell(defense="jpeg"))
    assert limits(plain) == {"d_score": "at most 20", "d_score_excess": "at most 15", "srocc_adv": "at least 0.6"}
    assert (plain.tier, plain.known_weakness) == ("critical", "")

    weak = thresholds.for_cell(make_cell(defense="flip", scenario="adaptive"))
    assert weak.tier == "normal"
    assert weak.known_weakness.startswith("a flip is differentiable")
    assert limits(weak) == limits(plain)

    tighter = thresholds.for_cell(make_cell(attack="nes"))
    assert limits(tighter)["d_score"] == "at most 12"
    assert limits(tighter)["d_score_excess"] == "at most 15"

    certified = thresholds.for_cell(make_cell(defense="ms", scenario="certified"))
    assert limits(certified) == {**limits(plain), "cert_rd": "at most 0.05", "abstain": "at most 0.1"}
    assert limits(thresholds.for_cell(make_cell(attack="", strength="", scenario="clean"))) == {}


def test_every_threshold_names_the_line_it_comes_from(load: Load, make_cell: MakeCell) -> None:
    thresholds = load(EXAMPLE)
    weak = thresholds.for_cell(make_cell(metric="compact", defense="flip", scenario="adaptive", attack="square"))
    assert weak.origin == {"d_score": 10, "d_score_excess": 3, "srocc_adv": 3, "tier": 7, "known_weakness": 8}


def test_a_file_in_block_style_names_the_line_of_each_measure(load: Load, make_cell: MakeCell) -> None:
    thresholds = load(
        """\
        version: 1
        defaults:
          nonadaptive:
            d_score:
              max: 20
            gain:
              max: 10
          adaptive:
            gain: {max: 5}
        """
    )
    assert thresholds.for_cell(make_cell()).origin == {"d_score": 4, "gain": 6}
    assert thresholds.for_cell(make_cell(scenario="adaptive")).origin == {"d_score": 4, "gain": 9}


# --- what wins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["adaptive", "certified"])
def test_harder_scenarios_fall_back_to_the_nonadaptive_limits_measure_by_measure(
    scenario: str, load: Load, make_cell: MakeCell
) -> None:
    thresholds = load(
        f"""\
        version: 1
        defaults:
          {scenario}: {{gain: {{max: 30}}}}
          nonadaptive: {{d_score: {{max: 20}}, gain: {{min: -5, max: 10}}}}
          clean: {{spread: {{min: 5}}}}
        """
    )
    assert limits(thresholds.for_cell(make_cell(scenario=scenario))) == {
        "d_score": "at most 20",
        "gain": "at most 30",
    }
    assert limits(thresholds.for_cell(make_cell())) == {"d_score": "at most 20", "gain": "at least -5 and at most 10"}
    assert limits(thresholds.for_cell(make_cell(scenario="clean"))) == {"spread": "at least 5"}


RULES = """\
version: 1
defaults: {{nonadaptive: {{d_score: {{max: 20}}}}}}
rules:
  - match: {first}
    thresholds: {{d_score: {{max: 1}}}}
  - match: {second}
    thresholds: {{d_score: {{max: 2}}}}
"""


@pytest.mark.parametrize(
    ("first", "second", "limit"),
    [
        pytest.param("{metric: compact}", "{defense: flip}", 2, id="later among equals"),
        pytest.param("{metric: compact, defense: flip}", "{attack: ifgsm}", 1, id="more specific, though earlier"),
        pytest.param("{attack: ifgsm}", "{metric: compact, defense: flip}", 2, id="more specific and later"),
        pytest.param("{metric: compact}", "{defense: jpeg}", 1, id="the other does not match"),
        pytest.param("{}", "{}", 2, id="a rule for everything"),
        pytest.param("{metric: compact}", "{}", 1, id="for something before everything"),
        pytest.param("{metric: lite0}", "{goal: lower}", 20, id="none matches"),
        pytest.param("{metric: 'comp*'}", "{metric: [lite0, 'l*']}", 1, id="a pattern"),
        pytest.param("{attack: [square, ifgsm]}", "{strength: [weak, strong]}", 1, id="one of a list"),
        pytest.param("{metric: 'my.package:*'}", "{defense: 'my.package:Own'}", 20, id="somebody else's"),
    ],
)
def test_the_more_specific_rule_wins_then_the_later(
    first: str, second: str, limit: int, load: Load, make_cell: MakeCell
) -> None:
    thresholds = load(RULES.format(first=first, second=second))
    assert limits(thresholds.for_cell(make_cell())) == {"d_score": f"at most {limit}"}


def test_a_reference_is_matched_by_itself_and_by_patterns(load: Load, make_cell: MakeCell) -> None:
    thresholds = load(RULES.format(first="{metric: 'my.package:*'}", second="{metric: 'my.package:Own'}"))
    assert limits(thresholds.for_cell(make_cell(metric="my.package:Own")))["d_score"] == "at most 2"
    assert limits(thresholds.for_cell(make_cell(metric="my.package:Other")))["d_score"] == "at most 1"


def test_tier_and_weakness_are_inherited_each_on_its_own(load: Load, make_cell: MakeCell) -> None:
    thresholds = load(
        """\
        version: 1
        defaults: {nonadaptive: {d_score: {max: 20}}}
        rules:
          - match: {defense: flip, attack: ifgsm}
            tier: blocker
          - match: {defense: flip}
            tier: normal
            known_weakness: a flip is invertible
          - match: {defense: flip, attack: square}
            known_weakness: queries see through it
        """
    )
    ifgsm, square = (thresholds.for_cell(make_cell(attack=attack)) for attack in ("ifgsm", "square"))
    assert (ifgsm.tier, ifgsm.known_weakness) == ("blocker", "a flip is invertible")
    assert (ifgsm.origin["tier"], ifgsm.origin["known_weakness"]) == (5, 8)
    assert (square.tier, square.known_weakness) == ("normal", "queries see through it")
    assert (square.origin["tier"], square.origin["known_weakness"]) == (7, 10)
    assert thresholds.for_cell(make_cell(defense="jpeg")) == CellThresholds(
        bounds=ifgsm.bounds, origin={"d_score": 2}, tier="critical", known_weakness=""
    )


@given(
    keys=st.lists(
        st.sets(st.sampled_from(["metric: compact", "defense: flip", "attack: ifgsm", "strength: medium"]), min_size=1),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_all_matching_rules_the_last_of_the_most_specific_wins(
    keys: list[set[str]], load: Load, make_cell: MakeCell
) -> None:
    rules = "".join(
        f"  - match: {{{', '.join(sorted(some))}}}\n    thresholds: {{d_score: {{max: {number}}}}}\n"
        for number, some in enumerate(keys)
    )
    thresholds = load(f"version: 1\ndefaults: {{}}\nrules:\n{rules}")
    most = max(len(some) for some in keys)
    expected = max(number for number, some in enumerate(keys) if len(some) == most)
    assert thresholds.for_cell(make_cell()).bounds["d_score"].max == expected


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound(max=20), "at most 20"),
        (Bound(min=0.6), "at least 0.6"),
        (Bound(min=-5, max=5), "at least -5 and at most 5"),
        (Bound(min=0, max=0), "at least 0 and at most 0"),
    ],
)
def test_a_bound_reads_aloud(bound: Bound, text: str) -> None:
    assert str(bound) == text


# --- errors ---------------------------------------------------------------------------------------------------------

HEAD = "version: 1\ndefaults:\n  nonadaptive: {d_score: {max: 20}}\n"
RULE = HEAD + "rules:\n  - match: {metric: compact}\n"

MISTAKES = {
    "unknown top-level key": (HEAD + "rulez: []", 4, "unknown key 'rulez'", "did you mean rules?"),
    "unknown key like no other": (HEAD + "xyz: 1", 4, "unknown key 'xyz'", "known keys: version, defaults, rules"),
    "unknown rule key": (RULE + "    teir: normal", 6, "unknown key 'teir'", "did you mean tier?"),
    "unknown match key": (
        HEAD + "rules:\n  - tier: normal\n    match:\n      metrik: compact",
        7,
        "unknown key 'metrik' in rules.0.match",
        "did you mean metric?",
    ),
    "unknown bound key": (RULE + "    thresholds: {gain: {maxx: 3}}", 6, "unknown key 'maxx'", "did you mean max?"),
    "unknown bound key in defaults": (
        "version: 1\ndefaults:\n  nonadaptive:\n    gain:\n      mn: 1\n",
        5,
        "unknown key 'mn'",
        "did you mean min?",
    ),
    "unknown measure in defaults": (
        "version: 1\ndefaults:\n  nonadaptive:\n    gain: {max: 1}\n    d_scor: {max: 1}\n",
        5,
        "unknown measure 'd_scor'",
        "did you mean d_score",
    ),
    "unknown measure in a rule": (
        RULE + "    thresholds:\n      d_scor: {max: 1}",
        7,
        "unknown measure 'd_scor'",
        "did you mean d_score",
    ),
    "pattern of measures": (RULE + "    thresholds: {'d_*': {max: 1}}", 6, "unknown measure 'd_*'", "d_score"),
    "reference as measure": (RULE + "    thresholds: {'a:b': {max: 1}}", 6, "unknown measure 'a:b'", "known: "),
    "unknown scenario in defaults": (
        "version: 1\ndefaults:\n  clean: {}\n  adaptve: {gain: {max: 1}}",
        4,
        "unknown scenario 'adaptve'",
        "did you mean adaptive",
    ),
    "pattern of scenarios in defaults": (
        "version: 1\ndefaults:\n  '*adaptive': {gain: {max: 1}}",
        3,
        "unknown scenario '*adaptive'",
        "did you mean adaptive",
    ),
    "unknown metric": (
        HEAD + "rules:\n  - match: {metric: compakt}\n    tier: normal",
        5,
        "unknown metric 'compakt'",
        "did you mean compact",
    ),
    "unknown defense": (
        HEAD + "rules:\n  - tier: normal\n    match: {defense: flipp}",
        6,
        "unknown defense 'flipp'",
        "did you mean flip",
    ),
    "unknown part of a composition": (
        HEAD + "rules:\n  - tier: normal\n    match: {defense: flip+jepg}",
        6,
        "unknown defense 'jepg'",
        "did you mean jpeg",
    ),
    "pattern of compositions that matches nothing": (
        HEAD + "rules:\n  - tier: normal\n    match: {defense: 'zebra*+flip'}",
        6,
        "the pattern 'zebra*' matches no defense",
        "known: ",
    ),
    "joined metrics": (
        HEAD + "rules:\n  - tier: normal\n    match: {metric: compact+lite0}",
        6,
        "unknown metric 'compact+lite0'",
        "did you mean compact",
    ),
    "unknown attack in a list": (
        HEAD + "rules:\n  - tier: normal\n    match:\n      attack:\n        - square\n        - ifgms",
        9,
        "unknown attack 'ifgms'",
        "did you mean ",
    ),
    "unknown strength": (
        HEAD + "rules:\n  - tier: normal\n    match: {strength: mediun}",
        6,
        "unknown strength 'mediun'",
        "did you mean medium?",
    ),
    "reference as strength": (
        HEAD + "rules:\n  - tier: normal\n    match: {strength: 'a:b'}",
        6,
        "unknown strength 'a:b'",
        "known: medium, strong, weak",
    ),
    "unknown scenario": (
        HEAD + "rules:\n  - tier: normal\n    match: {scenario: cleen}",
        6,
        "unknown scenario 'cleen'",
        "did you mean clean?",
    ),
    "unknown goal": (
        HEAD + "rules:\n  - tier: normal\n    match: {goal: rise}",
        6,
        "unknown goal 'rise'",
        "did you mean raise?",
    ),
    "pattern that matches nothing": (
        HEAD + "rules:\n  - tier: normal\n    match: {metric: 'zebra*'}",
        6,
        "the pattern 'zebra*' matches no metric",
        "known: ",
    ),
    "empty list": (HEAD + "rules:\n  - tier: normal\n    match: {metric: []}", 6, "at least 1 item", ""),
    "number as name": (HEAD + "rules:\n  - tier: normal\n    match: {metric: 5}", 6, "rules.0.match.metric: ", ""),
    "text as bound": (HEAD + "  adaptive:\n    gain: {max: '20'}", 5, "valid number, got '20'", ""),
    "truth as bound": (HEAD + "  adaptive:\n    gain: {max: yes}", 5, "valid number, got True", ""),
    "no number as bound": (HEAD + "  adaptive:\n    gain: {max: .nan}", 5, "is no number", ""),
    "number instead of a bound": (HEAD + "  adaptive:\n    gain: 20", 5, "keys with values are expected, got 20", ""),
    "empty bound": (HEAD + "  adaptive:\n    gain: {}", 5, "give min, max or max_regression", ""),
    "min above max": (HEAD + "  adaptive:\n    gain: {min: 3, max: 2}", 5, "min 3 is above max 2", ""),
    "empty rule": (
        HEAD + "rules:\n  - match: {metric: compact}",
        5,
        "give thresholds, tier, known_weakness, waiver or declared: false",
        "",
    ),
    "rule without match": (HEAD + "rules:\n  - tier: normal", 5, "the key 'rules.0.match' is missing", "add it"),
    "unknown tier": (RULE + "    tier: high", 6, "'blocker', 'critical' or 'normal', got 'high'", ""),
    "weakness without a reason": (RULE + "    known_weakness: todo", 6, "at least 10 characters, got 'todo'", ""),
    "rules as a mapping": (HEAD + "rules: {}", 4, "rules: Input should be a valid list", ""),
    "a mark alone": ("---\n", 2, "the file: keys with values are expected, got None", ""),
    "defaults as a list": ("version: 1\ndefaults: []", 2, "defaults: keys with values are expected", ""),
    "defaults missing": ("version: 1", 1, "the key 'defaults' is missing", "add it"),
    "version missing": ("defaults: {}", 1, "the key 'version' is missing", "add it"),
    "version 2": ("defaults: {}\nversion: 2", 2, "version: Input should be 1, got 2", ""),
    "version as text": ("defaults: {}\nversion: '1'", 2, "version: Input should be 1, got '1'", ""),
    "duplicate key": (HEAD + "defaults: {}", 4, "the key 'defaults' is given twice", "keep one"),
    "duplicate measure": (HEAD + "  adaptive:\n    gain: {max: 1}\n    gain: {max: 2}", 6, "'gain' is given twice", ""),
    "a list as key": (HEAD + "? [a, b]\n: 1", 4, "a key is a list or a mapping", "plain word"),
    "a list as file": ("- version: 1", 1, "the file: keys with values are expected", ""),
    "text as file": ("version 1", 1, "the file: keys with values are expected", ""),
    "not YAML": ("version: 1\ndefaults: {a: [b}", 2, "no valid YAML", "example"),
    "undefined alias": ("version: 1\ndefaults: *gone", 2, "undefined alias 'gone'", "example"),
    "an object": ("version: !!python/object:os.system 1", 1, "no valid YAML", "example"),
}


@pytest.mark.parametrize(("text", "line", "what", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_file_line_and_remedy(text: str, line: int, what: str, fix: str, load: Load) -> None:
    with pytest.raises(ThresholdsFileError) as caught:
        load(text)
    error = caught.value
    assert what in error.what
    assert error.where.line == line
    assert error.where.file.endswith("thresholds.yaml")
    assert fix in error.fix
    assert error.fix
    assert error.exit_code == ExitCode.CONFIGURATION == 4
    assert "Value error" not in str(error)
    assert "pydantic" not in str(error)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"], ids=["none", "blank", "comment"])
def test_an_empty_file_is_reported_as_such(text: str, load: Load) -> None:
    with pytest.raises(ThresholdsFileError, match="the thresholds file is empty") as caught:
        load(text)
    assert caught.value.fix


@pytest.mark.parametrize(
    "data",
    [b"version: \xff\xfe", b"version: \x00", b"a: &a [*a]", b"version: 2024-99-99"],
    ids=["latin", "nul", "loop", "date"],
)
def test_what_yaml_cannot_hold_is_reported_not_raised_raw(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_bytes(data)
    with pytest.raises(ThresholdsFileError, match="the thresholds file") as caught:
        Thresholds.load(path)
    assert caught.value.where.file == str(path)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["absent.yaml", ""], ids=["missing", "a folder"])
def test_a_file_that_cannot_be_read_is_reported_with_its_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(ThresholdsFileError, match=r"cannot be read: (No such file|Is a directory)") as caught:
        Thresholds.load(path)
    assert caught.value.where.file == str(path)
    assert "--iqa-thresholds" in caught.value.fix


def test_further_mistakes_are_counted_and_unknown_keys_come_first(load: Load) -> None:
    with pytest.raises(ThresholdsFileError, match="unknown key 'defaultz'") as caught:
        load("version: 2\ndefaultz: {}\n")
    assert caught.value.fix == "did you mean defaults?; 2 more errors after this one"


@pytest.mark.parametrize("pattern", ["exec:./score --range=[0,1]", "exec:./score*", "exec:*"])
def test_a_command_is_matched_word_for_word_or_by_a_pattern(pattern: str, load: Load, make_cell: MakeCell) -> None:
    thresholds = load(
        f"""\
        version: 1
        defaults: {{nonadaptive: {{d_score: {{max: 20}}}}}}
        rules:
          - match: {{metric: "{pattern}"}}
            thresholds: {{d_score: {{max: 7}}}}
        """
    )
    assert limits(thresholds.for_cell(make_cell(metric="exec:./score --range=[0,1]"))) == {"d_score": "at most 7"}
    assert limits(thresholds.for_cell(make_cell(metric="compact"))) == {"d_score": "at most 20"}


def test_the_thresholds_of_this_repository_load() -> None:
    path = Path(__file__).parents[3] / "thresholds.yaml"
    assert Thresholds.load(path).defaults
