"""Data: images and text as tensors on the device, from the package itself or from files."""

from dynamoe_search.data.cifar import read_cifar10
from dynamoe_search.data.documents import embedded_documents, read_documents
from dynamoe_search.data.download import DOWNLOADS, download_images
from dynamoe_search.data.idx import read_idx
from dynamoe_search.data.images import ImageData, ImageSplit, embedded_digits, split_images
from dynamoe_search.data.registry import (
    DATA_SETS,
    DIRECTORY_VARIABLE,
    IMAGE_SETS,
    TOKEN_FILE_ENDING,
    list_data,
    load_data,
    load_images,
    require_directory,
)
from dynamoe_search.data.text import TextData, TextSplit, embedded_topics, open_text
from dynamoe_search.data.token_file import prepare_text

__all__ = [
    "DATA_SETS",
    "DIRECTORY_VARIABLE",
    "DOWNLOADS",
    "IMAGE_SETS",
    "TOKEN_FILE_ENDING",
    "ImageData",
    "ImageSplit",
    "TextData",
    "TextSplit",
    "download_images",
    "embedded_digits",
    "embedded_documents",
    "embedded_topics",
    "list_data",
    "load_data",
    "load_images",
    "open_text",
    "prepare_text",
    "read_cifar10",
    "read_documents",
    "read_idx",
    "require_directory",
    "split_images",
]
