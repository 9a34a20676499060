import os
from collections.abc import Iterator

import pytest

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.run import mapping as module
from dynamoe_search.run.mapping import map_in_processes


def with_process(number: int) -> tuple[int, int]:
    return number, os.getpid()


def fail_at_eleven(number: int) -> int:
    if number == 11:
        raise InvalidInput("line 11")
    return number


def die_at_eleven(number: int) -> int:
    if number == 11:
        os.abort()
    return number


@pytest.mark.slow
def test_results_keep_their_order_and_few_items_are_read_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    with map_in_processes(2) as in_processes:
        processes = set()
        for place, (number, process) in enumerate(in_processes(with_process, items())):
            assert number == place
            assert taken <= place + 5
            processes.add(process)
    assert len(processes - {os.getpid()}) in (1, 2)


@pytest.mark.slow
def test_a_mistake_is_raised_here() -> None:
    with map_in_processes(2) as in_processes:
        results = in_processes(fail_at_eleven, range(20))
        assert [next(results) for _ in range(11)] == list(range(11))
        with pytest.raises(InvalidInput, match="line 11"):
            next(results)


@pytest.mark.slow
def test_a_process_that_dies_is_told() -> None:
    with (
        pytest.raises(RunFailed, match=r"a process died, .*; try --workers 1"),
        map_in_processes(2) as in_processes,
    ):
        list(in_processes(die_at_eleven, range(20)))


def test_little_work_and_one_worker_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Pool, "submit", None)
    with map_in_processes(2) as in_processes:
        assert list(in_processes(abs, [-1, 2, -3, 4])) == [1, 2, 3, 4]
    with map_in_processes(1) as in_processes:
        assert list(in_processes(abs, range(-9, 0))) == list(range(9, 0, -1))
