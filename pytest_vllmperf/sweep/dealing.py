"""Which worker measures which point, and what becomes of the point of a worker that was lost. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

MOST_LOSSES = 3
"""A point whose worker was lost so often is given up: it may be what ends them."""

Item = TypeVar("Item", bound=Hashable)


class Dealing(Generic[Item]):
    """Deals groups of points to workers.

    A worker takes a whole group, so that an engine is started once for it; only a lost worker's rest goes to another.

    Args:
        groups: points of one engine each, in the order in which they are to be measured.
        most_losses: so many lost workers make a point fail.
    """

    def __init__(self, groups: Iterable[Sequence[Item]], most_losses: int = MOST_LOSSES) -> None:
        self._groups = [deque(group) for group in groups if group]
        self._most = most_losses
        self._owners: dict[int, deque[Item]] = {}
        self._hands: dict[int, Item] = {}
        self._losses: Counter[Item] = Counter()

    @property
    def over(self) -> bool:
        """Whether nothing is left to measure, and nothing is being measured."""
        return not self._groups and not self._owners

    @property
    def left(self) -> list[Item]:
        """What is not finished: first what is being measured."""
        rest = [item for group in (*self._owners.values(), *self._groups) for item in group]
        return [*self._hands.values(), *rest]

    @property
    def busy(self) -> tuple[int, ...]:
        """The workers that have a point."""
        return tuple(self._hands)

    def next(self, worker: int) -> Item | None:
        """The next point of a worker that has none: of its own group, else of one that nobody has; None if all are.

        Args:
            worker: its number.
        """
        assert worker not in self._hands
        if not self._owners.get(worker):
            self._owners.pop(worker, None)
            if not self._groups:
                return None
            self._owners[worker] = self._groups.pop(0)
        self._hands[worker] = self._owners[worker].popleft()
        return self._hands[worker]

    def finished(self, worker: int, item: Item) -> bool:
        """A worker has measured a point; False where that point is not the one it has: it does not count."""
        if worker not in self._hands or self._hands[worker] != item:
            return False
        del self._hands[worker]
        if not self._owners[worker]:
            del self._owners[worker]
        return True

    def lost(self, worker: int, *, blamed: bool = True) -> Item | None:
        """A worker is gone: the rest of its group is the next that is dealt.

        Args:
            worker: its number.
            blamed: whether the point that it had may have ended it.

        Returns:
            The point that is given up; None where there is none.
        """
        rest = self._owners.pop(worker, deque())
        item = self._hands.pop(worker, None)
        given_up = None
        if item is not None:
            self._losses[item] += blamed
            if self._losses[item] >= self._most:
                given_up = item
            else:
                rest.appendleft(item)
        if rest:
            self._groups.insert(0, rest)
        return given_up
