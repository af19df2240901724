"""Several copies of a model that share its requests: actors of Ray, on this machine or on many.

Batches of a plan are leased to copies, a few at a time. What a copy had not answered when it was
lost is leased to another; Ray starts it again, up to a limit, and it takes part again once it has
loaded. So does a copy for which there was no room at first. Answers come here as they are computed,
and nobody but this process stores them.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.engines import cluster
from bfpo_bench.engines.cluster import cause, connected, ended
from bfpo_bench.engines.copy import Copy, Place
from bfpo_bench.engines.hand import Hand
from bfpo_bench.engines.leases import Work
from bfpo_bench.engines.plan import Order
from bfpo_bench.engines.protocol import Answered, EngineOptions, NonFiniteLogits

log = logging.getLogger(__name__)

RESTARTS = 5
"""How often a copy is started again."""

PLACE_SECONDS = 600.0
"""How long it may take to find a node with room for a copy, where none is at work: a cluster may
have to start one first."""

SOON_SECONDS = 20.0
"""How long those that have loaded wait for the others, which come whenever there is room."""

CLOSE_SECONDS = 30.0
"""What copies are given to keep what is under way, and again to leave in good order."""


class Copies:
    """Copies of a model: all, or on a cluster those that it has room for; the others come later.

    Args:
        load: makes the model from the options of one copy, wherever it is called.
        options: how many, where, and what they are loaded from.

    Raises:
        BadInput, RunFailed: a copy cannot be loaded; says on which node, and why.
    """

    def __init__(self, load: Callable[[EngineOptions], Any], options: EngineOptions) -> None:
        self._hands: list[Hand] = []
        self._limits: tuple[int, ...] | None = None
        self._started = False
        self._orders = 0
        self._recalled = uuid.uuid4().hex
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
        self._stack.callback(cluster.forget, self._recalled)
        # A copy is shown its own GPUs only.
        device = "cuda" if options.device.startswith("cuda") else options.device
        alone = replace(options, device=device, data_parallel_size=1, ray=None)
        self._gpus = cluster.gpus_of_a_copy(ray, options.tensor_parallel_size, device)
        if options.ray is None:
            cluster.check_room(ray, count, self._gpus)
        fitting = min(count, cluster.room(ray, self._gpus))
        remote = ray.remote(Copy).options(
            num_cpus=1,
            num_gpus=self._gpus,
            max_restarts=RESTARTS,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        folders = [f for f in (options.model, options.tokenizer, options.adapter) if f]
        set_threads = os.environ.get("OMP_NUM_THREADS", "")
        share = int(ray.cluster_resources().get("CPU", 0)) // max(1, fitting)
        threads = int(set_threads) if set_threads.isdecimal() else share
        # All at once: what has no room yet tells a cluster that it is to grow.
        for _ in range(count):
            actor = remote.remote(
                *(partial(load, alone), folders, max(1, threads)),
                partial(cluster.noted, self._recalled),
            )
            self._hands.append(Hand(actor))
        self._gather(max(1, fitting), shared=options.ray is not None)
        loaded = [hand.loaded for hand in self._hands if hand.loaded]
        self.max_length = loaded[0].max_length
        self._limits = tuple(map(min, zip(*(one.limits for one in loaded), strict=True)))
        for hand in self._hands:
            if hand.loaded:
                # What it is asked next waits for that.
                hand.actor.load.remote(self._limits)
        self._started = True
        if len(loaded) < count:
            log.warning("%s; the others start when the cluster has room for them.", self._running())
        elif options.ray and count == 1 and (more := cluster.room(ray, self._gpus)) > 1:
            log.warning(
                "One copy of the model runs on the Ray cluster at %s, which can hold %d; "
                "--data-parallel-size asks for more.",
                *(ray.get_runtime_context().gcs_address, more),
            )

    def _gather(self, wanted: int, shared: bool) -> None:
        """Waits for so many copies, and for all that have found a node.

        Args:
            wanted: how many the nodes can hold.
            shared: others may use these nodes, so that there may be room for fewer, or for none.
        """
        told = False
        while coming := [hand for hand in self._hands if hand.coming]:
            ready = len(self._hands) - len(coming)
            loading = any(hand.node for hand in coming)
            if ready >= wanted and not loading:
                return
            patience = SOON_SECONDS if shared and (ready or not told) else PLACE_SECONDS
            if self._listen(None if loading else patience) is not None:
                continue
            if ready:
                return
            missing = cluster.no_room(self._ray, self._gpus, patience)
            if told or not shared:
                raise RunFailed(missing)
            log.warning("Waiting %g seconds more at most: %s", PLACE_SECONDS, missing)
            told = True

    def _running(self) -> str:
        running = sum(hand.loaded is not None for hand in self._hands)
        return f"{running} of {len(self._hands)} copies of the model run"

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
                homeless = all(hand.node is None for hand in self._hands)
                batches = self._listen(PLACE_SECONDS if homeless else None)
                if batches is None:
                    raise RunFailed(cluster.no_room(self._ray, self._gpus, PLACE_SECONDS))
                yield from batches
        finally:
            self._recall()

    def _give(self, hand: Hand, works: list[Work], opened: Callable[[], Work | None]) -> None:
        """Gives a copy something to do: a lease, and while many wait one more; or an order to plan.

        All copies plan an order at the same time; the first answer tells its batches.
        """
        at_work = sum(one.loaded is not None for one in self._hands)
        while hand.loaded and not hand.coming:
            waiting = sum(len(work.queue) for work in works)
            if len(hand.tasks) >= (2 if waiting >= at_work else 1):
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
            batches = work.lease(left // (2 * at_work))
            done = {part for members in batches.values() for part in members} & work.known
            task = hand.actor.compute.options(num_returns="streaming").remote(
                work.number, [work.reference], batches, done
            )
            hand.tasks[task] = work, list(batches)

    def _listen(self, patience: float | None) -> list[list[tuple[int, Any]]] | None:
        """What came from the first copy that has something to say; None where none has in time."""
        heard = {
            hand.coming or next(iter(hand.tasks)): hand
            for hand in self._hands
            if hand.coming or hand.tasks
        }
        ready, _ = self._ray.wait(list(heard), num_returns=1, timeout=patience)
        if not ready:
            return None
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

    def _answered(self, hand: Hand, task: Any) -> list[list[tuple[int, Any]]]:
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

    def _come(self, hand: Hand) -> None:
        """A copy has found a node, or has loaded; one that is started again may fail alone."""
        try:
            found = self._ray.get(hand.coming)
            if not isinstance(found, Place):
                hand.loaded, hand.coming = found, None
                self._say(found.said)
                if self._started:
                    log.warning("%s.", self._running())
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

    def _lost(self, hand: Hand, error: Exception) -> None:
        """Takes back what a copy had, and waits for it to be started again."""
        if self._started:
            lost = ended(hand.node, str(error))
            log.warning("%s What it had not answered is done again.", lost)
        for work, batches in reversed(hand.tasks.values()):
            if batches:
                work.give_back(batches)
        hand.tasks.clear()
        hand.look()

    def _give_up(self, hand: Hand, failure: BenchError) -> None:
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
        # Not by `ray.cancel`: a task that it meets on its way leaves its copy deaf for 30 seconds.
        ray = self._ray
        if busy := [hand for hand in self._hands if hand.tasks]:
            with suppress(ray.exceptions.RayError):
                cluster.note(self._recalled, self._orders)
                # Its turn comes when they have ended.
                told = [hand.actor.look.remote() for hand in busy]
                ray.wait(told, num_returns=len(told), timeout=CLOSE_SECONDS)
        for hand in busy:
            hand.tasks.clear()

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
