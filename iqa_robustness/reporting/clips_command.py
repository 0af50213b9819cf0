"""What attacks do to the score of a whole clip: the mean over its frames, and the worst frame."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from iqa_robustness.bench.clips import ClipShift, clip_shifts
from iqa_robustness.bench.experiment import add_run_arguments, experiment_of
from iqa_robustness.bench.plan import Selection, parsed_patterns, planned
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.columns import Row, aligned, spoken_interval, spread, write_rows

SCENARIOS = ("nonadaptive", "adaptive")
_LEGEND = """\
Scores are those of the defended metric, mean over clips of the mean over frames. Gains: towards better, in per cent of
the score range, with 95 % intervals over clips; of the mean over frames, and of the clip's worst frame."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness clips`."""
    parser.add_argument("--iqa-metric", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--iqa-defense", metavar="NAMES", default="none", help="names or patterns [none]")
    parser.add_argument("--iqa-attack", metavar="NAMES", default="ifgsm", help="names or patterns [ifgsm]")
    parser.add_argument("--iqa-strength", metavar="NAMES", default="medium", help="weak, medium, strong [medium]")
    parser.add_argument("--iqa-scenario", choices=SCENARIOS, default=SCENARIOS[0], help=f"[{SCENARIOS[0]}]")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder for clips.json and .csv [reports]")
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Compute the cells or read the store, pool, print the table, write the files."""
    experiment = experiment_of(options)
    chosen = Selection(
        metric=parsed_patterns(options.iqa_metric),
        defense=parsed_patterns(options.iqa_defense),
        attack=parsed_patterns(options.iqa_attack),
        strength=parsed_patterns(options.iqa_strength),
    )
    cells = planned(
        scenario=options.iqa_scenario,
        profile=experiment.profile,
        sizes=experiment.sizes,
        user=chosen,
        load=True,
    ).cells
    if not cells:
        raise ConfigurationError("nothing is selected that can be attacked", fix="name another metric or attack")
    found = [*clip_shifts(experiment.runner, cells)]
    print(described(found))
    facts = {"dataset": options.iqa_dataset, "profile": experiment.profile.name, "seed": options.iqa_seed}
    files = write_rows([row_of(one) for one in found], options.out, "clips", facts=facts)
    print(f"written: {', '.join(str(file) for file in files)}")
    return 0


def described(found: Sequence[ClipShift]) -> str:
    """An aligned table, a line for each cell."""
    head = (
        "metric",
        "defense",
        "attack",
        "strength",
        "clips",
        "frames",
        "clean",
        "attacked",
        "mean gain",
        "worst frame",
    )
    lines = [
        (
            *(one.metric, one.defense, one.attack, one.strength, str(one.clips), str(one.frames)),
            *(f"{one.clean:.2f}", f"{one.attacked:.2f}"),
            *(spoken_interval(one.mean_gain), spoken_interval(one.worst_gain)),
        )
        for one in found
    ]
    return f"{aligned([head, *lines], left=4)}\n\n{_LEGEND}"


def row_of(one: ClipShift) -> Row:
    """Its numbers as columns; gains in per cent of the score range."""
    names = ("metric", "defense", "attack", "strength", "scenario", "clips", "frames", "clean", "attacked")
    return {
        **{name: getattr(one, name) for name in names},
        **spread("mean_gain", one.mean_gain),
        **spread("worst_gain", one.worst_gain),
    }
