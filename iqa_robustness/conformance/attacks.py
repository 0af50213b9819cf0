"""What every attack must satisfy, the reader's own included.

The target is a planted metric: linear, fast, and with a known optimum. Attacks that count their queries get few: how
strong they are is shown elsewhere. Cost: about 40 runs on three pictures of 48 x 64, a second for a fast attack.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.attacks.projections import Budget
from iqa_robustness.conformance.attack_runs import (
    any_size,
    company,
    counters,
    entrants,
    extreme_pictures,
    limits,
    named_nan,
    no_images,
    queries_only,
    repeatable,
)
from iqa_robustness.conformance.attack_subject import STRENGTHS, AttackSubject
from iqa_robustness.conformance.check import Check, require
from iqa_robustness.conformance.declared import check_identity, declared_fields

RESTRICTIONS = ("linf", "l0", "l2", "ssim", "psnr", "none")
# Restrictions whose budget is a distance: the others bound a likeness, or nothing.
_DISTANCES = ("linf", "l0", "l2")
# A working attack moves the planted metric by more than this share of its range (the gate's own bar).
GAIN = 0.01


def declaration(subject: AttackSubject) -> str:
    """No run."""
    kind = subject.kind
    fields = declared_fields(kind)
    for attribute, allowed in (("access", ("white-box", "black-box")), ("restriction", RESTRICTIONS)):
        said = getattr(kind, attribute, None)
        require(said in allowed, f"{attribute} is {said!r}", fix=f"declare {attribute} as one of {', '.join(allowed)}")
    strengths = getattr(kind, "strengths", {})
    require(
        tuple(strengths) == STRENGTHS,
        f"the strengths are {', '.join(strengths) or 'none'}",
        fix="declare strengths = {'weak': {...}, 'medium': {...}, 'strong': {...}}, in this order",
    )
    varied = getattr(kind, "varied_parameter", None)
    require(
        varied in fields and all(varied in strengths[strength] for strength in STRENGTHS),
        f"varied_parameter is {varied!r}, which is no field that every strength sets",
        fix="name the field that tells the strengths apart, decorate the class with "
        "@dataclass(frozen=True, kw_only=True), and set the field in each strength",
    )
    unknown = sorted({name for values in strengths.values() for name in values} - fields)
    require(
        not unknown,
        f"the strengths set {', '.join(unknown)}, which the attack does not have",
        fix="set fields of the dataclass only",
    )
    return f"{kind.access}, {kind.restriction}, strengths set {varied}"


def configuration(subject: AttackSubject) -> str:
    """No run."""
    made = [subject.made(strength) for strength in STRENGTHS]
    for strength, attack in zip(STRENGTHS, made, strict=True):
        check_identity(attack, subject.made(strength))
    require(
        len(set(made)) == len(STRENGTHS),
        "two strengths are the same attack",
        fix="give each strength another value of the varied parameter",
    )
    return repr(made[1])


def declared_budget(subject: AttackSubject) -> str:
    """No run."""
    budgets = [subject.made(strength).budget for strength in STRENGTHS]
    for budget in budgets:
        require(
            isinstance(budget, Budget) and budget.restriction == subject.kind.restriction and budget.limit >= 0,
            f"the budget is {budget!r}, the declared restriction {subject.kind.restriction!r}",
            fix="return a Budget of iqa_robustness.attacks.projections (or a subclass) with the class's restriction",
        )
    said = ", ".join(f"{budget.limit:.4g}" for budget in budgets)
    require(
        subject.kind.restriction not in _DISTANCES or budgets[0].limit < budgets[1].limit < budgets[2].limit,
        f"the budgets of weak, medium and strong are {said}",
        fix="let the strengths set a budget that grows",
    )
    return f"{subject.kind.restriction} of at most {said}"


def budget(subject: AttackSubject) -> str:
    """Six runs, shared with the checks that follow."""
    for run in subject.runs:
        result, what = run.result, f"{run.goal.direction}, {run.attack!r}"
        require(
            torch.equal(result.clean, run.clean),
            f"the clean images of the result are not those that were attacked ({what})",
            fix="never change `images` or `objective.clean` in place",
        )
        levels, clean = _levels(result.images), _levels(run.clean)
        sound = (
            result.images.shape == run.clean.shape
            and result.images.dtype == torch.float32
            and not result.images.requires_grad
            and np.array_equal(levels.astype(np.float32) / np.float32(255), result.images.cpu().numpy())
            and 0 <= levels.min() <= levels.max() <= 255
        )
        require(
            sound, f"the result is no 8-bit image ({what})", fix="let the budget's `admit` round: images.quantize does"
        )
        allowed = run.attack.budget
        # The largest difference is counted here, without the budget's own word for it.
        outside = bool(allowed.violations(result.images, run.clean).any()) or (
            allowed.restriction == "linf" and np.abs(levels - clean).max() > 255 * allowed.limit + 1e-3
        )
        require(
            not outside,
            f"an image is outside the budget after rounding to 8 bits ({what})",
            fix="clamp by whole levels after rounding, as iqa_robustness.attacks.projections.Linf does",
        )
    return "8 bits, every strength, both directions"


def values(subject: AttackSubject) -> str:
    """No further run; four forwards for each of the six, through each of the attack's encoders."""
    for run in subject.runs:
        result, what = run.result, f"{run.goal.direction}, {run.attack!r}"
        for name, images, said in (
            ("values", result.images, result.values),
            ("clean values", run.clean, result.clean_values),
        ):
            ways = [run.metric(encoder.encode(images)) for encoder in run.attack.encoders]
            found = torch.stack([run.goal.values(scores, run.metric.spec) for scores in ways]).mean(dim=0)
            require(
                torch.allclose(found, said, atol=1e-5),
                f"the {name} are {said.tolist()}, the metric says {found.tolist()} ({what})",
                fix="ask the objective about images, and let the template say what they are worth",
            )
        require(
            bool((result.values >= result.clean_values).all()),
            f"an image is worse than the clean one ({what})",
            fix="let the template choose the best image that the objective saw",
        )
    return "as the metric says, never worse than clean"


