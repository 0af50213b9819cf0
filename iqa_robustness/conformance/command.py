"""`iqa-robustness qualify`: does a metric, an attack or a defense keep the promises that all of its kind must keep?"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from iqa_robustness.bench.devices import prepared_device
from iqa_robustness.conformance.check import Finding
from iqa_robustness.conformance.qualification import KINDS, qualified
from iqa_robustness.conformance.report import closing_line, document_of, lines_of, passed
from iqa_robustness.errors import ExitCode

# Wider lines are hard to read, narrower ones hard to wrap.
_WIDEST, _NARROWEST = 120, 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness qualify`."""
    parser.add_argument("kind", choices=[*KINDS], help="what it is")
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="a registered name or package.module:Class; of a metric also exec:COMMAND, onnx:PATH or pyiqa:NAME",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="of the constructor, for one weights=PATH; VALUE is JSON where it is valid JSON, else a text",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … or auto [cpu]")
    parser.add_argument("--json", action="store_true", help="machine-readable, printed at the end")


def run(options: argparse.Namespace) -> int:
    """Try every check; 0 where none fails, 1 where one does."""
    device = prepared_device(options.device, option="--device")
    chosen = dict(options.option)
    arriving = qualified(options.kind, options.reference, device=device, options=chosen)
    if options.json:
        findings = [*arriving]
        document = document_of(findings, kind=options.kind, reference=options.reference, device=device, options=chosen)
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        print(f"{options.kind} {options.reference} on {device}\n", flush=True)
        findings = [*_printed(arriving, name_width=max(len(check.name) for check in KINDS[options.kind].checks))]
        print(f"\n{closing_line(findings)}")
    return int(ExitCode.PASS if passed(findings) else ExitCode.FAIL)


def _printed(findings: Iterable[Finding], *, name_width: int) -> Iterator[Finding]:
    """The same, each printed as it arrives: some metrics take minutes."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    for finding in findings:
        print(*lines_of(finding, name_width=name_width, width=width), sep="\n", flush=True)
        yield finding


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
