"""Models of Hugging Face transformers from a folder of this machine, and text as they read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer

from dynamoe_search.data.documents import read_documents
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.held_out import Document
from dynamoe_search.untrusted import shown

NumberType = Literal["auto", "float32", "bfloat16", "float16"]


def load_pretrained(folder: Path, device: str = "cpu", dtype: NumberType = "auto") -> Any:
    """A causal language model from a folder with config.json and safetensors; in evaluation mode.

    Nothing is downloaded, and no code or pickle of the folder is run.

    Parameters
    ----------
    folder : Path
        As ``save_pretrained`` of transformers writes it.
    device : str
        The torch device.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        The type of the weights; "auto" is that in which they are stored.

    Raises
    ------
    InvalidInput
        If transformers is missing, the folder has no config or no safetensors, the model is of a
        kind that needs code of its own, its weights do not fit its config, or there is no such
        device.
    """
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise InvalidInput(
            "models of Hugging Face need transformers: pip install 'dynamoe-search[hf]'"
        ) from error
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InvalidInput(
            f"{folder} is no folder of a model: it must have config.json and weights as safetensors"
        )
    has_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    safe: dict[str, Any] = {
        **{"local_files_only": True, "trust_remote_code": False},
        **{"use_safetensors": True, "weights_only": True},
    }
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, **safe
        )
        missing = sorted(found["missing_keys"])
        if missing:
            raise InvalidInput(f"its weights have no {missing[0]}")
        return model.eval().to(torch.device(device))
    except (InvalidInput, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        first = shown(str(error).partition("\n")[0])
        raise InvalidInput(f"the model in {folder} cannot be loaded: {first}") from error
    finally:
        if has_bar:
            logging.enable_progress_bar()


def read_text_of(folder: Path, text: Path) -> Iterator[Document]:
    """The documents of a file or folder of text, by the tokenizer.json of a model's folder.

    Yields
    ------
    ndarray of int64, shape (tokens,)

    Raises
    ------
    InvalidInput
        If the folder has no such tokenizer, or as `read_documents`.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InvalidInput(
            f"{folder} has no tokenizer.json, so the text cannot be encoded; give a token file"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing more special
        raise InvalidInput(f"{file} is no tokenizer: {shown(str(error))}") from error
    for document in read_documents(text):
        yield np.array(tokenizer.encode(document).ids, dtype=np.int64)
