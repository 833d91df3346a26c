"""The question: who does the next step, and what time is it then?

An event loop without a machine: no socket, no thread, no clock but its own. It runs several
processes side by side and takes their steps in a drawn order; each may be paused, or killed between
any two steps, as `kill -9` does: nothing of it runs any more, no ``finally`` and no callback. The
same seed gives the same steps. It knows nothing of what the processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

STEP_S = 20e-6
"""What a step takes: work is never free, and a loop that waits for itself ends some time."""
THREAD_S = (0.0002, 0.005)
"""How long a thread takes to have done what it was given, s: from a piece of code to a page."""
MOST_STEPS = 3_000_000
"""A run that takes more never ends."""


class Killed(BaseException):
    """The process is gone in the middle of what it did in a thread."""


class Unsettled(Exception):  # noqa: N818  it is what the world is
    """It goes on for ever, or stands still before its end."""


class Process:
    """One that can die: its steps that are due, and whether it takes them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.risk = 0.0
        self.doze = 0.0
        self.context = Context()
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []


_process: ContextVar[Process] = ContextVar("process")


class Loop(asyncio.AbstractEventLoop):
    """Runs processes in virtual time, from Unix second ``now`` on.

    ``on_death`` is called after a process died by its ``risk``, which is the chance of that at each
    step of it, and ``on_doze`` where by its ``doze`` it is to be paused. ``faults`` are what ended callbacks and tasks that nobody asked about.
    """

    def __init__(self, dice: random.Random, now: float) -> None:
        self.now = now
        self.steps = 0
        self.in_thread = False
        self.faults: list[str] = []
        self.on_death: Callable[[Process], None] = lambda _: None
        self.on_doze: Callable[[Process], None] = lambda _: None
        self._dice = dice
        self._busy: list[Process] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._numbers = 0
        self._dead: list[Process] = []
        self.world = self.process("world")

    # -- processes -----------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """Make a process; what runs in its context is its own."""
        made = Process(name)
        made.context.run(_process.set, made)
        return made

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start ``work`` in a process."""
        return process.context.copy().run(self.create_task, work)

    def kill(self, process: Process) -> None:
        """End a process where it stands."""
        process.alive = False
        process.ready.clear()
        self._dead.append(process)  # held, so that no collector of garbage runs what it has left

    def current(self) -> Process:
        """Tell whose step it is."""
        return _process.get(self.world)

    def boundary(self) -> None:
        """Let the process die here, within a thread of its own. Raises Killed."""
        process = self.current()
        if process.risk and self._dice.random() < process.risk:
            self._die(process)
            raise Killed

    def _die(self, process: Process) -> None:
        self.kill(process)
        self.on_death(process)

    # -- running -------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool]) -> None:
        """Take steps until it is so."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while not until():
                self._step()
        finally:
            asyncio._set_running_loop(before)

    def end(self) -> None:
        """Close whatever was never finished, unheard."""
        self.call_exception_handler = lambda _: None  # type: ignore[method-assign]
        for process in self._dead:
            for task in process.tasks:
                # One that waits in a `finally` does not want to; it is dead all the same.
                with contextlib.suppress(RuntimeError, ValueError):
                    task.get_coro().close()  # type: ignore[union-attr]
        self._dead.clear()
        self._timers.clear()

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unsettled(f"there is no end to it: {MOST_STEPS} steps")
        while self._timers and self._timers[0][0] <= self.now:
            self._ring()
        able = [one for one in self._busy if one.ready and not one.paused and one.alive]
        if not able:
            self._busy = [one for one in self._busy if one.ready and one.alive]
            if not self._timers:
                raise Unsettled("nothing is left to happen, and yet it is not over")
            self.now = max(self.now, self._timers[0][0])
            return
        process = able[0] if len(able) == 1 else self._dice.choice(able)
        handle = process.ready.popleft()
        if not process.ready:
            self._busy.remove(process)
        if handle.cancelled():
            return
        self.now += STEP_S
        handle._run()
        if process.risk and process.alive and self._dice.random() < process.risk:
            self._die(process)
        if process.doze and process.alive and self._dice.random() < process.doze:
            process.doze = 0.0
            self.on_doze(process)

    def _ring(self) -> None:
        _, _, timer, process = heapq.heappop(self._timers)
        if process.alive and not timer.cancelled():
            self._add(process, timer)

    def _add(self, process: Process, handle: asyncio.Handle) -> None:
        if not process.ready:
            self._busy.append(process)
        process.ready.append(handle)

    # -- what asyncio asks of a loop -----------------------------------------------------------

    def time(self) -> float:
        """Tell the virtual second."""
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Have a step taken, after those of the same process that are due already."""
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        process = context.get(_process, self.world)
        if process.alive:
            self._add(process, handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Have a step taken in ``delay`` seconds."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Have a step taken at a time."""
        context = copy_context() if context is None else context
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        process = context.get(_process, self.world)
        if process.alive:
            self._numbers += 1
            heapq.heappush(self._timers, (when, self._numbers, timer, process))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to do: a cancelled timer is passed over when it rings."""

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        """Start a coroutine in the process whose step it is, or in whose ``context`` it is."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        whose = self.current() if context is None else context.get(_process, self.world)
        whose.tasks = [one for one in whose.tasks if not one.done()]
        whose.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Run a function as a thread would: later, at one go, while the loop goes on."""
        del executor
        future = self.create_future()

        def work() -> None:
            self.in_thread = True
            try:
                result = func(*args)
            except Killed:
                return
            except Exception as error:  # noqa: BLE001 - whoever waits for the thread is told
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)
            finally:
                self.in_thread = False

        self.call_later(self._dice.uniform(*THREAD_S), work)
        return future

    def get_debug(self) -> bool:
        """Whether asyncio should look closer: no."""
        return False

    def is_running(self) -> bool:
        """Whether steps are being taken."""
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        """A loop without a machine has nothing to close."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what ended a callback; what nobody asks a task about is garbage, found any time."""
        if "handle" in context and self.current().alive:
            self.faults.append(f"{context['message']}: {context.get('exception')!r}")
