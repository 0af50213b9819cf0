"""Outcomes of cells as a worker sends them, and records with all that a store's own have, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from iqa_robustness import attacks, defenses
from iqa_robustness.registry import Registry
from iqa_robustness.store import Key, Record


@pytest.fixture
def outcome() -> Any:
    def make(metric: str = "compact", defense: str = "none", d_score: float = 10.0, **changes: Any) -> dict[str, Any]:
        axes = {"attack": "ifgsm", "strength": "medium", "source": "", "scenario": "nonadaptive", "goal": "raise"}
        axes |= {name: changes.pop(name) for name in list(axes) if name in changes}
        cell_id = "/".join(part for part in (metric, defense, axes["attack"], axes["strength"]) if part)
        return {
            "name": f"{axes['scenario']}:{cell_id}",
            "id": cell_id,
            "metric": metric,
            "defense": defense,
            **axes,
            "status": "pass",
            "expected": False,
            "weakness": "",
            "waiver_expired": False,
            "tier": "critical",
            "exit_code": 0,
            "reasons": [],
            "measures": {
                "d_score": [d_score, d_score - 2, d_score + 2],
                "effect_size": [1.25, 1.0, 1.5],
                "d_score_placebo": [1.0, 0.5, 1.5],
                "srocc_clear": [0.8, 0.7, 0.9],
                "srocc_adv": [0.5, None, None],
            },
            "notes": {},
            "gains": {"low": d_score - 4.0, "high": d_score + 4.0, "counts": [1, 0, 3, 2], "quartiles": [d_score] * 3},
            "mixtures": [],
            "checks": {"d_score": ["pass", "at most 20"]},
            "images": 50,
            "mos_kind": "human",
            "dataset": {"name": "mini", "digest": "cd" * 32},
            "numerics": {"device": "cpu", "dtype": "float32", "torch": "2.7.1", "micro_batch": 4},
            "protocol": {"scoring": "one-shot", "attack": "direct"},
            "sources": {},
            "certificate": {},
            "budget": {"restriction": "linf", "limit": 4 / 255},
            "record": "ab" * 32,
            "computed": True,
            "seconds": 1.5,
            "cost": {},
            "outcome": "passed",
            "command": f"pytest 'test_gate.py::test_gate[{cell_id}]'",
            **changes,
        }

    return make


@pytest.fixture
def red(outcome: Any) -> Any:
    return outcome(
        defense="flip",
        d_score=63.0,
        status="fail",
        exit_code=1,
        scenario="adaptive",
        strength="strong",
        reasons=["fail: D_score 63.0 [61.0, 65.0] % of range; at most 20 is required"],
    )


@pytest.fixture
def weak(outcome: Any) -> Any:
    return outcome(
        d_score=40.0, status="fail", expected=True, weakness="an undefended network <has> gradients", strength="strong"
    )


@pytest.fixture
def certified(outcome: Any) -> Any:
    """A cell behind a certified defense: median smoothing, or with `form` classification the other."""

    def make(form: str = "median", resolution: int | None = None, **changes: Any) -> dict[str, Any]:
        facts = {"defense": "ms" if form == "median" else "rs", "scenario": "certified", "strength": "strong"}
        cell: dict[str, Any] = outcome(**{**facts, **changes})
        cell["certificate"] = {"form": form, "alpha": 0.001, "n": 200, "resolution": resolution}
        cell["measures"] |= {
            "cert_r": [0.05, 0.04, 0.06],
            "cert_r_familywise": [0.045, 0.035, 0.055],
            "cert_share": [0.0, 0.0, 0.308],
            "abstain": [0.25, 0.1, 0.4],
            "d_score_defended": [12.0, 9.0, 15.0],
            "spread": [30.0, 20.0, 40.0],
        }
        if form == "median":
            cell["measures"] |= {
                "cert_rd": [0.013, 0.011, 0.015],
                "cert_rd_familywise": [0.016, 0.013, 0.019],
                "cert_width": [0.025, 0.02, 0.03],
                "sampling_error": [0.5, 0.4, 0.6],
            }
        else:
            cell["measures"] |= {"same_class": [0.75, 0.5, 1.0], "vote_error": [6.5, 5.0, 8.0]}
        return cell

    return make


@pytest.fixture
def sound(outcome: Any) -> Any:
    """A soundness cell with so many broken certificates of twenty."""

    def make(broken: int = 0, **changes: Any) -> dict[str, Any]:
        facts = {"defense": "ms", "scenario": "soundness", "attack": "", "strength": ""}
        cell: dict[str, Any] = outcome(**{**facts, **changes})
        p = 0.02 if broken else 1.0
        cell["certificate"] = {"form": "median", "broken": broken, "tested": 20, "resolution": None}
        cell["measures"] = {
            "gain_defended": [0.4, 0.2, 0.6],
            "sampling_error": [0.5, 0.4, 0.6],
            "broken": [broken / 20, 0.0, 0.3],
            "broken_p": [p, p, p],
        }
        return cell

    return make


def class_of(registry: Registry[Any], name: str) -> str:
    return str(registry.resolve(name).target).replace(":", ".") if name in registry else f"elsewhere.{name}"


@pytest.fixture(scope="session")
def stored(make_record: Callable[..., Record], make_cell: Callable[..., Any]) -> Callable[..., Record]:
    """A record as a store has it: 24 images of 12 contents, moved by `d_score` on average, half of them by less.

    Keyword arguments: axes of the cell, parameters of the defense, and facts below; others go to `make_record`.
    """

    def make(
        defense: str = "flip",
        d_score: float = 10.0,
        *,
        metric: str = "compact",
        attack: str = "ifgsm",
        strength: str = "medium",
        scenario: str = "nonadaptive",
        goal: str = "raise",
        kind: str = "",
        fields: dict[str, Any] | None = None,
        version: int = 1,
        mos_kind: str = "human",
        dataset: str = "koniq:/photos",
        digest: str = "d0",
        images: int = 24,
        doublings: int = 0,
        volatile: dict[str, Any] | None = None,
        **columns: Any,
    ) -> Record:
        kind = kind or ("none" if defense == "none" else "purification")
        clean = np.linspace(20, 80, images)
        moved = clean + d_score * np.where(np.arange(images) % 12 % 2, 1.2, 0.8)
        known = {"defended_attacked": moved, "attacked": moved, "images": images, "contents": 12, **columns}
        record = make_record(kind=kind, scenario=scenario, goal=goal, dataset=dataset, **known)
        axes = {"metric": metric, "defense": defense, "scenario": scenario, "goal": goal, "dataset": dataset}
        if scenario != "clean":
            axes |= {"attack": attack, "strength": strength}
        made: dict[str, Any] = {"class": class_of(defenses.registry, defense), "version": version}
        made["fields"] = fields or {}
        of_attack: dict[str, Any] | None = None
        if scenario != "clean":
            of_attack = {"class": class_of(attacks.registry, attack), "version": 1, "fields": {}}
        range_ = {"score_range": record.meta["metric"]["score_range"], "higher_is_better": record.higher_is_better}
        numerics = {"device": "cpu", "dtype": "float32", "micro_batch": 4, "torch": "2.13.0"}
        document: dict[str, Any] = {
            "stage": "cell",
            "scenario": scenario,
            "goal": goal,
            "seed": 0,
            "attack": of_attack,
            "target": {"metric": {"name": metric, **range_}},
            "images": digest,
            "numerics": numerics,
            "doublings": doublings,
        }
        if of_attack:
            document["strength"] = strength
        if kind != "none":
            document["target"]["defense"] = made
        meta = {
            **record.meta,
            "cell": make_cell(**axes, images=images, doublings=doublings).document,
            "metric": {**record.meta["metric"], "name": metric, "version": "1"},
            "defense": {"kind": kind, **made},
            "dataset": {"name": dataset, "mos_kind": mos_kind, "digest": digest, "has_references": False},
            "numerics": numerics,
            "key_document": document,
            "key": Key(document).digest,
        }
        if of_attack and "attack" in meta:
            meta["attack"] = {**meta["attack"], **of_attack}
        return replace(record, meta=meta, volatile=volatile or {})

    return make


@pytest.fixture(scope="session")
def league(stored: Callable[..., Record]) -> Callable[..., list[Record]]:
    """Records of several defenses under the same attacks: by name, D_score of ifgsm at two strengths on two metrics.

    The second metric is moved three times as far, the strong attack twice as far.
    """

    def make(d_scores: dict[str, float], **facts: Any) -> list[Record]:
        return [
            stored(defense, d_score * far * strong, metric=metric, strength=strength, **facts)
            for defense, d_score in d_scores.items()
            for metric, far in (("compact", 1), ("lite0", 3))
            for strength, strong in (("medium", 1), ("strong", 2))
        ]

    return make
