"""Which parameters of a metric are its heads, that learn faster than its features."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from iqa_robustness.errors import ConfigurationError

# What turns an image into features; what is registered after the last of these turns features into a score.
_FEATURES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm2d, nn.LayerNorm, nn.MultiheadAttention)

Named = dict[str, nn.Parameter]


def parameter_groups(network: nn.Module, patterns: Sequence[str] = ()) -> tuple[Named, Named]:
    """Parameters of the heads, and all others, by name.

    Args:
        network: modules in the order in which images pass them.
        patterns: fnmatch patterns of names of head parameters; without any, the heads are what is registered after the
            last convolution, normalisation of maps or attention, and the last module where that is nothing.

    Raises:
        ConfigurationError: the patterns match no parameter.
    """
    named = dict(network.named_parameters())
    if patterns:
        heads = {name: value for name, value in named.items() if any(fnmatchcase(name, each) for each in patterns)}
        if not heads:
            raise ConfigurationError(
                f"no parameter is named {' or '.join(patterns)}", fix=f"the last ones are {', '.join([*named][-4:])}"
            )
    else:
        start = 0
        for module_name, module in network.named_modules():
            if isinstance(module, _FEATURES):
                own = [f"{module_name}.{name}" if module_name else name for name, _ in module.named_parameters()]
                start = max([start, *(1 + place for place, name in enumerate(named) if name in own)])
        last = [*named][-1].rpartition(".")[0]
        heads = dict([*named.items()][start:]) or {n: v for n, v in named.items() if n.rpartition(".")[0] == last}
    return heads, {name: value for name, value in named.items() if name not in heads}
