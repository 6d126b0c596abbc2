"""A whole course in miniature, in a folder of its own: two chapters, no torch, run in seconds.

The tools are tested on it, and every static check is seen to find a fault that is planted in it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.grading.registry import CHAPTERS

REAL = Path(__file__).resolve().parent.parent

APPLE = '''"""Chapter 1: one apple, with every kind of definition that a chapter may have."""

from dataclasses import dataclass

__all__ = ["GRAMS", "Apple", "Colour", "weigh"]

GRAMS = 150  # a middling one


@dataclass(frozen=True)
class Apple:
    """An apple of so many grams."""

    grams: int = GRAMS


class Colour:
    """A class without methods."""

    ripe = "red"


def weigh(apple: Apple) -> float:
    """Its mass in kilograms."""
    return apple.grams / 1000
'''

BASKET = '''"""Chapter 2: a basket of apples."""

from course_lib.apple import Apple, weigh

__all__ = ["Basket"]


class Basket:
    """Holds apples."""

    def __init__(self, apples: list[Apple]):
        self.apples = apples

    def weight(self) -> float:
        """In kilograms."""
        return sum(weigh(apple) for apple in self.apples)
'''

# The course's own first cell reports on the machine and imports torch for it: seconds per notebook.
FIRST_CELL = '''"""The parts at the top of every notebook, in miniature."""

SETUP = """# Finds the course.
import pathlib, sys
here = pathlib.Path.cwd()
sys.path.insert(0, str(next(p for p in [here, *here.parents] if (p / "course_lib").is_dir())))"""


def first_cell() -> str:
    return SETUP


def badge_row(notebook: str) -> str:
    return f"[![Open in Colab](badge.svg)](https://example.org/{notebook})"
'''
SETUP = "print('replaced by sync')"

APPLE_CELLS = [
    ("markdown", "header", "# 1 · Apple\n\nYou weigh an apple."),
    ("code", "setup", SETUP),
    (
        "code",
        "imports",
        "from dataclasses import dataclass\n\nfrom course_lib.plotting import show_svg",
    ),
    ("code", "apple-first-try", "def weigh(grams):\n    return grams"),
    (
        "code",
        "apple-class",
        "GRAMS = 1\n\n@dataclass\nclass Apple:\n    pass\n\nclass Colour: pass",
    ),
    ("code", "apple-weigh", "def weigh(): pass\n\nprint(f'{weigh(Apple()):.2f} kg')"),
    ("markdown", "apple-text", 'It weighs <span data-measured="apple-weigh">0.15</span> kg.'),
    ("code", "apple-picture", 'show_svg("apple-line", alt="A line.")'),
    (
        "code",
        "checkpoint",
        "from course_lib.checkpoint import checkpoint\n"
        'checkpoint("apple", one_apple=lambda lib: lib.weigh(lib.Apple()))',
    ),
]

BASKET_CELLS = [
    ("markdown", "header", "# 2 · Basket\n\nYou fill a basket."),
    ("code", "setup", SETUP),
    ("code", "imports", "from course_lib.apple import Apple, weigh"),
    ("code", "basket-class", "class Basket: pass"),
    ("code", "basket-weight", "print(f'{Basket([Apple(), Apple(250)]).weight():.2f} kg')"),
    (
        "code",
        "checkpoint",
        "from course_lib.checkpoint import checkpoint\n"
        'checkpoint("basket", two=lambda lib: lib.Basket([Apple(), Apple()]).weight())',
    ),
]

FIGURE = '''"""The figure of chapter 1."""

from course_lib.plotting import COLORS, new_figure, save_figure

fig, ax = new_figure(3, 2)
ax.plot([1, 2], [1, 2], color=COLORS["query"])
save_figure(fig, "WORD-line")
'''


def notebook(cells) -> dict:
    """The notebook with these cells, (kind, id, source) each, not yet run."""
    made = []
    for kind, cell_id, source in cells:
        cell = {"cell_type": kind, "id": cell_id, "metadata": {}, "source": source.splitlines(True)}
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
        made.append(cell)
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def build(root: Path) -> Path:
    """Write the miniature course into an empty folder; its notebooks are not in step yet."""
    for room in ("course_lib", "notebooks", "tests", "figures"):
        (root / room).mkdir(parents=True)
    for path in (REAL / "course_lib").glob("*.py"):
        if path.stem not in CHAPTERS:
            shutil.copy(path, root / "course_lib")
    (root / "course_lib" / "first_cell.py").write_text(FIRST_CELL, encoding="utf-8")
    for number, word, text, cells in (
        (1, "apple", APPLE, APPLE_CELLS),
        (2, "basket", BASKET, BASKET_CELLS),
    ):
        (root / "course_lib" / f"{word}.py").write_text(text, encoding="utf-8")
        (root / "tests" / f"test_{word}.py").write_text("", encoding="utf-8")
        (root / "figures" / f"{word}.py").write_text(FIGURE.replace("WORD", word), encoding="utf-8")
        path = root / "notebooks" / f"{number:02d}_{word}.ipynb"
        path.write_text(json.dumps(notebook(cells)), encoding="utf-8")
    return root


def tool(root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run one of the tools, as a reader would, in the miniature course."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COURSE_FIGURES")}
    environment["PYTHONPATH"] = str(root)
    code = f"import sys; from course_lib.{name} import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def edit(root: Path, path: str, old: str, new: str) -> None:
    """Replace one passage of a file; it must be there once."""
    text = (root / path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    (root / path).write_text(text.replace(old, new), encoding="utf-8")


def change_cell(root: Path, path: str, cell_id: str, change) -> None:
    """Give the cell of that id (for None, the whole notebook) to `change`, and save."""
    content = json.loads((root / path).read_text(encoding="utf-8"))
    change(next((cell for cell in content["cells"] if cell["id"] == cell_id), content))
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (root / path).write_text(text, encoding="utf-8")
