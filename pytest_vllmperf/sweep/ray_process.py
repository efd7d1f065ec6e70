"""The process between a sweep and its Ray cluster; the only module that imports Ray.

Ray ends the process that it is used in when the cluster's head is gone, blocks in it for minutes, and writes to its
standard error. So the sweep, which writes the results, talks to this process by lines of JSON: orders on standard
input, events on what was standard output.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pytest_vllmperf.sweep.messages import (
    OF_WORKER,
    Alive,
    Event,
    Failed,
    Lost,
    Open,
    Order,
    Ready,
    Starting,
    Withdrawn,
)
from pytest_vllmperf.sweep.ray_errors import in_words
from pytest_vllmperf.sweep.worker import Worker

_TICK_S: Final = 0.05
_POLL_S: Final = 1.0
_ALIVE_S: Final = 2.0
_STOP_S: Final = 12.0
_OBJECTS: Final = 80 << 20
"""Bytes of Ray's object store in a local instance; what workers say is small, and goes beside it."""
_STARTS: Final = 3
"""So often a worker is started in one place without having come up."""


@dataclass
class _Hand:
    """A worker as this process sees it.

    Attributes:
        number: of it.
        node: Ray's id of its node.
        actor: its handle.
        waiting: for its greeting, or for news; None while it has nothing to do.
        ready: whether it has greeted.
        starts: how many workers were started in its place without having come up, with this one.
    """

    number: int
    node: str
    actor: Any
    waiting: Any
    ready: bool = False
    starts: int = 1


