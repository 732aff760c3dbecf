"""CIFAR-100's download against a server that behaves badly: resumed, or the next source; never a wrong file."""

import hashlib
import io
import pickle
import random
import re
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import Table, parquet
from test_data import needs_cifar

from gamlib.data import DataError, cifar100, cifar100_sources, download
from gamlib.data.download import DownloadError, fetch

CONTENT = random.Random(0).randbytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves `files`, each by a function handler -> None; keeps the ranges that were asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.released = {}, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.files.get(self.path, lambda handler: handler.send_error(404))(self)

    def log_message(self, *_):
        pass

    def start(self, content, ranges=True):
        """Send the headers; returns what is still to be sent."""
        begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if ranges else 0
        if begin >= len(content) > 0 and ranges:
            self.send_error(416)
            return b""
        self.send_response(206 if ranges else 200)
        if ranges:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        return content[begin:]


def whole(content):
    return lambda handler: handler.wfile.write(handler.start(content))


def without_ranges(content):
    return lambda handler: handler.wfile.write(handler.start(content, ranges=False))


def cut_at(content, *places):
    """Each connection ends after so many more bytes; when the places are used up, the rest comes."""
    left = list(places)

    def serve(handler):
        rest = handler.start(content)
        handler.wfile.write(rest[: left.pop(0)] if left else rest)

    return serve


def stalling(content, after):
    def serve(handler):
        handler.wfile.write(handler.start(content)[:after])
        handler.wfile.flush()
        handler.server.released.wait(10)

    return serve


def trickling(content):
    def serve(handler):
        for byte in handler.start(content):
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)

    return serve


def slowly(content):
    def serve(handler):
        rest = handler.start(content)
        for i in range(0, len(rest), 30_000):
            handler.wfile.write(rest[i : i + 30_000])
            time.sleep(0.12)

    return serve


