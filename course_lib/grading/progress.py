"""The reader's record: one JSON file in the reader's own folder.

Written atomically (a new file takes the old one's place), read tolerantly (a damaged file is put
aside, never in the way), and dispensable: where nothing can be written, the record lasts as long
as the session does.
"""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

_memory: dict = {}  # used where the folder cannot be written


def folder() -> Path:
    """The reader's own folder (see `course_lib.user_folder`)."""
    import course_lib

    if hasattr(course_lib, "user_folder"):
        return Path(course_lib.user_folder())
    return Path(os.environ.get("COURSE_HOME") or Path.home() / ".next-token")


def path() -> Path:
    return folder() / "progress.json"


def read() -> dict:
    """The whole record: {"exercises": {id: ...}, "predictions": {...}, "questions": {...}}."""
    empty = {"version": 1, "exercises": {}, "predictions": {}, "questions": {}}
    try:
        text = path().read_text(encoding="utf-8")
    except OSError:
        return {**empty, **_memory}
    except UnicodeDecodeError:
        text = ""
    try:
        record = json.loads(text)
        if not all(
            isinstance(entry, dict)
            for part in list(empty)[1:]
            for entry in record.get(part, {}).values()
        ):
            raise ValueError("not a record of ours")
    except (ValueError, AttributeError, TypeError):
        with contextlib.suppress(OSError):
            os.replace(path(), path().with_suffix(".damaged.json"))
        return {**empty, **_memory}
    return {**empty, **record}


def entry(part: str, id: str) -> dict:
    """The record of one exercise, prediction or question; {} where there is none."""
    return read()[part].get(id, {})


def update(part: str, id: str, **changes) -> dict:
    """Change the record of one thing and save; a value None removes the key."""
    record = read()
    new = {**record[part].get(id, {}), **changes}
    record[part][id] = {key: value for key, value in new.items() if value is not None}
    _write(record)
    return record[part][id]


def forget(part: str, id: str) -> None:
    """Remove the record of one thing."""
    record = read()
    record[part].pop(id, None)
    _write(record)


def _write(record: dict) -> None:
    _memory.clear()
    try:
        write_atomically(path(), json.dumps(record, indent=1, sort_keys=True) + "\n")
    except OSError:
        _memory.update(record)


def write_atomically(target: Path, text: str) -> None:
    """Write beside the target, then replace it in one step. OSError where that is impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        for wait in (0.05, 0.2, None):  # on Windows a reader of the old file may be in the way
            try:
                os.replace(temporary, target)
                return
            except PermissionError:
                if wait is None:
                    raise
                time.sleep(wait)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
