"""What can be said about notebooks and library without running them; each check can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import mini_course
import pytest
import static_checks

from course_lib import figures, sync

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sync.chapters(ROOT)


def name(each) -> str:
    return getattr(each, "word", None) or each.__name__


@pytest.mark.parametrize("check", static_checks.NOTEBOOK_CHECKS, ids=name)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_notebook(chapter, check):
    assert not check(chapter)


@pytest.mark.parametrize("check", static_checks.MODULE_CHECKS, ids=name)
@pytest.mark.parametrize("chapter", static_checks.with_module(ROOT), ids=name)
def test_module(chapter, check):
    assert not check(chapter.module)


@pytest.mark.parametrize("check", static_checks.HOUSE_CHECKS, ids=name)
def test_house(check):
    assert not check(ROOT)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_sync_has_nothing_to_do(chapter):
    assert not sync.check(chapter)


def test_figures_are_current():
    assert not figures.stale_figures()


def test_ruff_is_clean():
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    done = subprocess.run([ruff, "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_pages_have_alt_texts(path):
    assert not static_checks.pictures_without_alt(path.read_text(encoding="utf-8"))


# Every check is seen to be silent on a course without faults, and to find a fault that is planted.

APPLE = "notebooks/01_apple.ipynb"


def complaints(root, check) -> list[str]:
    chapter = sync.chapters(root)[0]
    if check in static_checks.NOTEBOOK_CHECKS:
        return check(chapter)
    return check(chapter.module if check in static_checks.MODULE_CHECKS else root)


ALL = static_checks.NOTEBOOK_CHECKS + static_checks.MODULE_CHECKS + static_checks.HOUSE_CHECKS


@pytest.mark.parametrize("check", ALL, ids=name)
def test_silent_without_a_fault(synced, check):
    assert not complaints(synced, check)


def in_cell(cell_id, **changes):
    def plant(root):
        mini_course.change_cell(root, APPLE, cell_id, lambda cell: cell.update(changes))

    return plant


def in_notebook(change):
    return lambda root: mini_course.change_cell(root, APPLE, None, change)


def in_text(path, old, new):
    return lambda root: mini_course.edit(root, path, old, new)


def added(path, text):
    def plant(root):
        (root / path).parent.mkdir(exist_ok=True)
        with (root / path).open("a", encoding="utf-8") as file:
            file.write(text)

    return plant


def output(**content):
    return in_cell("apple-weigh", outputs=[content])


def prose(text):
    return in_cell("apple-text", source=[text])


def code(text):
    return in_cell("apple-weigh", source=text.splitlines(True))


def ignore_all(notebook):
    for cell in notebook["cells"]:
        cell["metadata"]["tags"] = ["nbval-ignore-output"]


def drop_checkpoint(notebook):
    del notebook["cells"][-1]


MODULE = "course_lib/apple.py"
OLD_LINE = "apple: 3 of 4 definitions equal the library's\none apple: 1 here, 1 in the library\n"
STREAM = {"output_type": "stream", "name": "stdout"}
FAULTS = [
    ("same_text", in_text(MODULE, "/ 1000", "/ 100"), "define `weigh` differently"),
    ("same_text", code("print(1)"), "`weigh` differently"),
    ("ran_in_order", in_cell("apple-weigh", execution_count=None), "None, not 5"),
    ("ran_in_order", in_cell("apple-weigh", execution_count=7), "7, not 5"),
    (
        "stored_outputs",
        output(output_type="error", ename="KeyError", evalue="x", traceback=[]),
        "KeyError",
    ),
    ("stored_outputs", output(output_type="stream", name="stderr", text=["hm"]), "stderr"),
    ("stored_outputs", output(**STREAM, text=["<f at 0x7f01c0ffee>"]), "address"),
    (
        "stored_outputs",
        output(output_type="display_data", metadata={}, data={"image/png": "aGk="}),
        "without `show",
    ),
    (
        "checkpoint_in_step",
        in_cell("checkpoint", outputs=[{**STREAM, "text": [OLD_LINE]}]),
        "says 3 of 4",
    ),
    ("checkpoint_in_step", in_cell("checkpoint", outputs=[]), "has not printed"),
    (
        "checkpoint_in_step",
        in_cell("checkpoint", outputs=[{**STREAM, "text": [OLD_LINE.replace("3", "4")[:46]]}]),
        "no number",
    ),
    ("checkpoint_in_step", in_notebook(drop_checkpoint), "not `checkpoint`"),
    ("checkpoint_in_step", in_cell("checkpoint", source=["1"]), "does not call"),
    ("tidy", in_cell("apple-weigh", metadata={"collapsed": True}), "metadata"),
    ("tidy", in_notebook(lambda notebook: notebook["metadata"].update(widgets={})), "metadata"),
    ("first_cell", in_cell("setup", id="begin"), "not `setup`"),
    ("few_ignored", in_notebook(ignore_all), "outputs are ignored"),
    ("short_cells", code("x = 1\n" * 41), "41 lines"),
    ("cell_ids", in_cell("apple-weigh", id="apple-class"), "two cells"),
    ("cell_ids", in_cell("apple-weigh", id="3fa9c2d1"), "does not say"),
    ("cell_ids", in_cell("apple-weigh", id="cell-12"), "does not say"),
    (
        "measured_numbers",
        prose('It is <span data-measured="apple-weigh">0.16</span>.'),
        "does not print it",
    ),
    ("measured_numbers", prose('<span data-measured="apple-weigh">0.1</span>'), "does not print"),
    ("measured_numbers", prose('<span data-measured="apple-x">0.15</span>'), "no code cell"),
    ("measured_numbers", prose("<span data-measured='apple-weigh'>0.15</span>"), "be read"),
    ("alt_texts", prose("![](a.png)"), "no alt text"),
    ("alt_texts", prose('<img src="a.png" alt="">'), "no alt text"),
    ("alt_texts", code('show_svg("apple-line")'), "no alt text"),
    ("alt_texts", code('show(fig, alt="")'), "no alt text"),
    ("notebook_imports", code("from course_lib.basket import Basket"), "later chapter"),
    ("nothing_hidden", added(MODULE, "\n\ndef _core():\n    return 1\n"), "`_core` is not in"),
    ("nothing_hidden", added(MODULE, "\nfor x in ():\n    pass\n"), "neither an import nor"),
    ("nothing_hidden", in_text(MODULE, '"weigh"]', '"weigh", "pip"]'), "lists `pip`"),
    (
        "short_definitions",
        added(MODULE, "\n\ndef long():\n" + "    x = 1\n" * 40),
        "`long` has 41 lines",
    ),
    ("documented", in_text(MODULE, '"""Its mass in kilograms."""', ""), "`weigh` has no docstring"),
    (
        "arrows",
        in_text(
            MODULE, "from dataclasses", "from course_lib.basket import Basket\nfrom dataclasses"
        ),
        "the arrow runs back",
    ),
    (
        "arrows",
        added("course_lib/plotting.py", "\nfrom course_lib.apple import weigh\n"),
        "plotting imports course_lib.apple",
    ),
    (
        "arrows",
        added("course_lib/exercises/apple.py", "from course_lib import basket\n"),
        "imports course_lib.basket",
    ),
    ("arrows", added(MODULE, "\nfrom . import world\n"), "relative import"),
    (
        "arrows",
        added("course_lib/plotting.py", "\nfrom course_lib.bench.measure import Goal\n"),
        "plotting imports course_lib.bench",
    ),
    ("one_word", lambda root: (root / "tests/test_apple.py").unlink(), "test_apple.py is missing"),
    ("one_word", lambda root: (root / "figures/apple-line.svg").unlink(), "apple-*.svg is missing"),
    ("one_word", added("course_lib/exercises/pear.py", "x = 1\n"), "belongs to no chapter"),
    ("one_word", added("figures/pear.py", "x = 1\n"), "pear.py belongs to no chapter"),
    ("machine_marks", added("README.md", "see /ho" + "me/ada/course\n"), "README.md:1 names"),
    (
        "machine_marks",
        added("requirements.txt", "--extra-index-url https://example.org\n"),
        "names an index",
    ),
]


@pytest.mark.parametrize(
    ("check", "plant", "complaint"), FAULTS, ids=[f"{f[0]}-{i}" for i, f in enumerate(FAULTS)]
)
def test_fault_is_found(mini, check, plant, complaint):
    plant(mini)
    found = complaints(mini, getattr(static_checks, check))
    assert any(complaint in each for each in found), found


def test_a_tool_above_all_chapters_may_import_them(mini):
    added("course_lib/bench/pear.py", "from course_lib.basket import Basket\n")(mini)
    added("course_lib/peach/pear.py", "from course_lib.basket import Basket\n")(mini)
    (found,) = static_checks.arrows(mini)
    assert "course_lib.peach.pear imports course_lib.basket" in found


def test_every_check_has_a_planted_fault():
    assert {check.__name__ for check in ALL} == {fault[0] for fault in FAULTS}


def test_other_first_cell(mini):
    mini_course.edit(
        mini, "notebooks/02_basket.ipynb", "# Finds the course", "# Looks for the course"
    )
    assert static_checks.first_cell(sync.chapters(mini)[1])


def test_stale_outputs_are_told(mini):
    mini_course.edit(mini, MODULE, "/ 1000", "/ 100")
    assert any("older than its code" in each for each in sync.check(sync.chapters(mini)[1]))


def test_stale_figure_is_told(mini, monkeypatch):
    done = mini_course.tool(mini, "figures", "--check")
    assert done.returncode == 0, done.stdout
    added("figures/apple.py", "x = 1\n")(mini)
    done = mini_course.tool(mini, "figures", "--check")
    assert done.returncode == 1
    assert "apple-line.svg is older" in done.stdout and "basket" not in done.stdout
