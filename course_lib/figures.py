"""`python -m course_lib figures`: draw the course's diagrams again, or say which of them are stale.

Each `figures/<word>.py` draws one chapter's diagrams and writes `figures/<word>-*.svg` with
`course_lib.plotting.save_figure`, which stores a hash of the drawing's source in the file.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from course_lib.plotting import figure_hash, figures_folder

__all__ = ["main", "stale_figures"]


def scripts() -> dict[str, Path]:
    """The figure scripts, by word."""
    return {
        path.stem: path for path in sorted(figures_folder().glob("*.py")) if path.stem != "__init__"
    }


def stale_figures(words=None) -> list[str]:
    """One sentence per figure that is not what its script would draw now."""
    known = scripts()
    complaints = []
    for word in words or known:
        drawn = sorted(figures_folder().glob(f"{word}-*.svg"))
        if not drawn:
            complaints.append(f"figures/{word}.py has drawn no figures/{word}-*.svg yet")
        for path in drawn:
            stored = re.search(r"<!-- source ([0-9a-f]{16}) -->", path.read_text(encoding="utf-8"))
            if not stored or stored[1] != figure_hash(word):
                complaints.append(f"figures/{path.name} is older than the source it is drawn from")
    if words is None:
        for path in sorted(figures_folder().glob("*.svg")):
            if path.stem.split("-")[0] not in known:
                complaints.append(
                    f"figures/{path.name} has no script figures/{path.stem.split('-')[0]}.py"
                )
    return complaints


def main(argv: list[str] | None = None) -> int:
    """Draw all figures or the named chapters'; `--check` only reports. Returns the status."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib figures", description=__doc__.split("\n")[0]
    )
    parser.add_argument("words", nargs="*", help="chapters to draw (default: all)")
    parser.add_argument("--check", action="store_true", help="only report figures that are stale")
    options = parser.parse_args(argv)
    known = scripts()
    unknown = [word for word in options.words if word not in known]
    if unknown:
        print(f"There is no figures/{unknown[0]}.py. Known: {', '.join(known) or 'none yet'}.")
        return 2
    if options.check:
        complaints = stale_figures(options.words or None)
        for complaint in complaints:
            print(complaint)
        if complaints:
            print("Draw them again with `python -m course_lib figures`.")
        return 1 if complaints else 0
    root = figures_folder().parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(paths)}
    failed = 0
    for word in options.words or known:
        done = subprocess.run([sys.executable, str(known[word])], env=environment, cwd=root)
        drawn = sorted(path.name for path in figures_folder().glob(f"{word}-*.svg"))
        if done.returncode or not drawn:
            print(
                f"figures/{word}.py failed"
                if done.returncode
                else f"figures/{word}.py drew nothing"
            )
            failed = 1
        else:
            print(f"{word}: {', '.join(drawn)}")
    return failed
