"""The parts at the top of every notebook: the first cell and the row of badges.

`first_cell()` is the one text of the cell `setup`. It works in JupyterLab, VS Code, Colab and
Kaggle, and in a notebook that was downloaded alone: it looks upward for `course_lib`, fetches the
course where there is none, and calls `course_lib.setup()`. It installs nothing, changes no working
directory, and may be run again. The environment variable `COURSE_REPO` names another place to
fetch the course from: any address that git takes.
"""

from course_lib.address import REPOSITORY, TAG

__all__ = ["badge_row", "first_cell", "notebook_links"]

# `ADDRESS` and `TAG` are filled in below.
TEMPLATE = '''\
# Finds the course, or fetches it, and reports on this machine. You can run this cell again.
import os
import subprocess
import sys
from pathlib import Path


class CannotStart(Exception):
    def _render_traceback_(self):  # Jupyter shows the sentence alone, without a traceback
        return [str(self)]


repo = os.environ.get("COURSE_REPO") or "ADDRESS"
places = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "next-token-TAG"]
if not any((place / "course_lib" / "__init__.py").is_file() for place in places):
    fetch = ["git", "clone", "--depth", "1", "--branch", "TAG", repo, str(places[-1])]
    quiet = {"stdin": subprocess.DEVNULL, "env": {**os.environ, "GIT_TERMINAL_PROMPT": "0"}}
    try:
        subprocess.run(fetch, check=True, capture_output=True, errors="replace", **quiet)
    except FileNotFoundError:
        raise CannotStart(f"git is missing. Install it, or download all of {repo}.") from None
    except subprocess.CalledProcessError as error:
        why = (error.stderr.splitlines() or ["git gave no reason"])[-1]
        advice = "Check the network; on Kaggle, turn on Internet in the settings."
        raise CannotStart(f"{repo} cannot be fetched ({why}). {advice}") from None
root = next(place for place in places if (place / "course_lib" / "__init__.py").is_file())
if str(root) not in sys.path:
    sys.path.insert(0, str(root))

import course_lib

course_lib.setup()
'''


def first_cell(repository: str = REPOSITORY, tag: str = TAG) -> str:
    """The source of the cell `setup`, the same in every notebook."""
    return TEMPLATE.replace("ADDRESS", f"https://github.com/{repository}").replace("TAG", tag)


def notebook_links(notebook: str, repository: str = REPOSITORY, tag: str = TAG) -> dict[str, str]:
    """Where one notebook, such as "03_attention.ipynb", opens: {"Colab": ..., "Kaggle": ...}."""
    path = f"{repository}/blob/{tag}/notebooks/{notebook}"
    return {
        "Colab": f"https://colab.research.google.com/github/{path}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{path}",
        "nbviewer": f"https://nbviewer.org/github/{path}",
    }


def badge_row(notebook: str, repository: str = REPOSITORY, tag: str = TAG) -> str:
    """The row of badges under a notebook's title, as one line of markdown."""
    links = notebook_links(notebook, repository, tag)
    badges = [
        ("Open in Colab", "https://colab.research.google.com/assets/colab-badge.svg", "Colab"),
        ("Open in Kaggle", "https://kaggle.com/static/images/open-in-kaggle.svg", "Kaggle"),
        (
            "View on nbviewer",
            "https://raw.githubusercontent.com/jupyter/design/main/logos/Badges/nbviewer_badge.svg",
            "nbviewer",
        ),
    ]
    return " ".join(f"[![{alt}]({image})]({links[place]})" for alt, image, place in badges)
