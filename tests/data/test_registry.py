import os
from pathlib import Path

import pytest

from dynamoe_search.data import DATA_SETS, DIRECTORY_VARIABLE, list_data, load_data, load_images
from dynamoe_search.errors import InvalidInput
from tests.data.files import write_idx_images


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a small MNIST in it, and nothing else."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    write_idx_images(tmp_path / "mnist")
    return tmp_path


def test_reads_compressed_and_plain_files(directory: Path) -> None:
    data = load_images("mnist", directory)
    assert (len(data.train), len(data.validation), len(data.test)) == (100, 20, 40)
    assert (data.inputs, data.classes) == (25, 10)


def test_the_environment_names_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(directory))
    assert len(load_images("mnist").test) == 40


def test_the_list_has_what_exists_and_its_place(directory: Path) -> None:
    listed = list_data(directory).set_index("name")
    assert listed.index.tolist() == list(DATA_SETS)
    assert listed["there"].to_dict() == {
        "digits": True,
        "mnist": True,
        "fashion-mnist": False,
        "cifar10": False,
        "topics": True,
    }
    assert str(directory / "cifar-10-batches-bin") == listed.loc["cifar10", "where"]
    assert "test_batch.bin" in listed.loc["cifar10", "files"]


def test_missing_things_are_named(directory: Path) -> None:
    with pytest.raises(InvalidInput, match="choose from digits, mnist"):
        load_images("minst", directory)
    with pytest.raises(InvalidInput, match="--data-dir or DYNAMOE_DATA"):
        load_images("mnist")
    with pytest.raises(
        InvalidInput, match=r"test_batch\.bin there .* download it with: .* cifar10"
    ):
        load_images("cifar10", directory)
    (directory / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InvalidInput, match="mnist is not in"):
        load_images("mnist", directory)


def test_a_name_that_no_file_can_have_gets_a_sentence(directory: Path) -> None:
    for name in ("x" * 5000 + ".tokens", "/" + "x" * 5000 + ".tokens"):
        with pytest.raises(InvalidInput, match=r"\(5,\d\d\d characters\) .* too long") as failure:
            load_data(name, directory)
        assert len(str(failure.value)) < 300
    with pytest.raises(InvalidInput, match=r"there is no file .*; make it with: "):
        load_data("nul\0.tokens", directory)
    with pytest.raises(InvalidInput, match="too long"):
        load_images("mnist", Path("x" * 5000))
    with pytest.raises(InvalidInput, match="too long"):
        list_data(Path("x" * 5000))


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
@pytest.mark.parametrize(
    ("name", "test", "inputs"),
    [("mnist", 10_000, 784), ("fashion-mnist", 10_000, 784), ("cifar10", 10_000, 3072)],
)
def test_the_real_files(name: str, test: int, inputs: int) -> None:
    data = load_images(name)
    assert (len(data.test), data.inputs, data.classes) == (test, inputs, 10)
