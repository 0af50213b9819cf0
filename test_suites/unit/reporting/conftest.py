"""Outcomes of cells as a worker sends them, made by hand."""

from __future__ import annotations

from typing import Any

import pytest


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
            "mixtures": [],
            "checks": {"d_score": ["pass", "at most 20"]},
            "images": 50,
            "mos_kind": "human",
            "protocol": {"scoring": "one-shot", "attack": "direct"},
            "sources": {},
            "certificate": {},
            "budget": {"restriction": "linf", "limit": 4 / 255},
            "record": "ab" * 32,
            "computed": True,
            "seconds": 1.5,
            "cost": {},
            "outcome": "passed",
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
