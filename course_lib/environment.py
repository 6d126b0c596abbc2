"""The environment that the course runs in: what it needs, what is there, and how it comes to be.

`python3 -m course_lib run` has to work with nothing but Python's standard library, and has to say
something sensible on a Python that is too old. So this module imports no package and keeps to
syntax that Python 3.7 can read.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib import machine

__all__ = [
    "OLDEST",
    "ROOT",
    "CannotPrepare",
    "Requirement",
    "continue_in",
    "find_newer_python",
    "install",
    "is_environment",
    "missing",
    "prepare",
    "read_requirements",
    "satisfies",
    "venv_python",
]

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
MARK = "COURSE_PREPARED"  # set in the process that continues after an installation


class CannotPrepare(Exception):
    """The environment cannot be made; the message says what to do."""


class Requirement:
    """One line of a requirements file: a name and the versions that will do."""

    def __init__(self, line):
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)", line)
        if not match:
            raise CannotPrepare("This line of a requirements file is not understood: " + line)
        self.line = line.strip()
        self.name = re.sub(r"[-_.]+", "-", match.group(1)).lower()
        self.versions = match.group(2).strip()

    def __repr__(self):
        return f"Requirement({self.line!r})"


def read_requirements(path):
    """The requirements that a file lists, comments left out."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line]


def release(version):
    """The numbers of a version: "2.13.0+cpu" becomes [2, 13]; trailing zeros mean nothing."""
    numbers = [int(part) for part in re.match(r"v?([\d.]*)", version).group(1).split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def satisfies(version, versions):
    """Whether a version lies in a range such as ">=2.6,<2.14"."""
    have = release(version)
    for condition in filter(None, [part.strip() for part in versions.split(",")]):
        sign, wanted = re.match(r"(~=|==|!=|>=|<=|>|<)\s*(.+)", condition).groups()
        want = release(wanted)
        prefix = len([part for part in wanted.split(".") if part.isdigit()])
        padded = (have + [0] * prefix)[:prefix]
        same = padded == (want + [0] * prefix)[:prefix] if wanted.endswith("*") else have == want
        series = (have + [0] * prefix)[: prefix - 1] == (want + [0] * prefix)[: prefix - 1]
        holds = {
            "==": same,
            "!=": not same,
            ">=": have >= want,
            "<=": have <= want,
            ">": have > want,
            "<": have < want,
            "~=": have >= want and series,
        }
        if not holds[sign]:
            return False
    return True


def missing(files):
    """The requirements of these files that this Python does not satisfy."""
    unmet = []
    for requirement in [each for path in files for each in read_requirements(path)]:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or not satisfies(version, requirement.versions):
            unmet.append(requirement)
    return unmet


def is_environment():
    """Whether this Python is one that packages may go into: a venv, a conda environment, Colab.

    The system's own Python is not, nor is conda's base, which other things depend on.
    """
    if sys.prefix != sys.base_prefix:
        return True
    prefix = Path(sys.prefix)
    if (prefix / "conda-meta").is_dir():
        return not (prefix / "condabin").is_dir()
    return machine.on_colab()


def venv_python(root=None):
    """The Python inside the course's own `.venv`."""
    inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return (root or ROOT).joinpath(".venv", *inside)


def find_newer_python():
    """The command of a Python that is new enough: this one, or another on this machine."""
    if sys.version_info[:2] >= OLDEST:
        return [sys.executable]
    for minor in (13, 12, 11):
        commands = [[f"python3.{minor}"]]
        if os.name == "nt":
            commands.append(["py", f"-3.{minor}"])
        for command in commands:
            if shutil.which(command[0]) and runs([*command, "-c", "import venv, ensurepip"]):
                return command
    raise CannotPrepare(
        "The course needs Python {}.{} or newer, and this is Python {}.{}. Install a newer one "
        "from https://www.python.org/downloads/ and give the command with it, "
        "for example `python3.13 -m course_lib run`.".format(*OLDEST, *sys.version_info[:2])
    )


def runs(command):
    """Whether a command runs and succeeds, its output not shown."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_venv():
    """Make `.venv` (again, where one is broken)."""
    print("Making an environment for the course in {}".format(ROOT / ".venv"), flush=True)
    command = [*find_newer_python(), "-m", "venv", "--clear", str(ROOT / ".venv")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        why = (done.stdout.strip().splitlines() or [""])[-1]
        advice = (
            "On Debian and Ubuntu, `sudo apt install python3-venv` brings what is missing."
            if "ensurepip" in done.stdout
            else f"Is {ROOT} a folder that you may write to?"
        )
        raise CannotPrepare(f"The environment could not be made ({why}). {advice}")


def without_gpu():
    """Whether this is a Linux machine without an NVIDIA driver.

    There, plain `torch` would bring several GB that the machine cannot use.
    """
    driver = Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")
    return sys.platform == "linux" and not driver


def reachable(address, seconds=4.0):
    """Whether a server answers, so that pip need not wait for one that does not."""
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=seconds):
            return True
    except (OSError, ValueError):
        return False


def pip_is_configured():
    """Whether the reader's pip has an index of its own, which then decides everything."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return bool(re.search(r"index-url|no-index", done.stdout))


def install(requirements):
    """Install these requirements into this Python with pip, whose progress is shown."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    names = [requirement.name for requirement in requirements]
    if "torch" in names and without_gpu() and not pip_is_configured():
        if reachable(CPU_WHEELS + "/torch/"):
            command += ["--extra-index-url", CPU_WHEELS]
    print("Installing {} (only this once)".format(", ".join(names)), flush=True)
    status = subprocess.call([*command, *[requirement.line for requirement in requirements]])
    if status:
        raise CannotPrepare(
            "The packages could not be installed; pip's own message stands above. With a network "
            "and room on the disk, give the command again: it goes on where it stopped."
        )


def continue_in(python, arguments, **changes):
    """Carry on in another Python: `python -m course_lib` with these arguments. Does not return."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}
    command = [str(python), "-m", "course_lib", *arguments]
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(command[0], command, environment)
    # Windows has no exec: wait for the other one, and leave Ctrl-C to it.
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:
            pass


def prepare(files, arguments):
    """Return when this Python has what the files require; otherwise continue in one that has.

    An environment that is already suitable (Colab, conda, a venv) is used, and only what it lacks
    is installed. From the system's Python the course's own `.venv` is made, once, and used.
    """
    new_enough = sys.version_info[:2] >= OLDEST
    unmet = missing(files) if new_enough else None
    if new_enough and not unmet:
        return
    python = venv_python()
    if new_enough and is_environment():
        if os.environ.get(MARK):
            names = ", ".join(requirement.line for requirement in unmet)
            raise CannotPrepare("pip reported success, but these are still missing: " + names)
        install(unmet)
        continue_in(sys.executable, arguments, **{MARK: "1"})
    if not runs([str(python), "-m", "pip", "--version"]):
        make_venv()
    continue_in(python, arguments)
