"""`iqa-robustness train metric-head` from folders of pictures to a file that the metric loads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from torch import Tensor

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics import compact, lite0
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.compact import Compact
from iqa_robustness.metrics.lite0 import Lite0
from iqa_robustness.metrics.trained import TrainedWeights, read_trained
from iqa_robustness.training import examples as examples_module
from iqa_robustness.training import metric_head, network_fit
from iqa_robustness.training.distortions import DISTORTIONS
from iqa_robustness.training.evaluation import OBVIOUS
from iqa_robustness.training.examples import GOOD, Counts, Example, balanced
from iqa_robustness.training.metric_head import FILES, Fitted, Photographs, Recipe
from iqa_robustness.training.mos_data import content_folds, digest, read_folder, read_nips2017, read_sr4kiqa

FOLDS = 3
SMALL, LARGE = (48, 64), (64, 96)
PENALTIES = (0.1, 10.0)
RECIPE = Recipe(judged=Counts(part=1, half=1), lowered=Counts(part=1), damaged=Counts(part=2, large=1))
CONTENTS = ("alley", "beach", "cabin", "ditch", "elm", "field")  # as in conftest.py
METRICS: dict[str, Callable[[Path], Metric]] = {"compact": Compact, "lite0": Lite0}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training: what it wrote and printed, and what was fitted."""

    metric: str
    path: Path
    printed: str
    fitted: Fitted
    learned_from: Sequence[Example]
    weights: TrainedWeights

    def loaded(self) -> Metric:
        return METRICS[self.metric](self.path).eval().requires_grad_(False)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Small views, few of lite0's blocks, few folds and penalties: a training in a second or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_head, "FOLDS", FOLDS)
        patch.setattr(metric_head, "PENALTIES", PENALTIES)
        patch.setattr(metric_head, "RECIPES", dict.fromkeys(FILES, RECIPE))
        patch.setattr(examples_module, "SMALL", SMALL)
        patch.setattr(examples_module, "LARGE", LARGE)
        patch.setattr(examples_module, "WHOLE_VIEWS", (("full", None), ("large", LARGE), ("half", SMALL)))
        patch.setattr(lite0, "BLOCKS", range(4, 6))
        patch.setattr(network_fit, "_SIDE", 32)
        yield


@pytest.fixture(scope="module")
def folders(fill_folders: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_folders(tmp_path_factory.mktemp("folders"))


Train = Callable[..., Run]
Command = Callable[..., list[str]]
Scene = Callable[[int], np.ndarray]


@pytest.fixture(scope="module")
def train(folders: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Train]:
    """Runs a training through the command line, once for the same metric, seed and name."""
    made: dict[tuple[str, int, str], Run] = {}
    threads = torch.get_num_threads()

    def run(metric: str, *, seed: int = 0, name: str = "") -> Run:
        key = (metric, seed, name)
        if key in made:
            return made[key]
        out = tmp_path_factory.mktemp("out") / "new" / "folder"
        fitted: list[Fitted] = []
        learned: list[Example] = []
        write, fit, features_of = metric_head.write, metric_head.fit_compact, metric_head.features_of

        def noted_write(found: Fitted, *rest: object, **facts: object) -> Path:
            fitted.append(found)
            return write(found, *rest, **facts)  # type: ignore[arg-type]

        def noted_fit(examples: Sequence[Example], **facts: object) -> object:
            learned.extend(examples)
            return fit(examples, **facts)  # type: ignore[arg-type]

        def noted_features(network: torch.nn.Module, examples: Sequence[Example], **facts: object) -> object:
            found = features_of(network, examples, **facts)  # type: ignore[arg-type]
            if metric == "lite0":
                learned.extend(found[1])
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metric_head, "write", noted_write)
            patch.setattr(metric_head, "fit_compact", noted_fit)
            patch.setattr(metric_head, "features_of", noted_features)
            printed: list[str] = []
            patch.setattr("builtins.print", lambda *parts, **_: printed.append(" ".join(map(str, parts))))
            code = main(command(folders, metric=metric, out=out, seed=seed))
        assert code == ExitCode.PASS
        assert [file.name for file in out.iterdir()] == [FILES[metric]]
        made[key] = Run(
            metric=metric,
            path=out / FILES[metric],
            printed="\n".join(printed),
            fitted=fitted[0],
            learned_from=learned,
            weights=read_trained(out / FILES[metric], metric=metric),
        )
        return made[key]

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(params=METRICS)
def trained(request: pytest.FixtureRequest, train: Train) -> Run:
    return train(request.param)


