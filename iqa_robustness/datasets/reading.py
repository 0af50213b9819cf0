"""Reading ahead: the next images are decoded while the current one is used, and memory holds a few of them at most."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from iqa_robustness.datasets.base import Dataset
from iqa_robustness.errors import ImageReadError

# Called with what could not be read; returning goes on without the image, raising stops.
OnError = Callable[[ImageReadError], None]


def stop(error: ImageReadError) -> None:
    """The policy that stops at the first image that cannot be read; the error names its file."""
    raise error


class Gathered:
    """The policy that goes on without the images that cannot be read, and keeps what was wrong with them."""

    def __init__(self) -> None:
        self.errors: list[ImageReadError] = []

    def __call__(self, error: ImageReadError) -> None:
        """Keep it."""
        self.errors.append(error)


def stream(
    data: Dataset, rows: Sequence[int] | None = None, *, ahead: int = 4, on_error: OnError = stop
) -> Iterator[tuple[int, np.ndarray]]:
    """Row and (H, W, 3) uint8 pixels of each image, in order; another thread decodes up to `ahead` of them beforehand.

    Memory: `ahead` + 1 decoded images, however many there are. What is not `threaded` is read in this thread.

    Args:
        data: where from.
        rows: which, all when None.
        ahead: how many images may wait.
        on_error: told of an image that cannot be read; `stop` raises, `Gathered()` goes on.

    Raises:
        ImageReadError: from `on_error`.
    """
    wanted = range(len(data)) if rows is None else rows
    if not data.threaded or ahead < 1:
        yield from _taken(((row, lambda row=row: data.pixels(row)) for row in wanted), on_error)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading-ahead") as pool:
        waiting: deque[tuple[int, Future[np.ndarray]]] = deque()

        def next_ones() -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
            for row in wanted:
                waiting.append((row, pool.submit(data.pixels, row)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result

        try:
            yield from _taken(next_ones(), on_error)
        finally:
            # Whoever stops early must not wait for what nobody will look at.
            for _, future in waiting:
                future.cancel()


def _taken(
    pending: Iterator[tuple[int, Callable[[], np.ndarray]]], on_error: OnError
) -> Iterator[tuple[int, np.ndarray]]:
    for row, read in pending:
        try:
            pixels = read()
        except ImageReadError as error:
            on_error(error)
            continue
        yield row, pixels
