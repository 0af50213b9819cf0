"""Measure which attacks a detector sees: AUC with its interval, rates at thresholds from other contents, ROC curves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from iqa_robustness.bench.detection import Detection, detections
from iqa_robustness.bench.experiment import add_run_arguments, experiment_of
from iqa_robustness.bench.plan import Selection, parsed_patterns, planned
from iqa_robustness.defenses import detectors
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.columns import Row, aligned, spoken_interval, spread, write_rows
from iqa_robustness.reporting.experiment_figures import roc_figure

_DEFAULT = "score-change:jpeg,score-change:flip,feature-squeezing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness detect`."""
    parser.add_argument("--iqa-metric", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--iqa-attack", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--iqa-strength", metavar="NAMES", default="", help="weak, medium, strong [all]")
    parser.add_argument("--detector", metavar="NAMES", default=_DEFAULT, help=f"names or patterns [{_DEFAULT}]")
    parser.add_argument("--rate", type=float, default=0.05, help="false positives that thresholds aim at [0.05]")
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder for detection.json, .csv, .svg [reports]"
    )
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Attack or read the store, detect, print the table, write the files."""
    chosen = Selection(
        metric=parsed_patterns(options.iqa_metric),
        attack=parsed_patterns(options.iqa_attack),
        strength=parsed_patterns(options.iqa_strength),
        defense=("none",),
    )
    experiment = experiment_of(options)
    plan = planned(scenario="nonadaptive", profile=experiment.profile, sizes=experiment.sizes, user=chosen, load=True)
    names = {
        name
        for pattern in parsed_patterns(options.detector)
        for name in detectors.registry.matching(pattern) or [detectors.registry.resolve(pattern).name]
    }
    if not plan.cells:
        raise ConfigurationError("no attack is selected that the metric can be attacked with", fix="name another one")
    made = [detectors.create(name) for name in sorted(names)]
    found = [*detections(experiment.runner, plan.cells, made, rate=options.rate)]
    print(described(found, rate=options.rate))
    facts = {
        "dataset": options.iqa_dataset,
        "profile": experiment.profile.name,
        "size": [*experiment.profile.size],
        "seed": options.iqa_seed,
        "rate": options.rate,
    }
    curves = [
        {
            "metric": one.metric,
            "detector": one.detector,
            "attack": one.attack,
            "strength": one.strength,
            "false_positive_rates": one.roc.false_positive_rates.tolist(),
            "true_positive_rates": one.roc.true_positive_rates.tolist(),
        }
        for one in found
    ]
    files = write_rows([row_of(one) for one in found], options.out, "detection", facts={**facts, "curves": curves})
    picture = options.out / "detection.svg"
    picture.write_bytes(roc_figure(found))
    print(f"written: {', '.join(str(file) for file in (*files, picture))}")
    return 0


def described(found: Sequence[Detection], *, rate: float) -> str:
    """An aligned table, a line for each (metric, attack, strength, detector)."""
    found_at = f"found at {100 * rate:g} % false, %"
    lines = [("metric", "attack", "strength", "detector", "gain, %", "AUC", found_at, "false, %", "forwards", "images")]
    for one in found:
        lines.append(
            (
                one.metric,
                one.attack,
                one.strength,
                one.detector,
                f"{one.gain:.1f}",
                spoken_interval(one.auc, digits=2),
                spoken_interval(one.rates.true_positive_rate, factor=100, digits=0),
                spoken_interval(one.rates.false_positive_rate, factor=100, digits=0),
                str(one.forwards),
                f"{one.clean} + {one.attacked}",
            )
        )
    return aligned(lines, left=4)


def row_of(one: Detection) -> Row:
    """Its numbers as columns; rates are shares, the gain is in per cent of the score range."""
    return {
        "metric": one.metric,
        "attack": one.attack,
        "strength": one.strength,
        "detector": one.detector,
        "gain": one.gain,
        **spread("auc", one.auc),
        **spread("true_positive_rate", one.rates.true_positive_rate),
        **spread("false_positive_rate", one.rates.false_positive_rate),
        "forwards": one.forwards,
        "clean_images": one.clean,
        "attacked_images": one.attacked,
        "contents": one.auc.clusters,
    }
