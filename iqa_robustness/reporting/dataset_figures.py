"""A picture of a sample: its clusters on spatial information, colourfulness and opinion scores."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iqa_robustness.datasets.sampling import Chosen


def cluster_figure(images: Sequence[Chosen], *, title: str, file_format: str = "png") -> bytes:
    """Each pair of features as a scatter plot: a colour for each cluster, faint what was not drawn.

    Args:
        images: at least one; a feature that is unknown for all is left out.
        title: of the figure.
        file_format: as matplotlib takes it.
    """
    features = {
        "SI (spatial information)": np.array([one.si for one in images]),
        "CF (colourfulness)": np.array([one.cf for one in images]),
        "MOS": np.array([one.item.mos for one in images]),
    }
    names = [name for name, values in features.items() if np.isfinite(values).all()]
    pairs = [(first, second) for n, first in enumerate(names) for second in names[n + 1 :]]
    figure = Figure(figsize=(4.4 * len(pairs), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    colours = np.array([f"C{one.cluster % 10}" for one in images])
    drawn = np.array([one.rank >= 0 for one in images])
    for place, (first, second) in enumerate(pairs, 1):
        axes = figure.add_subplot(1, len(pairs), place)
        for chosen, size, alpha in ((~drawn, 4, 0.15), (drawn, 9, 0.9)):
            axes.scatter(
                features[first][chosen], features[second][chosen], s=size, alpha=alpha, c=colours[chosen], linewidths=0
            )
        axes.set_xlabel(first)
        axes.set_ylabel(second)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=110, metadata={"Software": None} if file_format == "png" else None)
    return buffer.getvalue()
