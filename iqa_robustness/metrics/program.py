"""A program that answers one JSON request with one JSON object: started, timed, and its faults named."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from typing import IO, Any

from iqa_robustness.errors import ConfigurationError, ProgramAnswerError, ProgramCrashError, ProgramTimeoutError, Where

_LAST_LINES = 5
_SHOWN = 200
# After the end of its output a program has so many seconds to end itself.
_GRACE = 5.0


class Program:
    """A command, run without a shell in the current folder.

    A request is one line of JSON on its standard input; the answer is one JSON object on its standard output; whatever
    it writes to standard error is shown when it fails. By default each request starts the program anew and closes its
    input after the line, so that reading a line and reading everything both work.

    Args:
        command: words as a POSIX shell splits them; no other shell syntax.
        name: of the metric, for messages.

    Raises:
        ConfigurationError: no command, or an unclosed quotation mark.
    """

    def __init__(self, command: str, *, name: str) -> None:
        self.where = Where(metric=name)
        try:
            self.words = words_of(command, windows=os.name == "nt")
        except ValueError as error:
            raise ConfigurationError(
                f"the command {command!r} cannot be split into words: {error}",
                where=self.where,
                fix="close the quotation mark",
            ) from None
        if not self.words:
            raise ConfigurationError("the command is empty", where=self.where, fix="write exec:COMMAND")
        self.persistent = False
        self._kept: _Running | None = None

    def ask(self, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
        """The answer to a request.

        Args:
            request: JSON.
            timeout: seconds, the program's start included.

        Raises:
            ConfigurationError: the program cannot be started.
            ProgramTimeoutError: no answer within `timeout`; the program and its children are killed.
            ProgramCrashError: an exit code other than 0, a signal, or an end without an answer.
            ProgramAnswerError: the answer is no JSON object.
        """
        running = self._kept if self._kept and self._kept.process.poll() is None else self._started()
        self._kept = None
        try:
            answer = self._parsed(self._exchange(running, json.dumps(request), time.monotonic() + timeout))
        except queue.Empty:
            said = running.last_words()
            running.kill()
            raise ProgramTimeoutError(
                f"the program did not answer the request {request['request']!r} within {timeout:g} s{said}",
                where=self.where,
                fix='look for a hang; a slow program declares "timeout": seconds an image',
            ) from None
        except BaseException:  # a cell's time limit interrupts here: no program may outlive its cell
            running.kill()
            raise
        if self.persistent:
            self._kept = running
        else:
            running.kill()
        return answer

    def _exchange(self, running: _Running, request: str, deadline: float) -> str:
        with contextlib.suppress(BrokenPipeError):  # its end says more than the pipe's
            running.send(request, last=not self.persistent)
        lines: list[str] = []
        while (line := running.line(deadline)) is not None:
            lines.append(line)
            if self.persistent:
                return line
        code = running.ended(deadline)
        if code != 0:
            how = f"with exit code {code}" if code > 0 else f"by signal {-code} ({_signal_name(-code)})"
            raise ProgramCrashError(
                f"the program ended {how}{running.last_words()}", where=self.where, fix=self._run_it(request)
            )
        text = "".join(lines).strip()
        if not text:
            raise ProgramCrashError(
                f"the program ended without an answer{running.last_words()}",
                where=self.where,
                fix=f"print one JSON object and flush it; {self._run_it(request)}",
            )
        return text

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError as error:
            problem = f"the program's answer is no JSON ({error}): {_shortened(text)}"
        else:
            if isinstance(answer, dict):
                return answer
            problem = f"the program's answer is no JSON object: {_shortened(text)}"
        raise ProgramAnswerError(
            problem,
            where=self.where,
            fix="print the JSON object and nothing else; messages go to standard error",
        )

    def _started(self) -> _Running:
        try:
            return _Running(self.words)
        except OSError as error:
            raise ConfigurationError(
                f"the program {self.words[0]!r} cannot be started: {error.strerror or error}",
                where=self.where,
                fix="check the command, its path and that it may be executed; it runs in the current folder",
            ) from None

    def _run_it(self, request: str) -> str:
        return f"run it by hand: echo {shlex.quote(_shortened(request))} | {shlex.join(self.words)}"


class _Running:
    """A started process; a thread reads its output, so that waiting for it can end."""

    def __init__(self, words: list[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the process
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # its children are killed with it
            )
        except BaseException:
            self._errors.close()
            raise
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(self.process.stdout, self._lines), daemon=True).start()
        self.kill = weakref.finalize(self, _kill, self.process, self._errors)

    def send(self, line: str, *, last: bool) -> None:
        """Write a line; `last` ends the input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if last:
            self.process.stdin.close()

    def line(self, deadline: float) -> str | None:
        """The next line of output, None at its end. Raises queue.Empty at the deadline."""
        left = deadline - time.monotonic()
        return self._lines.get(timeout=left) if left > 0 else self._lines.get_nowait()

    def ended(self, deadline: float) -> int:
        """The exit code. Raises queue.Empty when the process closed its output and goes on."""
        try:
            return self.process.wait(timeout=max(deadline - time.monotonic(), _GRACE))
        except subprocess.TimeoutExpired:
            raise queue.Empty from None

    def last_words(self) -> str:
        """The last lines of standard error, each indented, empty if there are none."""
        if self._errors.closed:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(size - 4096, 0))
        lines = self._errors.read().decode("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return "".join(["; its last lines on standard error:", *(f"\n    {line}" for line in lines)]) if lines else ""


def words_of(command: str, *, windows: bool) -> list[str]:
    """A command's words; a backslash parts folders on Windows, elsewhere it quotes. Raises ValueError."""
    if windows:
        return [word.strip("\"'") for word in shlex.split(command, posix=False)]
    return shlex.split(command)


def _read(output: IO[str], lines: queue.Queue[str | None]) -> None:
    with contextlib.suppress(ValueError, OSError):  # closed by `_kill`
        for line in output:
            lines.put(line)
    lines.put(None)


def _kill(process: subprocess.Popen[str], errors: IO[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    errors.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
