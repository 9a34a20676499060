import numpy as np
import pytest
import torch

from dynamoe_search.data import ImageData, embedded_digits, split_images
from dynamoe_search.data.images import RawImages
from dynamoe_search.errors import InvalidInput


def test_digits_are_real_stratified_and_disjoint() -> None:
    data = embedded_digits(seed=0)
    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == 1797
    for split in splits:
        shares = torch.bincount(split.labels) / len(split)
        assert (shares - 0.1).abs().max() < 0.01
    rows = [tuple(row.tolist()) for split in splits for row in split.images]
    assert len(set(rows)) == 1797
    assert abs(float(data.train.images.mean())) < 1e-5
    assert float(data.train.images.std()) == pytest.approx(1, abs=1e-4)


def test_a_seed_decides_the_split() -> None:
    first, again, other = (embedded_digits(seed) for seed in (0, 0, 1))
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.labels, other.train.labels)
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize("seed", [2**32, 2**63 - 1])
def test_any_seed_splits(seed: int) -> None:
    data = embedded_digits(seed)
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    assert data.fingerprint == embedded_digits(seed).fingerprint


def test_batches_cover_everything_once_in_the_given_order() -> None:
    split = embedded_digits(seed=0).validation
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(3))
    batches = list(split.batches(100, order))
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    for place, index in enumerate(order.tolist()):
        assert torch.equal(images[place], split.images[index])
        assert labels[place] == split.labels[index]
    stored = torch.cat([images for images, _ in split.batches(100)])
    assert torch.equal(stored, split.images)
    # Several orders give several batches at once.
    together = list(split.batches(100, torch.stack([order, order.flip(0)])))
    assert [labels.shape for _, labels in together] == [(2, 100)] * 3 + [(2, 60)]
    for (images, labels), (of_first, labels_of_first) in zip(together, batches, strict=True):
        assert torch.equal(images[0], of_first)
        assert torch.equal(labels[0], labels_of_first)
    reversed_ = torch.cat([images[1] for images, _ in together])
    assert torch.equal(reversed_.flip(0), torch.cat([images for images, _ in batches]))
    # A few batches must not need a copy of everything.
    assert all(images.untyped_storage().nbytes() == images.nbytes for images, _ in batches)


def toy(count: int, size: tuple[int, ...] = (2, 2), classes: int = 2) -> RawImages:
    labels = np.arange(count, dtype=np.uint8) % classes
    return np.zeros((count, *size), np.uint8), labels


def load(train: RawImages, test: RawImages, held_out: int = 4) -> ImageData:
    return split_images("toy", 2, train, test, held_out, 0, "cpu")


def test_what_cannot_be_split_is_refused() -> None:
    images, labels = toy(20)
    with pytest.raises(InvalidInput, match="20 training images and 19 labels"):
        load((images, labels[:-1]), toy(20))
    with pytest.raises(InvalidInput, match="19 test images and 20 labels"):
        load(toy(20), (images[:-1], labels))
    with pytest.raises(InvalidInput, match="of 20 images cannot be split off"):
        load(toy(20), toy(20), held_out=20)


@pytest.mark.parametrize("size", [(2, 3), (4,), (1, 2, 2)])
def test_images_of_another_size_are_refused_when_they_are_loaded(size: tuple[int, ...]) -> None:
    found = " x ".join(map(str, size))
    with pytest.raises(InvalidInput, match=f"test images of toy have {found} .* training .* 2 x 2"):
        load(toy(20), toy(20, size))


def test_labels_out_of_range_are_refused_when_they_are_loaded() -> None:
    assert load(toy(20), toy(20, classes=1)).classes == 2  # a test needs not show every class
    with pytest.raises(InvalidInput, match=r"training image 2 of toy has the label 2, .* 0 to 1"):
        load(toy(20, classes=3), toy(20))
    with pytest.raises(InvalidInput, match="test image 2 of toy has the label 2"):
        load(toy(20), toy(20, classes=3))


@pytest.mark.parametrize("seed", [2**32, 20251125214900, 2**63 - 1])
def test_any_seed_splits_images(seed: int) -> None:
    assert len(embedded_digits(seed).validation) == 360
