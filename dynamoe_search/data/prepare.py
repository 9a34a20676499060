"""From files of text to a token file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dynamoe_search.data.documents import TextFormat, read_documents
from dynamoe_search.data.encoder import MapBatches
from dynamoe_search.data.places import kind_at
from dynamoe_search.data.split import SPLITS, choose_split
from dynamoe_search.data.token_file import (
    Progress,
    TokenFileHeader,
    is_token_file,
    write_token_file,
)
from dynamoe_search.data.tokenizer import ByteTokenizer, Tokenizer, train_byte_pairs
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path


def prepare_text(
    source: Path | str,
    target: Path | str,
    tokenizer_name: Literal["byte", "bpe"] = "byte",
    vocabulary: int = 4096,
    column: str = "text",
    text_format: TextFormat | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    mapping: MapBatches = map,
) -> TokenFileHeader:
    """Make a token file from a file or folder of text, JSON lines or parquet.

    Parameters
    ----------
    source : path
        As in `read_documents`. Its beginning is also read to choose the split, and to learn byte
        pairs.
    target : path
        The token file to write. It replaces another token file, but no other file.
    tokenizer_name : {"byte", "bpe"}
        Byte pairs are learned from the training split only.
    vocabulary : int
        The number of ids for byte pairs, as in `train_byte_pairs`; the byte tokenizer has 257.
    column, text_format
        As in `read_documents`.
    seed : int
        Decides the splits, as in `choose_split`.
    on_progress, mapping
        As in `encode_splits`; `map_in_processes` of `dynamoe_search.run.mapping` is a `map` by
        several processes. Only byte pairs use it.

    Raises
    ------
    InvalidInput
        If the source cannot be read or has too few documents to split, or the target exists and is
        not a token file.
    """
    source, target = user_path(source), user_path(target)
    if kind_at(target) != "nothing" and not is_token_file(target):
        raise InvalidInput(
            f"{target} exists and is not a token file, so it is not overwritten; name another file"
        )

    def documents() -> Iterator[str]:
        return read_documents(source, column, text_format)

    split = choose_split(documents(), seed)
    match tokenizer_name:
        case "byte":
            tokenizer: Tokenizer = ByteTokenizer()
            mapping = map  # sending bytes to another process takes as long as encoding them
        case "bpe":
            train = (text for text in documents() if SPLITS[split.place(text)] == "train")
            tokenizer = train_byte_pairs(train, vocabulary)
        case _:
            raise InvalidInput(f"unknown tokenizer {tokenizer_name!r}; choose from byte, bpe")
    return write_token_file(target, documents(), tokenizer, split, on_progress, mapping)
