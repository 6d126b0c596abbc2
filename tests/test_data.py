"""Real data: downloads from a server on this machine that misbehaves in every way, and the splits.

The tests on the real files run where COURSE_DATA names the folder that holds them.
"""

import hashlib
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import networkx  # comes with torch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib import data, download
from course_lib.data import DATASETS, Dataset, DataUnavailable, File

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ["COURSE_DATA"]) if os.environ.get("COURSE_DATA") else None
BODY = bytes(range(256)) * 4096  # a megabyte in which every place can be told from its neighbours
HALF = len(BODY) // 2


def real(*names: str):
    """Skip where these files are not in COURSE_DATA."""
    there = REAL is not None and all((REAL / name).is_file() for name in names)
    return pytest.mark.skipif(not there, reason=f"COURSE_DATA does not hold {' and '.join(names)}")


# ---- a server that misbehaves -------------------------------------------------------------------


class Visit(BaseHTTPRequestHandler):
    """One request: it is noted, and answered by the behaviour that its path names."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        site = self.server
        with site.lock:
            asked = self.headers.get("Range", "")
            site.visits.append((self.path, asked))
            count = sum(path == self.path for path, _ in site.visits)
        self.close_connection = True
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        site.pages[self.path](self, start, count)

    def head(self, status: int, **headers) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def begin(self, start: int, body: bytes = BODY) -> bytes:
        """The head of an answer that goes on at `start`; returns what is to follow."""
        if start >= len(body):
            self.head(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
            return b""
        where = f"bytes {start}-{len(body) - 1}/{len(body)}"
        more = {"Content_Range": where} if start else {}
        self.head(206 if start else 200, Content_Length=len(body) - start, **more)
        return body[start:]

    def send(self, content: bytes) -> None:
        try:
            self.wfile.write(content)
        except OSError:  # the other side has had enough
            pass

    def drop(self) -> None:
        """Break the connection, as a lost network does."""
        self.wfile.flush()
        time.sleep(0.05)  # let what was sent arrive: a reset throws away what is on its way
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def log_message(self, *arguments) -> None:
        pass


def good(visit, start, count):
    visit.send(visit.begin(start))


def without_ranges(visit, start, count):
    visit.send(visit.begin(0))


def slow(visit, start, count):
    body = visit.begin(start)
    for i in range(0, len(body), len(BODY) // 8):
        visit.send(body[i : i + len(BODY) // 8])
        time.sleep(0.05)


def silent_after_half(visit, start, count):
    body = visit.begin(start)
    visit.send(body[:HALF] if start == 0 else body)
    if start == 0:
        visit.server.released.wait(20)


def truncated(visit, start, count):
    """Ends early every time, after half of what is left."""
    visit.send(visit.begin(start)[: (len(BODY) - start + 1) // 2])


def always_the_first_half(visit, start, count):
    visit.send(visit.begin(0)[:HALF])


def drops_once(visit, start, count):
    body = visit.begin(start)
    visit.send(body[:HALF] if count == 1 else body)
    if count == 1:
        visit.drop()


def drops_once_without_ranges(visit, start, count):
    body = visit.begin(0)
    visit.send(body[:HALF] if count == 1 else body)
    if count == 1:
        visit.drop()


def corrupt(visit, start, count):
    wrong = bytearray(BODY)
    wrong[HALF] ^= 1
    visit.send(visit.begin(start, bytes(wrong)))


def too_short(visit, start, count):
    visit.send(visit.begin(start, BODY[:HALF]))


def sign_in_page(visit, start, count):
    """What a hotel's network answers to everything."""
    visit.send(visit.begin(0, b"<html>Please sign in</html>"))


def endless(visit, start, count):
    visit.head(200)  # no length: it ends when the connection does
    for _ in range(4):
        visit.send(BODY)


def no_length(visit, start, count):
    visit.head(200)
    visit.send(BODY)


