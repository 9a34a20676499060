import numpy as np
import pytest
import torch

from dynamoe_search.data import embedded_digits, split_images
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


def test_batches_cover_everything_once_in_a_seeded_order() -> None:
    split = embedded_digits(seed=0).validation
    batches = list(split.batches(100, torch.Generator().manual_seed(3)))
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    images = torch.cat([images for images, _ in batches])
    assert not torch.equal(images, split.images)
    assert sorted(map(tuple, images.tolist())) == sorted(map(tuple, split.images.tolist()))
    again = list(split.batches(100, torch.Generator().manual_seed(3)))
    assert torch.equal(batches[0][0], again[0][0])
    # A few batches must not need a copy of everything.
    assert all(images.untyped_storage().nbytes() == images.nbytes for images, _ in batches)


def test_what_cannot_be_split_is_refused() -> None:
    images, labels = np.zeros((20, 4), np.uint8), np.arange(20, dtype=np.uint8) % 2
    with pytest.raises(InvalidInput, match="20 training images and 19 labels"):
        split_images("toy", (images, labels[:-1]), (images, labels), 4, 0, "cpu")
    with pytest.raises(InvalidInput, match="of 20 images cannot be split off"):
        split_images("toy", (images, labels), (images, labels), 20, 0, "cpu")
