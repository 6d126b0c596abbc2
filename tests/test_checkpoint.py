"""The checkpoint cell: what it prints for a kernel that holds this or that."""

import linecache
import sys
import types

import pytest

from course_lib import checkpoint as subject

LIBRARY = '''"""A chapter."""

from dataclasses import dataclass
from functools import wraps

__all__ = ["SIZE", "Box", "Mark", "half", "Pile"]

SIZE = 4


@dataclass(frozen=True)
class Box:
    """A box."""

    side: int = SIZE


class Mark:
    ink = "black"


def half(x: float) -> float:
    """Half of it."""
    return x / 2


class Pile:
    """Boxes."""

    def __init__(self, boxes):
        self.boxes = boxes

    def height(self) -> float:
        return sum(half(box.side) for box in self.boxes)
'''


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A chapter `boxes` of the course, as a module on disk."""
    path = tmp_path / "boxes.py"
    path.write_text(LIBRARY, encoding="utf-8")
    module = types.ModuleType("course_lib.boxes")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "course_lib.boxes", module)
    exec(compile(LIBRARY, str(path), "exec"), module.__dict__)
    return module


class Kernel:
    """Runs cells as IPython does: one namespace, each cell's text in `linecache`."""

    def __init__(self):
        self.names = {"__name__": "__main__"}
        self.made = []

    def run(self, *cells):
        for cell in cells:
            filename = f"<a cell {id(self)} {len(self.made)}>"
            self.made.append(filename)
            linecache.cache[filename] = (len(cell), None, cell.splitlines(True), filename)
            exec(compile(cell, filename, "exec"), self.names)


@pytest.fixture
def kernel():
    made = Kernel()
    yield made
    for filename in made.made:
        linecache.cache.pop(filename, None)


CELLS = [part.strip("\n") for part in LIBRARY.split("\n\n\n")]
CELLS[0] = "from dataclasses import dataclass\nSIZE = 4"
CHECK = """
from course_lib.checkpoint import checkpoint
checkpoint("boxes", height_of_two=lambda lib: lib.Pile([lib.Box(), lib.Box(2)]).height())
"""
GOOD = (
    "boxes: 5 of 5 definitions equal the library's\nheight of two: 3.00 here, 3.00 in the library\n"
)


def test_all_equal(chapter, kernel, capsys):
    kernel.run(*CELLS, CHECK)
    assert capsys.readouterr().out == GOOD
    assert subject.not_in_step(GOOD) is None


def test_comments_and_layout_do_not_count(chapter, kernel, capsys):
    kernel.run(
        *[cell.replace("self.boxes = boxes", "self.boxes  =  boxes  # why\n") for cell in CELLS],
        CHECK,
    )
    assert capsys.readouterr().out == GOOD


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("return x / 2", "return x / 3", "half"),
        ("side: int = SIZE", "side: int = SIZE + 1", "Box"),
        ("@dataclass(frozen=True)", "@dataclass", "Box"),
        ('ink = "black"', 'ink = "blue"', "Mark"),
        ("in self.boxes)", "in self.boxes[1:])", "Pile"),
        ("SIZE = 4", "SIZE = 5", "SIZE"),
    ],
)
def test_a_change_is_named_and_shown(chapter, kernel, capsys, old, new, name):
    kernel.run(*[cell.replace(old, new) for cell in CELLS], CHECK)
    out = capsys.readouterr().out
    assert out.startswith("boxes: 4 of 5 definitions equal the library's\n")
    assert f"  {name}: changed here" in out
    assert any(line.startswith("    -") and new in line for line in out.splitlines())
    assert any(line.startswith("    +") and old in line for line in out.splitlines())
    assert "4 of 5" in subject.not_in_step(out)


def test_the_number_moves_with_the_mistake(chapter, kernel, capsys):
    kernel.run(*[cell.replace("x / 2", "x * 2") for cell in CELLS], CHECK)
    out = capsys.readouterr().out
    assert "height of two: 12 here, 3.00 in the library  (these differ)" in out


