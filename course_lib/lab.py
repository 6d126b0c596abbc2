"""`python -m course_lib lab`: JupyterLab, opened at the first chapter."""

import subprocess
import sys

from course_lib.environment import ROOT

__all__ = ["main"]

HELP = """\
usage: python -m course_lib lab [JupyterLab's own options]

Opens JupyterLab at notebooks/00_start_here.ipynb. For example: lab --no-browser --port 8899"""


def main(argv: list[str] | None = None) -> int:
    """Start JupyterLab in the course's folder; further arguments go to it. Returns its status."""
    if argv in (["-h"], ["--help"]):
        print(HELP)
        return 0
    start = "notebooks/00_start_here.ipynb"
    if not (ROOT / start).is_file():
        start = "notebooks"
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", start, *(argv or [])], cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # Jupyter has had it too, and asks whether to stop
            continue
