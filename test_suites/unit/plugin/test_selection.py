"""Exactly the cells that were asked for: by options, by markers, by `-k`; and the ids they go by."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.errors import ExitCode

SUITE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive")
def test_nonadaptive(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="adaptive")
def test_adaptive(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="nonadaptive", goal="lower", attack="ifgsm", strength="medium")
def test_lowering(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="clean")
def test_clean(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="certified")
def test_certified(pair, cell, gate):
    gate.check(cell, pair)
"""


@pytest.fixture
def collect(project: Any) -> Any:
    """The ids that a selection collects, as `function[id]`."""
    project.write("test_gate.py", SUITE)

    def run(*arguments: str) -> set[str]:
        result = project.run("--collect-only", "-q", *arguments)
        assert result.ret in (ExitCode.PASS, ExitCode.NOTHING_SELECTED)
        return {line.partition("::")[2] for line in result.outlines if "::" in line}

    return run


def test_a_composition_of_purifications_is_selected_by_its_expression(collect: Any, project: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-defense=flip+unsharp", "--iqa-attack=ifgsm", "--iqa-strength=medium")
    assert found == {
        "test_nonadaptive[compact/flip+unsharp/ifgsm/medium]",
        "test_adaptive[compact/flip+unsharp/ifgsm/medium]",
        "test_lowering[compact/flip+unsharp/ifgsm/medium]",
    }
    for wrong, said in (("flip+unsharpen", "did you mean unsharp"), ("flip+ms", "ms is no purification")):
        result = project.run("--collect-only", "-q", f"--iqa-defense={wrong}")
        assert result.ret == ExitCode.CONFIGURATION
        result.stderr.fnmatch_lines([f"*{said}*"])


def test_options_select_exactly_their_cells(collect: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-defense=flip,jpeg", "--iqa-attack=ifgsm", "--iqa-strength=medium")
    assert found == {
        "test_nonadaptive[compact/flip/ifgsm/medium]",
        "test_nonadaptive[compact/jpeg/ifgsm/medium]",
        "test_adaptive[compact/flip/ifgsm/medium]",
        "test_adaptive[compact/jpeg/ifgsm/medium]",
        "test_lowering[compact/flip/ifgsm/medium]",
        "test_lowering[compact/jpeg/ifgsm/medium]",
    }


def test_without_an_attack_named_clean_cells_come_along(collect: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-defense=flip")
    assert "test_clean[compact/flip]" in found
    assert "test_nonadaptive[compact/flip/square/strong]" in found
    assert not any("clean" in name for name in collect("--iqa-metric=compact", "--iqa-strength=weak"))


def test_a_scenario_is_selected_alone(collect: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-defense=ms", "--iqa-scenario=certified", "--iqa-attack=square")
    assert found == {f"test_certified[compact/ms/square/{strength}]" for strength in ("medium", "strong")}


def test_a_pattern_selects_what_it_matches(collect: Any) -> None:
    found = collect("--iqa-metric=comp*", "--iqa-defense=[fj][lp]*", "--iqa-scenario=clean")
    assert found == {"test_clean[compact/flip]", "test_clean[compact/jpeg]"}


def test_markers_with_arguments_select_exactly(collect: Any) -> None:
    found = collect(
        "--iqa-metric=compact", "-m", "attack(name='square') and strength(name='weak') and defense(name='flip')"
    )
    assert found == {"test_nonadaptive[compact/flip/square/weak]", "test_adaptive[compact/flip/square/weak]"}


def test_slashes_make_a_keyword_exact(collect: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-strength=weak", "-k", "/flip/square/")
    assert found == {"test_nonadaptive[compact/flip/square/weak]", "test_adaptive[compact/flip/square/weak]"}


def test_an_undefended_metric_has_no_adaptive_cells_and_a_certified_defense_no_purified_ones(collect: Any) -> None:
    found = collect("--iqa-metric=compact", "--iqa-defense=none,ms", "--iqa-attack=ifgsm", "--iqa-strength=weak")
    assert found == {
        "test_nonadaptive[compact/none/ifgsm/weak]",
        "test_adaptive[compact/ms/ifgsm/weak]",
        "test_certified[compact/ms/ifgsm/weak]",
    }


def test_a_slow_metric_is_cut_down_unless_it_is_asked_for_more(project: Any, collect: Any) -> None:
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    by_default = collect("--iqa-metric=lite0", "--iqa-scenario=nonadaptive")
    assert by_default == {
        f"test_{test}[lite0/{defense}/ifgsm/medium]"
        for test in ("nonadaptive", "lowering")
        for defense in ("none", "flip", "jpeg")
    }
    asked = collect("--iqa-metric=lite0", "--iqa-scenario=nonadaptive", "--iqa-attack=square", "--iqa-strength=weak")
    assert asked == {f"test_nonadaptive[lite0/{defense}/square/weak]" for defense in ("none", "flip", "jpeg")}


def test_ini_values_count_and_the_command_line_wins(project: Any, collect: Any) -> None:
    project.write(
        "pytest.ini", "[pytest]\npythonpath = .\niqa_metric = own:Contrast\niqa_strength = weak\niqa_attack = square\n"
    )
    assert collect("--iqa-defense=none", "--iqa-scenario=nonadaptive") == {
        "test_nonadaptive[own:Contrast/none/square/weak]"
    }
    assert collect("--iqa-defense=none", "--iqa-scenario=nonadaptive", "--iqa-strength=strong") == {
        "test_nonadaptive[own:Contrast/none/square/strong]"
    }


def test_ids_are_unique_in_a_run(project: Any) -> None:
    project.write("test_gate.py", SUITE)
    result = project.run("--collect-only", "-q", "--iqa-metric=compact,lite0")
    ids = [line for line in result.outlines if "::" in line]
    assert len(ids) > 50
    assert len(ids) == len(set(ids))


def test_collecting_two_times_gives_the_same_order(project: Any) -> None:
    project.write("test_gate.py", SUITE)
    first, second = (project.run("--collect-only", "-q").outlines for _ in range(2))
    assert [line for line in first if "::" in line] == [line for line in second if "::" in line]


def test_a_marker_with_an_unknown_axis_is_a_usage_error(project: Any, lines: Any) -> None:
    project.write(
        "test_gate.py",
        'import pytest\n@pytest.mark.iqa_cells(scenario="clean", color="red")\ndef test_x(pair, cell): pass\n',
    )
    result = project.run()
    assert result.ret == ExitCode.CONFIGURATION
    assert "iqa_cells does not take these arguments" in lines(result)


WHOLE = """
import pytest

@pytest.mark.iqa_whole_run
def test_of_the_whole():
    pass
"""


def test_what_belongs_to_a_whole_run_is_left_out_of_a_narrowed_one(collect: Any, project: Any) -> None:
    project.write("test_whole.py", WHOLE)
    assert "test_of_the_whole" not in collect()  # the project's settings name a metric
    project.write("pytest.ini", "[pytest]\n")
    assert "test_of_the_whole" in collect()
    assert "test_of_the_whole" in collect("--iqa-shard=1/3")
    for narrowed in ("--iqa-metric=compact", "--iqa-scenario=clean", "--iqa-strength=weak", "--iqa-shard=2/3"):
        assert "test_of_the_whole" not in collect(narrowed), narrowed
