"""Compare the order of defenses on two data sets: what of a leaderboard holds on other images?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iqa_robustness import defenses
from iqa_robustness.bench.agreement import Agreement, agreements
from iqa_robustness.bench.experiment import add_run_arguments, experiment_of
from iqa_robustness.bench.plan import Selection, parsed_patterns, planned
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.columns import Row, aligned, spoken_interval, spread, write_rows

SCENARIOS = ("nonadaptive", "adaptive")
_LEGEND = """\
D_score, |f(P(x')) − f(x)| in per cent of the score range, with 95 % intervals (contents as clusters), on both data
sets; the best defense of the first one first. A pair of defenses is confirmed (reversed) when the interval of its
paired difference leaves out 0 on both data sets, on the same (on opposite) sides; the others may be chance."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness agreement`."""
    parser.add_argument(
        "--across", metavar="REF", required=True, help="the second data set; --iqa-dataset is the first"
    )
    parser.add_argument("--iqa-metric", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument(
        "--iqa-defense",
        metavar="NAMES",
        default="",
        help="names or patterns [none and all purifications that work here]",
    )
    parser.add_argument("--iqa-attack", metavar="NAMES", default="ifgsm", help="names or patterns [ifgsm]")
    parser.add_argument("--iqa-strength", metavar="NAMES", default="medium", help="weak, medium, strong [medium]")
    parser.add_argument("--iqa-scenario", choices=SCENARIOS, default=SCENARIOS[0], help=f"[{SCENARIOS[0]}]")
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder for agreement.json and .csv [reports]"
    )
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Compute both data sets' cells or read the store, compare, print the tables, write the files."""
    experiment = experiment_of(options)
    named = parsed_patterns(options.iqa_defense) or tuple(
        entry.name
        for entry in defenses.registry
        if entry.kind in ("none", "purification") and defenses.available(entry.name)
    )
    chosen = Selection(
        metric=parsed_patterns(options.iqa_metric),
        defense=named,
        attack=parsed_patterns(options.iqa_attack),
        strength=parsed_patterns(options.iqa_strength),
    )
    first, second = (
        planned(
            scenario=options.iqa_scenario,
            profile=experiment.profile,
            sizes=replace(experiment.sizes, dataset=dataset),
            user=chosen,
            load=True,
        ).cells
        for dataset in (options.iqa_dataset, options.across)
    )
    found = [*agreements(experiment.runner, first, second)]
    if not found:
        raise ConfigurationError("fewer than two defenses are selected", fix="name more, with --iqa-defense")
    for one in found:
        print(described(one), end="\n\n")
    print(_LEGEND)
    facts = {
        "first": options.iqa_dataset,
        "second": options.across,
        "profile": experiment.profile.name,
        "seed": options.iqa_seed,
        "agreements": [summary(one) for one in found],
    }
    rows = [row for one in found for row in rows_of(one)]
    files = write_rows(rows, options.out, "agreement", facts=facts)
    print(f"written: {', '.join(str(file) for file in files)}")
    return 0


def described(one: Agreement) -> str:
    """An aligned table, a line for each defense, and what it says in words."""
    lines: list[tuple[str, ...]] = [(f"{one.metric}, {one.attack}/{one.strength}", "first", "second")]
    for name, *sides in zip(one.defenses, one.first, one.second, strict=True):
        lines.append((name, *(spoken_interval(side) for side in sides)))
    pairs = one.confirmed + len(one.reversed) + one.undecided
    said = [
        aligned(lines, left=1),
        f"SROCC {one.srocc:+.2f}, Kendall {one.kendall:+.2f}; of {pairs} pairs {one.confirmed} confirmed, "
        f"{len(one.reversed)} reversed, {one.undecided} undecided",
    ]
    if one.reversed:
        said.append("reversed: " + ", ".join(f"{better} < {worse}" for better, worse in one.reversed))
    return "\n".join(said)


def rows_of(one: Agreement) -> Sequence[Row]:
    """A row for each defense, D_scores in per cent of the score range."""
    axes = {name: getattr(one, name) for name in ("metric", "attack", "strength", "scenario")}
    return [
        {**axes, "defense": name, **spread("first", first), **spread("second", second)}
        for name, first, second in zip(one.defenses, one.first, one.second, strict=True)
    ]


def summary(one: Agreement) -> dict[str, object]:
    """Correlations and pairs as JSON values; null where a correlation is not known."""
    return {
        **{name: getattr(one, name) for name in ("metric", "attack", "strength", "scenario")},
        **{name: value if value == value else None for name, value in (("srocc", one.srocc), ("kendall", one.kendall))},
        "confirmed": one.confirmed,
        "reversed": [[*pair] for pair in one.reversed],
        "undecided": one.undecided,
    }
