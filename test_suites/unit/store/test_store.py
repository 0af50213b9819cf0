"""The store: written once, whole or not at all, verified on every read; on a local disk and on an object store."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import ConfigurationError, CorruptEntryError, ExitCode, StoreError
from iqa_robustness.store import Entry, Key, Store, places
from iqa_robustness.store import scratch as scratches

KEY = Key({"stage": "cell", "epsilon": 2 / 255, "images": ["a", "b"]})
FILES = {"record.parquet": b"numbers" * 100, "images.tar": bytes(range(256)) * 40}


@pytest.fixture
def local(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def path_in(store: Store, name: str) -> str:
    """Where a file lies: on object stores under a name that begins with that of its content."""
    folder = store.path_of(KEY.digest)
    return next(p for p in store.fs.find(folder) if p.split("/")[-1].removeprefix(sha(name)) == name)


def sha(name: str) -> str:
    return f"{hashlib.sha256(FILES.get(name, b'')).hexdigest()[:16]}-"


def all_files(store: Store, folder: str = "entries") -> list[str]:
    return [str(path) for path in store.fs.find(f"{store.root}/{folder}")]


def required(entry: Entry | None) -> Entry:
    assert entry is not None
    return entry


# --- writing and reading --------------------------------------------------------------------------------------------


def test_what_is_put_is_read(url: str) -> None:
    store = Store(url)
    assert store.get(KEY) is None
    store.put(KEY, FILES, volatile={"seconds": 1.5})
    for reader in (store, Store(url), Store(url, read_only=True)):
        entry = required(reader.get(KEY))
        assert entry.files() == FILES
        assert entry.volatile == {"seconds": 1.5}
        assert entry.manifest["key"] == KEY.document
    assert store.get(Key({"stage": "other"})) is None


def test_what_a_stopped_computation_left_is_found_again_until_the_entry_stands(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store, other = Store(url), Key({"stage": "other"})
    for key in (KEY, other):
        store.unfinished(key).mkdir(parents=True)
        (store.unfinished(key) / "checkpoint").write_bytes(b"half")
    again = Store(url)
    assert (again.unfinished(KEY) / "checkpoint").read_bytes() == b"half"
    again.put(KEY, FILES)
    assert not store.unfinished(KEY).exists()
    assert (store.unfinished(other) / "checkpoint").read_bytes() == b"half"
    assert tmp_path in store.unfinished(KEY).parents


def test_an_entry_may_hold_no_files_and_empty_files(url: str) -> None:
    store = Store(url)
    assert store.put(KEY, {}).files() == {}
    other = Key({"stage": "other"})
    assert store.put(other, {"empty": b""}).files() == {"empty": b""}


def test_a_file_is_taken_over_by_its_path(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = Store(url)
    scratch = store.scratch()
    (scratch / "big.tar").write_bytes(FILES["images.tar"])
    entry = store.put(KEY, {"images.tar": scratch / "big.tar", "record.parquet": FILES["record.parquet"]})
    assert entry.files() == FILES
    with entry.open("images.tar") as file:
        assert file.read(4) == bytes(range(4))


def test_the_first_entry_of_a_key_stands(url: str) -> None:
    store = Store(url)
    store.put(KEY, FILES, volatile={"worker": "first"})
    before = {path: store.fs.cat_file(path) for path in all_files(store)}
    second = store.put(KEY, {"record.parquet": b"other numbers"}, volatile={"worker": "second"})
    assert second.files() == FILES  # and not a digest that does not match
    assert second.volatile == {"worker": "first"}
    assert {path: store.fs.cat_file(path) for path in all_files(store)} == before
    assert all_files(store, "tmp") == []


def test_volatile_facts_are_optional_and_never_a_reason_to_fail(url: str) -> None:
    store = Store(url)
    entry = store.put(KEY, FILES)
    assert entry.volatile == {}
    store.fs.pipe_file(path_in(store, "volatile.json"), b"{half")
    assert entry.volatile == {}
    store.fs.rm_file(path_in(store, "volatile.json"))
    assert required(store.get(KEY)).volatile == {}
    assert entry.files() == FILES


def test_a_file_that_the_entry_never_had_is_an_error_and_harms_nothing(url: str) -> None:
    store = Store(url)
    entry = store.put(KEY, FILES)
    with pytest.raises(StoreError, match=r"no file 'draws\.parquet'") as caught:
        entry.read("draws.parquet")
    assert not isinstance(caught.value, CorruptEntryError)
    assert "images.tar, record.parquet" in caught.value.fix
    assert required(store.get(KEY)).files() == FILES


def test_a_readers_own_error_says_nothing_about_the_entry(url: str) -> None:
    store = Store(url)
    entry = store.put(KEY, FILES)
    with pytest.raises(FileNotFoundError, match="of the caller"), entry.open("images.tar"):
        raise FileNotFoundError("of the caller")
    assert required(store.get(KEY)).files() == FILES


# --- whole or not at all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(4))
def test_a_full_disk_leaves_nothing_where_readers_look(url: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    full = OSError(errno.ENOSPC, "No space left on device")
    written = []

    def counted(original: Any) -> Any:
        def write(place: Any, *arguments: Any, **named: Any) -> Any:
            if len(written) == step:
                raise full
            written.append(place)
            return original(place, *arguments, **named)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", counted(Path.write_bytes))
        patch.setattr(store.fs, "pipe_file", counted(store.fs.pipe_file))
        with pytest.raises(StoreError, match="No space left on device") as caught:
            store.put(KEY, FILES)
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
    assert "free disk space" in caught.value.fix
    assert store.url in str(caught.value)
    assert store.get(KEY) is None
    assert all_files(store, "tmp") == []
    if store.local:
        assert all_files(store) == []
    assert store.put(KEY, FILES).files() == FILES


CHILD = """
    import sys, time
    from pathlib import Path
    from iqa_robustness.store import Key, Store

    store, key = Store(sys.argv[1]), Key({"stage": "cell"})
    whole = Path.write_bytes

    def halting(path, data):
        if path.name == sys.argv[2]:
            whole(path, data[: len(data) // 2])
            print("half", flush=True)
            time.sleep(60)
        return whole(path, data)

    Path.write_bytes = halting
    store.put(key, {"a.bin": bytes(1000), "b.bin": bytes(1000)})
"""


def child(source: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed_after_first_line(source: str, *arguments: str) -> int:
    """Start a process, wait until it says something, end it without warning; its process id."""
    with child(source, *arguments) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "half"
        process.kill()
        assert process.wait(30) == -9
        return process.pid


@pytest.mark.parametrize("name", ["b.bin", "manifest.json"])
def test_a_writer_killed_in_the_middle_leaves_no_entry_and_the_next_start_cleans_up(local: str, name: str) -> None:
    pid = killed_after_first_line(CHILD, local, name)
    reader, key = Store(local, read_only=True), Key({"stage": "cell"})
    assert reader.get(key) is None
    assert all_files(reader) == []
    left = [*Path(reader.root, "tmp").iterdir()]
    assert [folder.name.split("-")[-2] for folder in left] == [str(pid)]
    store = Store(local)
    assert [*Path(store.root, "tmp").iterdir()] == []
    assert store.put(key, {"a.bin": b"1"}).files() == {"a.bin": b"1"}


def test_the_next_start_removes_only_what_dead_processes_of_this_host_left(local: str) -> None:
    store = Store(local)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    host, tmp = socket.gethostname(), Path(store.root, "tmp")
    kept = [
        f"{host}-{os.getpid()}-0123abcd",  # alive
        f"{host}-1-{ended.pid}-0123abcd",  # of a host whose name begins like this one's
        f"other-{ended.pid}-0123abcd",
        f"{host}-notes-of-somebody",
        "lost+found",
    ]
    for name in (*kept, f"{host}-{ended.pid}-0123abcd"):
        (tmp / name).mkdir(parents=True)
    Store(local, read_only=True)
    assert len([*tmp.iterdir()]) == len(kept) + 1
    Store(local)
    assert sorted(folder.name for folder in tmp.iterdir()) == sorted(kept)


def test_what_a_process_of_another_user_is_writing_is_left_alone(local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_permitted(_pid: int, _signal: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    scratch = Store(local).scratch()
    monkeypatch.setattr(scratches.os, "kill", not_permitted)
    Store(local)
    assert scratch.is_dir()


def test_scratch_folders_of_remote_stores_are_local_and_cleaned_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    scratch = Store("memory://iqa-scratch").scratch()
    assert scratch.is_dir()
    assert tmp_path in scratch.parents
    Store("memory://iqa-scratch")
    assert scratch.is_dir()
    monkeypatch.setattr(scratches, "_alive", lambda _pid: False)
    Store("memory://iqa-scratch")
    assert not scratch.exists()


# --- damage ---------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "flipped": flipped,
    "truncated": lambda data: data[:-1],
    "emptied": lambda _: b"",
    "longer": lambda d: d + b"x",
}


@pytest.mark.parametrize("name", [*FILES])
@pytest.mark.parametrize("damage", [*DAMAGE])
def test_a_damaged_file_is_found_set_aside_and_can_be_written_again(url: str, name: str, damage: str) -> None:
    store = Store(url)
    store.put(KEY, FILES)
    store.fs.pipe_file(path_in(store, name), DAMAGE[damage](FILES[name]))
    entry = required(store.get(KEY))
    with pytest.raises(CorruptEntryError, match=f"{name} does not match its digest") as caught:
        entry.files()
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
    assert "run again" in caught.value.fix
    assert store.path_of(KEY.digest) in str(caught.value)
    assert store.get(KEY) is None
    assert any(path.endswith(name) for path in all_files(store, "quarantine"))
    assert store.put(KEY, FILES).files() == FILES


def test_nothing_of_a_damaged_file_is_handed_out(url: str) -> None:
    store = Store(url)
    entry = store.put(KEY, FILES)
    store.fs.pipe_file(path_in(store, "images.tar"), flipped(FILES["images.tar"]))
    seen = []
    with pytest.raises(CorruptEntryError), entry.open("images.tar") as file:
        seen.append(file.read(1))
    assert seen == []


def test_a_missing_file_is_corruption(url: str) -> None:
    store = Store(url)
    entry = store.put(KEY, FILES)
    store.fs.rm_file(path_in(store, "images.tar"))
    with pytest.raises(CorruptEntryError, match=r"images\.tar is missing"):
        entry.files()
    assert store.get(KEY) is None
    assert store.put(KEY, FILES).files() == FILES


OTHER = Key({"stage": "other"})


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"layout": 1, "key": {"stage": "other"}, "files": {}}',
        b'{"layout": 2, "key": KEY, "files": {}}',
        b'{"layout": 1, "key": KEY}',
        b'{"layout": 1, "key": KEY, "files": {"record.parquet": {}}}',
        b'{"layout": 1, "key": {"a": NaN}, "files": {}}',
    ],
    ids=["empty", "half", "binary", "list", "bare", "other key", "other layout", "no files", "no digest", "NaN"],
)
def test_a_damaged_manifest_is_found_set_aside_and_can_be_written_again(url: str, manifest: bytes) -> None:
    store = Store(url)
    store.put(KEY, FILES)
    store.fs.pipe_file(path_in(store, "manifest.json"), manifest.replace(b"KEY", KEY.text.encode()))
    with pytest.raises(CorruptEntryError, match=r"manifest\.json is damaged"):
        store.get(KEY)
    assert store.get(KEY) is None
    assert store.put(KEY, FILES).files() == FILES


def test_an_entry_that_lost_its_manifest_is_none_and_can_be_written_again(url: str) -> None:
    store = Store(url)
    store.put(KEY, FILES)
    store.fs.rm_file(path_in(store, "manifest.json"))
    assert store.get(KEY) is None
    assert store.put(KEY, FILES).files() == FILES


def test_a_stray_file_in_an_entrys_place_is_no_entry_and_makes_way(local: str) -> None:
    store = Store(local)
    place = Path(store.path_of(KEY.digest))
    place.parent.mkdir(parents=True)
    place.write_text("what is this")
    assert store.get(KEY) is None
    assert store.put(KEY, FILES).files() == FILES


def test_a_failing_disk_is_a_store_error_not_corruption(local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(local)
    entry = store.put(KEY, FILES)

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for name, read in (("open", lambda: entry.read("images.tar")), ("cat_file", lambda: store.get(KEY))):
        with monkeypatch.context() as patch:
            patch.setattr(store.fs, name, failing)
            with pytest.raises(StoreError, match=r"cannot be read: .*Input/output error") as caught:
                read()
            assert not isinstance(caught.value, CorruptEntryError)
    assert required(store.get(KEY)).files() == FILES


# --- read-only ------------------------------------------------------------------------------------------------------


def test_a_read_only_store_reads_and_refuses_to_write(url: str) -> None:
    Store(url).put(KEY, FILES)
    reader = Store(url, read_only=True)
    assert required(reader.get(KEY)).files() == FILES
    with pytest.raises(StoreError, match="read-only") as caught:
        reader.put(OTHER, FILES)
    assert "--iqa-store" in caught.value.fix
    assert reader.get(OTHER) is None


def test_a_read_only_store_makes_nothing_not_even_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "absent", read_only=True)
    assert store.get(KEY) is None
    with store.lock(KEY):
        pass
    assert not (tmp_path / "absent").exists()


def test_a_read_only_store_leaves_damage_in_place_and_says_so(url: str) -> None:
    store = Store(url)
    store.put(KEY, FILES)
    store.fs.pipe_file(path_in(store, "images.tar"), b"damage")
    reader = Store(url, read_only=True)
    for _ in range(2):
        with pytest.raises(CorruptEntryError, match="left in place, the store is read-only"):
            required(reader.get(KEY)).files()
    assert all_files(store, "quarantine") == []


# --- places that cannot be a store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_where_a_folder_is_needed_is_a_store_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("I am a file")
    with pytest.raises(StoreError, match="the store cannot be prepared") as caught:
        Store(tmp_path / "taken" / below)
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
    assert "permissions" in caught.value.fix


@pytest.mark.parametrize("place", ["no-such-protocol://x", "s4://bucket"])
def test_an_unknown_kind_of_url_is_a_configuration_error(place: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened") as caught:
        Store(place)
    assert place in str(caught.value)
    assert "--iqa-store" in caught.value.fix


def test_a_driver_that_is_not_installed_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(places.fsspec.core, "url_to_fs", missing)
    with pytest.raises(ConfigurationError, match="Install s3fs"):
        Store("s3://bucket/store")


def test_a_lock_that_cannot_be_made_is_a_store_error(local: str) -> None:
    store = Store(local)
    Path(store.root, "locks").write_text("I am a file")
    with pytest.raises(StoreError, match="the store cannot be locked"), store.lock(KEY):
        pytest.fail("entered without a lock")


# --- locks ----------------------------------------------------------------------------------------------------------

COMPUTE = """
    import os, sys, time
    from pathlib import Path
    from iqa_robustness.store import Key, Store

    store, key, log = Store(sys.argv[1]), Key({"stage": "slow"}), Path(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    with store.lock(key):
        if store.get(key) is None:
            with log.open("a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(0.5)
            store.put(key, {"a": b"1"})
    print(store.get(key).read("a"), flush=True)
"""

HOLD = """
    import sys, time
    from iqa_robustness.store import Key, Store

    with Store(sys.argv[1]).lock(Key({"stage": "slow"})):
        print("half", flush=True)
        time.sleep(60)
"""


def test_two_processes_compute_a_key_once(local: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", textwrap.dedent(COMPUTE), local, str(log)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in both]
    assert answers == ["b'1'\n"] * 2
    assert [process.returncode for process in both] == [0, 0]
    assert len(log.read_text().splitlines()) == 1


def test_the_lock_of_a_killed_process_is_free(local: str) -> None:
    killed_after_first_line(HOLD, local)
    entered = threading.Event()

    def enter() -> None:
        with Store(local).lock(Key({"stage": "slow"})):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(20)


def test_a_lock_is_released_on_an_error_and_keys_do_not_wait_for_each_other(url: str) -> None:
    store = Store(url)
    with pytest.raises(ZeroDivisionError), store.lock(KEY), store.lock(OTHER):
        _ = 1 / 0
    entered = []
    with store.lock(KEY):
        entered.append(1)
    assert entered == [1]
