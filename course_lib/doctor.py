"""`python3 -m course_lib doctor`: what this machine has, what is wrong, and how to mend it.

It installs nothing and changes nothing. It runs in the course's own `.venv` where that exists,
because that is the Python which the notebooks will use.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from course_lib import environment, machine, shadows
from course_lib.environment import OLDEST, ROOT

__all__ = [
    "examine",
    "Finding",
    "check_data",
    "check_disk",
    "check_folder",
    "check_kernel",
    "check_memory",
    "check_packages",
    "check_python",
    "check_shadows",
    "check_torch",
    "check_writing",
    "main",
]

TORCH_FACTS = """
import torch
from course_lib.machine import describe_device
print(torch.__version__)
print(describe_device())
"""
ROOM_TO_INSTALL, ROOM_TO_WORK = 8e9, 1e9  # bytes of disk; torch with CUDA's libraries is large
ENOUGH_MEMORY = 2e9  # bytes; no chapter needs more


class Finding:
    """One line of the report; `mend` says what to do where something is wrong, and else is ""."""

    def __init__(self, what: str, fact: str, mend: str = ""):
        self.what, self.fact, self.mend = what, fact, mend

    def __str__(self) -> str:
        text = f"{'!' if self.mend else ' '} {self.what:<10}{self.fact}"
        return text + (f"\n{'':>12}-> {self.mend}" if self.mend else "")


# ---- the checks, each a question about this machine --------------------------------------------


def check_python() -> Finding:
    """Is this Python new enough?"""
    fact = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= OLDEST:
        return Finding("Python", fact)
    return Finding(
        "Python",
        fact,
        f"The course needs Python {OLDEST[0]}.{OLDEST[1]} or newer: install one from "
        "https://www.python.org/downloads/ and start the course with it, "
        "as in `python3.13 -m course_lib run`.",
    )


def check_packages() -> Finding:
    """Is everything there that requirements.txt lists?"""
    unmet = environment.missing([ROOT / "requirements.txt"])
    if not unmet:
        return Finding("packages", "all there")
    return Finding(
        "packages",
        "missing or too old: " + ", ".join(requirement.line for requirement in unmet),
        "`python3 -m course_lib run` installs them.",
    )


def check_torch() -> list[Finding]:
    """Does torch start, and on what does it compute? Asked in another process: it may crash."""
    if importlib.util.find_spec("torch") is None:
        return [Finding("torch", "not installed", "`python3 -m course_lib run` installs it.")]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    asked = subprocess.run(
        [sys.executable, "-c", TORCH_FACTS],
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if asked.returncode == 0:
        version, device = asked.stdout.strip().splitlines()[-2:]
        return [Finding("torch", version), Finding("device", device)]
    why = (asked.stderr.strip().splitlines() or [f"it ended with status {asked.returncode}"])[-1]
    mend = f"Install it again: {sys.executable} -m pip install --force-reinstall torch"
    if "DLL" in why or "WinError" in why:
        mend = (
            "Install Microsoft's Visual C++ runtime from "
            "https://aka.ms/vs/17/release/vc_redist.x64.exe and try again. " + mend
        )
    return [Finding("torch", f"is installed but does not start: {why}", mend)]


def check_memory() -> Finding:
    """Is there memory enough for every chapter?"""
    known = machine.memory()
    if known is None:
        return Finding("memory", "unknown")
    free, total = known
    fact = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    mend = "Close other programs: a chapter may need 2 GB." if free < ENOUGH_MEMORY else ""
    return Finding("memory", fact, mend)


def check_disk(installed: bool = True) -> Finding:
    """Is there room on the disk: for work, or, where nothing is installed yet, for the packages?"""
    free = machine.free_disk(ROOT)
    needed = ROOM_TO_WORK if installed else ROOM_TO_INSTALL
    mend = ""
    if free < needed:
        purpose = "to work" if installed else "to install the packages"
        mend = f"Make room: the course wants {needed / 1e9:.0f} GB free {purpose}."
    return Finding("disk", f"{free / 1e9:.1f} GB free", mend)


def check_kernel() -> Finding:
    """Which Python will run the notebooks? It should be the one that has the packages."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return Finding("kernel", "no Jupyter here yet")
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding(
            "kernel",
            "Jupyter knows no kernel `python3`",
            f"Register this Python: {sys.executable} -m ipykernel install --sys-prefix",
        )
    if command in {"python", "python3", Path(sys.executable).name}:
        command = sys.executable  # as Jupyter itself does
    found = shutil.which(command)
    if found and same_environment(found):
        return Finding("kernel", f"notebooks will use {found}")
    what = f"another Python, {found}" if found else f"{command}, which does not exist"
    return Finding(
        "kernel",
        f"notebooks will use {what}",
        f"Make this Python the kernel: {sys.executable} -m ipykernel install --user "
        "(and in VS Code choose it under Select Kernel).",
    )


