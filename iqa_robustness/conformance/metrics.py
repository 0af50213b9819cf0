"""What every metric must satisfy, the reader's own included.

Cost of all checks: about 120 forwards and 30 backwards of an image, most of them of 64 x 64 pixels (or the smallest
side that the metric takes), and two constructions; a metric that answers queries only costs half of it.
"""

from __future__ import annotations

import inspect
import re

import torch

from iqa_robustness import metrics
from iqa_robustness.conformance.check import Check, NotApplicable, require
from iqa_robustness.conformance.metric_gradients import extreme_gradients, finite_differences, gradients
from iqa_robustness.conformance.metric_repeats import batch, company, determinism, device
from iqa_robustness.conformance.metric_scores import direction, extreme_pictures, score_range, size_policy, sizes
from iqa_robustness.conformance.metric_subject import MetricSubject, refuse_download
from iqa_robustness.conformance.pictures import SMALL
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.offline import guarded


def offline_load(subject: MetricSubject) -> str:
    """A construction."""
    metric = subject.metric
    family = metrics.registry.family(subject.reference)
    if family is not None and family.entry.name == "exec":
        raise NotApplicable("the network of another program cannot be cut off from here")
    return f"{sum(parameter.numel() for parameter in metric.parameters()):,} parameters"


def offline_score(subject: MetricSubject) -> str:
    """One forward of one image, or a few where small pictures are refused."""
    try:
        with guarded():  # some networks fetch what they need when they first score
            return f"from {subject.least} x {subject.least} pixels"
    except Exception as error:
        refuse_download(error, "the first score asks")
        raise


def reload(subject: MetricSubject) -> str:
    """A second construction, two forwards of each."""
    images = subject.pictures(2, SMALL)
    first = subject.scores(images, micro_batch=2)
    again = MetricSubject(subject.reference, device=subject.device, options=subject.options)
    second = again.scores(images, micro_batch=2)
    require(
        torch.equal(first, second),
        f"made twice, it gives one picture the scores {float(first[0]):.6g} and {float(second[0]):.6g}",
        fix="load every parameter from a file; a layer that is not loaded begins at random",
    )
    return "equal bits"


def declaration(subject: MetricSubject) -> str:
    """No forward."""
    metric, spec = subject.metric, subject.metric.spec
    require(
        isinstance(spec, MetricSpec) and bool(spec.name and spec.version and spec.input_policy),
        "the spec leaves its name, version or input_policy empty",
        fix="name the metric, give a version to raise when scores change, and say what it does with other sizes",
    )
    for file in spec.weights:
        require(
            re.fullmatch("[0-9a-f]{64}", file.sha256) is not None,
            f"the spec's weights file {file.name!r} has the digest {file.sha256!r}",
            fix="give its SHA-256 as 64 lower-case hex digits (iqa_robustness.metrics.weights.sha256_of)",
        )
    require(
        not any(module.training for module in metric.modules()),
        "a part of the metric is in training mode after eval()",
        fix="let `train` reach every submodule; networks in plain lists need nn.ModuleList",
    )
    require(
        not any(parameter.requires_grad for parameter in metric.parameters()),
        "a parameter requires gradients after requires_grad_(False)",
        fix="do not override requires_grad_ without calling the base class",
    )
    parameters = inspect.signature(metric.forward).parameters
    takes = "streams" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    require(
        takes or not spec.stochastic,
        "the spec says stochastic, and forward takes no `streams`",
        fix="write forward(self, images, *, streams) and draw from them, or set stochastic=False",
    )
    require(
        "reference" in parameters or not spec.full_reference,
        "the spec says full_reference, and forward takes no `reference`",
        fix="write forward(self, images, *, reference), or set full_reference=False",
    )
    direction = "higher" if spec.higher_is_better else "lower"
    return f"{spec.access}, {direction} is better, range {spec.score_range[0]:g} to {spec.score_range[1]:g}"


METRIC_CHECKS: tuple[Check[MetricSubject], ...] = (
    Check(name="offline load", title="it loads without the network", function=offline_load, essential=True),
    Check(name="declaration", title="its spec is complete", function=declaration, essential=True),
    Check(name="offline score", title="it scores without the network", function=offline_score, essential=True),
    Check(name="reload", title="made again, it gives the same scores", function=reload),
    Check(name="sizes", title="one finite float32 score an image, at every size", function=sizes),
    Check(name="size policy", title="a picture too small is scored or refused by name", function=size_policy),
    Check(name="extremes", title="extreme pictures have finite scores", function=extreme_pictures),
    Check(name="range", title="scores lie about the declared range and use it", function=score_range),
    Check(name="direction", title="clean photographs beat heavily distorted ones", function=direction),
    Check(name="determinism", title="scores are the same again", function=determinism),
    Check(name="batch", title="a score does not depend on the batch", function=batch),
    Check(name="company", title="numbers repeat exactly in any company", function=company),
    Check(name="gradient", title="gradients are finite and not zero", function=gradients),
    Check(name="finite differences", title="gradients agree with finite differences", function=finite_differences),
    Check(name="extreme gradients", title="extreme pictures have finite gradients", function=extreme_gradients),
    Check(name="device", title="CPU and CUDA agree", function=device),
)
