"""Copy a part of a store into a folder, which is a store again, or into one tar file of such a folder."""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
from pathlib import Path

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.store_entries import add_selection, selected, spoken_size
from iqa_robustness.reporting.store_merge_command import spoken
from iqa_robustness.store import Entry, Store
from iqa_robustness.store.copying import copied, copy_entries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store export`."""
    parser.add_argument("store", metavar="STORE", help="folder or fsspec URL")
    parser.add_argument("target", metavar="TO", help="a folder or URL, or a .tar file, which must not exist yet")
    add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Export, and say what. Raises ConfigurationError where nothing is selected or the file is there already."""
    store = Store(options.store, read_only=True)
    entries = [entry for entry, _ in selected(store, options)]
    if not entries:
        raise ConfigurationError(
            f"no entry of {store.shown} is selected", fix="see `iqa-robustness store ls` for what it holds"
        )
    if options.target.endswith(".tar"):
        print(_packed(entries, Path(options.target)))
    else:
        target = Store(options.target)
        print(f"{target.shown}: {spoken(copy_entries(store, target, [entry.digest for entry in entries]))}")
    return 0


def _packed(entries: list[Entry], path: Path) -> str:
    if path.exists():
        raise ConfigurationError(f"{path} exists", fix="give another name: an archive is never overwritten")
    partial = path.with_name(f"{path.name}.partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            with tempfile.TemporaryDirectory() as folder:  # one entry at a time, verified on its way
                whole = copied(entry, Store(folder))
                place = Path(whole.store.path_of(entry.digest))
                for file in sorted(place.iterdir()):
                    info = tarfile.TarInfo(str(file.relative_to(folder)))
                    info.size = file.stat().st_size
                    with file.open("rb") as data:
                        tar.addfile(info, data)
        about = json.dumps({"entries": [entry.digest for entry in entries]}).encode()
        info = tarfile.TarInfo("contents.json")
        info.size = len(about)
        tar.addfile(info, io.BytesIO(about))
    partial.rename(path)
    return f"written: {path}, {len(entries)} entries, {spoken_size(path.stat().st_size)}; unpacked, it is a store"