def gain(subject: AttackSubject) -> str:
    """No further run."""
    for run in subject.runs:
        result, what = run.result, f"{run.goal.direction}, {run.attack!r}"
        require(
            bool(result.responded.all() and result.gradient_finite.all() and result.gradient_nonzero.all()),
            f"for an image no query changed the score, or no usable gradient was seen ({what})",
            fix="ask about changed images, and about gradients at each image (values_and_gradients)",
        )
        require(
            run.gain > GAIN,
            f"it moves a metric that is vulnerable by construction by {run.gain:.2%} of its range ({what}); "
            f"more than {GAIN:.0%} is expected",
            fix="maximise the objective: its values are higher where the attacker wants to be, whatever the metric's "
            "direction; try more steps, or larger ones",
        )
    return ", ".join(f"{subject.run(strength).gain:.1%}" for strength in STRENGTHS) + " of the range"


def stronger(subject: AttackSubject) -> str:
    """No further run."""
    gains = [subject.run(strength).gain for strength in STRENGTHS]
    said = ", ".join(f"{value:.2%}" for value in gains)
    require(
        gains[0] < gains[1] < gains[2],
        f"weak, medium and strong gain {said}",
        fix="order the strengths by what they may change; a larger budget needs larger steps or more of them",
    )
    return said


ATTACK_CHECKS: tuple[Check[AttackSubject], ...] = (
    Check(name="declaration", title="its class says what it is", function=declaration, essential=True),
    Check(name="configuration", title="it is its parameters, and can be part of a key", function=configuration),
    Check(name="declared budget", title="the budget is that of the declared restriction", function=declared_budget),
    Check(name="budget", title="after rounding to 8 bits the budget is kept", function=budget, essential=True),
    Check(name="values", title="its values are what the metric says", function=values),
    Check(name="gain", title="it moves a vulnerable metric, up and down", function=gain),
    Check(name="stronger", title="a stronger one gains more", function=stronger),
    Check(name="repeatable", title="an image is attacked alike again", function=repeatable),
    Check(name="company", title="its companions do not matter", function=company),
    Check(name="entrants", title="whom it attacks is each image's own matter", function=entrants),
    Check(name="counters", title="its counters are what the metric saw", function=counters),
    Check(name="limits", title="a limit of forward passes is kept", function=limits),
    Check(name="sizes", title="any size is attacked", function=any_size),
    Check(name="extremes", title="extreme pictures are attacked without an error", function=extreme_pictures),
    Check(name="no images", title="no images cost nothing", function=no_images),
    Check(name="queries only", title="without gradients it works, or says so", function=queries_only),
    Check(name="NaN", title="a metric that breaks down is named, with the image", function=named_nan),
)


def _levels(images: Tensor) -> np.ndarray:
    return np.rint(images.cpu().numpy().astype(np.float64) * 255)
