"""`python -m course_lib test`: pytest over the tests and, cell by cell, over every notebook."""

import subprocess
import sys

from course_lib.environment import ROOT

__all__ = ["main"]

HELP = """\
usage: python -m course_lib test [pytest's own options and paths]

Without any, all tests and all notebooks. For one chapter:

    python -m course_lib test tests/test_attention.py notebooks/03_attention.ipynb

With COURSE_DATA set to a folder that holds the real data sets, the tests that want them run too."""


def main(argv: list[str] | None = None) -> int:
    """Run pytest in the course's folder with these arguments; returns its exit status."""
    if argv in (["-h"], ["--help"]):
        print(HELP)
        return 0
    command = [sys.executable, "-m", "pytest", *(argv or [])]
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # pytest has had it too, and sums up what it has done
            continue
