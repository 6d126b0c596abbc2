"""The machine a reader sits at: its device, what it can do, and where the reader's work is kept."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import course_lib

__all__ = [
    "CannotStart",
    "cores",
    "describe_device",
    "device",
    "free_disk",
    "memory",
    "mixed_precision",
    "on_colab",
    "setup",
    "user_folder",
]

DRIVE = Path("/content/drive/MyDrive")  # where Colab puts Google Drive once the reader mounts it
KAGGLE = Path("/kaggle/working")  # the only folder that Kaggle keeps
GB = 1e9


class CannotStart(Exception):
    """Something outside the course has to be put right first; the message says what and how."""

    def _render_traceback_(self) -> list[str]:
        """Jupyter shows this instead of a traceback."""
        return [str(self)]


def import_torch():
    """The module torch, or CannotStart with what to do."""
    try:
        import torch
    except ImportError as error:
        root = Path(course_lib.__file__).resolve().parent.parent
        if getattr(error, "name", None) == "torch" and "No module named" in str(error):
            raise CannotStart(
                f"This notebook's kernel, {sys.executable}, has no torch. Choose the kernel of the "
                f"environment that the course was set up in, or install the packages into this one:"
                f"\n    {sys.executable} -m pip install -r {root / 'requirements.txt'}"
            ) from None
        raise CannotStart(
            f"torch is installed but does not start ({error}). "
            "`python -m course_lib doctor` says more."
        ) from error
    return torch


def device() -> str:
    """Where tensors live: "cuda" where torch can use a GPU, otherwise "cpu"."""
    return "cuda" if import_torch().cuda.is_available() else "cpu"


def mixed_precision(capability: tuple[int, int] | None) -> str:
    """The short number format for training on a GPU of this compute capability (None: no GPU).

    `torch.cuda.is_bf16_supported()` also counts emulation, so it says yes on a T4, capability
    (7, 5), where bfloat16 is slower than float32. In hardware it begins with (8, 0).
    """
    if capability is None:
        return "float32"
    return "bfloat16" if tuple(capability) >= (8, 0) else "float16"


def cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> tuple[float, float] | None:
    """(free, total) main memory in bytes, or None where the system does not say."""
    try:
        if sys.platform == "linux":
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
            sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
            return sizes["MemAvailable"], sizes["MemTotal"]
        if sys.platform == "win32":
            return _windows_memory()
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    except (OSError, ValueError, KeyError, IndexError, AttributeError):
        return None


def _windows_memory() -> tuple[float, float]:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "c", "d", "e", "f", "g")
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free, status.total


def free_disk(folder: Path) -> float:
    """Free bytes on the disk that holds `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def describe_device() -> str:
    """One sentence on what the notebooks will compute on, and in which number format."""
    torch = import_torch()
    if torch.cuda.is_available():
        capability = torch.cuda.get_device_capability()
        size = torch.cuda.get_device_properties(0).total_memory / GB
        return (
            f"{torch.cuda.get_device_name()} with {size:.0f} GB, "
            f"mixed precision in {mixed_precision(capability)}"
        )
    known = memory()
    room = f", {known[1] / GB:.0f} GB of memory" if known else ""
    count = cores()
    return f"CPU, {count} core{'s' if count > 1 else ''}{room}, {mixed_precision(None)}"


def on_colab() -> bool:
    """Whether this is Colab. Kaggle sets Colab's variables and builds on its image: look twice."""
    import importlib.util

    try:
        found = importlib.util.find_spec("google.colab") is not None
    except (ImportError, ValueError):
        return False
    return found and not KAGGLE.is_dir()


def user_folder() -> Path:
    """The reader's own folder, for progress and checkpoints; it is made where it is missing.

    `COURSE_HOME` names it, if set. Otherwise it is on Google Drive where the reader has mounted it
    (nothing is ever mounted from here), in Kaggle's kept folder, or where this system keeps a
    user's data.
    """
    if os.environ.get("COURSE_HOME"):
        folder = Path(os.environ["COURSE_HOME"]).expanduser()
    elif DRIVE.is_dir():
        folder = DRIVE / "next-token"
    elif KAGGLE.is_dir():
        folder = KAGGLE / "next-token"
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        folder = Path(base) / "next-token"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "next-token"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        folder = Path(base) / "next-token"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass  # whoever writes into it will say so
    return folder


def setup() -> None:
    """Make a notebook ready: report on the machine in two lines and set the figure style.

    On Colab a third line says how to keep one's work. Raises CannotStart, with what to do, where
    torch is missing or Python is too old.
    """
    if sys.version_info < (3, 11):  # noqa: UP036
        raise CannotStart(
            "The course needs Python 3.11 or newer, and this kernel runs "
            f"Python {platform.python_version()}."
        )
    torch = import_torch()
    print(
        f"Next Token {course_lib.__version__} on Python {platform.python_version()} "
        f"and torch {torch.__version__}"
    )
    print(f"Device: {describe_device()}")
    try:
        from course_lib.plotting import figure_style

        figure_style()
    except ImportError as error:
        raise CannotStart(
            f"This kernel, {sys.executable}, lacks a package: {error}. Install the course's:"
            f"\n    {sys.executable} -m pip install -r "
            f"{Path(course_lib.__file__).resolve().parent.parent / 'requirements.txt'}"
        ) from None
    if on_colab():
        kept = "your progress is kept there" if DRIVE.is_dir() else "or this notebook is lost"
        print(f"Colab: choose File > Save a copy in Drive, {kept}")
