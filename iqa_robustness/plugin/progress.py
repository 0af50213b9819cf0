"""How far a long cell is, on the terminal, where a person is watching."""

from __future__ import annotations

import sys
import time

import pytest

from iqa_robustness.reporting.spoken_time import spoken_time


class TerminalProgress:
    """Rewrites one line on a terminal: stage, images done, time left. Silent in pipes, CI logs and workers."""

    # Shorter stages are over before they are read.
    PATIENCE = 2.0

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._started = 0.0
        self._shown = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show the stage, or clear the line at its end."""
        now = time.monotonic()
        if done == 0:
            self._started = now
        spent = now - self._started
        if done >= total:
            if self._shown:
                self._write("\r\033[K")
            self._shown = False
        elif done and spent > self.PATIENCE:
            left = spent / done * (total - done)
            self._write(f"\r\033[K  {stage}: {done} of {total} images, about {spoken_time(left)} left")
            self._shown = True

    def _write(self, text: str) -> None:
        if self._capture is None:
            return
        with self._capture.global_and_fixture_disabled():
            if sys.stderr.isatty():
                sys.stderr.write(text)
                sys.stderr.flush()
