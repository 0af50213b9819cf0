"""Runs of several machines: shards fill one store, a last run judges all of it and fails on what is missing."""

from __future__ import annotations

from typing import Any

from iqa_robustness.errors import ExitCode


def items(result: Any) -> set[str]:
    return {line.split()[0] for line in result.outlines if line.startswith("test_gate.py::")}


def test_two_shards_compute_everything_once_and_the_last_run_judges_it(project: Any) -> None:
    first, second = (project.run(f"--iqa-shard={number}/2", "-v") for number in (1, 2))
    assert (first.ret, second.ret) == (ExitCode.PASS, ExitCode.PASS)
    assert len(items(first)) + len(items(second)) == 3
    assert not items(first) & items(second)
    first.stdout.fnmatch_lines(["*shard 1/2: * of 3 items, the others elsewhere*"])
    judged = project.run("--iqa-from-store", "-v")
    assert judged.ret == ExitCode.PASS
    assert items(judged) == items(first) | items(second)
    judged.stdout.fnmatch_lines(["*0 computed in this run, 3 taken from the store*"])


def test_what_a_lost_shard_should_have_computed_is_missing_not_passed(project: Any) -> None:
    assert project.run("--iqa-shard=1/2").ret == ExitCode.PASS
    assert project.run("--iqa-from-store").ret == ExitCode.MISSING


def test_a_shard_that_is_none_stops_the_run(project: Any) -> None:
    result = project.run("--iqa-shard=3/2")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(["*no shard: '3/2'*"])


def test_workers_agree_on_the_shard(project: Any) -> None:
    result = project.run("--iqa-shard=1/2", "-n", "2", "-v")
    assert result.ret == ExitCode.PASS
    alone = project.run("--iqa-shard=1/2", "-v", "--iqa-store=other")
    assert result.parseoutcomes()["passed"] == alone.parseoutcomes()["passed"]
