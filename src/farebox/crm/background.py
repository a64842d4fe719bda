"""Work that goes on beside the calls: one thread per kind, woken when there is something to do."""

import logging
import threading
from collections.abc import Callable, Iterable

logger = logging.getLogger("farebox.crm")

STOP_S = 20
AFTER_FAILURE_S = 5.0
IDLE_S = 60.0
"""How long a worker that knows of nothing to do sleeps when nobody wakes it."""

Step = Callable[[], float | None]
"""Does one piece of work, short enough to be stopped after it. Returns the seconds until the next one is due: 0 for
at once, None for nothing known."""


class Worker:
    """Repeats `step` in a thread of its own. What it does must survive being killed between any two lines."""

    def __init__(self, name: str, step: Step) -> None:
        self.name = name
        self._step = step
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; what was left undone by an earlier process is found by the first step."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name=f"crm-{self.name}")
        self._thread.start()

    def wake(self) -> None:
        """There is something to do. Any thread may say so, also inside the transaction that makes it."""
        self._woken.set()

    def stop(self) -> None:
        """End after the step in hand."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    @property
    def stopping(self) -> bool:
        """Whether a long step should end early."""
        return self._stopped.is_set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                delay = self._step()
            except Exception:
                # one failing step must not end all later ones; the log has the whole story
                logger.exception("%s failed; trying again in %d s", self.name, AFTER_FAILURE_S)
                delay = AFTER_FAILURE_S
            if delay != 0:
                self._woken.wait(IDLE_S if delay is None else delay)


class Workers:
    """All workers of one running API, by name."""

    def __init__(self, workers: Iterable[Worker] = ()) -> None:
        self._by_name = {each.name: each for each in workers}

    def add(self, worker: Worker) -> None:
        """One more, before they start."""
        self._by_name[worker.name] = worker

    def wake(self, name: str) -> None:
        """Wake one of them; one that is not running finds the work when it starts."""
        if name in self._by_name:
            self._by_name[name].wake()

    def start(self) -> None:
        """Start all."""
        for each in self._by_name.values():
            each.start()

    def stop(self) -> None:
        """Stop all, after the steps in hand."""
        for each in self._by_name.values():
            each.stop()