def test_a_wrong_number_alone_is_not_in_step():
    text = GOOD.replace("3.00 here, 3.00 in the library", "2.99 here, 3.00 in the library")
    assert "2.99" in subject.not_in_step(text)
    assert subject.not_in_step("") is not None


def test_first_and_last_version_of_a_name(chapter, kernel, capsys):
    kernel.run(CELLS[0], "def half(x):\n    return 0", *CELLS[1:], CHECK)
    assert capsys.readouterr().out == GOOD
    kernel.run("def half(x):\n    return 0", CHECK)
    assert "4 of 5" in capsys.readouterr().out


def test_description_alone(chapter, kernel, capsys):
    kernel.run(*[cell.replace("Half of it.", "A half.") for cell in CELLS], CHECK)
    out = capsys.readouterr().out
    assert "  half: only its description differs" in out


def test_not_run_and_imported(chapter, kernel, capsys):
    kernel.run(*CELLS[:-1], CHECK)
    assert "  Pile: not defined here yet" in capsys.readouterr().out
    kernel.run("from course_lib.boxes import Pile", CHECK)
    assert "  Pile: imported from the library" in capsys.readouterr().out


def test_a_decorated_function_is_unwrapped(chapter, kernel, capsys):
    loud = (
        "from functools import wraps\n"
        "def loud(f):\n    @wraps(f)\n    def g(*a):\n        return f(*a)\n    return g"
    )
    kernel.run(*CELLS, loud, "half = loud(half)", CHECK)
    assert capsys.readouterr().out == GOOD


def test_nothing_is_raised(chapter, kernel, capsys):
    kernel.run(*[cell.replace("return x / 2", "return x / 0") for cell in CELLS], CHECK)
    out = capsys.readouterr().out
    assert "height of two: ZeroDivisionError" in out and "3.00 in the library" in out


def test_another_function_under_the_name(chapter, kernel, capsys):
    kernel.run(*CELLS[:3], CELLS[3] + "\n\nother = lambda x: x\nhalf = other", CELLS[4], CHECK)
    out = capsys.readouterr().out
    assert out.startswith("boxes: 4 of 5")
    assert "  half: its text cannot be read here" in out


def test_source_that_is_gone(chapter, kernel, capsys):
    kernel.run(*CELLS)
    for filename in kernel.made:
        linecache.cache.pop(filename, None)
    kernel.run(CHECK)
    out = capsys.readouterr().out
    assert out.startswith("boxes: 1 of 5") and "  half: its text cannot be read here" in out


def test_accepted_answer(chapter, kernel, capsys, monkeypatch):
    from course_lib.grading import reader

    kernel.run(*CELLS, "def half(x):\n    return x * 0.5")
    answers = {"boxes.half": kernel.names["half"]}
    monkeypatch.setitem(reader._session, "functions", answers)
    kernel.run(CHECK)
    out = capsys.readouterr().out
    assert "  half: your own accepted answer stands here" in out
    assert "height of two: 3.00 here, 3.00 in the library\n" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0, "0.00"), (1234567, "1,234,567"), (0.125, "0.12"), ("a", "a"), (True, "True")],
)
def test_numbers_are_printed_stably(value, text):
    assert subject._number(lambda lib: value, None) == text


def test_numbers_start_from_the_same_seed(chapter, kernel, capsys):
    pytest.importorskip("torch")
    kernel.run(*CELLS, "import torch")
    kernel.run(
        "from course_lib.checkpoint import checkpoint\n"
        'checkpoint("boxes", drawn=lambda lib: torch.rand(()).item())'
    )
    assert subject.not_in_step(capsys.readouterr().out) is None


def test_find_definition_takes_the_last_with_its_decorators():
    text = "def f():\n    return 1\n\n@cache\ndef f():\n    return 2\n\nx, y = 1, 2\nz: int = 3\n"
    assert subject.find_definition(text, "f") == "@cache\ndef f():\n    return 2"
    assert subject.find_definition(text, "y") == "x, y = 1, 2"
    assert subject.find_definition(text, "z") == "z: int = 3"
    assert subject.find_definition(text, "g") is None
