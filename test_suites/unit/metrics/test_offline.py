"""The guard around constructors: no host is reached, nothing waits, other threads and later calls are left alone."""

from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
import torch

from iqa_robustness.metrics import offline
from iqa_robustness.metrics.offline import DownloadRefused, causes, guarded, network_forbidden, not_cached

URL = "https://weights.invalid/net.pth"


@pytest.fixture(autouse=True)
def _no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_fetched_file_is_refused_with_its_address_and_place(tmp_path: Path) -> None:
    with guarded(), pytest.raises(DownloadRefused, match="not to be fetched") as caught:
        torch.hub.load_state_dict_from_url(URL, model_dir=str(tmp_path))
    assert (caught.value.source, caught.value.destination) == (URL, str(tmp_path / "net.pth"))


def test_an_opened_address_is_refused() -> None:
    with guarded(), pytest.raises(DownloadRefused) as caught:
        urllib.request.urlopen(urllib.request.Request(URL))
    assert caught.value.source == URL


def test_any_other_way_out_is_refused_by_host_and_at_once() -> None:
    began = time.monotonic()
    with guarded(), pytest.raises(DownloadRefused, match=r"weights\.invalid"):
        socket.create_connection(("weights.invalid", 443))
    assert time.monotonic() - began < 1


def test_the_hubs_client_is_offline_within_and_as_before_afterwards() -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    with guarded():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is before


def test_everything_is_put_back_also_after_an_error() -> None:
    def found() -> list[object]:
        return [socket.getaddrinfo, urllib.request.urlopen, torch.hub.download_url_to_file, torch.load]

    before = found()
    with pytest.raises(ZeroDivisionError), guarded():
        1 / 0  # noqa: B018
    assert found() == before


def test_another_thread_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: asked.append(host))
    with guarded():
        thread = threading.Thread(target=lambda: socket.getaddrinfo("store.invalid", 443))
        thread.start()
        thread.join()
        with pytest.raises(DownloadRefused):
            socket.getaddrinfo("weights.invalid", 443)
    assert asked == ["store.invalid"]


def test_a_module_imported_within_works_afterwards_and_is_held_by_a_later_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_: asked.append(url))
    late = ModuleType("late")
    with guarded():
        exec("from torch.hub import download_url_to_file", vars(late))
    late.download_url_to_file(URL, "x")
    assert asked == [URL]
    with guarded(), pytest.raises(DownloadRefused):
        late.download_url_to_file(URL, "x")


def test_allowed_downloads_go_through_and_are_not_allowed_to_those_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_: asked.append(url))
    with guarded(download=True):
        torch.hub.download_url_to_file(URL, "x")
        with guarded(), pytest.raises(DownloadRefused):
            torch.hub.download_url_to_file(URL, "x")
        torch.hub.download_url_to_file(URL, "y")
    assert asked == [URL, URL]


@pytest.mark.parametrize(("word", "forbids"), [("1", True), ("yes", True), ("TRUE", True), ("0", False), ("", False)])
@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_users_wish_to_be_offline_wins(
    name: str, word: str, forbids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, word)
    assert network_forbidden() == forbids
    with guarded(download=True) as guard:
        assert guard.download is not forbids


def test_files_of_weights_that_are_read_are_noted_once(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "net.pth")
    with guarded() as guard:
        for _ in range(2):
            torch.load(tmp_path / "net.pth")
    torch.load(str(tmp_path / "net.pth"))
    assert guard.read == [tmp_path / "net.pth"]


def test_a_library_that_is_absent_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models._hub", None)
    with guarded() as guard:
        assert guard.read == []


def test_a_library_that_is_not_imported_yet_is_not_imported_for_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds, and will find the replaced function when it is imported within."""
    imported: list[str] = []
    monkeypatch.setattr(offline, "_HOLDERS", (("nowhere.hub", "download_url_to_file"),))
    real = offline.importlib.import_module
    monkeypatch.setattr(offline.importlib, "import_module", lambda name: imported.append(name) or real(name))
    with guarded():
        pass
    assert "torch.hub" in imported
    assert "nowhere.hub" not in imported


def test_a_library_that_holds_the_function_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = ModuleType("holder")
    holder.download_url_to_file = lambda url, *_: url  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "holder", holder)
    monkeypatch.setattr(offline, "_HOLDERS", (("holder", "download_url_to_file"),))
    with guarded(), pytest.raises(DownloadRefused):
        holder.download_url_to_file(URL, "x")
    assert holder.download_url_to_file(URL, "x") == URL


def chained() -> ValueError:
    try:
        try:
            raise DownloadRefused(URL)
        except DownloadRefused as error:
            raise KeyError("in between") from error
    except KeyError:
        try:
            raise ValueError("last")
        except ValueError as error:
            return error


def test_causes_are_told_back_to_the_first_also_round_a_circle() -> None:
    error = chained()
    assert [type(cause) for cause in causes(error)] == [ValueError, KeyError, DownloadRefused]
    first = [*causes(error)][-1]
    first.__cause__ = error
    assert len([*causes(error)]) == 3


class LocalEntryNotFoundError(Exception):
    """Named as Hugging Face's."""


def test_the_word_of_hugging_faces_client_is_known_by_name() -> None:
    error = ValueError("cannot load")
    assert not not_cached(error)
    error.__cause__ = LocalEntryNotFoundError()
    assert not_cached(error)