def same_environment(python: str) -> bool:
    """Whether a Python is this one, or at least the same environment's."""
    return Path(python).parent.resolve() == Path(sys.executable).parent.resolve()


def can_write(folder: Path) -> str:
    """Why no file can be made in a folder; "" if it can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def check_writing() -> Finding:
    """May we write into the course's own folder? The environment and your notebooks go there."""
    for folder in (ROOT, ROOT / "notebooks"):
        why = can_write(folder) if folder.is_dir() else ""
        if why:
            return Finding(
                "course",
                f"{folder} cannot be written to ({why})",
                "Copy the course to a folder of your own, such as your home folder, and start "
                "it there.",
            )
    return Finding("course", str(ROOT))


def check_folder() -> Finding:
    """Where are progress and checkpoints kept, and can they be?"""
    folder = machine.user_folder()
    why = can_write(folder)
    if not why:
        return Finding("your work", f"is kept in {folder}")
    return Finding(
        "your work",
        f"cannot be kept in {folder} ({why})",
        "Set the environment variable COURSE_HOME to a folder that you may write to.",
    )


def check_data() -> Finding:
    """Does COURSE_DATA, if it is set, name a folder? No chapter needs one."""
    given = os.environ.get("COURSE_DATA")
    if not given:
        return Finding("real data", "is downloaded when it is asked for")
    if Path(given).expanduser().is_dir():
        return Finding("real data", f"is looked for in {given} first")
    return Finding(
        "real data",
        f"COURSE_DATA is {given}, which is not a folder",
        "Set it to the whole path of the folder that holds the files, or do not set it.",
    )


def check_shadows() -> Finding:
    """Does a file of the reader's stand in the way of a module of the same name?"""
    found = shadows.shadowing_files()
    if not found:
        return Finding("names", "no file hides a module")
    return Finding("names", "hidden module: " + ", ".join(found), shadows.what_to_do(found))


def examine() -> list[Finding]:
    """All findings, in the order of the report."""
    packages = check_packages()
    findings = [check_python(), packages]
    findings += check_torch()
    findings += [check_kernel(), check_memory(), check_disk(installed=not packages.mend)]
    return [*findings, check_writing(), check_folder(), check_data(), check_shadows()]


def main(argv: list[str] | None = None) -> int:
    """Print the report. Returns 0 where all is well and 1 where something wants mending."""
    import argparse

    argparse.ArgumentParser(
        prog="python -m course_lib doctor",
        description="Say what this machine has, what is wrong and how to mend it.",
    ).parse_args(argv)
    python = environment.venv_python()
    outside = sys.prefix == sys.base_prefix and environment.missing([ROOT / "requirements.txt"])
    if outside and environment.runs([str(python), "-c", ""]):
        environment.continue_in(python, ["doctor"])
    from course_lib import __version__

    print(f"Next Token {__version__} on {platform.platform()}\n")
    findings = examine()
    for finding in findings:
        print(finding)
    wrong = sum(bool(finding.mend) for finding in findings)
    if wrong:
        print(f"\n{wrong} thing{'s' if wrong > 1 else ''} to mend, marked ! above.")
        return 1
    print("\nAll is well: `python3 -m course_lib lab` opens the first chapter.")
    return 0
