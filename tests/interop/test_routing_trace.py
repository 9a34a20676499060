"""Routing traces of Megatron-LM: what they count, and what is refused."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search import read_routing_trace
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop import routing_trace


def record(layer: int, indices: list[list[int]], **others: object) -> dict[str, Any]:
    """A record as Megatron-LM writes it."""
    return {
        "step": 0,
        "stage": "pre_dispatch",
        "block": "decoder",
        "layer": layer,
        "rank": 0,
        "num_tokens": len(indices),
        "topk": len(indices[0]) if indices else 2,
        "top_indices": indices,
        **others,
    }


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in records))
    return path


def test_a_trace_of_two_ranks(tmp_path: Path) -> None:
    first = record(1, [[0, 1], [2, 1]])
    write(tmp_path / "router_trace_rank0.jsonl", first, record(3, [[3, 0]]), record(3, []))
    write(
        tmp_path / "router_trace_rank1.jsonl",
        record(1, [[1, 2]], rank=1, hs_offset=0),
        record(1, [[0, 5]], block="mtp", mtp_idx=0),
        record(1, [[0, 5]], stage="post_dispatch"),
        {"layer": 3, "num_tokens": 1, "topk": 1, "top_indices": [[3]]},  # of an older version
    )
    (tmp_path / "router_state_rank0.pt").write_bytes(b"not read")
    seen = read_routing_trace(tmp_path)
    dense, one, also_dense, three = seen.counts
    assert (dense.experts, also_dense.experts) == (0, 0)
    assert one.load.tolist() == [[1, 3, 2, 0]]
    assert one.together.tolist() == [[1, 1, 0, 0], [1, 3, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]]
    assert one.active.tolist() == [0, 0, 3, 0, 0]
    assert three.load.tolist() == [[1, 0, 0, 2]]
    assert three.active.tolist() == [0, 1, 1, 0, 0]
    table = seen.utilization_table()
    assert table["layer"].tolist() == [2, 4]
    assert table["experts"].tolist() == [4, 4]
    assert table["dead_experts"].tolist() == [1, 2]
    assert table["router_entropy"].isna().all()
    wider = read_routing_trace([tmp_path / "router_trace_rank0.jsonl"], experts=6)
    assert wider.counts[1].load.tolist() == [[1, 2, 1, 0, 0, 0]]


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_counts_against_sets_of_experts(data: st.DataObject, k: int) -> None:
    rows = st.lists(st.permutations(range(5)).map(lambda row: row[:k]), min_size=1, max_size=6)
    indices = np.array(data.draw(rows))
    counts = routing_trace.RoutingCounts.of_indices(indices, 5)
    used = np.array([[expert in row for expert in range(5)] for row in indices.tolist()])
    assert counts.load.tolist() == [used.sum(axis=0).tolist()]
    assert counts.together.tolist() == (used.T.astype(int) @ used).tolist()
    assert counts.active.tolist() == np.bincount(used.sum(axis=1), minlength=6).tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2 is not valid JSON .*remove the line"),
        ("[" * 100_000, r"line 2 is not valid JSON"),
        ("[1]", r"line 2 is no JSON object"),
        ({"layer": -1}, r"layer is -1; it must be an integer from 0 to 4095"),
        ({"layer": True}, r"layer is True"),
        ({"topk": 9}, r"topk is 9; it must be an integer from 0 to 8"),
        ({"num_tokens": None}, r"num_tokens is None"),
        ({"num_tokens": 3}, r"no table of integers of num_tokens x topk = 3 x 2"),
        ({"top_indices": None}, r"no table of integers"),
        ({"top_indices": [[0, 1], [1]]}, r"no table of integers"),
        ({"top_indices": [[0, 1], [1, 2.0]]}, r"no table of integers"),
        ({"top_indices": [[0, 1], [1, 2**70]]}, r"no table of integers"),
        ({"top_indices": [[True, False], [True, False]]}, r"no table of integers"),
        ({"top_indices": [[0, 1], [1, -1]]}, r"the expert -1; they must be from 0 to 7"),
        ({"top_indices": [[0, 1], [1, 8]]}, r"the expert 8; they must be from 0 to 7"),
        ({"top_indices": [[0, 1], [1, 1]]}, r"a token has one expert twice"),
    ],
)
def test_what_is_no_record(tmp_path: Path, line: str | dict[str, object], message: str) -> None:
    good = record(0, [[0, 1], [1, 2]])
    text = line if isinstance(line, str) else json.dumps(good | line)
    path = tmp_path / "trace.jsonl"
    path.write_text(f"{json.dumps(good)}\n{text}\n")
    with pytest.raises(
        InvalidInput, match=rf"trace\.jsonl, line 2.*{message.removeprefix('line 2')}"
    ):
        read_routing_trace(path, experts=8)


def test_files_that_are_no_trace(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no file \*\.jsonl"):
        read_routing_trace(tmp_path)
    with pytest.raises(InvalidInput, match=r"none\.jsonl cannot be read"):
        read_routing_trace([tmp_path / "none.jsonl"])
    only_heads = write(tmp_path / "mtp.jsonl", record(0, [[0, 1]], block="mtp"))
    with pytest.raises(InvalidInput, match=r"no record of a decoder layer"):
        read_routing_trace(only_heads)
    with pytest.raises(InvalidInput, match=r"experts is 0; give a number from 1 to 4096"):
        read_routing_trace(only_heads, experts=0)


def test_a_trace_that_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing_trace, "_LONGEST_LINE", 2**12)
    monkeypatch.setattr(routing_trace, "_MOST_PAIRS", 2 * 50**2)
    long = write(tmp_path / "long.jsonl", record(0, [[0, 1]] * 600))
    with pytest.raises(InvalidInput, match=r"long\.jsonl, line 1 is longer than"):
        read_routing_trace(long)
    wide = write(tmp_path / "wide.jsonl", *(record(layer, [[0, 49]]) for layer in range(3)))
    with pytest.raises(InvalidInput, match=r"wide\.jsonl, line 3: .* more than 5000 pairs"):
        read_routing_trace(wide)


def test_memory_does_not_grow_with_the_trace(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.jsonl", *[record(0, [[0, 1], [2, 3]] * 50)] * 800)
    tracemalloc.start()
    assert read_routing_trace(path).counts[0].tokens.tolist() == [80_000]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 4
