"""Data on a device."""

from dataclasses import replace

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.training.loop import Data


def on(data: Data, device: str) -> Data:
    """The same data on a device."""

    def moved(split: ImageSplit | TextSplit) -> ImageSplit | TextSplit:
        if isinstance(split, TextSplit):
            return replace(split, device=device)
        return ImageSplit(split.images.to(device), split.labels.to(device))

    return replace(data, train=moved(data.train), validation=moved(data.validation))