def photographs(root: Path) -> Photographs:
    return Photographs(
        judged=read_sr4kiqa(root / "judged"), plain=read_nips2017(root / "plain"), unseen=read_folder(root / "unseen")
    )


@pytest.fixture
def pictures(scene: Scene) -> Tensor:
    return from_uint8(np.stack([scene(seed) for seed in (90, 91, 92)]))


# --- the file -------------------------------------------------------------------------------------------------------


def test_files_are_named_as_the_bundled_ones() -> None:
    assert {"compact": compact.WEIGHTS.name, "lite0": lite0.HEAD.name} == FILES


def test_the_metric_loads_what_was_written_and_scores_alike(trained: Run, pictures: Tensor) -> None:
    metric = trained.loaded()
    with torch.inference_mode():
        expected = trained.fitted.network(pictures)
        assert metric(pictures).equal(expected)
    assert expected.std() > 0
    assert metric.spec.score_range == trained.fitted.score_range
    assert metric.spec.version == metric_head.VERSION
    assert metric.spec.weights[-1].name == trained.path.name


def test_the_header_says_what_was_trained_on(trained: Run, folders: Path) -> None:
    data = photographs(folders)
    training = trained.weights.training
    assert training["seed"] == 0
    assert training["contents"] == sorted([*CONTENTS, "p1", "p2", "p3"])
    assert training["digest"] == digest([*data.plain, *data.judged])
    assert training["report"] == json.loads(json.dumps(trained.fitted.report))


def test_the_score_range_is_measured_on_what_was_trained_on(train: Train) -> None:
    run = train("compact")
    metric = run.loaded()
    with torch.inference_mode():
        scores = [float(metric(from_uint8(example.pixels)[None])) for example in run.learned_from]
    low, high = run.weights.score_range
    assert low < high
    assert (low, high) == pytest.approx(np.quantile(scores, [0.005, 0.995]), abs=0.1 + 1e-4)
    assert low <= np.quantile(scores, 0.005) + 1e-4
    assert high >= np.quantile(scores, 0.995) - 1e-4


def test_the_report_is_printed_and_the_file_named(trained: Run) -> None:
    printed = trained.printed
    assert printed.endswith(f"written: {trained.path}")
    start = printed.index("\n{\n")
    assert json.loads(printed[start : printed.rindex("written:")]) == trained.weights.training["report"]
    report = trained.weights.training["report"]
    assert set(report["order kept"]) == set(OBVIOUS)
    assert report["examples"] > 0
    assert -1 <= report["SRCC of photographs of unseen contents"] <= 1


def test_progress_ends_with_its_total(trained: Run, folders: Path) -> None:
    label, total = ("steps", 3) if trained.metric == "compact" else ("features", photographs(folders).count(RECIPE))
    assert re.search(f"^{label}: {total}/{total}, ", trained.printed, re.MULTILINE)


def test_equal_seeds_write_equal_tensors_and_others_do_not(trained: Run, train: Train) -> None:
    again, other = train(trained.metric, name="again"), train(trained.metric, seed=1)
    assert again.path != trained.path
    tensors = trained.weights.tensors
    assert set(tensors) == set(again.weights.tensors)
    for name, tensor in tensors.items():
        assert tensor.numpy().tobytes() == again.weights.tensors[name].numpy().tobytes()
    assert again.weights.score_range == trained.weights.score_range
    assert again.weights.training == trained.weights.training
    assert any(not tensor.equal(other.weights.tensors[name]) for name, tensor in tensors.items())
    assert other.weights.training["digest"] == trained.weights.training["digest"]
    assert other.weights.training["seed"] == 1


# --- the examples ---------------------------------------------------------------------------------------------------


def test_examples_are_counted_without_being_made(folders: Path) -> None:
    data = photographs(folders)
    recipe = Recipe(judged=Counts(part=1), lowered=Counts(half=2), damaged=Counts(part=1, large=1))
    found = list(data.examples(recipe, seed=0))
    assert data.count(recipe) == len(found)
    good = sum(photograph.mos is not None and photograph.mos >= GOOD for photograph in data.judged)
    assert 0 < good < len(data.judged)
    kinds = [example.kind for example in found]
    assert kinds.count("lowered") == 2 * good
    assert kinds.count("pseudo") == 2 * 3
    assert kinds.count("human") == len(data.judged) * (3 + 1)


