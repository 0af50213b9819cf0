"""Learners that follow Adam, with a state that can be kept."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from iqa_robustness.attacks.trained import Learner

# Gradients of a mean score are as small as 10⁻⁹ a value: the usual 10⁻⁸ would swallow them.
_STABILISER = 1e-16


class AdamLearner(Learner):
    """Named parameters and Adam on them.

    parameters: leaves that need gradients, by name; `tensors` are these.
    rate: of learning, at its highest.
    annealed: the rate falls to zero along a cosine, instead of being constant.
    stabiliser: what Adam adds to the root of its second moment.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], *, rate: float, annealed: bool, stabiliser: float = _STABILISER
    ) -> None:
        self._parameters = dict(parameters)
        self._rate, self._annealed = rate, annealed
        self._adam = torch.optim.Adam(self._parameters.values(), lr=rate, eps=stabiliser)

    def update(self, share: float) -> None:
        """A step of Adam; gradients are zero afterwards."""
        if self._annealed:
            for group in self._adam.param_groups:
                group["lr"] = self._rate * (1 + math.cos(math.pi * share)) / 2
        self._adam.step()
        self._adam.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """Parameters, and Adam's moments and counts."""
        held = {f"parameter/{name}": tensor for name, tensor in self._parameters.items()}
        for number, moments in self._adam.state_dict()["state"].items():
            held |= {f"adam/{number}/{name}": tensor for name, tensor in moments.items()}
        return held

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take both up again."""
        for name, tensor in self._parameters.items():
            tensor.copy_(state[f"parameter/{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("adam/"):
                _, number, moment = name.split("/")
                moments.setdefault(int(number), {})[moment] = tensor
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})

    def tensors(self) -> dict[str, Tensor]:
        """The parameters."""
        return dict(self._parameters)
