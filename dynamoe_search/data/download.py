"""Downloads of the image data sets from their official addresses, resumed and checked.

A file grows as ``NAME.part`` beside its place. What came of it stays there when a download breaks
off, and the next call asks only for the rest; pooch checks the whole and moves it into place.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dynamoe_search.errors import InvalidInput, RunFailed

Progress = Callable[[str, int, int], None]

_TIMEOUT = (10.0, 30.0)  # seconds: to connect, and between two pieces that arrive
_BLOCK = 2**16
_CIFAR10_BATCH = 10_000 * (1 + 3 * 32 * 32)


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher has it: its name, its SHA-256 in hexadecimal, its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Download:
    """A data set to download.

    `folder` is its place below the data directory. Each of `files` is asked for at each of
    `addresses`, which end in a slash, in turn. Where the one file is an archive, `unpacked` has the
    names and sizes in bytes of what is taken out of its folder of the same name.
    """

    folder: str
    addresses: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    unpacked: Mapping[str, int] = field(default_factory=dict)


DOWNLOADS: dict[str, Download] = {
    "mnist": Download(
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4_542,
            ),
        ),
    ),
    "fashion-mnist": Download(
        "fashion-mnist",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5_148,
            ),
        ),
    ),
    "cifar10": Download(
        "cifar-10-batches-bin",
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            RemoteFile(
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                170_052_171,
            ),
        ),
        unpacked={
            **{f"data_batch_{batch}.bin": _CIFAR10_BATCH for batch in range(1, 6)},
            "test_batch.bin": _CIFAR10_BATCH,
        },
    ),
}


def download_images(name: str, directory: Path, on_progress: Progress | None = None) -> list[Path]:
    """Fetch a data set into the folder where `load_images` looks for it.

    A file that is there with the right SHA-256 is left alone; one of the same name with another
    SHA-256 is replaced once the right one has come. The batches of CIFAR-10, whose archive is
    removed once they are unpacked, count as there where all six have the right size. What came of
    an interrupted download is kept in ``NAME.part``, and the same call fetches the rest.

    Parameters
    ----------
    name : str
        A key of `DOWNLOADS`.
    directory : Path
        The data directory; the folder of the data set is made in it.
    on_progress : callable, optional
        Called with the name of the file, its bytes so far and its bytes in all, as they come.

    Returns
    -------
    list of Path
        The files of the data set.

    Raises
    ------
    InvalidInput
        For an unknown name, for one that needs no download, and for a directory that cannot be
        written.
    RunFailed
        Where no address gave the whole file: no connection, a refusal such as 404, a body cut
        short, another SHA-256; and where an archive holds something else than it should.

    Examples
    --------
    >>> sum(file.size for file in DOWNLOADS["fashion-mnist"].files)
    30878645
    >>> download_images("digits", Path("data"))
    Traceback (most recent call last):
        ...
    dynamoe_search.errors.InvalidInput: digits is embedded: there is nothing to download
    """
    if name == "digits":
        raise InvalidInput("digits is embedded: there is nothing to download")
    if name not in DOWNLOADS:
        raise InvalidInput(
            f"unknown data set {name!r} to download; choose from {', '.join(DOWNLOADS)}"
        )
    source = DOWNLOADS[name]
    folder = directory.absolute() / source.folder
    try:
        if not source.unpacked:
            for file in source.files:
                _fetch(file, source.addresses, folder, on_progress)
            return [folder / file.name for file in source.files]
        paths = [folder / member for member in source.unpacked]
        if not all(_has_size(path, source.unpacked[path.name]) for path in paths):
            (archive,) = source.files
            _fetch(archive, source.addresses, folder, on_progress)
            _unpack(folder / archive.name, source.unpacked)
        return paths
    except OSError as error:
        raise InvalidInput(
            f"{folder} cannot be used: {error}; name a data directory that can be written and"
            " has room"
        ) from error


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _fetch(
    file: RemoteFile, addresses: tuple[str, ...], folder: Path, on_progress: Progress | None
) -> None:
    """Put a file in its folder, unless it is there, from the first address that gives it."""
    import pooch  # here, as all who load data would wait for it and for requests

    pooch.get_logger().setLevel("WARNING")  # what is shown of the progress is the caller's choice
    part = folder / f"{file.name}.part"

    def downloader(address: str, target: str, _: object) -> None:
        _complete(part, file, address, on_progress)
        part.replace(target)

    failures = []
    for address in addresses:
        try:
            pooch.retrieve(
                address + file.name,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=folder,
                downloader=downloader,
            )
            return
        except RunFailed as error:
            failures.append(str(error))
        except ValueError:  # pooch's word for another checksum; it has removed the file
            if part.exists():
                raise  # the download never got so far: `on_progress` raised it
            failures.append(
                f"{address}{file.name} gave a file with another SHA-256 than {file.sha256}, which"
                " was removed"
            )
    raise RunFailed(
        f"{file.name} was not downloaded: {'; '.join(failures)}. Run it again, which resumes where"
        f" it broke off, or place the files of the data set in {folder} by hand"
    )


def _complete(part: Path, file: RemoteFile, address: str, on_progress: Progress | None) -> None:
    """Append to a part what it lacks, or write it anew where the server gives only the whole."""
    import requests
    from urllib3.exceptions import HTTPError

    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return  # nothing is missing; the checksum decides
    # Compressed files shall come as they are: no encoding on the way, none undone on arrival.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            status = response.status_code
            rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            resumes = status == 206 and rest
            if status in (206, 416) and not resumes:
                part.unlink(missing_ok=True)  # the server's file does not go on from here
            if status != 200 and not resumes:
                raise RunFailed(f"{address} answered {status} {response.reason}")
            if not resumes:
                have = 0
            expected = str(file.size - have)
            announced = response.headers.get("Content-Length", expected)
            if announced != expected:
                raise RunFailed(
                    f"{address} has another file: it announced {announced} bytes where {expected}"
                    " were expected"
                )
            with part.open("ab" if resumes else "wb") as growing:
                while block := response.raw.read(
                    min(_BLOCK, file.size - have), decode_content=False
                ):
                    growing.write(block)
                    have += len(block)
                    if on_progress is not None:
                        on_progress(file.name, have, file.size)
    except (requests.RequestException, HTTPError) as error:
        raise RunFailed(
            f"{address} failed when {have:,} of {file.size:,} bytes were here: {error}"
        ) from error
    if have < file.size:
        raise RunFailed(f"{address} ended after {have:,} of {file.size:,} bytes")


def _unpack(archive: Path, sizes: Mapping[str, int]) -> None:
    """Take the files of these sizes out of an archive, if all are as they should be; remove it."""
    folder = archive.parent
    wanted = {f"{folder.name}/{name}": size for name, size in sizes.items()}
    try:
        with (
            TemporaryDirectory(dir=folder, prefix="unpacking-") as temporary,
            tarfile.open(archive, "r:gz") as tar,
        ):
            for member in tar:
                tarfile.data_filter(member, temporary)  # raises for what would land elsewhere
                if member.name in wanted:
                    if not member.isreg() or member.size != wanted[member.name]:
                        raise RunFailed(
                            f"{archive}: {member.name} is not a regular file of"
                            f" {wanted[member.name]:,} bytes; nothing was unpacked"
                        )
                    tar.extract(member, temporary, filter="data")
                    del wanted[member.name]
            if wanted:
                raise RunFailed(f"{archive} lacks {', '.join(wanted)}; nothing was unpacked")
            for name in sizes:
                (Path(temporary) / folder.name / name).replace(folder / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise RunFailed(
            f"{archive} cannot be unpacked: {error}; remove it and run again"
        ) from error
    archive.unlink()
