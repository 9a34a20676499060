"""Who is alive: how a training is known to have lost its worker.

On one machine, a worker holds a lock on a file of its own, which the system releases the moment it
dies. From elsewhere it is known by its heartbeat: a count in the study that it raises again and
again. Whoever watches a count goes by how long it has stood still on his own clock, so clocks need
not agree.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna

from dynamoe_search.log.lock import file_lock, take_if_free

GRACE = 60.0
_BEATS_A_GRACE, _MOST_SECONDS_A_BEAT = 6, GRACE / 6  # others may have a shorter grace
_PREFIX = "beat "


def new_worker() -> str:
    """A name for this process that no other has ever had."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Watch:
    """What one process knows of the others' lives.

    Parameters
    ----------
    grace : float
        The seconds after which a heartbeat that stands still counts as dead.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = time.monotonic()

    def look(self, attributes: Mapping[str, object]) -> None:
        """Take note of the heartbeats among a study's attributes; to be done again and again."""
        now = time.monotonic()
        if now - self._looked > self.grace / 2:
            # Whoever was frozen or cut off himself begins to watch anew: others may have been, too.
            self._seen.clear()
        self._looked = now
        for name, count in attributes.items():
            if name.startswith(_PREFIX) and isinstance(count, int):
                worker = name.removeprefix(_PREFIX)
                if self._seen.get(worker, (-1, 0.0))[0] != count:
                    self._seen[worker] = count, now

    def is_dead(self, worker: str) -> bool:
        """Whether a worker is gone: at once for those of this machine, after a grace for others."""
        with suppress(FileNotFoundError), _life_lock(worker).open("rb") as file:
            return take_if_free(file.fileno())
        # A worker that has never beaten is watched from now on.
        _, since = self._seen.setdefault(worker, (-1, self._looked))
        return self._looked - since > self.grace


@contextmanager
def living(study: optuna.Study, worker: str, watch: Watch) -> Iterator[None]:
    """Be seen to be alive, and watch the others, until the block ends."""
    path = _life_lock(worker)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(study, worker, watch, ended), daemon=True)
    with file_lock(path):
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
        # Whoever ends badly may leave a trial: that file says that it is nobody's.
        path.unlink(missing_ok=True)


def _beat(study: optuna.Study, worker: str, watch: Watch, ended: threading.Event) -> None:
    count = 0
    while True:
        # A heart that misses a beat goes on; if the storage is gone, the trainings will say so.
        with suppress(Exception):
            study.set_user_attr(_PREFIX + worker, count)
            watch.look(study.user_attrs)
        count += 1
        if ended.wait(min(watch.grace / _BEATS_A_GRACE, _MOST_SECONDS_A_BEAT)):
            return


def _life_lock(worker: str) -> Path:
    return Path(tempfile.gettempdir()) / f"dynamoe-search-{os.getuid()}" / f"{worker}.lock"