def test_examples_of_every_kind_follow_the_seed(folders: Path) -> None:
    data = photographs(folders)

    def pixels(seed: int) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {"human": [], "lowered": [], "pseudo": []}
        for example in data.examples(RECIPE, seed=seed):
            found[example.kind].append(example.pixels.tobytes())
        return found

    first, again, other = pixels(0), pixels(0), pixels(1)
    assert first == again
    assert all(first[kind] != other[kind] for kind in first)


def test_what_is_unseen_is_not_learned_from(trained: Run, folders: Path) -> None:
    names = {photograph.content for photograph in photographs(folders).unseen}
    met = {example.content for example in trained.learned_from}
    assert met
    assert not met & names
    assert not set(trained.weights.training["contents"]) & names


def test_compact_is_measured_on_contents_that_it_has_not_seen(train: Train, folders: Path) -> None:
    run = train("compact")
    held_out = content_folds(photographs(folders).judged, FOLDS, seed=0)[0]
    assert {example.content for example in run.learned_from} == {*CONTENTS, "p1", "p2", "p3"} - held_out
    assert {example.view for example in run.learned_from} == {"part", "half"}
    report = run.weights.training["report"]
    assert report["how"] == f"held out: {', '.join(sorted(held_out))} (6 photographs)"
    assert report["examples"] == len(run.learned_from)
    assert report["schedule"]["steps"] == 3
    unseen = [photograph for photograph in photographs(folders).judged if photograph.content in held_out]
    with torch.inference_mode():
        scores = run.loaded()(from_uint8(np.stack([photograph.pixels for photograph in unseen])))
    expected = spearmanr(scores.tolist(), [photograph.mos for photograph in unseen]).statistic
    assert report["SRCC of photographs of unseen contents"] == pytest.approx(expected, abs=6e-5)


def test_lite0_is_measured_by_heads_that_have_not_seen_the_content(train: Train, folders: Path) -> None:
    run = train("lite0")
    statistics = run.fitted.network[0]  # type: ignore[index]
    made = list(photographs(folders).examples(RECIPE, seed=0))
    with torch.inference_mode():
        features = np.stack([statistics(from_uint8(one.pixels)[None])[0].double().numpy() for one in made])
    targets = np.array([one.target for one in made])
    whole = [row for row, one in enumerate(made) if one.kind == "human" and one.view == "full"]
    assert len(whole) == 18

    def predicted(seen: np.ndarray, penalty: float) -> np.ndarray:
        """Of every row, by an independent ridge regression on the rows seen."""
        share = balanced([one for one, is_seen in zip(made, seen, strict=True) if is_seen])
        center = np.average(features[seen], axis=0, weights=share)
        deviation = np.sqrt(np.average((features[seen] - center) ** 2, axis=0, weights=share))
        standard = (features - center) / np.maximum(deviation, 1e-3 * deviation.mean())
        ridge = Ridge(alpha=penalty, solver="cholesky").fit(standard[seen], targets[seen], sample_weight=share)
        return np.asarray(ridge.predict(standard))

    found = {}
    for penalty in PENALTIES:
        scores = np.zeros(len(made))
        for fold in content_folds(photographs(folders).judged, FOLDS, seed=0):
            seen = np.array([one.content not in fold for one in made])
            scores[~seen] = predicted(seen, penalty)[~seen]
        found[penalty] = float(spearmanr(scores[whole], targets[whole]).statistic)
    report = run.weights.training["report"]
    assert report["SRCC by penalty"] == pytest.approx({str(one): value for one, value in found.items()}, abs=6e-5)
    best = max(found, key=found.__getitem__)
    assert (report["penalty"], report["examples"]) == (best, len(made))
    assert report["SRCC of photographs of unseen contents"] == pytest.approx(found[best], abs=6e-5)
    # What is shipped has seen everything.
    everything = predicted(np.ones(len(made), dtype=bool), best)
    with torch.inference_mode():
        shipped = [float(run.loaded()(from_uint8(made[row].pixels)[None])) for row in whole]
    assert shipped == pytest.approx(everything[whole].tolist(), abs=0.01)


def test_lite0_learns_to_tell_sharp_from_blurred(train: Train, scene: Scene) -> None:
    metric = train("lite0").loaded()
    levels = [scene(95)]
    levels += [DISTORTIONS["gaussian-blur"](levels[0], severity, np.random.default_rng(0)) for severity in (1, 3.5)]
    with torch.inference_mode():
        scores = metric(from_uint8(np.stack(levels))).tolist()
    assert all(better > worse for better, worse in pairwise(scores))
