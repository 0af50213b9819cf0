"""`iqa-robustness qualify`: does a metric, an attack or a defense keep the promises that all of its kind must keep?

With `--bundle`, what somebody does who hands a defense in to a leaderboard: checks, a small benchmark, one file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from iqa_robustness.conformance import command as qualify
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting import leaderboard_command, run_command

# What a leaderboard compares.
_SCENARIOS = "nonadaptive,adaptive,certified"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness qualify`."""
    qualify.add_arguments(parser)
    handing_in = parser.add_argument_group("handing in", "after the checks, for a defense that passes them")
    handing_in.add_argument("--bundle", type=Path, metavar="FILE", help="run a small benchmark and pack its records")
    handing_in.add_argument("--submitter", default="", metavar="NAME", help="to stand beside the records")
    handing_in.add_argument("--iqa-metric", metavar="NAMES", default="compact", help="to be defended [compact]")
    handing_in.add_argument("--iqa-attack", metavar="NAMES", default="", help="[those of the profile smoke]")
    handing_in.add_argument("--iqa-strength", metavar="NAMES", default="", help="[all of them]")
    handing_in.add_argument("--iqa-dataset", metavar="REF", default="mini", help="images [mini]")
    handing_in.add_argument("--iqa-images", metavar="N", default="", help="how many [the profile's]")
    handing_in.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="of the records [.iqa-store]")


def run(options: argparse.Namespace) -> int:
    """Try every check, then benchmark and pack; 0 where all of that went well, 1 where a check fails."""
    if options.bundle is None:
        return qualify.run(options)
    _refuse_what_is_no_submission(options)
    code = qualify.run(options)
    if code:
        print(f"\nnothing was packed: {options.reference} has to pass the checks first")
        return code
    print(f"\nbenchmark of {options.reference} and of no defense, profile smoke", flush=True)
    selection = {
        "iqa-metric": options.iqa_metric,
        "iqa-defense": f"none,{options.reference}",
        "iqa-attack": options.iqa_attack,
        "iqa-strength": options.iqa_strength,
        "iqa-scenario": _SCENARIOS,
        "iqa-dataset": options.iqa_dataset,
        "iqa-images": options.iqa_images,
        "iqa-device": options.device,
        "iqa-store": options.iqa_store,
    }
    code = _ran(run_command, [f"--{name}={value}" for name, value in selection.items() if value])
    if code:
        return code
    packed = ["bundle", f"--submitter={options.submitter}", f"--to={options.bundle}"]
    packed += [f"--iqa-store={options.iqa_store}", f"--defense={options.reference}"]
    if "," not in options.iqa_metric:
        packed.append(f"--metric={options.iqa_metric}")
    return _ran(leaderboard_command, packed)


def _refuse_what_is_no_submission(options: argparse.Namespace) -> None:
    for wrong, what, fix in (
        (options.kind != "defense", f"a leaderboard is of defenses, not of a {options.kind}", "leave --bundle out"),
        (bool(options.option), "--option: a benchmark makes defenses with their defaults", "make a class of it"),
        (options.json, "--json is of checks alone", "leave --json or --bundle out"),
        (not options.submitter, "a bundle needs --submitter NAME", 'add --submitter "Ana, Lab 7"'),
    ):
        if wrong:
            raise ConfigurationError(what, fix=fix)


def _ran(command: ModuleType, arguments: list[str]) -> int:
    """A subcommand, with arguments as on a command line."""
    parser = argparse.ArgumentParser(prog="iqa-robustness qualify")
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(arguments)))
