"""Hands items to pytest-xdist workers: what shares work to one worker, the longest first, few in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

# A worker runs an item only once it knows the next one: with fewer it would wait, with more nobody could help it.
_QUEUED = 2


class Node(Protocol):
    """What is used of pytest-xdist's `WorkerController`."""

    @property
    def shutting_down(self) -> bool:
        """Whether it takes no more items."""
        ...

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Queue items on the worker."""
        ...

    def shutdown(self) -> None:
        """Let the worker end after its queue."""
        ...


class Unit:
    """Items that share work, the longest first; handed out one by one.

    Args:
        items: their numbers in the collection, with their seconds.
    """

    def __init__(self, items: Sequence[tuple[int, float]]) -> None:
        self.seconds = dict(items)
        self.left = deque(sorted(self.seconds, key=lambda item: -self.seconds[item]))

    @property
    def cost(self) -> float:
        """Seconds of what is left."""
        return sum(self.seconds[item] for item in self.left)


class CellScheduling:
    """A pytest-xdist scheduler.

    A worker stays with a unit until that is empty, then takes the dearest one that nobody works on; where none is left
    it helps with the dearest. What a lost worker had in its queue goes back; the item it was running does not: it is
    reported once and never handed on. An item that a worker had only in its queue when it died is handed on, once.

    Args:
        numnodes: workers whose collections are waited for.
        units: the items' units, once there is a collection: each a list of (number, seconds).
        mismatch: told of a worker that collected something else; gets both collections and both workers.
    """

    def __init__(
        self,
        numnodes: int,
        units: Callable[[Sequence[str]], list[list[tuple[int, float]]]],
        mismatch: Callable[[Sequence[str], Sequence[str], Any, Any], None],
    ) -> None:
        self.numnodes = numnodes
        self.collection: list[str] | None = None
        self._units_of, self._mismatch = units, mismatch
        self._units: list[Unit] = []
        self._unit: dict[int, Unit] = {}
        self._left = 0
        self._collections: dict[Hashable, list[str]] = {}
        self._queues: dict[Any, deque[int]] = {}
        self._at: dict[Any, Unit] = {}
        self._started: set[str] = set()
        self._finished: set[str] = set()
        self._spared: set[int] = set()
        self._abandoned: list[int] = []

    @property
    def nodes(self) -> list[Any]:
        """All workers that take part."""
        return [*self._queues]

    @property
    def collection_is_completed(self) -> bool:
        """Whether as many workers have collected as were started."""
        return len(self._collections) >= self.numnodes

    @property
    def has_pending(self) -> bool:
        """Whether anything is yet to be run."""
        return self._left > 0 or any(self._queues.values())

    @property
    def tests_finished(self) -> bool:
        """Whether everything is handed out, and workers have at most the item they are at."""
        return (
            self.collection_is_completed
            and not self._left
            and all(len(queue) < _QUEUED for queue in self._queues.values())
        )

    @property
    def not_run(self) -> list[str]:
        """Node ids that no worker has taken or begun: what is left where a run ends early."""
        waiting = [item for unit in self._units for item in unit.left]
        waiting += [item for queue in self._queues.values() for item in queue]
        names = [(self.collection or [])[item] for item in sorted({*waiting, *self._abandoned})]
        return [name for name in names if name not in self._started]

    def add_node(self, node: Any) -> None:
        """A worker is up, and will collect."""
        self._queues[node] = deque()

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """A worker has collected."""
        if self.collection is not None and [*collection] != self.collection:
            # A replacement that sees other tests than the one it replaces would fail like this again.
            self._mismatch(self.collection, collection, next(iter(self._collections)), node)
            self._abandon()
            node.shutdown()
        self._collections[node] = [*collection]

    def schedule(self) -> None:
        """Begin, or go on with a worker that was added."""
        if self.collection is None and not self._begin():
            return
        for node in self.nodes:
            self._feed(node)

    def started(self, nodeid: str) -> None:
        """A worker has begun an item."""
        self._started.add(nodeid)

    def finished(self, nodeid: str) -> None:
        """A worker has reported an item from setup to teardown."""
        self._finished.add(nodeid)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """A worker is done with an item, after so many seconds."""
        del duration
        self._queues[node].remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Somebody else wants an item run again that crashed its worker; it is not."""

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """Nothing is ever taken back from a worker that lives."""
        raise NotImplementedError

    def remove_node(self, node: Any) -> str | None:
        """A worker has ended; the node id of the item that it was running, if any. Raises KeyError for a stranger."""
        queue = self._queues.pop(node)
        self._at.pop(node, None)
        names = self.collection or []
        waiting = [item for item in queue if names[item] not in self._finished]
        crashed: str | None = None
        if waiting and (names[waiting[0]] in self._started or waiting[0] in self._spared):
            crashed = names[waiting.pop(0)]
        elif waiting:
            self._spared.add(waiting[0])
        for item in reversed(waiting):
            self._unit[item].left.appendleft(item)
        self._left += len(waiting)
        for other in self.nodes:
            self._feed(other)
        return crashed

    def _begin(self) -> bool:
        """Take the collection that all workers agree on; False where they do not, or it is empty."""
        (first, collection), *others = self._collections.items()
        for node, found in others:
            if found != collection:
                self._mismatch(collection, found, first, node)
                return False
        self.collection = collection
        units = [Unit(items) for items in self._units_of(collection)]
        self._units = sorted(units, key=lambda unit: -unit.cost)
        self._unit = {item: unit for unit in self._units for item in unit.left}
        self._left = len(self._unit)
        return bool(collection)

    def _feed(self, node: Any) -> None:
        """Fill a worker's queue; let it end where nothing is left."""
        if node.shutting_down or node not in self._collections:
            return
        queue, fresh = self._queues[node], []
        while len(queue) < _QUEUED and (item := self._next(node)) is not None:
            queue.append(item)
            fresh.append(item)
        if fresh:
            node.send_runtest_some(fresh)
        if not self._left:
            node.shutdown()

    def _next(self, node: Any) -> int | None:
        unit = self._at.get(node)
        if unit is None or not unit.left:
            filled = [unit for unit in self._units if unit.left]
            if not filled:
                return None
            taken = {id(other) for other in self._at.values()}
            unit = next((unit for unit in filled if id(unit) not in taken), None) or max(filled, key=lambda u: u.cost)
            self._at[node] = unit
        self._left -= 1
        return unit.left.popleft()

    def _abandon(self) -> None:
        for unit in self._units:
            self._abandoned += unit.left
            unit.left.clear()
        self._left = 0
