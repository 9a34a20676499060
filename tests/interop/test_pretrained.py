"""Folders of models, and text as their tokenizers read it, without transformers."""

import json
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.pretrained import load_pretrained, read_text_of


def test_text_is_encoded_by_the_tokenizer_of_the_folder(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"a": 5, "b": 7, "?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": one}) + "\n" for one in ("a b b", "b c")))
    assert [one.tolist() for one in read_text_of(tmp_path, text)] == [[5, 7, 7], [7, 0]]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match="is no tokenizer"):
        next(read_text_of(tmp_path, text))


def test_without_transformers_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InvalidInput, match=r"pip install 'dynamoe-search\[hf\]'"):
        load_pretrained(tmp_path)
