"""What was learned or chosen on images must not be judged on them."""

from __future__ import annotations

from iqa_robustness.datasets.base import Dataset, View


def share_contents(seen: Dataset, judged: View) -> bool:
    """Whether two sets of images have a scene in common.

    Folders may use one name for two scenes; the bundled sets are made of one collection of photographs.
    """
    shared = {item.content for item in seen.items} & {item.content for item in judged.items}
    bundled = ":" not in seen.name and ":" not in judged.name
    base = seen.base if isinstance(seen, View) else seen
    return bool(shared) and (bundled or base.origin == judged.base.origin or base.digest == judged.base.digest)