class Bridge:
    """Starts workers on the nodes of a cluster, hands orders to them, and tells what they say.

    Args:
        wanted: what was asked for.
        tell: called with each event.
    """

    def __init__(self, wanted: Open, tell: Any) -> None:
        self._wanted = wanted
        self._tell = tell
        self._hands: dict[int, _Hand] = {}
        self._number = 0
        self._gpus = 0

    def start(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Start a worker in each place of these nodes.

        Raises:
            ValueError: where there are not as many places as workers are asked for.
        """
        found, self._gpus = places(nodes, self._wanted.gpus, self._wanted.workers)
        for node in found:
            self._start(node, 1)
        self._tell(Starting(coming=len(found)))

    def step(self) -> None:
        """Hear what workers have to say, for a moment."""
        asked = {hand.waiting: hand for hand in self._hands.values() if hand.waiting is not None}
        if not asked:
            time.sleep(_TICK_S)
            return
        ready, _ = ray.wait(list(asked), timeout=_TICK_S)
        for reference in ready:
            self._hear(asked[reference], reference)

    def obey(self, order: Order) -> None:
        """Pass an order on; one for a worker that is gone is dropped, as its loss is told."""
        hand = self._hands.get(order.worker)
        if hand is None:
            return
        if order.job is not None:
            hand.waiting = hand.actor.work.remote(order.job.model_dump_json(), _POLL_S)
            return
        hand.actor.rest.remote()  # where that fails it says so with its next job

    def stop(self) -> None:
        """Have all workers end their engines, and end them."""
        with suppress(Exception):
            ends = [hand.actor.stop.remote() for hand in self._hands.values() if hand.ready]
            if ends:
                ray.wait(ends, num_returns=len(ends), timeout=_STOP_S)
        for hand in self._hands.values():
            _kill(hand)

    def _start(self, node: str, starts: int) -> None:
        self._number += 1
        options = {"num_gpus": self._gpus, "num_cpus": 0 if self._gpus else 1, "max_restarts": 0, "max_task_retries": 0}
        where = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        actor = ray.remote(Worker).options(scheduling_strategy=where, **options)
        handle = actor.remote(self._wanted.study, self._wanted.folder)
        self._hands[self._number] = _Hand(self._number, node, handle, handle.hello.remote(), starts=starts)

    def _hear(self, hand: _Hand, reference: Any) -> None:
        try:
            told = ray.get(reference)
        except RayError as error:
            self._lose(hand, in_words(error), fatal=_hopeless(hand, error))
            return
        if not hand.ready:
            hand.ready, hand.waiting = True, None
            self._tell(Ready.model_validate_json(told).model_copy(update={"worker": hand.number}))
            return
        hand.waiting = None  # a worker that is asked while it has nothing to do would be deaf to its next job
        working = True
        for text in told:
            event = OF_WORKER.validate_json(text)
            if isinstance(event, Withdrawn):
                self._withdraw(hand, event.why)
                return
            working &= event.kind != "finished"
            self._tell(event.model_copy(update={"worker": hand.number}))
        if working:
            hand.waiting = hand.actor.work.remote(None, _POLL_S)

    def _withdraw(self, hand: _Hand, why: str) -> None:
        """Take a worker out that cannot go on, for good."""
        self._hands.pop(hand.number, None)
        with suppress(Exception):
            ray.wait([hand.actor.stop.remote()], timeout=_STOP_S)
        _kill(hand)
        self._tell(Withdrawn(worker=hand.number, why=why))

    def _lose(self, hand: _Hand, why: str, *, fatal: bool = False) -> None:
        """A worker is gone; another one takes its place where its node is still there."""
        self._hands.pop(hand.number, None)
        _kill(hand)  # where only the connection is gone, it must not go on
        starts = 1 if hand.ready else hand.starts + 1
        if not fatal and starts <= _STARTS and hand.node in {node["NodeID"] for node in _alive(ray.nodes())}:
            self._start(hand.node, starts)
        coming = sum(1 for one in self._hands.values() if not one.ready)
        self._tell(Lost(worker=hand.number, why=why, coming=coming))


def places(nodes: Sequence[Mapping[str, Any]], gpus: int, workers: int | None) -> tuple[list[str], int]:
    """The node of each worker, and how many GPUs each takes.

    One for each GPU, or for so many as an engine takes; where no node has any, one for each node that has a CPU.

    Args:
        nodes: as `ray.nodes` tells them.
        gpus: that an engine takes.
        workers: how many; None for as many as there are places. Without GPUs there may be several on one node.

    Raises:
        ValueError: where there are not as many.
    """
    alive = [(str(node["NodeID"]), node["Resources"]) for node in _alive(nodes)]
    on_gpus = any(resources.get("GPU", 0) >= 1 for _, resources in alive)
    kind, each = ("GPU", gpus) if on_gpus else ("CPU", 1)
    room = {node: int(resources.get(kind, 0) // each) for node, resources in alive}
    rounds = range(max(room.values(), default=0))
    found = [node for turn in rounds for node in room if room[node] > turn]  # spread over the nodes
    if not on_gpus and workers is None:
        found = [node for node in room if room[node]]
    if not found or len(found) < (workers or 1):
        what = f"{gpus} GPUs on one node" if on_gpus and gpus > 1 else kind
        raise ValueError(
            f"there is room for {len(found)} workers of {workers or 1}, each with {what}, on {len(alive)} nodes of the "
            "Ray cluster"
        )
    return found[:workers], each if on_gpus else 0


def _alive(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (node for node in nodes if node["Alive"])


def _hopeless(hand: _Hand, error: RayError) -> bool:
    """Whether a worker did not come up for a reason that the next one in its place would meet, too."""
    missing = "No module named" in str(error) or "failed to import" in str(error)
    return isinstance(error, RayTaskError) or (missing and not hand.ready)


def _kill(hand: _Hand) -> None:
    with suppress(Exception):
        ray.kill(hand.actor, no_restart=True)


def _connect(wanted: Open) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    if wanted.address == "local":
        cpus = {"num_cpus": wanted.workers or 1}  # Ray starts a process for each
        options |= {"include_dashboard": False, "object_store_memory": _OBJECTS, "_temp_dir": wanted.temporary, **cpus}
        options["_node_ip_address"] = "127.0.0.1"
    ray.init(address=wanted.address, namespace="pytest-vllmperf", **options)


def _events_to(descriptor: int) -> Any:
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock, os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(event.model_dump_json().encode() + b"\n")

    return tell


def _orders(into: queue.SimpleQueue[Order | None]) -> None:
    for line in sys.stdin:
        into.put(Order.model_validate_json(line))
    into.put(None)
    time.sleep(_STOP_S + 8)
    os._exit(1)  # a call of Ray's does not return, as when its head is gone


def _serve(bridge: Bridge, orders: queue.SimpleQueue[Order | None], tell: Any) -> None:
    told = 0.0
    while True:
        if time.monotonic() - told >= _ALIVE_S:
            told = time.monotonic()
            tell(Alive())
        with suppress(queue.Empty):
            while (order := orders.get_nowait()) is not None:
                bridge.obey(order)
            return
        bridge.step()


def main() -> None:
    """Serve until standard input ends."""
    tell = _events_to(os.dup(1))
    os.dup2(2, 1)
    wanted = Open.model_validate_json(sys.stdin.readline())
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    threading.Thread(target=_orders, args=(orders,), daemon=True).start()
    bridge = Bridge(wanted, tell)
    try:
        _connect(wanted)
        bridge.start(ray.nodes())
        _serve(bridge, orders, tell)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        with suppress(OSError):
            tell(Failed(why=in_words(error)))
    finally:
        bridge.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
