"""Which GPU each worker gets, on machines that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from iqa_robustness.bench.gpus import Gpu, Listing, placements, visible_gpus, workers_on

TWO = Listing(
    devices="GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa-1111)\nGPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb-2222)\n",
    memory="GPU-aaaa-1111, 80000\nGPU-bbbb-2222, 40000\n",
)
DIVIDED = Listing(
    devices=(
        "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa-1111)\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-1111-x)\n"
        "  MIG 1g.10gb+me  Device  1: (UUID: MIG-2222-x)\n"
        "GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb-2222)\n"
    ),
    memory="GPU-aaaa-1111, [N/A]\nGPU-bbbb-2222, 79000\n",
)


def names(gpus: list[Gpu]) -> list[str]:
    return [gpu.name for gpu in gpus]


def test_without_the_variable_all_are_seen_by_uuid() -> None:
    assert visible_gpus(TWO, {}) == [
        Gpu(name="GPU-aaaa-1111", mebibytes=80000.0),
        Gpu(name="GPU-bbbb-2222", mebibytes=40000.0),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        (" 3 , 5 ", ["3", "5"]),
        ("GPU-bbbb-2222,GPU-aaaa", ["GPU-bbbb-2222", "GPU-aaaa"]),
        ("MIG-2222-x", ["MIG-2222-x"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
    ],
)
def test_the_callers_list_is_taken_in_its_order_and_words(given: str, expected: list[str]) -> None:
    assert names(visible_gpus(TWO, {"CUDA_VISIBLE_DEVICES": given})) == expected


def test_memory_is_found_by_number_uuid_and_its_beginning() -> None:
    assert TWO.memory_of("1") == 40000
    assert TWO.memory_of("GPU-aaaa-1111") == 80000
    assert TWO.memory_of("GPU-b") == 40000
    assert TWO.memory_of("7") is None
    assert DIVIDED.memory_of("MIG-2222") == 10 * 1024


def test_instances_of_a_divided_gpu_take_its_place() -> None:
    assert visible_gpus(DIVIDED, {}) == [
        Gpu(name="MIG-1111-x", mebibytes=40 * 1024.0),
        Gpu(name="MIG-2222-x", mebibytes=10 * 1024.0),
        Gpu(name="GPU-bbbb-2222", mebibytes=79000.0),
    ]


def test_no_driver_is_no_gpu() -> None:
    assert Listing().gpus == []
    assert visible_gpus(Listing(), {}) == []
    assert visible_gpus(Listing(), {"CUDA_VISIBLE_DEVICES": "0"}) == [Gpu(name="0")]


def test_the_program_is_asked_and_its_absence_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Listing.of_this_machine() == Listing()
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in -L) echo "GPU 0: X (UUID: GPU-a-1)";; *) echo "GPU-a-1, 500";; esac\n')
    program.chmod(0o755)
    assert Listing.of_this_machine().gpus == [Gpu(name="GPU-a-1", mebibytes=500.0)]
    program.write_text("#!/bin/sh\necho 'No devices were found'\nexit 9\n")
    assert Listing.of_this_machine() == Listing()


@pytest.mark.parametrize(
    ("need", "cores", "expected"),
    [
        (None, 16, 2),  # nothing was measured: one each
        (17_000.0, 16, 4),  # 40,000 less a tenth takes two of 17,700
        (100.0, 8, 8),  # more would share cores
        (100.0, 1, 2),  # every GPU has one
        (90_000.0, 16, 2),  # the store's need is of another machine: one each is the least
    ],
)
def test_workers_are_counted_by_the_smallest_gpu(need: float | None, cores: int, expected: int) -> None:
    assert workers_on(TWO.gpus, need=need, cores=cores) == expected


def test_workers_take_gpus_in_turn_and_share_the_cores() -> None:
    gpus = visible_gpus(TWO, {"CUDA_VISIBLE_DEVICES": "5,3"})
    found = placements(4, gpus, cores=16, environment={})
    assert [place["CUDA_VISIBLE_DEVICES"] for place in found] == ["5", "3", "5", "3"]
    assert {place["OMP_NUM_THREADS"] for place in found} == {"4"}
    assert {place["MKL_NUM_THREADS"] for place in found} == {"4"}


def test_on_a_cpu_a_worker_has_one_thread_and_no_say_over_gpus() -> None:
    (place,) = placements(1, [], cores=16, environment={})
    assert place["OMP_NUM_THREADS"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in place


def test_what_the_caller_has_set_stays() -> None:
    (place,) = placements(1, [], cores=16, environment={"OMP_NUM_THREADS": "3"})
    assert "OMP_NUM_THREADS" not in place
    assert place["MKL_NUM_THREADS"] == "1"
    assert placements(0, TWO.gpus, cores=2, environment={}) == []
