"""Measure what defenses make of images that are truly bad: does purification rate them better, is their order kept?"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from iqa_robustness import defenses
from iqa_robustness.bench.degradations import LEVELS, Harm, harms
from iqa_robustness.bench.experiment import add_run_arguments, experiment_of
from iqa_robustness.bench.plan import Selection, parsed_patterns, planned
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.reporting.columns import Row, aligned, spread, write_rows
from iqa_robustness.reporting.experiment_figures import degradation_figure

# To rate an image better that is clearly damaged does harm; a per cent of the range is not worth a word.
_BAD, _HARMFUL = 3, 1.0
_LEGEND = """\
Bias: how much better the defense makes a damaged image look, in per cent of the score range; * where its 95 % interval
(contents as clusters) leaves out 0. Order lost: of the images that the metric rates below their next milder level, the
share that it does not behind the defense, level by level."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness degradations`."""
    parser.add_argument("--iqa-metric", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument(
        "--iqa-defense", metavar="NAMES", default="", help="names or patterns [all purifications that work here]"
    )
    parser.add_argument(
        "--degradation", metavar="NAMES", default=",".join(LEVELS), help=f"of {', '.join(LEVELS)} [all]"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder for degradations.json, .csv, .svg [reports]"
    )
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Score or read the store, print the table, write the files."""
    named = parsed_patterns(options.iqa_defense) or tuple(
        entry.name for entry in defenses.registry if entry.kind == "purification" and defenses.available(entry.name)
    )
    degradations = parsed_patterns(options.degradation)
    for name in degradations:
        if name not in LEVELS:
            raise UnknownNameError("degradation", name, LEVELS)
    experiment = experiment_of(options)
    chosen = Selection(metric=parsed_patterns(options.iqa_metric), defense=named)
    cells = planned(scenario="clean", profile=experiment.profile, sizes=experiment.sizes, user=chosen).cells
    cells = [cell for cell in cells if cell.defense != "none"]
    if not cells or not degradations:
        raise ConfigurationError("no defense or no degradation is selected", fix="name at least one of each")
    found = [*harms(experiment.runner, cells, degradations)]
    print(described(found))
    facts = {
        "dataset": options.iqa_dataset,
        "profile": experiment.profile.name,
        "size": [*experiment.profile.size],
        "seed": options.iqa_seed,
    }
    files = write_rows([row_of(one) for one in found], options.out, "degradations", facts=facts)
    picture = options.out / "degradations.svg"
    picture.write_bytes(degradation_figure(found))
    print(f"written: {', '.join(str(file) for file in (*files, picture))}")
    return 0


def described(found: Sequence[Harm]) -> str:
    """An aligned table, a line for each (metric, defense, degradation), and what it says in words."""
    levels = sorted({one.level for one in found})
    rows: dict[tuple[str, str, str], list[Harm]] = {}
    for one in found:
        rows.setdefault((one.metric, one.defense, one.degradation), []).append(one)
    lines = [("metric", "defense", "degradation", *(f"level {level}" for level in levels), "order lost, %")]
    for names, line in rows.items():
        lines.append((*names, *(_spoken_bias(one) for one in line), " ".join(_spoken_loss(one) for one in line)))
    raised = {
        names: max(one.bias.value for one in line if one.level >= _BAD)
        for names, line in rows.items()
        if any(one.level >= _BAD and one.bias.low > _HARMFUL for one in line)
    }
    said = [
        aligned(lines, left=3),
        "",
        _LEGEND,
        f"Rated better at level {_BAD} or above, by more than {_HARMFUL:g} % beyond doubt: {_listed(raised)}",
    ]
    return "\n".join(said)


def row_of(one: Harm) -> Row:
    """Its numbers as columns; bias in per cent of the score range, `ordered` and `lost` as shares."""
    return {
        "metric": one.metric,
        "defense": one.defense,
        "degradation": one.degradation,
        "level": one.level,
        "score": one.score,
        "defended": one.defended,
        **spread("bias", one.bias),
        "ordered": one.ordered,
        "lost": one.lost,
        "contents": one.bias.clusters,
    }


def _spoken_bias(one: Harm) -> str:
    sure = one.bias.low > 0 or one.bias.high < 0
    return f"{one.bias.value:+.1f}{'*' if sure else ' '}"


def _spoken_loss(one: Harm) -> str:
    return f"{'–' if math.isnan(one.lost) else f'{100 * one.lost:.0f}':>3}"


def _listed(raised: Mapping[tuple[str, str, str], float]) -> str:
    """The worst first."""
    worst = sorted(raised.items(), key=lambda found: -found[1])
    said = [f"{degradation} by {defense} ({metric}, {bias:+.1f} %)" for (metric, defense, degradation), bias in worst]
    return "; ".join(said) or "nothing"
