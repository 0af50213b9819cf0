"""Times as people say them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from iqa_robustness.reporting.spoken_time import spoken_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5399, "90 min"),
        (12_240, "3.4 h"),
        (36_000, "10.0 h"),
    ],
)
def test_times_are_said_in_their_unit(seconds: float | None, text: str) -> None:
    assert spoken_time(seconds) == text


def test_saying_a_time_imports_nothing_heavy() -> None:
    # The plugin says times in runs that may have nothing to do with this package.
    check = (
        "import sys, iqa_robustness.reporting.spoken_time; sys.exit(any(name in sys.modules for name in "
        "('numpy', 'pandas', 'scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
