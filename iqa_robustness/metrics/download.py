"""Fetches a published file of weights: whole and checked, or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock

from iqa_robustness.errors import ChecksumError, DownloadError, ManualDownloadError, OfflineError, WeightsError, Where
from iqa_robustness.metrics.weights import WeightsEntry, folder, sha256_of

OFFLINE_VARIABLES = ("IQA_ROBUSTNESS_OFFLINE", "HF_HUB_OFFLINE")
# A transfer that stops is gone on with at once so many times; what has arrived stays for the next call.
ATTEMPTS = 3
_TIMEOUT = 60.0
_PIECE = 2**18

Progress = Callable[[int, int], None]
"""Told how many bytes are there and how many there will be (0 when unknown)."""


def no_progress(_done: int, _total: int) -> None:
    """Say nothing."""


def fetch(entry: WeightsEntry, *, into: Path | None = None, progress: Progress = no_progress) -> Path:
    """The file of an entry, fetched from its origin unless it is there already.

    Bytes go into a hidden `.NAME.part` beside the file, which gets its name only when it is complete, has the published
    size and SHA-256 (where there are any), and is on the disk. A transfer that stopped is resumed where the server can.
    Of several processes that ask for one file, one fetches it and the others wait.

    Args:
        entry: which file.
        into: the folder, made if needed; None is `weights.folder()`.
        progress: called after every piece of 256 KiB.

    Raises:
        OfflineError: the file is not there, and `$IQA_ROBUSTNESS_OFFLINE` or `$HF_HUB_OFFLINE` is set.
        ManualDownloadError: its origin is a page for people.
        ChecksumError: the file that is there, or what was fetched, is not the published one.
        DownloadError: the server does not give the file.
        WeightsError: the folder cannot be written.
    """
    target = (into or folder()) / entry.file
    where = entry.where(target)
    if target.is_file():
        return verified(entry, target)
    _refuse_what_cannot_be_fetched(entry, where)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{entry.file}.lock")):
            if target.is_file():  # another process was faster
                return verified(entry, target)
            _Transfer(entry=entry, target=target, progress=progress).run()
            return target
    except OSError as error:
        raise WeightsError(
            f"cannot write {entry.file}: {error}", where=where, fix="free space, or choose another folder"
        ) from error


def offline() -> str:
    """The environment variable that forbids the network, with its value; empty when none does."""
    for name in OFFLINE_VARIABLES:
        if os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on"):
            return f"{name}={os.environ[name]}"
    return ""


def verified(entry: WeightsEntry, path: Path) -> Path:
    """The path, once its size and SHA-256 are the published ones; what nobody published is not asked for.

    Raises:
        ChecksumError: one of them differs.
        WeightsError: the file cannot be read.
    """
    where = entry.where(path)
    fix = f"delete it and get it again from {entry.origin}; parameters of your own go into another file, weights=PATH"
    try:
        size = path.stat().st_size
        if entry.size and size != entry.size:
            raise ChecksumError(f"{entry.file} has {size} bytes, {entry.size} are expected", where=where, fix=fix)
        if entry.sha256 and (found := sha256_of(path)) != entry.sha256:
            raise ChecksumError(f"{entry.file} has sha256 {found}, {entry.sha256} is expected", where=where, fix=fix)
    except OSError as error:
        raise WeightsError(f"cannot read the weights: {error}", where=where, fix="check its permissions") from error
    return path


def _refuse_what_cannot_be_fetched(entry: WeightsEntry, where: Where) -> None:
    by_hand = f"download {entry.file} from {entry.origin} in a browser and put it into {Path(where.file).parent}"
    if entry.by_hand:
        raise ManualDownloadError(
            f"{entry.file} of {entry.owner} is offered on a web page only: {entry.origin}", where=where, fix=by_hand
        )
    if urlsplit(entry.origin).scheme not in ("http", "https"):
        raise DownloadError(f"{entry.origin} is no address of the web", where=where, fix=by_hand)
    if variable := offline():
        raise OfflineError(
            f"{entry.file} of {entry.owner} is not here, and {variable} forbids the network",
            where=where,
            fix=f"unset {variable.partition('=')[0]}, or {by_hand} on a machine with a network",
        )


@dataclass(kw_only=True)
class _Transfer:
    """One file on its way; only the holder of its lock makes one."""

    entry: WeightsEntry
    target: Path
    progress: Progress

    @property
    def part(self) -> Path:
        """What has arrived."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def tag(self) -> Path:
        """The server's ETag of the file that `part` is a piece of."""
        return self.target.with_name(f".{self.target.name}.etag")

    def run(self) -> None:
        """Fetch, check, rename."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._receive()
                break
            except DownloadError:
                if attempt == ATTEMPTS or not self._resumable():
                    raise
        try:
            verified(self.entry, self.part)
        except ChecksumError as error:
            self._forget()
            error.fix = f"{self.entry.origin} gave another file; it was not kept. Try again, or get it by hand"
            raise error.at(file=str(self.target)) from None
        self.part.replace(self.target)
        _sync_folder(self.target.parent)
        self.tag.unlink(missing_ok=True)

    def _receive(self) -> None:
        if self.entry.size and self._arrived() == self.entry.size:
            return
        try:
            response = self._asked()
        except HTTPError as error:
            if error.code == 416 and self._arrived():  # the part is no beginning of what the server has now
                self._forget()
                self._receive()
                return
            raise self._failed(f"the server answered {error.code} {error.reason}") from error
        except (HTTPException, OSError) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error
        with response:
            self._refuse_other_answers(response)
            self._write(response)

    def _asked(self) -> HTTPResponse:
        headers = {"User-Agent": "iqa-robustness", "Accept-Encoding": "identity"}
        if self._resumable():
            headers["Range"] = f"bytes={self._arrived()}-"
            if tag := self._known_tag():
                headers["If-Range"] = tag
        # Only http and https come here.
        response: HTTPResponse = urlopen(Request(self.entry.origin, headers=headers), timeout=_TIMEOUT)
        return response

    def _refuse_other_answers(self, response: HTTPResponse) -> None:
        if self.entry.origin.startswith("https:") and not response.url.startswith("https:"):
            raise self._failed(f"the server redirects to an unprotected address, {response.url}")
        if response.headers.get_content_type() == "text/html":
            raise self._failed("the server answers with a web page instead of the file")

    def _write(self, response: HTTPResponse) -> None:
        start, total = _extent(response.status, response.headers)
        if start not in (0, self._arrived()):
            self._forget()
            raise self._failed(f"the server resumes at byte {start}, which was not asked for")
        tag = response.headers.get("ETag", "")
        # A weak tag does not promise equal bytes.
        if start == 0 and tag and not tag.startswith("W/"):
            self.tag.write_text(tag, encoding="utf-8")
        elif start == 0:
            self.tag.unlink(missing_ok=True)
        done = start
        with self.part.open("ab" if start else "wb") as file:
            try:
                while piece := self._piece(response):
                    file.write(piece)
                    done += len(piece)
                    self.progress(done, total)
            finally:
                _sync(file)
        if total and done != total:
            raise self._failed(f"the transfer stopped after {done} of {total} bytes")

    def _piece(self, response: HTTPResponse) -> bytes:
        try:
            return response.read(_PIECE)
        except (HTTPException, OSError) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error

    def _resumable(self) -> bool:
        """Whether there is a part, and something that shows whether the rest belongs to it: a digest or an ETag."""
        return self._arrived() > 0 and bool(self.entry.sha256 or self._known_tag())

    def _arrived(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _known_tag(self) -> str:
        return self.tag.read_text(encoding="utf-8") if self.tag.is_file() else ""

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _failed(self, why: str) -> DownloadError:
        return DownloadError(
            f"{self.entry.file} of {self.entry.owner} was not fetched: {why}",
            where=self.entry.where(self.target),
            fix=f"try again (what has arrived is kept), or download {self.entry.origin} by hand and put it into "
            f"{self.target.parent}",
        )


def _extent(status: int, headers: Message) -> tuple[int, int]:
    """(first byte, size of the whole file or 0) of an answer."""
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if found is None:
            return -1, 0
        return int(found[1]), 0 if found[2] == "*" else int(found[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else 0


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename last; Windows cannot open a folder for it and needs none."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
