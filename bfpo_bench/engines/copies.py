"""Several copies of a model that share its requests: actors of Ray, on this machine or on many.

Batches of a plan are leased to copies, a few at a time. What a copy had not answered when it was
lost is leased to another; Ray starts it again, up to a limit, and it takes part again once it has
loaded. Answers come here as they are computed, and nobody but this process stores them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.engines.cluster import cause, connected, ended, gpus_of_a_copy, no_room
from bfpo_bench.engines.copy import Copy, Loaded, Place
from bfpo_bench.engines.leases import Work
from bfpo_bench.engines.plan import Order
from bfpo_bench.engines.protocol import Answered, EngineOptions, NonFiniteLogits

log = logging.getLogger(__name__)

RESTARTS = 5
"""How often a copy is started again."""

PLACE_SECONDS = 300.0
"""How long it may take to find a node with room for a copy and to start a process there."""

CLOSE_SECONDS = 30.0
"""What copies are given to keep what is under way, and again to leave in good order."""


@dataclass
class _Hand:
    """A copy as it is seen from here.

    Attributes:
        coming: reference to where it is found, or to its having loaded; None once it is at work.
        node: where it is, once that is known.
        process: its number there.
        loaded: what its model says of itself, once that is loaded.
        tasks: what it was asked, in order: its generators, or references to outlines, each with
            the work and the batches.
    """

    actor: Any
    coming: Any
    node: str | None = None
    process: int | None = None
    loaded: Loaded | None = None
    tasks: dict[Any, tuple[Work, list[int]]] = field(default_factory=dict)


class Copies:
    """Copies of a model, all loaded.

    Args:
        load: makes the model from the options of one copy, wherever it is called.
        options: how many, where, and what they are loaded from.

    Raises:
        BadInput, RunFailed: a copy cannot be loaded; says on which node, and why.
    """

    def __init__(self, load: Callable[[EngineOptions], Any], options: EngineOptions) -> None:
        self._hands: list[_Hand] = []
        self._limits: tuple[int, ...] | None = None
        self._started = False
        self._orders = 0
        self._said: set[str] = set()
        self._stack = ExitStack()
        try:
            self._start(load, options)
        except BaseException:
            self.close()
            raise

    def _start(self, load: Callable[[EngineOptions], Any], options: EngineOptions) -> None:
        count = options.data_parallel_size
        self._ray = ray = self._stack.enter_context(connected(options.ray, count))
        # A copy is shown its own GPUs only.
        device = "cuda" if options.device.startswith("cuda") else options.device
        alone = replace(options, device=device, data_parallel_size=1, ray=None)
        remote = ray.remote(Copy).options(
            num_cpus=1,
            num_gpus=gpus_of_a_copy(ray, count, options.tensor_parallel_size, device),
            max_restarts=RESTARTS,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        folders = [f for f in (options.model, options.tokenizer, options.adapter) if f]
        set_threads = os.environ.get("OMP_NUM_THREADS", "")
        share = int(ray.cluster_resources()["CPU"]) // count
        threads = int(set_threads) if set_threads.isdecimal() else share
        for _ in range(count):
            actor = remote.remote(partial(load, alone), folders, max(1, threads))
            self._hands.append(_Hand(actor, actor.look.remote()))
        self._await_all()
        loaded = [hand.loaded for hand in self._hands if hand.loaded]
        self.max_length = loaded[0].max_length
        self._limits = tuple(map(min, zip(*(one.limits for one in loaded), strict=True)))
        for hand in self._hands:
            hand.coming = hand.actor.load.remote(self._limits)
        self._await_all()
        self._started = True

    def _await_all(self) -> None:
        while any(hand.coming for hand in self._hands):
            self._listen()

    def answers(
        self, orders: Iterable[Order], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Any]]]:
        """Numbered answers to orders, whose requests are counted through.

        Raises:
            BadInput: a request cannot be answered.
            NonFiniteLogits: names the request.
            RunFailed: no copy is left.
        """
        known, more, open_works = set(answered), iter(orders), list[Work]()

        def opened() -> Work | None:
            for order in more:
                mine = order.known(known)
                if len(mine) < order.count:
                    self._orders += 1
                    work = Work(self._orders, order, mine, self._ray.put(order))
                    open_works.append(work)
                    return work
            return None

        try:
            while True:
                for hand in self._hands:
                    self._give(hand, open_works, opened)
                busy = [work for hand in self._hands for work, _ in hand.tasks.values()]
                open_works[:] = [work for work in open_works if not work.leased or work in busy]
                if not open_works and not busy:
                    return
                yield from self._listen()
        finally:
            self._recall()

    def _give(self, hand: _Hand, works: list[Work], opened: Callable[[], Work | None]) -> None:
        """Gives a copy something to do: a lease, and while many wait one more; or an order to plan.

        All copies plan an order at the same time; the first answer tells its batches.
        """
        while hand.loaded and not hand.coming:
            waiting = sum(len(work.queue) for work in works)
            if len(hand.tasks) >= (2 if waiting >= len(self._hands) else 1):
                return
            work = next((work for work in works if work.queue), None)
            if work is None:
                work = next((work for work in works if work.outline is None), None) or opened()
                if work is not None:
                    task = hand.actor.outline.remote(work.number, [work.reference])
                    hand.tasks[task] = work, []
                return
            assert work.outline is not None
            left = sum(len(work.outline.batches[number]) for number in work.queue)
            batches = work.lease(left // (2 * len(self._hands)))
            done = {part for members in batches.values() for part in members} & work.known
            task = hand.actor.compute.options(num_returns="streaming").remote(
                work.number, [work.reference], batches, done
            )
            hand.tasks[task] = work, list(batches)

    def _listen(self) -> list[list[tuple[int, Any]]]:
        """What came from the first copy that has something to say."""
        heard = {
            hand.coming or next(iter(hand.tasks)): hand
            for hand in self._hands
            if hand.coming or hand.tasks
        }
        homeless = all(hand.node is None for hand in heard.values())
        timeout = PLACE_SECONDS if homeless else None
        ready, _ = self._ray.wait(list(heard), num_returns=1, timeout=timeout)
        if not ready:
            raise RunFailed(no_room(self._ray, PLACE_SECONDS))
        hand = heard[ready[0]]
        try:
            if hand.coming:
                self._come(hand)
                return []
            return self._answered(hand, ready[0])
        except self._ray.exceptions.RayTaskError as error:
            raise cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._lost(hand, error)
            return []

    def _answered(self, hand: _Hand, task: Any) -> list[list[tuple[int, Any]]]:
        """What a copy says of what it was asked first."""
        work, batches = hand.tasks[task]
        if not batches:
            outline = self._ray.get(task)
            del hand.tasks[task]
            work.lay_out(outline)
            return []
        try:
            reference = next(task)
        except StopIteration:
            del hand.tasks[task]
            return []
        try:
            found, said = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, NonFiniteLogits):
                raise NonFiniteLogits(work.order.first + error.cause.index) from None
            raise
        self._say(said)
        fresh = [(part, answer) for part, answer in found if part not in work.known]
        work.known.update(part for part, _ in fresh)
        return [[(work.order.first + n, answer) for n, answer in work.whole.add(fresh)]]

    def _come(self, hand: _Hand) -> None:
        """A copy has found a node, or has loaded; one that is started again may fail alone."""
        try:
            found = self._ray.get(hand.coming)
            if not isinstance(found, Place):
                hand.loaded, hand.coming = found, None
                self._say(found.said)
                return
            hand.node = found.node
            found.check()
            if self._started or hand.process in (None, found.process):
                hand.process = found.process
                hand.coming = hand.actor.load.remote(self._limits)
                return
            failure: BenchError = RunFailed(ended(hand.node, "while it loaded"))
        except self._ray.exceptions.RayTaskError as error:
            why = cause(error)
            failure = type(why)(f"node {hand.node}: {why}")
        except BadInput as error:
            failure = error
        except self._ray.exceptions.RayActorError as error:
            if hand.node is not None:
                raise  # it ended, or was out of reach, while it loaded
            failure = RunFailed(ended(hand.node, str(error)))
        self._give_up(hand, failure)

    def _lost(self, hand: _Hand, error: Exception) -> None:
        """Takes back what a copy had, and waits for it to be started again."""
        if self._started:
            lost = ended(hand.node, str(error))
            log.warning("%s What it had not answered is done again.", lost)
        for work, batches in reversed(hand.tasks.values()):
            if batches:
                work.give_back(batches)
        hand.tasks.clear()
        hand.node = hand.loaded = None
        # The one call that Ray may repeat: it is answered when the copy is there again.
        hand.coming = hand.actor.look.options(max_task_retries=-1).remote()

    def _give_up(self, hand: _Hand, failure: BenchError) -> None:
        if not self._started:
            raise failure
        self._hands.remove(hand)
        if not self._hands:
            raise RunFailed(
                f"no copy of the model is left ({str(failure).rstrip('.')}); what was answered is "
                "kept, run the same command again to go on."
            )
        log.warning("Going on with one copy of the model less: %s", failure)

    def _say(self, lines: list[str]) -> None:
        """Warnings of copies, each once."""
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                log.warning("%s", line)

    def _recall(self) -> None:
        """Has copies end what they are at; a batch that is under way they keep."""
        ray = self._ray
        busy = [hand for hand in self._hands if hand.tasks]
        with suppress(ray.exceptions.RayError):
            for hand in busy:
                for task in hand.tasks:
                    ray.cancel(task)
                hand.tasks.clear()
            # Its turn comes when they have ended.
            if told := [hand.actor.rest.remote() for hand in busy]:
                ray.wait(told, num_returns=len(told), timeout=CLOSE_SECONDS)

    def close(self) -> None:
        """Ends the copies, and Ray where it was started here."""
        if self._hands:
            ray = self._ray
            with suppress(ray.exceptions.RayError):
                told = [hand.actor.close.remote() for hand in self._hands if hand.loaded]
                if told:
                    ray.wait(told, num_returns=len(told), timeout=CLOSE_SECONDS)
                for hand in self._hands:
                    ray.kill(hand.actor)
        self._stack.close()
