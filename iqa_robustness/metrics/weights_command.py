"""`iqa-robustness weights`: what published files there are, where they lie, whether they are the right ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from iqa_robustness.errors import ChecksumError, IqaRobustnessError, WeightsError, Where
from iqa_robustness.metrics.download import fetch, verified
from iqa_robustness.metrics.weights import FOLDER_VARIABLE, MANIFEST, WeightsEntry, entry_of, folder, sha256_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness weights`."""
    parser.add_argument(
        "action",
        choices=["list", "fetch", "verify", "where"],
        help="list: all files; fetch: download what is missing; verify: size and SHA-256; where: the folder and paths",
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="only the files of these metrics and defenses")


def run(options: argparse.Namespace) -> int:
    """Do it; 0, or what the raised error says."""
    chosen = _chosen(options.name)
    actions = {"list": _list, "fetch": _fetch, "verify": _verify, "where": _where}
    return actions[options.action](chosen)


def _chosen(names: Sequence[str]) -> list[WeightsEntry]:
    for name in names:
        entry_of(name)
    return [entry for name in (dict.fromkeys(names) or MANIFEST) for entry in MANIFEST[name]]


def _list(entries: Sequence[WeightsEntry]) -> int:
    rows = [
        (e.owner, e.file, spoken_size(e.size), e.licence, "yes" if (folder() / e.file).is_file() else "no", e.origin)
        for e in entries
    ]
    head = ("for", "file", "size", "licence", "present", "origin")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [
            text.rjust(width) if column == 2 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    return 0


def _where(entries: Sequence[WeightsEntry]) -> int:
    print(f"{folder()}  (another folder: ${FOLDER_VARIABLE})")
    for entry in entries:
        print(f"  {folder() / entry.file}")
    return 0


def _verify(entries: Sequence[WeightsEntry]) -> int:
    wrong: list[WeightsError] = []
    for entry in entries:
        path = folder() / entry.file
        if not path.is_file():
            print(f"{entry.file}: not present")
            continue
        try:
            verified(entry, path)
            print(f"{entry.file}: {_spoken_digest(entry, path)}")
        except WeightsError as error:
            print(f"{entry.file}: WRONG, {error.what}")
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ChecksumError(
            f"{len(wrong)} files are not the published ones: {'; '.join(error.what for error in wrong)}",
            where=Where(file=str(folder())),
            fix="delete them and run `iqa-robustness weights fetch`",
        )
    return 0


def _fetch(entries: Sequence[WeightsEntry]) -> int:
    """One failing file does not keep the others from being fetched; the first error is raised in the end."""
    errors: list[IqaRobustnessError] = []
    for entry in entries:
        there = (folder() / entry.file).is_file()
        line = ProgressLine(entry.file)
        try:
            path = fetch(entry, progress=line)
            line.close()
            print(f"{entry.file}: {'already there' if there else 'fetched'}, {_spoken_digest(entry, path)}")
        except IqaRobustnessError as error:
            line.close()
            errors.append(error)
    for other in errors[1:]:
        print(f"{type(other).__name__}: {other}", file=sys.stderr)
    if errors:
        raise errors[0]
    return 0


class ProgressLine:
    """`FILE: 12.3 of 45.6 MB`, rewritten in place on a terminal's standard error; elsewhere nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._length = 0

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is. Bytes; `total` 0 when unknown."""
        if not sys.stderr.isatty():
            return
        text = f"{self.name}: {spoken_size(done)} of {spoken_size(total)}"
        print(f"\r{text.ljust(self._length)}", end="", file=sys.stderr, flush=True)
        self._length = len(text)

    def close(self) -> None:
        """End the line, if one was begun."""
        if self._length:
            print(file=sys.stderr)
            self._length = 0


def spoken_size(size: int) -> str:
    """Bytes in powers of ten with three digits: `353 kB`, `2.90 MB`; `unknown` for 0."""
    if not size:
        return "unknown"
    value, units = float(size), ["B", "kB", "MB", "GB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 0 if units[0] == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {units[0]}"


def _spoken_digest(entry: WeightsEntry, path: Path) -> str:
    if entry.sha256:
        return f"ok, sha256 {entry.sha256}"
    return f"no digest is published; sha256 of this file: {sha256_of(path)}"