def wrong_place(visit, start, count):
    """Claims to go on, but from another byte than it was asked for."""
    visit.send(visit.begin(start // 2 if count > 1 else 0)[:HALF])


def status(code, then=None):
    def answer(visit, start, count):
        if then and count > 1:
            return then(visit, start, count)
        visit.head(code, Content_Length=0)

    return answer


def redirect(target):
    def answer(visit, start, count):
        visit.head(302, Location=target, Content_Length=0)

    return answer


def archive(*names: str, body: bytes = BODY) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as files:
        for name in names:
            files.writestr(name, body)
    return content.getvalue()


def serves(body: bytes):
    def answer(visit, start, count):
        visit.send(visit.begin(start, body))

    return answer


@pytest.fixture
def site():
    """The server; `site.pages` has behaviours by path, `site.visits` the (path, Range) asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Visit)
    server.pages, server.visits, server.lock = {}, [], threading.Lock()
    server.released = threading.Event()  # until then, a behaviour may let its visitor hang
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no COURSE_DATA, and no pauses to speak of."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(download, "PATIENCE", 10.0)
    return tmp_path / "cache"


@pytest.fixture
def publish(site, cache, monkeypatch):
    """Publish BODY as the set `toy`, one address per behaviour; returns the addresses."""

    def toy(*behaviours, member=None, ending="txt", paths=("toy.txt",)):
        urls = []
        for number, behaviour in enumerate(behaviours):
            site.pages[f"/{number}.{ending}"] = behaviour
            urls.append(f"{site.address}/{number}.{ending}")
        digest = hashlib.sha256(BODY).hexdigest()
        files = tuple(
            File(path, len(BODY), digest, tuple(urls), member and member(path)) for path in paths
        )
        monkeypatch.setitem(DATASETS, "toy", Dataset("toy", "Toy", "none", "nobody", files))
        return urls

    return toy


def leftovers(folder: Path) -> set[str]:
    """The files of a cache."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def sentence(name: str = "toy") -> str:
    """What the reader is told when a fetch fails: one line, and no traceback in a notebook."""
    with pytest.raises(DataUnavailable) as caught:
        data.fetch(name)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    assert caught.value._render_traceback_() == [text]
    return text


# ---- what the network may do --------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [good, without_ranges, slow, no_length, truncated]
    + [drops_once, drops_once_without_ranges, status(500, good), status(503, drops_once)],
    ids=lambda each: each.__name__,
)
def test_in_the_end_the_file_is_there(publish, cache, behaviour):
    publish(behaviour)
    assert data.find("toy") is None
    path = data.fetch("toy")
    assert path == data.find("toy") == cache / "toy.txt"
    assert path.read_bytes() == BODY
    assert leftovers(cache) == {"toy.txt"}


def test_a_server_that_falls_silent_is_left_and_asked_again(publish, site, monkeypatch):
    publish(silent_after_half)
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    assert data.fetch("toy").read_bytes() == BODY
    assert site.visits == [("/0.txt", ""), ("/0.txt", f"bytes={HALF}-")]


def test_what_is_there_is_not_fetched_again(publish, site):
    publish(good)
    data.fetch("toy")
    data.fetch("toy")
    assert len(site.visits) == 1


def test_a_dropped_connection_is_taken_up_where_it_broke(publish, site):
    publish(drops_once)
    data.fetch("toy")
    assert [asked for _, asked in site.visits] == ["", f"bytes={HALF}-"]


def test_an_interrupted_download_goes_on_in_the_next_call(publish, site, cache, monkeypatch):
    publish(drops_once)
    monkeypatch.setattr(download, "PAUSES", ())
    assert "0.txt" not in sentence()  # hosts are named, not whole addresses
    assert leftovers(cache) == {"toy.txt.part"}
    assert data.fetch("toy").read_bytes() == BODY
    assert site.visits[-1] == ("/0.txt", f"bytes={HALF}-")


def test_a_mirror_goes_on_where_the_first_address_broke_off(publish, site, monkeypatch):
    publish(drops_once, good)
    monkeypatch.setattr(download, "PAUSES", ())
    assert data.fetch("toy").read_bytes() == BODY
    assert site.visits == [("/0.txt", ""), ("/1.txt", f"bytes={HALF}-")]


def test_progress_renews_the_patience(publish, site):
    publish(truncated)  # a megabyte is halved twenty times, with two attempts at each
    data.fetch("toy")
    assert len(site.visits) > 15


def test_redirects_are_followed_and_keep_the_place(publish, site, monkeypatch):
    site.pages["/elsewhere"] = drops_once
    publish(redirect(f"{site.address}/elsewhere"))
    assert data.fetch("toy").read_bytes() == BODY
    assert site.visits[-1] == ("/elsewhere", f"bytes={HALF}-")


@pytest.mark.parametrize(
    "behaviour, visits",
    [
        (status(404), 1),
        (status(403), 1),
        (corrupt, 1),
        (too_short, 1),
        (sign_in_page, 1),
        (endless, 1),
        (status(500), 3),
        (always_the_first_half, 3),
    ],
    ids=["404", "403", "corrupt", "short", "sign-in", "endless", "500", "half"],
)
def test_what_the_first_address_does_wrong_the_mirror_makes_good(publish, site, behaviour, visits):
    publish(behaviour, good)
    assert data.fetch("toy").read_bytes() == BODY
    assert Counter(path for path, _ in site.visits)["/0.txt"] == visits


def test_an_answer_that_begins_elsewhere_is_not_appended(publish, site, cache):
    publish(wrong_place)
    assert "it sent the bytes from 262,144 on, not from 524,288" in sentence()
    assert (cache / "toy.txt.part").read_bytes() == BODY[:HALF]


def test_the_beginning_of_another_version_is_thrown_away(publish, site, cache):
    publish(good)
    cache.mkdir()
    (cache / "toy.txt.part").write_bytes(b"x" * 1000)
    assert data.fetch("toy").read_bytes() == BODY
    assert [asked for _, asked in site.visits] == ["bytes=1000-", ""]


@pytest.mark.parametrize("surplus", [0, 1])
def test_a_part_that_is_long_enough_but_wrong(publish, cache, surplus):
    publish(good)
    cache.mkdir()
    (cache / "toy.txt.part").write_bytes(b"x" * (len(BODY) + surplus))
    assert data.fetch("toy").read_bytes() == BODY


def test_a_whole_part_needs_no_network(publish, site, cache):
    publish(status(500))
    cache.mkdir()
    (cache / "toy.txt.part").write_bytes(BODY)
    assert data.fetch("toy").read_bytes() == BODY
    assert not site.visits


# ---- archives -----------------------------------------------------------------------------------


def test_a_member_of_an_archive(publish, cache):
    publish(serves(archive("in/toy.txt")), member=lambda path: f"in/{path}", ending="zip")
    assert data.fetch("toy").read_bytes() == BODY
    assert leftovers(cache) == {"toy.txt"}


def test_several_files_of_one_archive_are_fetched_together(publish, site, cache):
    content = archive("a.txt", "b.txt", "c.txt")
    paths = ("set/a.txt", "set/b.txt", "set/c.txt")
    publish(serves(content), member=lambda path: path[4:], ending="zip", paths=paths)
    assert data.fetch("toy") == data.find("toy") == cache / "set"
    assert leftovers(cache) == set(paths)
    assert len(site.visits) == 1


@pytest.mark.parametrize(
    "content, said",
    [
        (b"no archive", "it is no .zip that holds toy.txt"),
        (archive("other.txt"), "it is no .zip that holds toy.txt"),
        (archive("toy.txt")[:-40], "it is no .zip that holds toy.txt"),
        (archive("toy.txt", body=BODY[:-1]), "or another version of it"),
        (archive("toy.txt", body=BODY * 3), "or another version of it"),
    ],
)
def test_archives_that_do_not_hold_the_file(publish, cache, content, said):
    publish(serves(content), member=lambda path: path, ending="zip")
    assert said in sentence()
    assert leftovers(cache) == set()


def test_the_beginning_of_an_older_archive_is_thrown_away(publish, site, cache):
    (url,) = publish(serves(archive("toy.txt")), member=lambda path: path, ending="zip")
    cache.mkdir()
    started = download.archive_path(cache, url)
    started.with_name(started.name + ".part").write_bytes(b"x" * 100)
    assert data.fetch("toy").read_bytes() == BODY
    assert [asked for _, asked in site.visits] == ["bytes=100-", ""]


def test_a_plain_mirror_of_an_archive(publish, site):
    urls = publish(status(404), member=lambda path: "m", ending="zip")
    site.pages["/plain.txt"] = good
    (file,) = DATASETS["toy"].files
    file = File(file.path, file.size, file.sha256, (*urls, f"{site.address}/plain.txt"), "m")
    DATASETS["toy"] = Dataset("toy", "Toy", "none", "nobody", (file,))
    assert data.fetch("toy").read_bytes() == BODY


# ---- what the reader is told --------------------------------------------------------------------


def test_every_address_says_why_and_the_sentence_what_to_do(publish):
    publish(status(404), corrupt)
    text = sentence()
    assert text.startswith("Toy (1.0 MB) is not on this machine and could not be downloaded (127.")
    assert "HTTP status 404; " in text and "it is not the file that was published" in text
    assert text.endswith(
        "run this again with a network, or set COURSE_DATA to a folder that holds toy.txt."
    )


@pytest.mark.parametrize(
    "behaviour, said",
    [
        (status(500), "HTTP status 500"),
        (always_the_first_half, "it ended after 524,288 of 1,048,576 bytes"),
        (too_short, "it has 524,288 bytes instead of 1,048,576"),
        (sign_in_page, "it has 27 bytes instead of 1,048,576"),
        (endless, "it sends more than the 1,048,576 bytes of the file"),
        (status(204), "bytes"),
    ],
    ids=["500", "half", "short", "sign-in", "endless", "empty"],
)
def test_reasons(publish, behaviour, said):
    publish(behaviour)
    assert said in sentence()


def test_no_network(publish, monkeypatch):
    publish()
    file = DATASETS["toy"].files[0]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
    away = ("http://192.0.2.1/a", closed, "nonsense")
    only = File(file.path, file.size, file.sha256, away)
    monkeypatch.setitem(DATASETS, "toy", Dataset("toy", "Toy", "none", "nobody", (only,)))
    monkeypatch.setattr(download.time, "sleep", lambda pause: pytest.fail("it waits in vain"))
    text = sentence()
    assert "without a network" in text and "refused" in text and "unknown url type" in text


def test_an_unknown_name():
    for ask in (data.find, data.fetch):
        with pytest.raises(ValueError, match="no data set 'moon': choose one of shakespeare, sms"):
            ask("moon")


def test_a_wrong_file_costs_nothing_that_was_good(publish, cache):
    publish(good, paths=("set/a.txt", "set/b.txt"))
    folder = data.fetch("toy")
    (folder / "b.txt").write_bytes(b"spoilt")  # a disk's fault: the length is not right
    publish(corrupt, paths=("set/a.txt", "set/b.txt"))
    assert data.find("toy") is None
    assert "COURSE_DATA" in sentence()
    assert (folder / "a.txt").read_bytes() == BODY
    assert (folder / "b.txt").read_bytes() == b"spoilt"


def test_a_full_disk(publish, cache, monkeypatch):
    publish(good)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    assert sentence() == (
        f"Toy cannot be kept in {cache} (No space left on device): make room or set COURSE_CACHE "
        "to a folder that you may write to."
    )


def test_a_cache_below_a_file(publish, cache):
    publish(good)
    cache.touch()
    assert "cannot be kept in" in sentence() and "COURSE_CACHE" in sentence()


@pytest.fixture
def nobody():
    """Run the test as a user without privileges; root may write anywhere."""
    before = os.geteuid() if hasattr(os, "geteuid") else None
    if before == 0:
        os.seteuid(65534)
    yield
    if before == 0:
        os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_folder_that_may_only_be_read(publish, monkeypatch, nobody):
    publish(good)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.setenv("COURSE_CACHE", name)
        folder.chmod(0o555)
        assert "(Permission denied)" in sentence()
        folder.chmod(0o755)
        data.fetch("toy")
        folder.chmod(0o555)
        assert data.fetch("toy").read_bytes() == BODY  # reading is enough once it is there
        folder.chmod(0o755)


# ---- where it looks -----------------------------------------------------------------------------


def test_course_data_comes_first_and_is_taken_as_it_is(publish, site, tmp_path, monkeypatch):
    publish(good)
    data.fetch("toy")
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("COURSE_DATA", str(mine))
    assert data.find("toy") == tmp_path / "cache" / "toy.txt"
    (mine / "toy.txt").write_text("my own edition")
    assert data.find("toy") == data.fetch("toy") == mine / "toy.txt"


def test_a_set_is_found_only_whole(publish, tmp_path, monkeypatch):
    publish(good, paths=("set/a.txt", "set/b.txt"))
    mine = tmp_path / "mine" / "set"
    mine.mkdir(parents=True)
    monkeypatch.setenv("COURSE_DATA", str(mine.parent))
    (mine / "a.txt").touch()
    assert data.find("toy") is None
    (mine / "b.txt").touch()
    assert data.find("toy") == mine


def test_the_cache_is_in_the_readers_folder(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_CACHE")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    assert data.cache_folder() == tmp_path / "home" / "data"
    monkeypatch.delenv("COURSE_HOME")
    monkeypatch.setattr("course_lib.machine.DRIVE", tmp_path / "drive")
    (tmp_path / "drive").mkdir()
    assert data.cache_folder() == tmp_path / "drive" / "next-token" / "data"


def test_the_bar_is_on_stdout_and_can_be_silenced(publish, cache, monkeypatch, capsys):
    publish(slow)
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    data.fetch("toy")
    assert capsys.readouterr() == ("", "")  # conftest sets COURSE_PROGRESS=0
    (cache / "toy.txt").unlink()
    monkeypatch.delenv("COURSE_PROGRESS")
    data.fetch("toy")
    printed = capsys.readouterr()
    assert "toy.txt" in printed.out and "1.05M" in printed.out and not printed.err


# ---- several at once ----------------------------------------------------------------------------

PROGRAM = """
import hashlib, sys
from course_lib import data, download
from course_lib.data import DATASETS, Dataset, File
url, size, digest = sys.argv[1:]
file = File("toy.txt", int(size), digest, (url,))
DATASETS["toy"] = Dataset("toy", "Toy", "none", "nobody", (file,))
print("ready", flush=True)
path = data.fetch("toy")
print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def program(publish, behaviour) -> subprocess.Popen:
    """Another process that fetches the same set."""
    (url,) = publish(behaviour)
    command = [sys.executable, "-c", PROGRAM, url, str(len(BODY)), hashlib.sha256(BODY).hexdigest()]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_threads_that_fetch_at_once_fetch_once(publish, site):
    publish(slow)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: data.fetch("toy"), range(8)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert len(site.visits) == 1


def test_processes_that_fetch_at_once_fetch_once(publish, site, cache):
    others = [program(publish, slow) for _ in range(3)]
    printed = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0, 0]
    assert {text.splitlines()[-1] for text in printed} == {hashlib.sha256(BODY).hexdigest()}
    assert len(site.visits) == 1
    assert leftovers(cache) == {"toy.txt"}


def wait_until(happened) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def stuck_after_half(visit, start, count):
    """Lets the first visitor hang, and then sends the rest."""
    body = visit.begin(start)
    if count == 1:
        visit.send(body[:HALF])
        visit.server.released.wait(20)
        body = body[HALF:]
    visit.send(body)


def test_a_process_that_is_killed_holds_nobody_up(publish, site, cache):
    other = program(publish, stuck_after_half)
    part = cache / "toy.txt.part"
    wait_until(lambda: part.exists() and part.stat().st_size >= HALF // 2)
    other.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    other.communicate()
    had = part.stat().st_size
    assert data.fetch("toy").read_bytes() == BODY
    assert site.visits[-1] == ("/0.txt", f"bytes={had}-")


def test_whoever_has_to_wait_is_told(publish, site, cache, capsys):
    publish(stuck_after_half)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(data.fetch, "toy")
        wait_until(lambda: site.visits)
        second = pool.submit(data.fetch, "toy")
        printed = []
        wait_until(lambda: printed.append(capsys.readouterr().out) or any(printed))
        site.released.set()
        first.result(), second.result()
    assert "".join(printed) == "Waiting for another program that is fetching Toy\n"


# ---- the registry -------------------------------------------------------------------------------


def test_names_of_the_data_sets():
    assert set(DATASETS) == {
        "shakespeare", "sms", "pairs", "wikitext-2", "gpt2-vocabulary", "gpt2-weights",
    }  # fmt: skip
    assert all(name == dataset.name for name, dataset in DATASETS.items())


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_file_has_two_addresses_and_can_be_checked(dataset):
    assert dataset.title and dataset.licence and dataset.citation
    for file in dataset.files:
        assert len(file.sha256) == 64 and int(file.sha256, 16) and file.size > 0
        assert not Path(file.path).is_absolute() and "\\" not in file.path
        assert len(file.urls) >= 2 and len(set(file.urls)) == len(file.urls)
        assert {urlsplit(url).scheme for url in file.urls} == {"https"}
        if any(download.leads_to_zip(url) for url in file.urls):
            assert file.member
    assert len({Path(file.path).parent for file in dataset.files}) == 1  # `fetch` gives a folder


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_sizes_and_hashes_are_those_of_the_real_files(dataset):
    there = [file for file in dataset.files if REAL and (REAL / file.path).is_file()]
    if len(there) < len(dataset.files):
        pytest.skip(f"COURSE_DATA does not hold all of {dataset.title}")
    for file in there:
        assert (REAL / file.path).stat().st_size == file.size
        assert download.sha256_of(REAL / file.path) == file.sha256


def test_addresses_and_hashes_of_the_vocabulary_are_tiktokens(monkeypatch):
    import tiktoken_ext.openai_public as public

    seen = {}
    monkeypatch.setattr(public, "data_gym_to_mergeable_bpe_ranks", lambda **told: seen.update(told))
    public.gpt2()
    for file, name in zip(DATASETS["gpt2-vocabulary"].files, ("vocab_bpe", "encoder_json")):
        assert seen[f"{name}_file"] == file.urls[0]
        assert seen[f"{name}_hash"] == file.sha256


def test_importing_it_imports_no_torch():
    code = "import sys, course_lib.data; print('torch' in sys.modules, 'tiktoken' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr


def test_the_command_lists_what_there_is(publish, cache, capsys):
    publish(good)
    assert data.main([]) == 0
    printed = capsys.readouterr().out
    for name, dataset in DATASETS.items():
        assert f"{name} " in printed and f"{dataset.title} ({dataset.licence})" in printed
    assert printed.count("not on this machine") == len(DATASETS)


def test_the_command_fetches_and_credits(publish, cache, capsys):
    publish(good)
    assert data.main(["toy"]) == 0
    assert capsys.readouterr().out == f"toy: {cache / 'toy.txt'}\n    nobody\n"
    assert data.main([]) == 0
    assert str(cache / "toy.txt") in capsys.readouterr().out
    (cache / "toy.txt").unlink()
    publish(status(404))
    assert data.main(["toy"]) == 1
    assert "HTTP status 404" in capsys.readouterr().err
    assert data.main(["moon"]) == 1
    assert "choose one of" in capsys.readouterr().err


# ---- splits -------------------------------------------------------------------------------------


def provide(folder: Path, monkeypatch, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8", newline="\n")
    monkeypatch.setenv("COURSE_DATA", str(folder))


@given(st.dictionaries(st.text(), st.lists(st.integers(), min_size=1, max_size=5)))
def test_dealing_keeps_groups_whole_and_gives_each_its_share(groups):
    marked = {key: [(key, i, row) for i, row in enumerate(rows)] for key, rows in groups.items()}
    parts = data.divide(marked, validation=0.2, test=0.3)
    assert Counter(row for part in parts for row in part) == Counter(
        row for rows in marked.values() for row in rows
    )
    keys = [{key for key, *_ in part} for part in parts]
    assert sum(map(len, keys)) == len(groups)
    total = sum(map(len, groups.values()))
    for part, share in ((parts.validation, 0.2), (parts.test, 0.3)):
        assert len(part) <= round(share * total) + 4  # the last group may be too much by four


@real("tinyshakespeare.txt")
def test_shakespeare():
    train, validation = data.shakespeare()
    assert (len(train), len(validation)) == (1_003_854, 111_540)
    assert train + validation == (REAL / "tinyshakespeare.txt").read_text(encoding="utf-8")
    assert train.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")


def normal(message: str) -> str:
    return " ".join(message.lower().split())


def check_sms(splits, rows):
    assert Counter(row for part in splits for row in part) == Counter(rows)
    sides = [{normal(message) for _, message in part} for part in splits]
    assert len(set.union(*sides)) == sum(map(len, sides)), "a message stands on two sides"


@real("sms.tsv")
def test_sms():
    splits = data.sms()
    lines = (REAL / "sms.tsv").read_text(encoding="utf-8").split("\n")
    rows = [tuple(line.split("\t")) for line in lines if line]
    check_sms(splits, rows)
    assert [len(part) for part in splits] == [4_458, 558, 558]
    spam = [sum(label == "spam" for label, _ in part) for part in splits]
    assert spam == [597, 75, 75]
    assert splits == data.sms()
    for part in splits:
        members = set(part)
        assert part == [row for row in rows if row in members]  # in the file's order


def test_sms_with_every_message_copied_and_one_labelled_both_ways(tmp_path, monkeypatch):
    rows = [(("ham", "spam")[i % 3 == 0], f"Message  {i}") for i in range(60)]
    rows += [(label, message.upper()) for label, message in rows[:30]] + [("ham", "message 0")]
    provide(tmp_path, monkeypatch, "sms.tsv", "".join(f"{a}\t{b}\n" for a, b in rows))
    check_sms(data.sms(), rows)
    assert min(map(len, data.sms())) > 0


def components(rows):
    """What hangs together by shared sentences, according to networkx."""
    graph = networkx.Graph((("en", english), ("zh", chinese)) for english, chinese in rows)
    return list(networkx.connected_components(graph))


def check_pairs(splits, rows):
    assert sorted(row for part in splits for row in part) == sorted(set(rows))
    side = {}
    for number, part in enumerate(splits):
        for english, chinese in part:
            side.setdefault(("en", english), set()).add(number)
            side.setdefault(("zh", chinese), set()).add(number)
    for component in components(rows):
        sides = set.union(*(side[sentence] for sentence in component))
        assert len(sides) == 1, f"{component} stands on sides {sides}"


@real("cmn.txt")
def test_pairs():
    splits = data.pairs()
    lines = (REAL / "cmn.txt").read_text(encoding="utf-8-sig").split("\n")
    rows = [tuple(line.split("\t")[:2]) for line in lines if line]
    check_pairs(splits, rows)
    assert len(components(rows)) == 24_363
    assert [len(part) for part in splits] == [26_149, 1_453, 1_453]
    assert splits == data.pairs()
    assert splits.train[0] == ("Hi.", "嗨。")


word = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(word, word), min_size=1, max_size=30))
def test_pairs_that_hang_together_stay_together(rows):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        provide(Path(folder), patch, "cmn.txt", "".join(f"{a}\t{b}\tx\n" for a, b in rows))
        check_pairs(data.pairs(), rows)


def test_a_line_that_is_no_row_is_named(tmp_path, monkeypatch):
    provide(tmp_path, monkeypatch, "sms.tsv", "ham\tHello\nspam without a tab\n")
    with pytest.raises(ValueError, match="Line 2 has 1 of 2 columns: 'spam without a tab'"):
        data.sms()


def test_an_unknown_label_is_named(tmp_path, monkeypatch):
    provide(tmp_path, monkeypatch, "sms.tsv", "ham\tHello\negg\tHi\n")
    with pytest.raises(ValueError, match="'egg' is neither ham nor spam"):
        data.sms()


def test_wikitext_2(tmp_path, monkeypatch):
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    for part in ("train", "valid", "test"):
        provide(folder, monkeypatch, f"wiki.{part}.raw", f" \n = {part} = \n")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert data.wikitext_2() == (" \n = train = \n", " \n = valid = \n", " \n = test = \n")


# ---- tiktoken -----------------------------------------------------------------------------------


@real("gpt2/vocab.bpe", "gpt2/encoder.json")
def test_gpt2_encoding_equals_tiktokens_own(monkeypatch):
    import tiktoken
    import tiktoken_ext.openai_public as public
    from tiktoken import load

    addresses = {file.urls[0]: REAL / file.path for file in DATASETS["gpt2-vocabulary"].files}
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setattr(load, "read_file", lambda address: addresses[address].read_bytes())
    theirs = tiktoken.Encoding(**public.gpt2())  # as tiktoken makes it of what it downloads
    monkeypatch.undo()
    ours = data.gpt2_encoding()
    assert ours.n_vocab == theirs.n_vocab == 50_257
    assert [ours.decode_single_token_bytes(i) for i in range(50_257)] == [
        theirs.decode_single_token_bytes(i) for i in range(50_257)
    ]
    text = (REAL / "sms.tsv").read_text(encoding="utf-8") + "<|endoftext|>猫が好き <|endoftext|>"
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, allowed_special="all")
    with pytest.raises(ValueError, match="disallowed special token"):
        ours.encode(text)
