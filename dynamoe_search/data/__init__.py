"""Data: images as tensors, from what is embedded or from files in a directory."""

from dynamoe_search.data.cifar import read_cifar10
from dynamoe_search.data.idx import read_idx
from dynamoe_search.data.images import ImageData, ImageSplit, embedded_digits, split_images
from dynamoe_search.data.registry import DATA_SETS, DIRECTORY_VARIABLE, list_data, load_images

__all__ = [
    "DATA_SETS",
    "DIRECTORY_VARIABLE",
    "ImageData",
    "ImageSplit",
    "embedded_digits",
    "list_data",
    "load_images",
    "read_cifar10",
    "read_idx",
    "split_images",
]
