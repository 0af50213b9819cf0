"""`exec:`: a program's answers become scores, and each way to fail has a name, the metric, the image and advice."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.bench.pair import Subject
from iqa_robustness.bench.watchdog import time_limit
from iqa_robustness.errors import (
    CellTimeoutError,
    ConfigurationError,
    MetricDeclarationError,
    NonFiniteScoreError,
    ProgramAnswerError,
    ProgramCrashError,
    ProgramTimeoutError,
    ScoreShapeError,
)
from iqa_robustness.metrics.probe import probe_images
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

Write = Callable[..., str]
DECLARED = '{"score_range": [0, 255], "higher_is_better": False, "version": "1.2"}'
MEAN = "{'scores': [mean(path) for path in images]}"


@pytest.fixture
def program(tmp_path: Path) -> Write:
    """The reference of a program: what it declares, and what it does with the list `images`."""

    def write(score: str = f"answer({MEAN})", *, declared: str = DECLARED) -> str:
        text = f"""
            import json, os, sys, time

            def answer(value):
                print(json.dumps(value))

            def mean(path):
                from PIL import Image, ImageStat
                return sum(ImageStat.Stat(Image.open(path)).mean) / 3

            request = json.load(sys.stdin)
            if request["request"] == "describe":
                answer({declared})
            else:
                images = request["images"]
                {score}
            """
        path = tmp_path / "my metric.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return f"exec:{shlex.join([sys.executable, str(path)])}"

    return write


def scores(metric: metrics.base.Metric, images: Tensor) -> Tensor:  # type: ignore[name-defined]
    streams = Streams("key", [f"picture{number}" for number in range(len(images))])
    return Scorer(metric=metric, micro_batch=2).scores(images, streams=streams)


def small_images(count: int = 2) -> Tensor:
    return probe_images()[:count, :, :8, :10].contiguous()


def test_a_program_scores_the_pictures_it_is_given(program: Write) -> None:
    name = program()
    metric = metrics.create(name)
    spec = metric.spec
    assert (spec.name, spec.score_range, spec.higher_is_better, spec.version) == (name, (0.0, 255.0), False, "1.2")
    assert spec.access == "query-only"
    images = small_images()
    expected = 255 * images.mean(dim=(1, 2, 3))
    assert scores(metric, images).allclose(expected, rtol=1e-5)


def test_the_folder_of_pictures_is_gone_after_the_answer(program: Write, tmp_path: Path) -> None:
    score = f"open({str(tmp_path / 'seen')!r}, 'w').write(images[0]); answer({MEAN})"
    metric = metrics.create(program(score))
    metric(small_images())
    assert not Path((tmp_path / "seen").read_text()).parent.exists()


@pytest.mark.parametrize(
    ("score", "error", "what"),
    [
        ("answer({'scores': [1.0]})", ScoreShapeError, "1 scores for 2 images"),
        ("answer({'scores': [1.0, None]})", NonFiniteScoreError, "returned nan"),
        ("answer({'scores': [1.0, float('nan')]})", NonFiniteScoreError, "returned nan"),
        ("answer({'scores': ['good', 1]})", ProgramAnswerError, "no list of numbers"),
        ("answer({'score': [1, 2]})", ProgramAnswerError, "no list of numbers"),
        ("answer([1, 2])", ProgramAnswerError, "no JSON object"),
        ("print('loading ...'); answer({'scores': [1, 2]})", ProgramAnswerError, "loading ..."),
        ("pass", ProgramCrashError, "ended without an answer"),
        ("sys.exit('no such layer')", ProgramCrashError, "exit code 1"),
        ("os.kill(os.getpid(), 9)", ProgramCrashError, r"signal 9 \(SIGKILL\)"),
    ],
)
def test_a_faulty_answer_is_named(program: Write, score: str, error: type[Exception], what: str) -> None:
    name = program(score)
    with pytest.raises(error, match=what) as caught:
        scores(metrics.create(name), small_images())
    assert caught.value.where.metric == name  # type: ignore[attr-defined]
    assert "picture" in caught.value.where.image  # type: ignore[attr-defined]
    assert caught.value.fix  # type: ignore[attr-defined]


def test_a_crash_shows_the_programs_last_words_and_the_command(program: Write) -> None:
    with pytest.raises(ProgramCrashError) as caught:
        scores(metrics.create(program("raise RuntimeError('no such layer')")), small_images())
    assert "RuntimeError: no such layer" in caught.value.what
    assert "my metric.py" in caught.value.fix
    assert caught.value.where.image == "picture0, picture1"


def test_a_hanging_program_is_killed_with_its_children(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    score = (
        "import subprocess; child = subprocess.Popen(['sleep', '100']); "
        f"open({str(pids)!r}, 'w').write(str(os.getpid()) + ' ' + str(child.pid)); time.sleep(100)"
    )
    name = program(score, declared='{"score_range": [0, 1], "higher_is_better": True, "timeout": 1.5}')
    with pytest.raises(ProgramTimeoutError, match="within 3 s"):
        scores(metrics.create(name), small_images())
    time.sleep(0.2)
    for pid in map(int, pids.read_text().split()):
        assert not _lives(pid)


def test_a_program_does_not_outlive_its_cells_time(program: Write, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    metric = metrics.create(program(f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(100)"))
    with pytest.raises(CellTimeoutError), time_limit(2, cell="this one"):
        metric(small_images())
    assert not _lives(int(pid.read_text()))


def _lives(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("declared", "what"),
    [
        ("{'higher_is_better': True}", "does not declare its score_range"),
        ("{'score_range': [0, 1]}", "does not declare its higher_is_better"),
        ("{'score_range': [1, 0], 'higher_is_better': True}", r"score range \(1.0, 0.0\)"),
        ("{'score_range': '0-1', 'higher_is_better': True}", "not \\[low, high\\]"),
        ("{'score_range': [0, 1], 'higher_is_better': 'yes'}", "not true or false"),
        ("{'score_range': [0, 1], 'higher_is_better': True, 'range': 1}", "unknown key 'range'"),
        ("{'score_range': [0, 1], 'higher_is_better': True, 'timeout': 0}", "not a positive number"),
        ("{'score_range': [0, 1], 'higher_is_better': True, 'persistent': 1}", "not true or false"),
    ],
)
def test_a_faulty_declaration_is_a_configuration_error(program: Write, declared: str, what: str) -> None:
    with pytest.raises(MetricDeclarationError, match=what) as caught:
        metrics.create(program(declared=declared))
    assert caught.value.fix


@pytest.mark.parametrize("command", ["", "  ", "no-such-program --fast", "'unclosed"])
def test_a_command_that_cannot_be_started_is_a_configuration_error(command: str) -> None:
    with pytest.raises(ConfigurationError):
        metrics.create(f"exec:{command}")


def test_a_persistent_program_is_started_once_and_ends_with_its_metric(tmp_path: Path) -> None:
    path = tmp_path / "loop.py"
    path.write_text(
        textwrap.dedent(
            """
            import json, os, sys
            for line in sys.stdin:
                request = json.loads(line)
                if request["request"] == "describe":
                    print(json.dumps({"score_range": [0, 1e9], "higher_is_better": True, "persistent": True}))
                else:
                    print(json.dumps({"scores": [os.getpid()] * len(request["images"])}), flush=True)
            """
        ),
        encoding="utf-8",
    )
    metric = metrics.create(f"exec:{shlex.join([sys.executable, str(path)])}")
    (first,), (second,) = metric(small_images(1)).tolist(), metric(small_images(1)).tolist()
    assert first == second
    assert _lives(int(first))
    metric.program._kept.kill()  # type: ignore[union-attr]
    (third,) = metric(small_images(1)).tolist()  # a new one replaces one that ended
    assert third != first
    del metric
    assert not _lives(int(third))


def test_a_changed_program_is_another_metric(program: Write) -> None:
    def document(score: str) -> dict[str, object]:
        return Subject(program(score), device="cpu").document

    plain = document(f"answer({MEAN})")
    assert plain == document(f"answer({MEAN})")
    assert plain != document("answer({'scores': [mean(path) + 1 for path in images]})")


# --- functions ------------------------------------------------------------------------------------------------------


def test_a_function_becomes_a_metric_by_one_call() -> None:
    metric = metrics.from_function(
        lambda images: images.mean(dim=(1, 2, 3)), name="mean", score_range=(0, 1), higher_is_better=True
    )
    images = small_images()
    found, gradients = Scorer(metric=metric, micro_batch=2).scores_and_gradients(images)
    assert found.allclose(images.mean(dim=(1, 2, 3)))
    assert gradients.allclose(torch.full_like(images, 1 / images[0].numel()))


def test_a_module_as_a_function_follows_the_metric() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(240, 1), torch.nn.Flatten(0))
    metric = metrics.from_function(module, name="linear", score_range=(0, 1), higher_is_better=True)
    assert len([*metric.parameters()]) == 2


def test_a_query_only_function_may_return_a_list() -> None:
    metric = metrics.from_function(
        lambda images: [float(image.max()) for image in images],
        name="max",
        score_range=(0, 1),
        higher_is_better=True,
        access="query-only",
    )
    assert scores(metric, small_images()).shape == (2,)
    bad = metrics.from_function(
        lambda images: "x", name="x", score_range=(0, 1), higher_is_better=True, access="query-only"
    )
    with pytest.raises(ScoreShapeError, match="no row of numbers"):
        scores(bad, small_images())


@pytest.mark.parametrize(
    "arguments", [{"function": 3}, {"score_range": (1, 0)}, {"access": "grey-box"}], ids=["function", "range", "access"]
)
def test_a_faulty_function_is_a_configuration_error(arguments: dict[str, object]) -> None:
    whole = {"function": len, "name": "x", "score_range": (0, 1), "higher_is_better": True, **arguments}
    with pytest.raises(ConfigurationError):
        metrics.from_function(**whole)  # type: ignore[arg-type]


def test_a_module_level_metric_is_named_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_function_metrics.py").write_text(
        "from iqa_robustness import metrics\n"
        "best = metrics.from_function(lambda x: x.amax((1, 2, 3)), name='best', score_range=(0, 1),\n"
        "    higher_is_better=True, access='query-only')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert metrics.create("own_function_metrics:best").spec.name == "best"
    assert metrics.access("own_function_metrics:best") == "white-box"
    assert metrics.access("own_function_metrics:best", load=True) == "query-only"
    assert metrics.access("exec:whatever --it=is") == "query-only"
    assert metrics.access("compact", load=True) == "white-box"
    assert metrics.access("no.such.module:Thing", load=True) == "white-box"
