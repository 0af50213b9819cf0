"""Peak memory of reading 100 and 1,000 images of 512 × 384: `python benchmarks/data_memory.py`.

Each size runs in a process of its own: it loads a folder of JPEG files, takes its digest, reads every image through a
view in micro-batches, writes them as a stage of attacks does, and reads these back. The last line says whether the peak
of the largest grew by at most 10 % against the smallest.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, MICRO_BATCH = 384, 512, 4
LIMIT = 1.10


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read:
        return read(options.read)
    peaks = []
    with tempfile.TemporaryDirectory() as place:
        for count in sorted(options.images):
            folder = Path(place, str(count))
            write(folder, count)
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, "--read", str(folder)], capture_output=True, text=True, check=True
            )
            peaks.append(int(done.stdout))
            seconds = time.perf_counter() - started
            print(f"{count:6d} images  peak {peaks[-1] / 1024:7.1f} MiB  {seconds:5.1f} s", flush=True)
    growth = peaks[-1] / peaks[0]
    print(
        f"growth {100 * (growth - 1):+.1f} %, at most {100 * (LIMIT - 1):.0f} %: {'yes' if growth <= LIMIT else 'NO'}"
    )
    return 0 if growth <= LIMIT else 1


def write(folder: Path, count: int) -> None:
    """Gradients with grain of their own, as JPEG files of 10 to 20 kB, and their table."""
    folder.mkdir()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    lines = ["file,mos"]
    for number in range(count):
        random = np.random.default_rng(number)
        ramp = rows * random.uniform(0, 0.4) + columns * random.uniform(0, 0.3)
        grain = random.normal(0, 1.5, (HEIGHT, WIDTH))
        Image.fromarray(np.clip(ramp + grain + 20, 0, 255).astype(np.uint8)).convert("RGB").save(
            folder / f"{number:04d}.jpg", quality=85
        )
        lines.append(f"{number:04d}.jpg,{random.uniform(1, 5):.3f}")
    (folder / "mos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(folder: Path) -> int:
    """What a run does with the images, all but the metric; prints the peak in KiB."""
    from iqa_robustness import datasets
    from iqa_robustness.bench.devices import prepared_device
    from iqa_robustness.bench.sources import Clean, ImageTar, Stored
    from iqa_robustness.datasets.base import view
    from iqa_robustness.store import Key, Store

    prepared_device("cpu")  # as every run does: it also sets how memory is given back
    clean = Clean(view(datasets.load(f"folder:{folder}"), size=(HEIGHT, WIDTH)))
    store = Store(folder / "store")
    tar = ImageTar(store.scratch() / "images.tar")
    seen = hashlib.sha256(clean.view.digest.encode())
    slices = [range(start, min(start + MICRO_BATCH, len(clean))) for start in range(0, len(clean), MICRO_BATCH)]
    for rows in slices:
        tar.add(clean.batch(rows))
    entry = store.put(Key({"stage": "benchmark", "images": seen.hexdigest()}), {"images.tar": tar.close()})
    stored = Stored(entry, clean.ids)
    for rows in slices:
        stored.batch(rows)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return 0


if __name__ == "__main__":
    sys.exit(main())
