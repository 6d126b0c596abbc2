"""Run a function with a time limit, so that an endless loop is a verdict and not a dead kernel.

The work runs in a daemon thread. When time is up, an exception is raised *inside that thread*
(`PyThreadState_SetAsyncExc`). That works on Linux, macOS and Windows, in Jupyter and outside, and
never touches the main thread. A signal would not do: Windows has no alarm, and a signal reaches
only the main thread. A trace function would slow every line of the reader's code down, and would
switch a debugger off. One weakness remains: code that never comes back from C (a giant matrix
product) is left behind in its thread, and the reader is told to restart the kernel.
"""

import contextlib
import ctypes
import sys
import threading
import time

LIMIT = 10.0  # seconds per check


class TimeUp(BaseException):
    """Raised inside the worker; not an Exception, so that `except Exception` does not stop it."""


class Endless(Exception):
    """The work did not finish; `filename` and `line` say where it was."""

    def __init__(self, seconds: float, places: list[tuple[str, int]], alive: bool):
        super().__init__(f"not finished after {seconds:g} s")
        self.seconds, self.places, self.alive = seconds, places, alive


@contextlib.contextmanager
def _large_stack():
    """Threads get as much stack as the main thread has; some systems give them far less."""
    try:
        old = threading.stack_size(16 * 1024 * 1024)
    except (ValueError, RuntimeError):
        yield
        return
    try:
        yield
    finally:
        threading.stack_size(old)


def limited(work, seconds: float | None = None):
    """Return `work()`, raise what it raises, or raise Endless after `seconds` (10 by default)."""
    seconds = LIMIT if seconds is None else seconds
    box = {}

    def target():
        try:
            box["value"] = work()
        except BaseException as error:  # everything the reader's code can raise is a result here
            box["error"] = error

    worker = threading.Thread(target=target, daemon=True, name="exercise check")
    with _large_stack():
        worker.start()
    deadline = time.monotonic() + seconds
    try:
        while worker.is_alive() and time.monotonic() < deadline:
            worker.join(0.05)  # short waits: on Windows a long one cannot be interrupted
    except BaseException:
        _stop(worker)
        raise
    if worker.is_alive():
        places = _places(worker)
        _stop(worker)
        raise Endless(seconds, places, worker.is_alive())
    if "error" in box:
        raise box["error"]
    return box["value"]


def _places(worker: threading.Thread) -> list[tuple[str, int]]:
    """Where a thread is: file and line of every frame, innermost first."""
    frame, places = sys._current_frames().get(worker.ident), []
    while frame is not None:
        places.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return places


def _stop(worker: threading.Thread) -> None:
    """Ask again and again for up to two seconds: a bare `except:` in a loop swallows the first."""
    for _ in range(20):
        if not worker.is_alive():
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(worker.ident), ctypes.py_object(TimeUp)
        )
        worker.join(0.1)