@pytest.fixture
def server(monkeypatch):
    """A server, and no patience."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "WINDOW", 0.3)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_cut_at_random_bytes_goes_on_where_it_was(server, tmp_path, capsys):
    places = random.Random(1).sample(range(1, 60_000), 4)
    server.files["/file"] = cut_at(CONTENT, *places)
    fetch(f"{server.url}/file", tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in server.asked]
    assert starts == [sum(places[:i]) for i in range(5)]
    assert "300k/300k" in capsys.readouterr().out


def test_a_later_process_goes_on_with_the_partial_file(server, tmp_path):
    (tmp_path / "partial").write_bytes(CONTENT[:123_456])
    server.files["/file"] = whole(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT
    assert server.asked == [("/file", "bytes=123456-")]
    fetch(f"{server.url}/file", tmp_path / "partial")  # complete: nothing more to send
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server, tmp_path):
    (tmp_path / "partial").write_bytes(b"x" * 1000)
    server.files["/file"] = without_ranges(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def unavailable(handler):
    handler.send_error(503)


@pytest.mark.parametrize(
    ("serve", "message", "attempts"),
    [
        (stalling(CONTENT, 0), "no byte for 0.3 seconds", 3),
        (stalling(CONTENT, 1000), "no byte for 0.3 seconds", 4),  # the first attempt brought something
        (trickling(CONTENT), "slower than 10 kB/s", 1),
        (lambda handler: handler.send_error(404), "the server answers 404 Not Found", 1),
        (unavailable, "the server answers 503 Service Unavailable", 3),
        (lambda handler: handler.wfile.write(b"not HTTP\r\n\r\n"), "not HTTP", 3),
    ],
    ids=["stalls at once", "stalls later", "trickles", "404", "503", "no HTTP"],
)
def test_a_source_that_fails_is_given_up(serve, message, attempts, server, tmp_path):
    calls = []

    def once_more(handler):
        calls.append(1)
        if len(calls) > 1 and message.startswith("no byte"):
            return stalling(CONTENT, 0)(handler)
        return serve(handler)

    server.files["/file"] = once_more
    with pytest.raises(DownloadError, match=message):
        fetch(f"{server.url}/file", tmp_path / "partial")
    assert len(calls) == attempts


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with pytest.raises(DownloadError, match="no connection"):
        fetch("http://127.0.0.1:1/file", tmp_path / "partial")


# ------------------------------------------------------------------ the sources of CIFAR-100


def small_cifar():
    """Images and labels, and the official form of them: an archive of pickles."""
    rng = np.random.default_rng(0)
    images = {split: rng.integers(256, size=(n, 3, 32, 32), dtype=np.uint8) for split, n in (("train", 5), ("test", 3))}
    files = {
        split: pickle.dumps({b"data": x.reshape(len(x), -1), b"fine_labels": list(range(len(x)))}, protocol=2)
        for split, x in images.items()
    }
    files["meta"] = pickle.dumps({}, protocol=2)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return images, files, archive.getvalue()


def parquet_of(images, labels=None):
    """In the hub's schema: img is a struct of the PNG's bytes and a path."""
    cells = []
    for image in images:
        png = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(png, "PNG")
        cells.append({"bytes": png.getvalue(), "path": None})
    labels = list(range(len(images))) if labels is None else labels
    content = io.BytesIO()
    parquet.write_table(Table.from_pydict({"img": cells, "fine_label": labels, "coarse_label": labels}), content)
    return content.getvalue()


@pytest.fixture
def cifar(server, tmp_path, monkeypatch):
    """Three mirrors, the hub and the official host, all on the server; the official digests are those of the files."""
    images, files, archive = small_cifar()
    monkeypatch.setenv("GAMLIB_CIFAR100_URL", " ".join(f"{server.url}/mirror{i}" for i in (1, 2)))
    monkeypatch.setattr(cifar100_sources, "HUB", f"{server.url}/hub")
    monkeypatch.setattr(cifar100_sources, "URL", f"{server.url}/official")
    monkeypatch.setattr(cifar100_sources, "ARCHIVE_MD5", hashlib.md5(archive).hexdigest())
    for name, content in files.items():
        monkeypatch.setitem(cifar100.MD5, name, hashlib.md5(content).hexdigest())
    for split, x in images.items():
        digest = cifar100.content_sha256(torch.from_numpy(x), torch.arange(len(x)))
        monkeypatch.setitem(cifar100.CONTENT_SHA256, split, digest)
    return images, archive


def paths_asked(server):
    return list(dict.fromkeys(path for path, _ in server.asked))


def assert_complete(images, root):
    for split in ("train", "test"):
        read, labels = cifar100.load(split, root)
        assert torch.equal(read, torch.from_numpy(images[split]))
        assert labels.tolist() == list(range(len(read)))
    assert [path.name for path in root.rglob("*.partial")] == []


def test_the_first_mirror_that_works_is_taken(cifar, server, tmp_path):
    images, archive = cifar
    server.files["/mirror1"] = cut_at(archive, 100, 200)
    cifar100.load("train", tmp_path, download=True)
    assert_complete(images, tmp_path)
    assert paths_asked(server) == ["/mirror1"]
    assert sorted(path.name for path in (tmp_path / "cifar-100-python").iterdir()) == ["meta", "test", "train"]


def test_a_wrong_file_is_never_accepted(cifar, server, tmp_path, capsys):
    images, archive = cifar
    wrong = bytearray(archive)
    wrong[len(wrong) // 2] ^= 1
    server.files |= {"/mirror1": whole(bytes(wrong)), "/mirror2": whole(b"<html>Sign in to this network</html>")}
    hub = {split: parquet_of(x) for split, x in images.items()}
    swapped = parquet_of(images["train"], labels=[1, 0, 2, 3, 4])
    server.files |= {
        "/hub/train-00000-of-00001.parquet": whole(swapped),
        "/hub/test-00000-of-00001.parquet": whole(hub["test"]),
    }
    with pytest.raises(DataError) as error:
        cifar100.load("train", tmp_path, download=True)
    message = str(error.value)
    for part in (
        f"{server.url}/mirror1: serves another file (md5",
        f"{server.url}/mirror2: serves another file (md5",
        "train: other images or labels than the official ones",
        f"{server.url}/official: the server answers 404",
        "Ways to get it",
        "in a browser",
    ):
        assert part in message
    assert not (tmp_path / "cifar-100-python").exists()
    server.files["/official"] = whole(archive)
    cifar100.load("train", tmp_path, download=True)
    assert_complete(images, tmp_path)
    assert paths_asked(server)[-1] == "/official"


def test_the_hubs_copy_gives_the_same_images(cifar, server, tmp_path):
    images, _ = cifar
    for split, x in images.items():
        server.files[f"/hub/{split}-00000-of-00001.parquet"] = cut_at(parquet_of(x), 500)
    read = cifar100.dataset(tmp_path, download=True)
    assert torch.equal(read.train_images, torch.from_numpy(images["train"]))
    assert_complete(images, tmp_path)
    path = tmp_path / "cifar-100-python" / "test.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not hold the official images and labels"):
        cifar100.load("test", tmp_path)
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match="is damaged"):
        cifar100.load("test", tmp_path)


def test_without_pyarrow_the_hub_is_left_out(monkeypatch):
    monkeypatch.delenv("GAMLIB_CIFAR100_URL", raising=False)
    assert [name for name, _ in cifar100_sources.sources()] == [cifar100_sources.HUB, cifar100.URL]
    monkeypatch.setattr(cifar100_sources.importlib.util, "find_spec", lambda name: None)
    assert [name for name, _ in cifar100_sources.sources()] == [cifar100.URL]


def test_nothing_is_downloaded_unasked(cifar, server, tmp_path):
    with pytest.raises(DataError, match="CIFAR-100 is not here"):
        cifar100.load("train", tmp_path)
    assert server.asked == []


@needs_cifar
def test_the_recorded_digests_are_those_of_the_official_files():
    for split, expected in cifar100.CONTENT_SHA256.items():
        assert cifar100.content_sha256(*cifar100.load(split)) == expected


@needs_cifar
def test_the_real_test_images_as_parquet_are_recognised(tmp_path):
    images, labels = cifar100.load("test")
    (tmp_path / "test.parquet").write_bytes(parquet_of(images.numpy(), labels.tolist()))
    read = cifar100_sources.read_parquet(tmp_path / "test.parquet")
    assert cifar100.content_sha256(*read) == cifar100.CONTENT_SHA256["test"]


@pytest.mark.parametrize(
    "address",
    ["mirror.org/x.tar.gz", "ftp://mirror.org/x", "data:,x", "file:///x", "http://[x", "http://m\u00fcnchen/\u00fc"],
)
def test_an_address_that_is_none_is_named_and_the_next_is_taken(address, cifar, server, tmp_path, monkeypatch, capsys):
    images, archive = cifar
    monkeypatch.setenv("GAMLIB_CIFAR100_URL", f"{address} {server.url}/mirror2")
    server.files["/mirror2"] = whole(archive)
    try:
        cifar100.load("train", tmp_path, download=True)
    except (ValueError, IndexError, DataError) as error:
        pytest.fail(f"the download ends with {error!r}")
    assert_complete(images, tmp_path)
    told = f"GAMLIB_CIFAR100_URL={address}: " + "an address must begin with http:// or https://" * (
        "http" not in address
    )
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 80])
def test_a_progress_bar_fits_its_terminal(columns, server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: (columns, 24))
    server.files["/file"] = whole(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "partial")
    lines = re.split(r"[\r\n]", terminal.getvalue())
    assert max(map(len, lines)) in range(columns // 2, columns + 1)


def test_a_log_holds_few_lines_of_a_progress_bar(server, tmp_path, capsys):
    server.files["/file"] = slowly(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "partial")
    assert capsys.readouterr().out.count("\r") <= 3
