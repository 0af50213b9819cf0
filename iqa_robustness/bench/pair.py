"""A (metric, defense) pair: loaded when first needed, identified for the store, probed before it is trusted."""

from __future__ import annotations

import importlib.metadata
from functools import cached_property
from typing import Any

from iqa_robustness import defenses, metrics
from iqa_robustness.defenses.base import DefendedMetric, Defense
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.probe import Probe, probe
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.store import document_of


class Subject:
    """A metric under test.

    Args:
        name: registered, or `package.module:Class`.
        device: torch device.
        ranges: calibrated score ranges that the declared one is held to; None is the package's.
    """

    def __init__(self, name: str, *, device: str, ranges: Ranges | None = None) -> None:
        self.name = name
        self.device = device
        self.ranges = ranges

    @cached_property
    def metric(self) -> Metric:
        """The metric, loaded now. Raises what `metrics.create` raises, and RangeTooWideError."""
        metric = metrics.create(self.name, device=self.device)
        (self.ranges or Ranges.bundled()).check(metric.spec, name=self.name)
        return metric

    @cached_property
    def probe(self) -> Probe:
        """What was measured of it on the fixed images. Raises MetricContractError."""
        try:
            return probe(self.metric, device=self.device)
        except IqaRobustnessError as error:
            raise error.at(metric=self.name) from error.__cause__

    @cached_property
    def document(self) -> dict[str, Any]:
        """What identifies the metric in a key.

        A bundled metric is its name, version and weights. A user's metric, or one of a collection, is also its
        distribution and a fingerprint, its scores on fixed images: a changed metric is another metric, even if nobody
        raised its version. So is a program or model file, which comes with no distribution.
        """
        spec = self.metric.spec
        document: dict[str, Any] = {
            "name": self.name,
            "version": spec.version,
            "weights": [[file.name, file.sha256] for file in spec.weights],
            "score_range": [*spec.score_range],
            "higher_is_better": spec.higher_is_better,
        }
        # Where the name leads, not where the class lives: a user's function may return a bundled class.
        module = metrics.registry.resolve(self.name).target.partition(":")[0]
        family = metrics.registry.family(self.name)
        if family is None and module.startswith(f"{metrics.__name__}."):
            return document
        document["fingerprint"] = [*self.probe.fingerprint]
        if family is None or family.catalogue:
            document["distribution"] = _distribution_of(family.entry.name if family else module)
        return document


class Pair:
    """A metric behind a defense, as the suites' session fixture hands it out.

    Args:
        subject: the metric.
        defense: name of the defense.
        n0: selection samples of a certified defense.
        n: estimation samples of a certified defense.
    """

    def __init__(self, subject: Subject, defense: str, *, n0: int, n: int) -> None:
        self.subject = subject
        self.defense_name = defense
        self._sizes = {"n0": n0, "n": n}

    @cached_property
    def defense(self) -> Defense:
        """The defense, with the profile's sample counts where it takes them."""
        known = type(defenses.create(self.defense_name)).__dataclass_fields__
        return defenses.create(self.defense_name, **{k: v for k, v in self._sizes.items() if k in known})

    @cached_property
    def guarded(self) -> DefendedMetric:
        """The defended metric."""
        return self.defense.protect(self.subject.metric)

    @cached_property
    def document(self) -> dict[str, Any]:
        """What identifies the defended metric in a key; an undefended one is just the metric."""
        if self.defense.kind == "none":
            return {"metric": self.subject.document}
        document = {"metric": self.subject.document, "defense": document_of(self.defense)}
        # Which weights a trained defense takes depends on the metric: its own document cannot say.
        return document | ({"trained": dict(self.guarded.facts)} if self.defense.kind == "training" else {})


def _distribution_of(module: str) -> str:
    """`name version` of the distribution that a module came with; empty for a loose file."""
    owners = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    return f"{owners[0]} {importlib.metadata.version(owners[0])}" if owners else ""
