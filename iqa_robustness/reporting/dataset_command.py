"""Data sets: what is in one, are its files whole, a sample of it; and sets of adversarial images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iqa_robustness import datasets
from iqa_robustness.datasets.base import Dataset
from iqa_robustness.datasets.files import ImageFiles
from iqa_robustness.datasets.folder import Folder
from iqa_robustness.datasets.reading import Gathered, stream
from iqa_robustness.errors import ConfigurationError, ExitCode, Where
from iqa_robustness.reporting import adversarial_commands, sample_command

MANIFEST = "manifest.json"
# What else there is: how it is described, what adds its arguments, what runs it.
_ELSEWHERE = {
    "sample": (
        "images that spread over content and quality, as a list",
        sample_command.add_arguments,
        sample_command.run,
    ),
    "build": (
        "make the set of adversarial images (metrics x attacks x strengths), through the store",
        adversarial_commands.add_build_arguments,
        adversarial_commands.build,
    ),
    "export": (
        "write adversarial images out of the store, with a data card",
        adversarial_commands.add_export_arguments,
        adversarial_commands.export_set,
    ),
    "judge": (
        "score adversarial images that somebody made, without attacking",
        adversarial_commands.add_judge_arguments,
        adversarial_commands.judge,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness dataset`."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="how many images, which scores, the digest")
    verify = actions.add_parser("verify", help="read every image, and compare the files with a manifest")
    manifest = actions.add_parser("manifest", help="SHA-256 and size of every file, as JSON")
    for action, run_action in ((show, _show), (verify, _verify), (manifest, _manifest)):
        action.add_argument("dataset", metavar="REF", help="koniq:PATH, folder:PATH, mini …")
        action.set_defaults(run_action=run_action)
    verify.add_argument("--manifest", type=Path, help=f"[{MANIFEST} in the folder, where there is one]")
    manifest.add_argument("--out", type=Path, help="file to write [standard output]")
    for name, (summary, add, run_action) in _ELSEWHERE.items():
        action = actions.add_parser(name, help=summary)
        add(action)
        action.set_defaults(run_action=run_action)


def run(options: argparse.Namespace) -> int:
    """Do it; 0, 1 where a file is not as it should be, or what the raised error says."""
    action: Callable[[argparse.Namespace], int] = options.run_action
    return action(options)


def _show(options: argparse.Namespace) -> int:
    data = datasets.load(options.dataset)
    scores = np.array([item.mos for item in data.items])
    spread = "none" if np.isnan(scores).all() else f"{scores.min():g} to {scores.max():g} ({data.mos_kind})"
    facts = {
        "images": len(data),
        "contents": len({item.content for item in data.items}),
        "scores": spread,
        "references": "yes" if data.has_references else "no",
        "digest": data.digest,
    }
    parts = sorted({row.part for row in data.rows if row.part}) if isinstance(data, ImageFiles) else []
    if parts:
        facts["parts"] = ", ".join(parts)
    if isinstance(data, Folder) and data.unlisted:
        facts["unlisted"] = f"{len(data.unlisted)} image files that no row lists, for one {data.unlisted[0].name}"
    for name, value in facts.items():
        print(f"{name + ':':<12}{value}")
    return 0


def _manifest(options: argparse.Namespace) -> int:
    text = json.dumps(manifest_of(datasets.load(options.dataset)), indent=1)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(f"{text}\n", encoding="utf-8")
        print(f"written: {options.out}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    data = datasets.load(options.dataset)
    gathered = Gathered()
    read = sum(1 for _ in stream(data, on_error=gathered))
    wrong = [f"{error.where.file or error.where.image}: {error.what}" for error in gathered.errors]
    file = options.manifest
    if file is None and isinstance(data, ImageFiles) and (data.root / MANIFEST).is_file():
        file = data.root / MANIFEST
    if file is not None:
        wrong += differences(_loaded(file), data)
    for line in wrong:
        print(line)
    against = f"compared with {file}" if file is not None else "no manifest to compare with"
    print(f"{read} of {len(data)} images can be read; {against}; {len(wrong)} faults")
    return int(ExitCode.FAIL if wrong else ExitCode.PASS)


def manifest_of(data: Dataset) -> dict[str, Any]:
    """The data set's own manifest, or number and digest where it is made and not read."""
    if isinstance(data, ImageFiles):
        return data.manifest()
    return {"manifest": 1, "images": len(data), "digest": data.digest, "files": {}}


def differences(manifest: Mapping[str, Any], data: Dataset) -> list[str]:
    """What a manifest says otherwise of a data set, a line each; files that are gone are among them."""
    found = []
    expected: Mapping[str, Mapping[str, Any]] = manifest["files"]
    there = {data.place(file): file for file in data.files} if isinstance(data, ImageFiles) else {}
    for place, file in there.items():
        if place not in expected:
            found.append(f"{place}: not in the manifest")
        elif not file.is_file():
            found.append(f"{place}: not there any more")
        elif isinstance(data, ImageFiles) and data.file_digest(file) != expected[place]["sha256"]:
            found.append(f"{place}: SHA-256 differs, {file.stat().st_size} bytes instead of {expected[place]['size']}")
    found += [f"{place}: in the manifest, not in the data set" for place in expected if place not in there]
    # Files may be right and the table of scores another one.
    if not found and data.digest != manifest["digest"]:
        found.append("the scores, ids or contents are not those of the manifest: the digest differs")
    return found


def _loaded(file: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if manifest["manifest"] != 1 or not isinstance(manifest["files"], dict) or "digest" not in manifest:
            raise ValueError("no manifest of version 1")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"cannot read the manifest: {error}",
            where=Where(file=str(file)),
            fix="write it with `iqa-robustness dataset manifest REF --out FILE`",
        ) from error
    return manifest
