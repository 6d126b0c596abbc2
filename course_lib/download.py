"""A published file over the network: resumed, tried again, checked, and whole or not at all.

Our own, on urllib, because pooch 1.9 checks hashes but neither resumes nor turns to a mirror.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import course_lib

__all__ = ["DownloadFailed", "download", "sha256_of"]

PATIENCE = 20.0  # seconds in which not one byte arrives
PAUSES = (1.0, 3.0, 9.0)  # seconds before another attempt at the same address
BUSY = {408, 425, 429, 500, 502, 503, 504}  # answers of a server that may soon do better
BLOCK = 1 << 16  # bytes


class DownloadFailed(Exception):
    """No address gave the file; the message says of each what was wrong with it."""


class Refused(Exception):
    """This address will not give the file, however often it is asked."""


class WrongContent(Refused):
    """All of it has come, and it is another file; it is not kept."""


class Interrupted(Exception):
    """The transfer ended early: what has come is kept, and it is worth another attempt."""


class WrongLength(Interrupted):
    """We hold more of a file than this address has: it was another file's beginning."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def length(path: Path) -> int:
    """The size of a file in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


@cache
def certificates() -> ssl.SSLContext:
    """Who is trusted: Python's own list, and certifi's, since Python on macOS comes with none."""
    context = ssl.create_default_context()
    with suppress(ImportError):
        import certifi  # tiktoken and JupyterLab bring it

        context.load_verify_locations(certifi.where())
    return context


def ask(url: str, start: int) -> http.client.HTTPResponse:
    """Open the address, from byte `start` on if the server can; Refused or Interrupted if not."""
    headers = {"User-Agent": f"next-token/{course_lib.__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=PATIENCE, context=certificates())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is nothing from `start` on
            raise WrongLength(f"it has less than {start:,} bytes") from None
        kind = Interrupted if error.code in BUSY else Refused
        raise kind(f"HTTP status {error.code}") from None
    except urllib.error.URLError as error:
        passing = isinstance(error.reason, TimeoutError | ConnectionResetError)
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise (Interrupted if passing else Refused)(str(reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None
    except ValueError as error:  # no address at all
        raise Refused(str(error)) from None


def blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """What arrives, as it arrives; Interrupted where the connection breaks or falls silent."""
    try:
        while block := answer.read1(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None


def continue_part(url: str, part: Path, size: int | None, title: str) -> None:
    """Fetch what `part` lacks; a server that cannot begin in the middle sends all of it again.

    `size` is the whole file's in bytes, where it is known. Raises Interrupted or Refused.
    """
    have = length(part)
    if have and have == size:
        return
    try:
        answer = ask(url, have)
    except WrongLength:
        part.unlink()
        raise
    with answer:
        start, total = where_it_is(answer)
        if start not in (0, have):
            raise Interrupted(f"it sent the bytes from {start:,} on, not from {have:,}")
        if size is not None and total not in (None, size):
            raise Refused(f"it has {total:,} bytes instead of {size:,}")
        total = total or size
        with open(part, "ab" if start else "wb") as file, bar_of_bytes(title, total, start) as bar:
            for block in blocks(answer):
                file.write(block)
                bar.update(len(block))
                if total and file.tell() > total:
                    raise Refused(f"it sends more than the {total:,} bytes of the file")
            if total and file.tell() < total:
                raise Interrupted(f"it ended after {file.tell():,} of {total:,} bytes")
            file.flush()
            os.fsync(file.fileno())


def where_it_is(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The byte that an answer begins with, and the size of the whole file if it says that."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not found:
            raise Refused("it does not say which part of the file it sends")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    announced = answer.headers.get("Content-Length")
    return 0, int(announced) if announced else None


def bar_of_bytes(title: str, total: int | None, done: int):
    """A bar on stdout, in bytes; none where COURSE_PROGRESS is 0."""
    from tqdm import tqdm

    show = os.environ.get("COURSE_PROGRESS", "1") != "0" and "PYTEST_VERSION" not in os.environ
    return tqdm(
        total=total, initial=done, desc=title, unit="B", unit_scale=True,
        disable=not show, file=sys.stdout, leave=False,
    )  # fmt: skip


def complete_part(url: str, part: Path, size: int | None, title: str) -> None:
    """Fetch all of it, with a new attempt after every interruption; progress renews the patience.

    Raises Interrupted when all attempts in a row brought nothing new, or Refused.
    """
    attempts, furthest = 0, length(part)
    while True:
        try:
            return continue_part(url, part, size, title)
        except Interrupted:
            if length(part) > furthest:
                attempts, furthest = 0, length(part)
            if attempts == len(PAUSES):
                raise
            time.sleep(PAUSES[attempts])
            attempts += 1


def unpack(archive: Path, member: str, scratch: Path, size: int) -> None:
    """Copy one member of a .zip, at most a byte too much of it; WrongContent if that fails."""
    try:
        with zipfile.ZipFile(archive) as files, files.open(member) as source:
            scratch.write_bytes(source.read(size + 1))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        archive.unlink()
        raise WrongContent(f"it is no .zip that holds {member} ({error})") from None


def archive_path(folder: Path, url: str) -> Path:
    """Where the .zip of an address is kept while files are taken from it."""
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"


def take(url: str, target: Path, size: int, sha256: str, member: str | None, title: str) -> None:
    """Put the file in place from this one address; Refused or Interrupted where it cannot be.

    Where an earlier call had begun, that may have been another version's beginning: once more then.
    """
    part = target.with_name(target.name + ".part")
    archive = archive_path(target.parent, url) if member and leads_to_zip(url) else None
    loading = part if archive is None else archive.with_name(archive.name + ".part")
    begun = loading.exists() or (archive is not None and archive.exists())
    while True:
        try:
            if archive is None:
                complete_part(url, part, size, title)
            else:
                if not archive.exists():
                    complete_part(url, loading, None, title)
                    os.replace(loading, archive)
                unpack(archive, member, part, size)
            return settle(part, target, sha256, archive)
        except WrongContent:
            if not begun:
                raise
            begun = False


def settle(part: Path, target: Path, sha256: str, archive: Path | None) -> None:
    """Give a file that came its name if it is the right one; if not, remove it: WrongContent."""
    if sha256_of(part) == sha256:
        os.replace(part, target)
        return
    part.unlink()
    if archive is not None:
        archive.unlink()
    raise WrongContent("it is not the file that was published, or another version of it")


def leads_to_zip(url: str) -> bool:
    """Whether an address is that of an archive."""
    return urlsplit(url).path.endswith(".zip")


def download(
    urls: Sequence[str],
    target: Path,
    size: int,
    sha256: str,
    member: str | None = None,
    title: str = "",
) -> None:
    """Put the file of `size` bytes and this SHA-256 at `target`, from the first address that works.

    An address that ends in .zip leads to an archive, in which the file is called `member`; the
    archive stays in the target's folder, for its other members, until `discard_archives`. What was
    at `target` is replaced by the right file or left alone. What has come of a file that is not
    yet whole is kept beside it, and the next call goes on from there. One caller at a time!
    Raises DownloadFailed, or OSError where the folder cannot be written to.
    """
    reasons = []
    for url in urls:
        try:
            return take(url, target, size, sha256, member, title)
        except (Refused, Interrupted) as error:
            reasons.append(f"{urlsplit(url).netloc or url}: {error}")
    raise DownloadFailed("; ".join(reasons))


def discard_archives(folder: Path, urls: Sequence[str]) -> None:
    """Remove the archives that `download` kept."""
    for url in urls:
        with suppress(OSError):
            archive_path(folder, url).unlink()
