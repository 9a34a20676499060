"""Labeled images as tensors, split into training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from dynamoe_search.errors import InvalidInput

_SEEDS = 2**32  # that scikit-learn knows

RawImages = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class ImageSplit:
    """Images and their labels.

    Parameters
    ----------
    images : Tensor of float32, shape (n, values)
        Standardized with the mean and standard deviation of the training pixels.
    labels : Tensor of int64, shape (n,)
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> str:
        """The torch device of the images."""
        return str(self.images.device)

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, in a given order, or in the stored one.

        Parameters
        ----------
        size : int
            The most images of a batch.
        order : Tensor of int64, shape (..., n), optional
            Which images come first. Several orders, such as one per seed, give several batches at
            once.

        Yields
        ------
        images : Tensor of float32, shape (..., B, values)
        labels : Tensor of int64, shape (..., B)
        """
        images, labels = self.images, self.labels
        if order is None:
            yield from zip(torch.split(images, size), torch.split(labels, size), strict=True)
            return
        for chosen in torch.split(order.to(labels.device), size, dim=-1):
            yield images[chosen], labels[chosen]


@dataclass(frozen=True)
class ImageData:
    """A data set of labeled images.

    Parameters
    ----------
    name : str
    classes : int
    train, validation, test : ImageSplit
    fingerprint : str
        SHA-256 over the raw images and labels of all splits, in hexadecimal.
    """

    name: str
    classes: int
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit
    fingerprint: str

    @property
    def inputs(self) -> int:
        """The number of values of one image."""
        return self.train.images.shape[1]


def embedded_digits(seed: int, device: str = "cpu") -> ImageData:
    """The 1,797 handwritten digits of 8 x 8 pixels in scikit-learn.

    Three fifths are for training, one fifth for validation and one fifth for testing, stratified.

    Examples
    --------
    >>> data = embedded_digits(seed=0)
    >>> len(data.train), len(data.validation), len(data.test), data.inputs, data.classes
    (1077, 360, 360, 64, 10)
    """
    digits = load_digits()
    images, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    kept, test = _stratified(labels, 360, seed)
    train = images[kept], labels[kept]
    return split_images("digits", 10, train, (images[test], labels[test]), 360, seed, device)


def split_images(
    name: str,
    classes: int,
    train: RawImages,
    test: RawImages,
    validation_size: int,
    seed: int,
    device: str,
) -> ImageData:
    """Split validation images from the training images, stratified, and standardize all.

    Parameters
    ----------
    name : str
    classes : int
        The labels are from 0 to `classes` - 1.
    train, test : pair of ndarray of uint8
        Images, shape (n, ...), and labels, shape (n,).
    validation_size : int
        The number of validation images.
    seed : int
        Decides which images these are.
    device : str
        The torch device of the result.

    Raises
    ------
    InvalidInput
        If the numbers of images and labels differ, a label is not one of the classes, test images
        have another size than training images, or there are too few images to split.
    """
    _check(name, "training", train, train[0].shape[1:], classes)
    _check(name, "test", test, train[0].shape[1:], classes)
    digest = hashlib.sha256()
    for array in (*train, *test):
        digest.update(array.tobytes())
    kept, held_out = _stratified(train[1], validation_size, seed)
    training_pixels = train[0][kept]
    mean, deviation = float(training_pixels.mean()), float(training_pixels.std()) or 1.0

    def split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> ImageSplit:
        flat = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32))
        return ImageSplit(
            flat.sub_(mean).div_(deviation).to(device),
            torch.from_numpy(labels.astype(np.int64)).to(device),
        )

    return ImageData(
        name=name,
        classes=classes,
        train=split(training_pixels, train[1][kept]),
        validation=split(train[0][held_out], train[1][held_out]),
        test=split(*test),
        fingerprint=digest.hexdigest(),
    )


def _check(name: str, part: str, raw: RawImages, size: tuple[int, ...], classes: int) -> None:
    images, labels = raw
    if len(images) != len(labels):
        raise InvalidInput(
            f"{name} has {len(images):,} {part} images and {len(labels):,} labels; the numbers"
            " must be equal; get both files from one place"
        )
    if images.shape[1:] != size:
        found, expected = (" x ".join(map(str, shape)) for shape in (images.shape[1:], size))
        raise InvalidInput(
            f"the {part} images of {name} have {found} values, but the training images {expected};"
            " get the files of both from one place"
        )
    wrong = labels >= classes
    if wrong.any():
        image = int(np.argmax(wrong))
        raise InvalidInput(
            f"{part} image {image:,} of {name} has the label {labels[image]}, but its labels are 0"
            f" to {classes - 1}; get its files again"
        )


def _stratified(
    labels: NDArray[np.uint8], held_out: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        kept, held = train_test_split(
            np.arange(len(labels)),
            test_size=held_out,
            stratify=labels,
            random_state=seed % _SEEDS,
        )
    except ValueError as error:
        raise InvalidInput(
            f"{held_out:,} of {len(labels):,} images cannot be split off: {error}"
        ) from error
    return kept, held
