"""Names of adaptive protocols: how an attack got through a defense that is random or has no gradient."""

from __future__ import annotations

from iqa_robustness.defenses.base import Defense, Purification
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.detect_then_purify import DetectThenPurify


def attack_protocol(defense: Defense, *, draws: int, white_box: bool, stochastic_metric: bool = False) -> str:
    """The protocol of an attack on a defended metric, for records and reports.

    `direct`: plain gradients or queries. `bpda-identity`, `bpda-diffjpeg`: the defense is applied as it is, its slope
    is the named surrogate's, in a composition those of all its parts. `bpda-branch-taken`: a decision whether to purify
    is taken as it is, the slope is that of what was decided. `eot-8`: every value and gradient is the mean
    over 8 fresh draws. They are joined by `+`.

    Args:
        defense: what protects the metric where the attack sees it (`none` in a non-adaptive attack).
        draws: forward passes averaged into one value.
        white_box: the attack uses gradients.
        stochastic_metric: the metric itself draws.
    """
    parts = []
    if white_box and isinstance(defense, Purification | DetectThenPurify | Smoothing) and not defense.differentiable:
        parts += [f"bpda-{name}" for name in defense.surrogate_name.split("+")]
    if defense.stochastic or stochastic_metric:
        parts.append(f"eot-{draws}")
    return "+".join(parts) or "direct"
