"""The commit that this package runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def commit() -> str:
    """Of the checkout that holds this package: its abbreviated hash, with `+` for changes; empty outside of one."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--exclude", "*", "--dirty=+"],
            cwd=_HERE,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
