"""Whether a cell's attack was able to work: without that, a low score shift proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from iqa_robustness.gate.convergence import convergence_reasons
from iqa_robustness.measures import mean_interval
from iqa_robustness.store import Record

# Working attacks move the planted vulnerable metric by tens of per cent of its range; a broken one does not move it.
PROOF_GAIN = 1.0
# Share of the images on which the evidence must hold: single images may sit where a score is flat for good reasons.
IMAGE_SHARE = 0.9
RESPONSE_SHARE = 0.5
# A level of 255 is 4e-3; the limit and the measurement differ by float noise.
_FLOAT_NOISE = 1e-5
# How much of the budget is used, by restriction: the record's column, and what makes it the budget's own unit.
_USED: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "linf": ("linf", lambda changes: changes, "in l∞"),
    "l2": ("l2", lambda changes: changes, "in l2"),
    "ssim": ("ssim", lambda similarity: 1 - similarity, "of 1 − SSIM"),
    "psnr": ("psnr", lambda decibels: 10 ** (-decibels / 20), "RMS"),
}


def invalid_reasons(record: Record) -> list[str]:
    """Why the cell's attack does not count, in plain words; empty when it does or there is no attack.

    - An adversarial image is outside the budget, as it was stored, rounded to 8 bits.
    - The metric declares white-box access, but has no gradient on the probe images: it hides the way, and queries
      alone cannot show that there is none. (A metric without gradients says so: `access="query-only"`.)
    - It gains less than `PROOF_GAIN` per cent of the range on the planted vulnerable metric, at the same budget.
    - Gradients are not finite, or zero on more than a tenth of the images (a masked or rounded score).
    - The objective did not rise over the steps.
    - Twice the steps, or twice the draws, gain more by over a twentieth (`gate.convergence`).
    - More than half of the images gave every query, or the placebo, the very same score (a flat score; a smoothed
      classification, whose scores have steps by design, may give the placebo the clean image's).
    - No image was attacked at all, by an attack that chooses among them.

    Evidence is looked for on the images that were attacked. An attack inside certified radii has no proof, and no
    placebo: it counts unless nothing is certified, it left a radius, or its gradients were not finite, or zero.
    """
    if record.meta["cell"]["scenario"] == "soundness":
        return _inside_reasons(record)
    if "attack" not in record.meta:
        return []
    reasons = _budget_reasons(record) + convergence_reasons(record)
    metric = record.meta["metric"]
    if metric["access"] == "white-box" and not metric["differentiable"]:
        reasons.append("the metric declares white-box access, but its gradient is zero or not finite")
    proof = mean_interval(record.meta["proof"]["gains"], record.meta["proof"]["contents"])
    if not proof.low > PROOF_GAIN:
        reasons.append(
            f"the attack gains only {proof.value:.2f} % [{proof.low:.2f}, {proof.high:.2f}] of the range on the "
            f"planted vulnerable metric; at least {PROOF_GAIN:g} % shows that it works"
        )
    entrants = record.images["entrant"].to_numpy(bool)
    images = record.images[entrants]
    if not len(images):
        return [
            *reasons,
            "no image was drawn to be attacked: it needs more images, or a larger share of them",
        ]
    if record.meta["attack"]["access"] == "white-box":
        reasons += _gradient_reasons(record, images)
    elif images["responded"].mean() < RESPONSE_SHARE:
        reasons.append(
            f"{1 - images['responded'].mean():.0%} of the images gave every query the same score: "
            "the score is flat and answers nothing"
        )
    # Where the attack changed nothing, the placebo is the image itself.
    moved = record.scores("linf") > 0
    flat = (
        0.0
        if _answers_in_classes(record)
        else float((moved & (record.scores("placebo") == record.scores("defended_clean")))[entrants].mean())
    )
    if flat > 1 - RESPONSE_SHARE:
        reasons.append(
            f"random noise of the attack's size left {flat:.0%} of the scores exactly as they were: "
            "the score is rounded, clamped or constant"
        )
    return reasons


def _answers_in_classes(record: Record) -> bool:
    """Whether scores have steps by design: the attack sees the score under the classes, which hides nothing."""
    return bool(record.meta.get("certificate", {}).get("form") == "classification")


def _inside_reasons(record: Record) -> list[str]:
    """Why an attack inside certified radii does not count: nothing is certified, it went outside, or saw no slope."""
    images = record.images[~record.images["clean_abstained"].to_numpy(bool)]
    if not len(images):
        return ["every image abstains: there is no certificate to attack; more samples certify more"]
    reasons = []
    outside = images["l2"] > images["clean_radius"] * (1 + _FLOAT_NOISE)
    if outside.any():
        reasons.append(f"{outside.mean():.0%} of the attacked images are outside the certified radius")
    if not images["gradient_finite"].all():
        reasons.append(f"gradients were not finite on {(~images['gradient_finite']).mean():.0%} of the images")
    if images["gradient_nonzero"].mean() < IMAGE_SHARE:
        reasons.append(f"gradients were zero on {(~images['gradient_nonzero']).mean():.0%} of the images")
    return reasons


def _budget_reasons(record: Record) -> list[str]:
    """One for the cell's attack, and one for every other whose images an adaptive cell judges, in its own budget."""
    images = record.images["worst_source"].to_numpy()
    own = {"restriction": record.meta["attack"]["restriction"], "limit": record.meta["attack"]["limit"]}
    sources = record.meta.get("sources") or {"": own}
    return [reason for name, budget in sources.items() for reason in _outside(record, budget, judged=images == name)]


def _outside(record: Record, budget: Mapping[str, Any], *, judged: np.ndarray) -> list[str]:
    if budget["restriction"] not in _USED:
        return []
    column, use, unit = _USED[budget["restriction"]]
    used = use(record.scores(column))
    broken = judged & (used > budget["limit"] + _FLOAT_NOISE)
    if not broken.any():
        return []
    return [
        f"{broken.mean():.0%} of the adversarial images are outside the budget: {used[broken].max():.5g} {unit}, "
        f"{budget['limit']:.5g} allowed"
    ]


def _gradient_reasons(record: Record, images: pd.DataFrame) -> list[str]:
    reasons, trace = [], record.meta["attack"]["trace"]
    if not images["gradient_finite"].all():
        reasons.append(f"gradients were not finite on {(~images['gradient_finite']).mean():.0%} of the images")
    if images["gradient_nonzero"].mean() < IMAGE_SHARE:
        reasons.append(f"gradients were zero on {(~images['gradient_nonzero']).mean():.0%} of the images")
    elif len(trace) > 1 and not max(trace[1:]) > trace[0]:
        reasons.append("the objective did not rise over the attack's steps")
    return reasons
