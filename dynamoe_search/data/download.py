"""Downloads of the image data sets from their official addresses.

A file is written as ``NAME.part`` next to its place. If a download stops early, this part stays,
and the next call requests only the rest. pooch checks the SHA-256 and moves the file to its place.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
import requests
from urllib3.exceptions import HTTPError

from dynamoe_search.data.places import shown
from dynamoe_search.errors import InvalidInput, RunFailed

Progress = Callable[[str, int, int], None]

_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of the body
_BLOCK = 2**16
_CIFAR10_BATCH = 10_000 * (1 + 3 * 32 * 32)


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its SHA-256 in hexadecimal, and its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Download:
    """A data set to download.

    `folder` is below the data directory. Each of `files` is requested from the `addresses` in turn;
    these end in a slash. If the only file is an archive, `unpacked` has the names and sizes in
    bytes of the members to extract from its folder of the same name.
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
    """Download a data set into the folder where `load_images` looks for it.

    A file with the right SHA-256 is kept, and one with another SHA-256 is replaced when the right
    file is complete. The archive of CIFAR-10 is removed after unpacking, and is not downloaded
    again if all six batches have the right size. An interrupted download stays in ``NAME.part``,
    and the same call downloads the rest.

    Parameters
    ----------
    name : str
        A key of `DOWNLOADS`.
    directory : Path
        The data directory; the folder of the data set is created in it.
    on_progress : callable, optional
        Called with the name of the file, its bytes so far and its total bytes.

    Returns
    -------
    list of Path
        The files of the data set.

    Raises
    ------
    InvalidInput
        If the name is unknown or needs no download, or the directory cannot be written.
    RunFailed
        If no address gives the right file, or the archive has wrong members.

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
            f"unknown data set {shown(name)!r} to download; choose from {', '.join(DOWNLOADS)}"
        )
    source = DOWNLOADS[name]
    folder = directory.absolute() / source.folder
    try:
        if not source.unpacked:
            for file in source.files:
                _fetch(file, source.addresses, folder, on_progress)
            return [folder / file.name for file in source.files]
        paths = [folder / member for member in source.unpacked]
        sizes = [path.stat().st_size if path.is_file() else None for path in paths]
        if sizes != list(source.unpacked.values()):
            (archive,) = source.files
            _fetch(archive, source.addresses, folder, on_progress)
            _unpack(folder / archive.name, source.unpacked)
        return paths
    except OSError as error:
        raise InvalidInput(
            f"{folder} cannot be used: {error}; name a data directory that can be written and"
            " has space"
        ) from error


def _fetch(
    file: RemoteFile, addresses: tuple[str, ...], folder: Path, on_progress: Progress | None
) -> None:
    """Download a file from the first address that gives it, unless it is in its folder."""
    pooch.get_logger().setLevel("WARNING")  # the caller shows the progress
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
        except ValueError:  # from pooch: another checksum, and it has removed the file
            if part.exists():
                raise  # the download is not complete, so `on_progress` raised it
            failures.append(
                f"{address}{file.name} gave a file with another SHA-256 than {file.sha256}; it was"
                " removed"
            )
    raise RunFailed(
        f"{file.name} was not downloaded: {'; '.join(failures)}. Run the command again to resume,"
        f" or put the files of the data set into {folder} yourself"
    )


def _complete(part: Path, file: RemoteFile, address: str, on_progress: Progress | None) -> None:
    """Append the rest to a part, or replace it if the server sends only the whole file."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return  # complete; the checksum decides
    # No encoding by the server: it would change compressed files.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            status = response.status_code
            rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            resumes = status == 206 and rest
            if status in (206, 416) and not resumes:
                part.unlink(missing_ok=True)  # the server cannot continue this part
            if status != 200 and not resumes:
                raise RunFailed(f"{address} answered {status} {response.reason}")
            if not resumes:
                have = 0
            expected = str(file.size - have)
            announced = response.headers.get("Content-Length", expected)
            if announced != expected:
                raise RunFailed(
                    f"{address} has another file: it announced {announced} bytes, but {expected}"
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
            f"{address} failed after {have:,} of {file.size:,} bytes: {error}"
        ) from error
    if have < file.size:
        raise RunFailed(f"{address} ended after {have:,} of {file.size:,} bytes")


def _unpack(archive: Path, sizes: Mapping[str, int]) -> None:
    """Extract the files of these sizes if all are right, and remove the archive."""
    folder = archive.parent
    wanted = {f"{folder.name}/{name}": size for name, size in sizes.items()}
    try:
        with (
            TemporaryDirectory(dir=folder, prefix="unpacking-") as temporary,
            tarfile.open(archive, "r:gz") as tar,
        ):
            for member in tar:
                tarfile.data_filter(member, temporary)  # refuses paths outside
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
            f"{archive} cannot be unpacked: {error}; remove it and run the command again"
        ) from error
    archive.unlink()
