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
