"""LIBSVM's text files: against scikit-learn (which is LIBSVM) and a sum written out; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.libsvm import SupportVectorRegression

MODEL = """svm_type epsilon_svr
kernel_type rbf
gamma 0.5
nr_class 2
total_sv 2
rho -1.25
SV
2 1:-1 2:0.5
-0.75 2:1 3:-0.25
"""
RANGES = """x
-1 1
1 0 10
2 -2 2
3 5 6
"""
Written = Callable[..., SupportVectorRegression]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A regression read from files with these texts."""

    def write(model: str = MODEL, ranges: str = RANGES) -> SupportVectorRegression:
        (tmp_path / "model").write_text(model)
        (tmp_path / "range").write_text(ranges)
        return SupportVectorRegression(tmp_path / "model", tmp_path / "range", metric="brisque")

    return write


def test_equals_the_sum_written_out(written: Written) -> None:
    features = torch.tensor([[5.0, 0.0, 5.5], [0.0, 1.0, 5.25]], dtype=torch.float64)
    scaled = np.array([[0.0, 0.0, 0.0], [-1.0, 0.5, -0.5]])
    vectors = np.array([[-1, 0.5, 0], [0, 1, -0.25]])
    expected = [
        sum(c * np.exp(-0.5 * np.sum((x - v) ** 2)) for c, v in zip((2, -0.75), vectors, strict=True)) + 1.25
        for x in scaled
    ]
    found = written()(features)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_equals_scikit_learn(written: Written) -> None:
    svm = pytest.importorskip("sklearn.svm")
    random = np.random.default_rng(0)
    raw = random.uniform([-3, 10, 0], [4, 30, 0.1], (60, 3))
    low, high = raw.min(axis=0), raw.max(axis=0)
    scaled = 2 * (raw - low) / (high - low) - 1
    trained = svm.SVR(kernel="rbf", gamma=0.3, C=50, epsilon=0.1).fit(scaled, np.sin(raw[:, 0]) * 20 + raw[:, 1])
    vectors = [
        f"{coefficient!r} " + " ".join(f"{number}:{value!r}" for number, value in enumerate(vector.tolist(), start=1))
        for coefficient, vector in zip(trained.dual_coef_[0].tolist(), trained.support_vectors_, strict=True)
    ]
    header = f"svm_type epsilon_svr\nkernel_type rbf\ngamma 0.3\nnr_class 2\ntotal_sv {len(vectors)}\n"
    bounds = [
        f"{k} {least!r} {most!r}"
        for k, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True), start=1)
    ]
    regression = written(
        header + f"rho {-float(trained.intercept_[0])!r}\nSV\n" + "\n".join(vectors),
        "\n".join(["x", "-1 1", *bounds]),
    )
    # Half of the samples lie beyond the training range: nothing is clamped.
    probes = random.uniform([-6, 5, -0.05], [8, 40, 0.15], (40, 3))
    expected = trained.predict(2 * (probes - low) / (high - low) - 1)
    assert regression(torch.from_numpy(probes)).numpy() == pytest.approx(expected, abs=1e-8)


def test_the_gradient_equals_finite_differences(written: Written) -> None:
    features = torch.tensor([[4.0, 0.3, 5.7], [11.0, -3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(written(), features)


def test_a_feature_that_never_varied_does_not_count(written: Written) -> None:
    """svm-scale drops it from what it writes; a sparse vector without it means 0."""
    constant = RANGES.replace("2 -2 2", "2 7 7")
    unlisted = RANGES.replace("2 -2 2\n", "")
    features = torch.tensor([[5.0, 123.0, 5.5]], dtype=torch.float64)
    for ranges in (constant, unlisted):
        regression = written(ranges=ranges)
        assert regression.features == 3
        assert float(regression(features)) == float(regression(torch.tensor([[5.0, -9.0, 5.5]]).double()))
        assert float(regression(features)) == pytest.approx(float(written()(torch.tensor([[5.0, 0, 5.5]]).double())))


def test_nu_regressions_and_other_intervals_are_read(written: Written) -> None:
    regression = written(MODEL.replace("epsilon_svr", "nu_svr"), RANGES.replace("-1 1", "0 1"))
    expected = 2 * np.exp(-0.5 * (1.5**2 + 0.5**2 + 1**2)) - 0.75 * np.exp(-0.5 * (0.5**2 + 0 + 1.25**2)) + 1.25
    assert float(regression(torch.tensor([[5.0, 2.0, 6.0]]).double())) == pytest.approx(expected)


def test_parameters_follow_the_module(written: Written) -> None:
    state = written().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "coefficients": (2,),
        "vectors": (2, 3),
        "factor": (3,),
        "offset": (3,),
    }


@pytest.mark.parametrize(
    ("model", "ranges", "message"),
    [
        (
            MODEL.replace("rbf", "linear"),
            RANGES,
            "model is not a model of svm-train: it is a epsilon_svr with kernel lin",
        ),
        (MODEL.replace("epsilon_svr", "c_svc"), RANGES, "it is a c_svc with kernel rbf"),
        (MODEL.replace("total_sv 2", "total_sv 3"), RANGES, "it holds 2 support vectors, its header says 3"),
        (MODEL.replace("rho -1.25\n", ""), RANGES, "'rho' is missing"),
        (MODEL.replace("SV\n", "sv\n"), RANGES, "'SV' is not in list"),
        (MODEL.replace("3:-0.25", "4:-0.25"), RANGES, "support vector 2 has feature 4, the range file ends at 3"),
        (MODEL.replace("3:-0.25", "0:-0.25"), RANGES, "support vector 2 has feature 0"),
        (MODEL.replace("2:0.5", "2:half"), RANGES, "could not convert"),
        ("", RANGES, "is not a model of svm-train"),
        ("Modell für Bilder", RANGES, "model is not readable text"),
        (MODEL, "", "range is not a range file of svm-scale"),
        (MODEL, RANGES.replace("x\n", "y\n1 2\n"), "the first line is 'y', not 'x'"),
        (MODEL, RANGES.replace("1 0 10", "0 0 10"), "features are counted from 1"),
        (MODEL, "x\n-1 1\n", "range is not a range file of svm-scale"),
        (MODEL, RANGES + "4 1\n", "range is not a range file of svm-scale"),
    ],
)
def test_other_files_are_refused_by_name(written: Written, model: str, ranges: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        written(model, ranges)
    assert raised.value.where.metric == "brisque"
    assert raised.value.where.file.endswith(("model", "range"))
    assert raised.value.fix


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "range").write_text(RANGES)
    with pytest.raises(WeightsError, match="model is not readable text") as raised:
        SupportVectorRegression(tmp_path / "model", tmp_path / "range", metric="brisque")
    assert raised.value.where.file == str(tmp_path / "model")
