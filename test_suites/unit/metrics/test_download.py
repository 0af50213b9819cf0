"""Fetching weights from a server on this machine: whole and checked, or an error that says what to do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import (
    ChecksumError,
    DownloadError,
    ExitCode,
    ManualDownloadError,
    OfflineError,
    WeightsError,
)
from iqa_robustness.metrics.download import OFFLINE_VARIABLES, fetch, offline, verified
from iqa_robustness.metrics.weights import WeightsEntry

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does; `asked` collects the Range of every request (empty: none)."""

    content: bytes = CONTENT
    ranges: bool = True
    etag: str = '"one"'
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    kind: str = "application/octet-stream"
    asked: list[str] = field(default_factory=list)


class Server:
    def __init__(self) -> None:
        self.behaviour = behaviour = Behaviour()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.close_connection = True
                asked = self.headers.get("Range", "")
                behaviour.asked.append(asked)
                start, status = 0, behaviour.status
                if asked and behaviour.ranges and self.headers.get("If-Range", behaviour.etag) == behaviour.etag:
                    start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
                    if start >= len(behaviour.content):
                        self.send_error(416)
                        return
                body = behaviour.content[start:]
                self.send_response(status)
                self.send_header("Content-Type", behaviour.kind)
                self.send_header("Content-Length", str(len(body)))
                if behaviour.etag:
                    self.send_header("ETag", behaviour.etag)
                if status == 206:
                    total = len(behaviour.content)
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                self.end_headers()
                self.wfile.write(body[: behaviour.cuts.pop(0)] if behaviour.cuts else body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/weights.pth"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    own = Server()
    thread = threading.Thread(target=own.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield own
    own.http.shutdown()
    own.http.server_close()
    thread.join()


@pytest.fixture
def entry(server: Server) -> WeightsEntry:
    return WeightsEntry(
        metric="koncept", file="weights.pth", origin=server.url, sha256=DIGEST, size=len(CONTENT), licence="MIT"
    )


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"weights.pth", ".weights.pth.lock"}


def test_a_file_is_fetched_once_into_a_new_folder(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = fetch(entry, into=tmp_path / "new", progress=lambda done, total: told.append((done, total)))
    assert path == tmp_path / "new" / "weights.pth"
    assert path.read_bytes() == CONTENT
    assert not hidden(path.parent)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert fetch(entry, into=path.parent) == path
    assert server.behaviour.asked == [""]


@pytest.mark.parametrize("published", [True, False], ids=["digest", "etag"])
def test_a_transfer_that_stops_goes_on_where_it_was(
    server: Server, entry: WeightsEntry, tmp_path: Path, published: bool
) -> None:
    server.behaviour.cuts = [300_000]
    known = entry if published else replace(entry, sha256="", size=0)
    assert fetch(known, into=tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked == ["", "bytes=300000-"]
    assert not hidden(tmp_path)


def test_what_has_arrived_is_kept_for_the_next_call(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    server.behaviour.cuts = [300_000, 0, 0]
    with pytest.raises(DownloadError, match="stopped after 300000 of 1024000 bytes") as raised:
        fetch(entry, into=tmp_path)
    assert raised.value.exit_code == ExitCode.INFRASTRUCTURE
    assert not (tmp_path / "weights.pth").exists()
    assert fetch(entry, into=tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked == ["", *["bytes=300000-"] * 3]


def test_without_ranges_it_begins_again(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    server.behaviour.ranges, server.behaviour.cuts = False, [300_000]
    assert fetch(entry, into=tmp_path).read_bytes() == CONTENT
    assert len(server.behaviour.asked) == 2


def test_without_digest_and_tag_nothing_is_joined(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    server.behaviour.cuts, server.behaviour.etag = [300_000], ""
    unknown = replace(entry, sha256="", size=0)
    with pytest.raises(DownloadError, match="stopped"):
        fetch(unknown, into=tmp_path)
    assert fetch(unknown, into=tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked == ["", ""]


def test_a_file_that_changed_in_between_is_not_joined(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    unknown = replace(entry, sha256="", size=0)
    server.behaviour.cuts = [300_000, 0, 0]
    with pytest.raises(DownloadError):
        fetch(unknown, into=tmp_path)
    server.behaviour.content, server.behaviour.etag = CONTENT[::-1], '"two"'
    assert fetch(unknown, into=tmp_path).read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_dropped(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / ".weights.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(entry, into=tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked == ["bytes=1024004-", ""]


def test_a_part_that_is_whole_is_checked_and_not_fetched(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / ".weights.pth.part").write_bytes(CONTENT)
    assert fetch(entry, into=tmp_path).read_bytes() == CONTENT
    assert server.behaviour.asked == []


@pytest.mark.parametrize(("content", "said"), [(CONTENT[::-1], "has sha256"), (CONTENT[:-1], "has 1023999 bytes")])
def test_another_file_is_refused_and_not_kept(
    server: Server, entry: WeightsEntry, tmp_path: Path, content: bytes, said: str
) -> None:
    server.behaviour.content = content
    with pytest.raises(ChecksumError, match=said) as raised:
        fetch(entry, into=tmp_path)
    assert "not kept" in raised.value.fix
    assert not (tmp_path / "weights.pth").exists()
    assert not hidden(tmp_path)


def test_a_wrong_file_that_is_there_is_neither_used_nor_overwritten(
    server: Server, entry: WeightsEntry, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"mine")
    with pytest.raises(ChecksumError, match="has 4 bytes") as raised:
        fetch(entry, into=tmp_path)
    assert "delete it" in raised.value.fix
    assert (tmp_path / "weights.pth").read_bytes() == b"mine"
    assert server.behaviour.asked == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"status": 404}, "404"), ({"kind": "text/html"}, "a web page instead")],
)
def test_an_answer_that_is_not_the_file_is_named(
    server: Server, entry: WeightsEntry, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    for name, value in changes.items():
        setattr(server.behaviour, name, value)
    with pytest.raises(DownloadError, match=said) as raised:
        fetch(entry, into=tmp_path)
    assert str(tmp_path) in raised.value.fix
    assert not hidden(tmp_path)


def test_a_server_that_is_not_there_is_named(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    closed = replace(entry, origin="http://127.0.0.1:9/weights.pth")
    with pytest.raises(DownloadError, match="was not fetched: URLError"):
        fetch(closed, into=tmp_path)


def test_only_the_web_is_asked(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no address of the web"):
        fetch(replace(entry, origin=f"file://{tmp_path}/other"), into=tmp_path)


@pytest.mark.parametrize("variable", OFFLINE_VARIABLES)
@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_offline_nothing_is_asked_but_what_is_there_is_used(
    server: Server, entry: WeightsEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(OfflineError, match=f"{variable}={value} forbids") as raised:
        fetch(entry, into=tmp_path)
    assert entry.origin in raised.value.fix
    (tmp_path / "weights.pth").write_bytes(CONTENT)
    assert fetch(entry, into=tmp_path).is_file()
    assert server.behaviour.asked == []


@pytest.mark.parametrize("value", ["", "0", "no", "false"])
def test_an_offline_variable_may_say_no(server: Server, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert offline() == ""


@pytest.mark.parametrize(
    "origin",
    [
        "https://drive.google.com/file/d/1/view",
        "https://mega.nz/folder/a#b",
        "https://surfdrive.surf.nl/files/index.php/s/1",
    ],
)
def test_a_page_for_people_says_where_to_put_the_file(entry: WeightsEntry, tmp_path: Path, origin: str) -> None:
    page = replace(entry, origin=origin)
    assert page.by_hand
    with pytest.raises(ManualDownloadError, match="on a web page only") as raised:
        fetch(page, into=tmp_path / "folder")
    assert origin in raised.value.fix
    assert str(tmp_path / "folder") in raised.value.fix
    assert not (tmp_path / "folder").exists()


def test_of_many_who_ask_one_fetches(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        paths = [*pool.map(lambda _: fetch(entry, into=tmp_path), range(6))]
    assert {path.read_bytes() == CONTENT for path in paths} == {True}
    assert server.behaviour.asked == [""]


def test_a_folder_that_cannot_be_written_is_named(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match="cannot write"):
        fetch(entry, into=tmp_path / "file")


def test_what_nobody_published_is_not_asked_for(tmp_path: Path, entry: WeightsEntry) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    assert verified(replace(entry, sha256="", size=0), path) == path
    with pytest.raises(WeightsError, match="cannot read"):
        verified(entry, tmp_path / "gone")
