"""The data card of an exported set of adversarial images: what it is, how it was made, what it is good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iqa_robustness import __version__

_LAYOUTS = {
    "png": "`STRENGTH/ATTACK/METRIC/ID.png`",
    "tar": "`STRENGTH/ATTACK/METRIC.tar` with `000000.png` and `000000.json` for each image (WebDataset)",
}


def data_card(manifest: Mapping[str, Any]) -> str:
    """Markdown for a manifest that `bench.export` wrote."""
    groups, data = manifest["groups"], manifest["dataset"]
    images = sum(group["images"] for group in groups)
    names = {
        axis: ", ".join(sorted({group[axis] for group in groups})) for axis in ("metric", "attack", "strength", "goal")
    }
    rows = "\n".join(
        f"| {g['metric']} | {g['attack']} | {g['strength']} | {g['goal']} | {g['images']} | {g['mean_gain']:+.2f} |"
        for g in groups
    )
    height, width = data["size"]
    numerics = ", ".join(f"{name} {value}" for name, value in manifest["numerics"].items())
    return f"""# Adversarial images for image-quality metrics

{images} images in {len(groups)} groups: metrics {names["metric"]}; attacks {names["attack"]};
strengths {names["strength"]}; goal {names["goal"]}. Made with iqa-robustness {__version__}.

## What is in it

- Layout: {_LAYOUTS[manifest["container"]]}. All files are 8-bit RGB PNG, {width} × {height} pixels, after rounding.
- `index.csv`: a row for each image: id and content of the clean image, its opinion score (`{data["mos_kind"]}`), the
  gain towards the goal in per cent of the metric's score range, SSIM, PSNR, l∞ and l2 against the clean image, passes
  spent, SHA-256.
- `manifest.json`: each group's attack with all parameters, its key in the store, and every image's SHA-256.

## How it was made

- Clean images: `{data["name"]}`, digest `{data["digest"]}`.
  They are not part of this set. Adversarial images are derived from them: pass this set on only where the licence
  of the clean ones permits it.
- Each attack knew the metric alone (non-adaptive); no defense was looked at. Numerics: {numerics}.
- An image may be as it was: attacks keep the best image they saw, the clean one included.

| metric | attack | strength | goal | images | mean gain, % |
|---|---|---|---|---|---|
{rows}

## What it is good for, and what not

Judging defenses and metrics on the same images again:
`iqa-robustness dataset judge DIR --iqa-dataset REF --iqa-defense NAMES`.
A defense that withstands these images need not withstand an attack that knows it; for that, run the adaptive suite.
"""
