"""Which workers are alive: how a training run is known to have lost its worker.

On one machine, the system knows the moment that a worker ends. A worker that is stopped, or on
another machine, is known by its heartbeat: a count that it raises again and again. Others measure
how long a count stands still by their own clock, so clocks need not agree.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from dynamoe_search.log.alive import alive, is_alive, place
from dynamoe_search.log.events import Heartbeats

GRACE = 60.0
_BEATS_A_GRACE, _MOST_SECONDS_A_BEAT = 6, GRACE / 6  # others may have a shorter grace
_NEVER_SEEN = -1


def new_worker() -> str:
    """A name for a worker in this place that no other worker ever has."""
    return f"{place()}-{os.getpid()}-{secrets.token_hex(4)}"


class FailureDetector:
    """Finds workers that have died, from their locks and heartbeats.

    Parameters
    ----------
    grace : float
        The seconds after which a heartbeat that stands still counts as dead.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = time.monotonic()

    def look(self, counts: Mapping[str, int]) -> None:
        """Note the heartbeats of a study; call it several times per grace."""
        now = time.monotonic()
        if now - self._looked > self.grace / 2:
            # This process was frozen or cut off, and perhaps the others were, too: start over.
            self._seen.clear()
        self._looked = now
        for worker, count in counts.items():
            if self._seen.get(worker, (_NEVER_SEEN, 0.0))[0] != count:
                self._seen[worker] = count, now

    def stands_still(self, worker: str) -> bool:
        """Whether a heartbeat that was seen has stood still for the grace."""
        count, since = self._seen.get(worker, (_NEVER_SEEN, 0.0))
        return count != _NEVER_SEEN and self._looked - since > self.grace

    def is_dead(self, worker: str) -> bool:
        """Whether a worker is gone: at once if it ended on this machine, else after the grace."""
        if worker.startswith(f"{place()}-") and not is_alive(worker):
            return True
        # The grace of a worker that has never been seen begins now.
        _, since = self._seen.setdefault(worker, (_NEVER_SEEN, self._looked))
        return self._looked - since > self.grace


@contextmanager
def heartbeat(log: Heartbeats, worker: str, detector: FailureDetector) -> Iterator[None]:
    """Beat for a worker, and look at the other heartbeats, until the block ends."""
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(log, worker, detector, ended), daemon=True)
    with alive(worker):
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
        with suppress(Exception):
            log.forget(worker)


def _beat(log: Heartbeats, worker: str, detector: FailureDetector, ended: threading.Event) -> None:
    count = 0
    while True:
        # A heartbeat that fails is left out. If the storage is gone, the training runs will say so.
        with suppress(Exception):
            log.beat(worker, count)
            detector.look(log.heartbeats())
        count += 1
        if ended.wait(min(detector.grace / _BEATS_A_GRACE, _MOST_SECONDS_A_BEAT)):
            return
