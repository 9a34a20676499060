import gzip
import hashlib
import io
import socket
import struct
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dynamoe_search.data import download, list_data, load_images
from dynamoe_search.data.download import DOWNLOADS, Download, RemoteFile, download_images
from dynamoe_search.errors import InvalidInput, RunFailed
from tests.data.server import Server

BODY = np.random.default_rng(0).bytes(200_000)  # several blocks
NAME = "train-images-idx3-ubyte.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        yield running
        running.shutdown()


def remote(name: str, content: bytes) -> RemoteFile:
    return RemoteFile(name, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has one file, and MNIST is that file."""
    server.files[f"/{NAME}"] = BODY
    entry = Download("mnist", (server.address,), (remote(NAME, BODY),))
    monkeypatch.setitem(DOWNLOADS, "mnist", entry)
    return server


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_downloaded(server: Server, directory: Path, kept: int = 150_000) -> None:
    """Stop a download after a number of bytes."""
    server.stop_after = kept
    with pytest.raises(RunFailed):
        download_images("mnist", directory)
    server.stop_after = None
    assert (directory / "mnist" / f"{NAME}.part").read_bytes() == BODY[:kept]
    server.asked.clear()
    server.sent = 0


def test_a_file_is_fetched_once(mnist: Server, tmp_path: Path) -> None:
    (path,) = download_images("mnist", tmp_path / "new")
    assert path == tmp_path / "new" / "mnist" / NAME
    assert path.read_bytes() == BODY
    assert names_in(path.parent) == [NAME]
    assert download_images("mnist", tmp_path / "new") == [path]
    assert mnist.asked == [(f"/{NAME}", None)]


def test_downloaded_files_have_the_permissions_of_the_umask(mnist: Server, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (path,) = download_images("mnist", tmp_path)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_progress_grows_to_the_whole(mnist: Server, tmp_path: Path) -> None:
    half_downloaded(mnist, tmp_path)
    seen: list[tuple[str, int, int]] = []
    download_images("mnist", tmp_path, lambda *step: seen.append(step))
    counts = [count for _, count, _ in seen]
    assert counts == sorted(set(counts))
    assert counts[0] > 150_000
    assert seen[-1] == (NAME, len(BODY), len(BODY))


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_truncated_download_is_resumed(mnist: Server, tmp_path: Path, tells_length: bool) -> None:
    mnist.tells_length = tells_length
    mnist.stop_after = 150_000
    with pytest.raises(RunFailed, match="150,000 of 200,000 bytes") as failure:
        download_images("mnist", tmp_path)
    assert mnist.address + NAME in str(failure.value)
    assert "Run the command again" in str(failure.value)
    assert f"into {tmp_path / 'mnist'} yourself" in str(failure.value)
    assert names_in(tmp_path / "mnist") == [f"{NAME}.part"]

    mnist.asked.clear()
    mnist.sent, mnist.stop_after = 0, None
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked == [(f"/{NAME}", "bytes=150000-")]
    assert mnist.sent == 50_000
    assert names_in(tmp_path / "mnist") == [NAME]


def test_a_stalled_download_times_out_and_is_resumed(
    mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", (10.0, 0.2))
    mnist.stop_after, mnist.stall = 2**16, threading.Event()
    with pytest.raises(RunFailed, match=r"65,536 of 200,000 bytes.*timed out"):
        download_images("mnist", tmp_path)
    mnist.stall.set()
    mnist.stop_after = None
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked[1:] == [(f"/{NAME}", f"bytes={2**16}-")]


def test_a_server_without_ranges_sends_all_again(mnist: Server, tmp_path: Path) -> None:
    half_downloaded(mnist, tmp_path)
    mnist.status_of_ranges = 200
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked == [(f"/{NAME}", "bytes=150000-")]
    assert mnist.sent == len(BODY)


@pytest.mark.parametrize(("status", "shift"), [(416, 0), (206, -1)])
def test_a_part_that_the_server_cannot_continue_is_discarded(
    mnist: Server, tmp_path: Path, status: int, shift: int
) -> None:
    half_downloaded(mnist, tmp_path)
    mnist.status_of_ranges, mnist.shift_of_ranges = status, shift
    with pytest.raises(RunFailed, match=f"answered {status} "):
        download_images("mnist", tmp_path)
    assert names_in(tmp_path / "mnist") == []
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked == [(f"/{NAME}", "bytes=150000-"), (f"/{NAME}", None)]


def test_a_whole_part_needs_no_request(mnist: Server, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{NAME}.part").write_bytes(BODY)
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked == []


def test_a_wrong_checksum_leaves_nothing(mnist: Server, tmp_path: Path) -> None:
    mnist.files[f"/{NAME}"] = BODY[::-1]
    with pytest.raises(RunFailed, match="another SHA-256") as failure:
        download_images("mnist", tmp_path)
    assert mnist.address + NAME in str(failure.value)
    assert names_in(tmp_path / "mnist") == []


def test_a_part_of_another_file_is_noticed(mnist: Server, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{NAME}.part").write_bytes(b"<html>not it</html>")
    with pytest.raises(RunFailed, match="another SHA-256"):
        download_images("mnist", tmp_path)
    assert names_in(tmp_path / "mnist") == []


def test_a_wrong_file_is_replaced_only_by_the_right_one(mnist: Server, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / NAME
    path.write_bytes(b"older")
    right = mnist.files.pop(f"/{NAME}")
    with pytest.raises(RunFailed):
        download_images("mnist", tmp_path)
    assert path.read_bytes() == b"older"
    mnist.files[f"/{NAME}"] = right
    download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY


def test_a_missing_file_is_named_and_costs_no_part(mnist: Server, tmp_path: Path) -> None:
    half_downloaded(mnist, tmp_path)
    mnist.files.clear()
    with pytest.raises(RunFailed, match="answered 404 Not Found") as failure:
        download_images("mnist", tmp_path)
    assert mnist.address + NAME in str(failure.value)
    assert names_in(tmp_path / "mnist") == [f"{NAME}.part"]


@pytest.mark.parametrize("other", [BODY + b"more", b"<html>log in first</html>"])
def test_a_body_of_another_length_is_not_begun(mnist: Server, tmp_path: Path, other: bytes) -> None:
    mnist.files[f"/{NAME}"] = other
    with pytest.raises(RunFailed, match=f"announced {len(other)} bytes, but 200000"):
        download_images("mnist", tmp_path)
    assert names_in(tmp_path / "mnist") == []


def test_no_more_than_the_known_size_is_taken(mnist: Server, tmp_path: Path) -> None:
    mnist.files[f"/{NAME}"] = BODY + bytes(100_000)
    mnist.tells_length = False
    seen: list[int] = []
    (path,) = download_images("mnist", tmp_path, lambda _, count, __: seen.append(count))
    assert path.read_bytes() == BODY
    assert max(seen) == len(BODY)


def test_the_body_is_kept_as_it_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = gzip.compress(BODY)
    server.files[f"/{NAME}"] = compressed
    server.headers["Content-Encoding"] = "x-gzip"
    entry = Download("mnist", (server.address,), (remote(NAME, compressed),))
    monkeypatch.setitem(DOWNLOADS, "mnist", entry)
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == compressed


def test_the_second_address_completes_what_the_first_began(
    mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_downloaded(mnist, tmp_path)
    mnist.files[f"/original/{NAME}"] = mnist.files.pop(f"/{NAME}")
    addresses = (mnist.address, f"{mnist.address}original/")
    entry = Download("mnist", addresses, (remote(NAME, BODY),))
    monkeypatch.setitem(DOWNLOADS, "mnist", entry)
    (path,) = download_images("mnist", tmp_path)
    assert path.read_bytes() == BODY
    assert mnist.asked == [
        (f"/{NAME}", "bytes=150000-"),
        (f"/original/{NAME}", "bytes=150000-"),
    ]


def test_all_addresses_that_failed_are_named(
    mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unanswered:
        unanswered.bind(("127.0.0.1", 0))  # without listening: connections are refused
        addresses = (f"http://127.0.0.1:{unanswered.getsockname()[1]}/", f"{mnist.address}none/")
        entry = Download("mnist", addresses, (remote(NAME, BODY),))
        monkeypatch.setitem(DOWNLOADS, "mnist", entry)
        with pytest.raises(RunFailed, match="0 of 200,000 bytes: ") as failure:
            download_images("mnist", tmp_path)
    assert all(address + NAME in str(failure.value) for address in addresses)


def test_an_error_of_the_callback_is_not_reported_as_a_wrong_checksum(
    mnist: Server, tmp_path: Path
) -> None:
    def mistaken(*_: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        download_images("mnist", tmp_path, mistaken)


def test_errors_name_the_data_sets_and_the_directory(mnist: Server, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to download"):
        download_images("digits", tmp_path)
    with pytest.raises(InvalidInput, match="choose from mnist, fashion-mnist, cifar10"):
        download_images("minst", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="name a data directory that can be written"):
        download_images("mnist", tmp_path / "file")
    assert mnist.asked == []


def test_downloaded_idx_files_are_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for prefix, count in (("train", 60), ("t10k", 20)):
        images = bytes([0, 0, 8, 3]) + struct.pack(">III", count, 4, 4) + bytes(range(16)) * count
        labels = bytes([0, 0, 8, 1]) + struct.pack(">I", count) + bytes(range(10)) * (count // 10)
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(images)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(labels)
    for name in ("mnist", "fashion-mnist"):
        assert {file.name for file in DOWNLOADS[name].files} == set(files)
        server.files.update({f"/{name}/{file}": content for file, content in files.items()})
        entry = Download(
            DOWNLOADS[name].folder,
            (f"{server.address}{name}/",),
            tuple(remote(file, content) for file, content in files.items()),
        )
        monkeypatch.setitem(DOWNLOADS, name, entry)
        assert len(download_images(name, tmp_path)) == 4
        data = load_images(name, tmp_path)
        assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 20)
        assert data.inputs == 16


RECORDS = 4
BATCH_SIZE = RECORDS * (1 + 3072)
BATCHES = {
    f"cifar-10-batches-bin/{name}": b"".join(
        bytes([record % 2]) + bytes([batch]) * 3072 for record in range(RECORDS)
    )
    for batch, name in enumerate(DOWNLOADS["cifar10"].unpacked)
}


def archive_of(*members: tarfile.TarInfo, **contents: bytes) -> bytes:
    """The six batches, as changed by `contents`, after other members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in members:
            tar.addfile(member)
        for name, content in (BATCHES | contents).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def cifar10_is(content: bytes, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/cifar-10-binary.tar.gz"] = content
    entry = Download(
        DOWNLOADS["cifar10"].folder,
        (server.address,),
        (remote("cifar-10-binary.tar.gz", content),),
        dict.fromkeys(DOWNLOADS["cifar10"].unpacked, BATCH_SIZE),
    )
    monkeypatch.setitem(DOWNLOADS, "cifar10", entry)


def test_cifar10_is_unpacked_and_its_archive_removed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
    cifar10_is(archive_of(readme), server, monkeypatch)
    folder = tmp_path / "cifar-10-batches-bin"
    paths = download_images("cifar10", tmp_path)
    assert {f"cifar-10-batches-bin/{path.name}": path.read_bytes() for path in paths} == BATCHES
    assert names_in(folder) == sorted(path.name for path in paths)
    assert list_data(tmp_path).set_index("name").loc["cifar10", "there"]
    data = load_images("cifar10", tmp_path)
    assert (len(data.train) + len(data.validation), len(data.test)) == (5 * RECORDS, RECORDS)

    assert download_images("cifar10", tmp_path) == paths
    assert len(server.asked) == 1
    paths[2].write_bytes(b"damaged")
    download_images("cifar10", tmp_path)
    assert len(server.asked) == 2
    assert paths[2].stat().st_size == BATCH_SIZE


def test_an_archive_that_is_there_is_not_fetched_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = archive_of()
    cifar10_is(content, server, monkeypatch)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "cifar-10-binary.tar.gz").write_bytes(content)
    assert len(download_images("cifar10", tmp_path)) == 6
    assert server.asked == []


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, BATCH_SIZE
    return member


FIRST = "cifar-10-batches-bin/data_batch_1.bin"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_of(tarfile.TarInfo("../outside")), "outside the destination"),
        (archive_of(tarfile.TarInfo("cifar-10-batches-bin/../../outside")), "outside the dest"),
        (archive_of(link("cifar-10-batches-bin", "/tmp")), "link to an absolute path"),
        (archive_of(link("there", "../..")), "outside the destination"),
        (archive_of(link(FIRST, "readme.html")), "not a regular file of 12,292 bytes"),
        (archive_of(link(FIRST, "readme.html", tarfile.LNKTYPE)), "not a regular file"),
        (archive_of(link("pipe", "", tarfile.FIFOTYPE)), "special file"),
        (archive_of(**{FIRST: bytes(BATCH_SIZE - 1)}), "not a regular file of 12,292 bytes"),
        (archive_of(**{FIRST: bytes(BATCH_SIZE + 1)}), "not a regular file of 12,292 bytes"),
        (gzip.compress(bytes(10_240)), "lacks cifar-10-batches-bin/data_batch_1.bin, cifar"),
        (archive_of()[:-200], "cannot be unpacked"),
        (b"no archive at all", "cannot be unpacked"),
    ],
    # Compressed bytes hold the time, and test processes must agree on the names of the tests.
    ids=[
        "above",
        "through",
        "folder is a link",
        "link above",
        "link",
        "hard link",
        "pipe",
        "short",
        "long",
        "empty",
        "truncated",
        "no archive",
    ],
)
def test_an_archive_of_something_else_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    cifar10_is(content, server, monkeypatch)
    with pytest.raises(RunFailed, match=message):
        download_images("cifar10", tmp_path / "data")
    assert names_in(tmp_path) == ["data"]
    assert names_in(tmp_path / "data" / "cifar-10-batches-bin") == ["cifar-10-binary.tar.gz"]


def test_the_table_is_plausible() -> None:
    assert DOWNLOADS["cifar10"].unpacked["test_batch.bin"] == 30_730_000
    for source in DOWNLOADS.values():
        assert all(address.endswith("/") for address in source.addresses)
        for file in source.files:
            assert len(bytes.fromhex(file.sha256)) == 32
