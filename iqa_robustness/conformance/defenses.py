"""What every defense must satisfy, the reader's own included, at its default and at each value of its parameter.

The metric behind it is the planted vulnerable one, so that its own cost is all there is: for each variant about 40
images of 48 x 64 and three of 96 x 128, and for the default 30 more with gradients.
"""

from __future__ import annotations

import torch

from iqa_robustness.conformance.check import Check, require
from iqa_robustness.conformance.declared import check_identity, declared_fields
from iqa_robustness.conformance.defense_gradients import adaptive_attack, finite_differences, gradients, surrogate
from iqa_robustness.conformance.defense_images import between_levels, contract, purified_company, recognisable
from iqa_robustness.conformance.defense_scores import any_size, certificates, randomness, repeatable
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.defenses.base import DefendedMetric

KINDS = ("none", "purification", "detection", "certified", "training")
FACTS = ("score_range", "higher_is_better", "access", "version")


def declaration(subject: DefenseSubject) -> str:
    """No image."""
    kind, defense = subject.kind, subject.made()
    fields = declared_fields(kind, name=getattr(defense, "name", None))
    said = getattr(kind, "kind", None)
    require(said in KINDS, f"kind is {said!r}", fix=f"declare kind as one of {', '.join(KINDS)}")
    for flag in ("differentiable", "stochastic", "keeps_geometry"):
        require(
            isinstance(getattr(defense, flag), bool),
            f"{flag} is {getattr(defense, flag)!r}",
            fix=f"set {flag}: ClassVar[bool] to True or False",
        )
    varied, values = kind.varied_parameter, kind.parameter_values
    require(
        (not varied or varied in fields) and bool(varied) == bool(values),
        f"varied_parameter is {varied!r} and parameter_values {tuple(values)!r}",
        fix="name a field of the dataclass and its values, or leave both empty; decorate the class with "
        "@dataclass(frozen=True, kw_only=True)",
    )
    require(
        len({subject.made(**{varied: value}) for value in values}) == len(values) or varied in subject.options,
        f"two values of {varied} make the same defense",
        fix="list each value once",
    )
    flags = "differentiable" if defense.differentiable else "not differentiable"
    return f"{kind.kind}, {flags}, {'random' if defense.stochastic else 'not random'}" + (
        f", {varied} varies" if varied else ""
    )


def configuration(subject: DefenseSubject) -> str:
    """No image."""
    for parameters, defense in zip(subject.variants, subject.every, strict=True):
        check_identity(defense, subject.made(**parameters))
        require(
            all(getattr(defense, name) == value for name, value in parameters.items()),
            f"{parameters} makes {defense!r}",
            fix="keep parameters as they are given; derive others in properties",
        )
    return f"{len(subject.variants)} variants"


def defended_metric(subject: DefenseSubject) -> str:
    """No image."""
    for defense in subject.every:
        metric = subject.reference_metric()
        state = {name: value.clone() for name, value in metric.state_dict().items()}
        guarded = defense.protect(metric)
        require(
            isinstance(guarded, DefendedMetric),
            f"protect returned a {type(guarded).__name__}",
            fix="return a DefendedMetric (iqa_robustness.defenses.base), as Purification does",
        )
        require(
            guarded.spec.stochastic is defense.stochastic
            and all(getattr(guarded.spec, fact) == getattr(metric.spec, fact) for fact in FACTS),
            "the defended metric declares another range, direction, access, version or randomness than the metric and "
            "the defense do",
            fix="leave the spec to DefendedMetric",
        )
        require(
            all(torch.equal(value, state[name]) for name, value in metric.state_dict().items()),
            "protect changed the metric that it was given",
            fix="copy what has to change",
        )
    return ""


DEFENSE_CHECKS: tuple[Check[DefenseSubject], ...] = (
    Check(name="declaration", title="its class says what it is", function=declaration, essential=True),
    Check(name="configuration", title="it is its parameters, and can be part of a key", function=configuration),
    Check(name="defended metric", title="the defended metric has the metric's scale", function=defended_metric),
    Check(name="contract", title="purified images keep number, range and size", function=contract),
    Check(name="between levels", title="images between 8-bit levels are purified too", function=between_levels),
    Check(name="recognisable", title="a photograph stays recognisable", function=recognisable),
    Check(name="purified company", title="an image is purified alike in any company", function=purified_company),
    Check(name="repeatable", title="scores repeat exactly in any company", function=repeatable),
    Check(name="randomness", title="randomness is as declared, and comes from the streams", function=randomness),
    Check(name="sizes", title="any size is scored", function=any_size),
    Check(name="gradient", title="a gradient, or a surrogate's, reaches every image", function=gradients),
    Check(name="finite differences", title="gradients agree with finite differences", function=finite_differences),
    Check(name="surrogate", title="the surrogate has the defense's shape and a slope", function=surrogate),
    Check(name="adaptive attack", title="an adaptive attack runs against it and gains", function=adaptive_attack),
    Check(name="certificates", title="certificates are ordered and repeat exactly", function=certificates),
)
