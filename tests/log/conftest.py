"""A log of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamoe_search.log.events import Log
from dynamoe_search.log.storage import Storage, open_log, storage_of


@pytest.fixture
def storage(url: str) -> Storage:
    """A storage in which no study has begun."""
    return storage_of(Path("/tmp"), url, "first")


@pytest.fixture
def log(storage: Storage) -> Iterator[Log]:
    """The log of a study that begins with the first event."""
    with open_log(storage, create=True) as log:
        yield log
