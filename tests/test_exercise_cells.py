"""The exercises where readers meet them: the cells of the notebooks.

The cells of each notebook that define something are executed here, without kernel, training or
figures, and then its exercise cells: as they stand, all solved, and with one wrong answer.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from course_lib.grading import progress, reader, registry, source
from course_lib.grading.registry import Prediction, Question, find

ROOT = Path(__file__).parent.parent
CHAPTERS = [c for c in registry.CHAPTERS if list(ROOT.glob(f"notebooks/*_{c}.ipynb"))]
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
CALLS = re.compile(r"^(predict|reveal|quiz|find_the_bug|order_lines)\(\s*\"([\w.]+)\"", re.M)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder of its own for every test, and a session in which nothing has happened."""
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setattr(reader, "_session", {"current": None, "functions": {}, "hints": {}})
    monkeypatch.setattr(progress, "_memory", {})


def cells(chapter: str) -> list[dict]:
    """The cells of a chapter's notebook, their sources as texts."""
    path = next(ROOT.glob(f"notebooks/*_{chapter}.ipynb"))
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def code(chapter: str) -> list[str]:
    return [c["source"] for c in cells(chapter) if c["cell_type"] == "code"]


def exercise_cells(chapter: str) -> dict[str, str]:
    """The source of each exercise's cell, by id, in the notebook's order."""
    found = (re.match(r'@exercise\("([\w.]+)"\)', text) for text in code(chapter))
    return {m[1]: m.string for m in found if m and m[1].startswith(chapter + ".")}


def namespace(chapter: str) -> dict:
    """What the notebook's imports, constants and definitions make, exercises left out."""
    names = set(importlib.import_module(f"course_lib.{chapter}").__all__)
    space = {"__name__": "notebook"}
    for text in code(chapter):
        if text.startswith(("@exercise", "%", "!")) or "import pathlib, sys" in text:
            continue
        for node in ast.parse(text).body:
            constant = isinstance(node, (ast.Assign, ast.AnnAssign)) and names & {
                n.id for n in ast.walk(node) if isinstance(n, ast.Name)
            } & {
                getattr(t, "id", "")
                for t in getattr(node, "targets", [node.__dict__.get("target")])
            }
            if isinstance(node, DEFINITIONS) or constant:
                exec(compile(ast.Module([node], []), "<notebook>", "exec"), space)
    return space


def run_cells(chapter: str, texts: dict[str, str], capsys, space=None) -> dict[str, tuple]:
    """Run exercise cells in order; (what the name is bound to, what was shown) by id."""
    space, results = space or namespace(chapter), {}
    for id, text in texts.items():
        capsys.readouterr()
        function = source.build(text, space, "cell")
        space[find(id).function_name] = function
        results[id] = function, capsys.readouterr().out
    return results


def with_decorator(id: str, text: str) -> str:
    return f'@exercise("{id}")\n{text}'


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_has_its_cells(chapter):
    ids, found = registry.exercise_ids(chapter), exercise_cells(chapter)
    assert set(found) == set(ids)
    places = {cell["id"]: i for i, cell in enumerate(cells(chapter))}
    for id in ids:
        name = id.partition(".")[2]
        assert found[id] == reader.stub_source(id)
        assert places[f"exercise-{name}-text"] < places[f"exercise-{name}"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_reader_can_ask_for_help_in_every_chapter(chapter):
    missing = {"check", "hint", "reset", "solution"} - set(namespace(chapter))
    assert not missing


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_predictions_come_before_what_they_predict(chapter):
    calls = CALLS.findall("\n".join(code(chapter)))
    for kind, id in calls:
        if kind in ("predict", "reveal"):
            assert find(id, Prediction).id == id
            assert calls.index(("predict", id)) < calls.index(("reveal", id))
        elif kind == "quiz":
            assert find(id, Question).id == id
    assert sum(kind == "predict" for kind, _ in calls) >= 2
    assert sum(kind == "quiz" for kind, _ in calls) >= 2
    assert sum(kind == "find_the_bug" for kind, _ in calls) >= (chapter != "next_token")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_unfilled_cells_show_that_they_are_and_stop_nothing(chapter, capsys):
    for id, (bound, shown) in run_cells(chapter, exercise_cells(chapter), capsys).items():
        assert bound is find(id).reference
        assert f"{id}: not yet: " in shown


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solved_cells_are_right_with_the_names_of_the_notebook(chapter, capsys):
    texts = {id: with_decorator(id, find(id).solution) for id in exercise_cells(chapter)}
    for id, (bound, shown) in run_cells(chapter, texts, capsys).items():
        assert f"{id}: right" in shown, shown
        assert bound is not find(id).reference


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_wrong_cell_stops_nothing_either(chapter, capsys):
    texts = {id: with_decorator(id, find(id).solution) for id in exercise_cells(chapter)}
    first = find(next(iter(texts)))
    wrong = source.patched(first.bare, first.mistakes[0].variants[0])
    texts[first.id] = with_decorator(first.id, wrong)
    results = run_cells(chapter, texts, capsys)
    bound, shown = results.pop(first.id)
    assert bound is first.reference and f"{first.id}: not right yet" in shown
    assert all(": right" in shown for _, shown in results.values())


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_checks_do_not_lean_on_the_library(chapter, capsys, monkeypatch):
    """With every function of the chapter's module broken, right answers are right all the same."""
    texts = {id: with_decorator(id, find(id).solution) for id in exercise_cells(chapter)}
    space = namespace(chapter)
    module = importlib.import_module(f"course_lib.{chapter}")

    def broken(*_, **__):
        raise AssertionError("the check leans on the library")

    for name in module.__all__:
        if callable(getattr(module, name)):
            monkeypatch.setattr(module, name, broken)
    for id, (_, shown) in run_cells(chapter, texts, capsys, space).items():
        assert f"{id}: right" in shown


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_solution_stands_in_the_notebook(chapter):
    shown = []
    for cell in cells(chapter):
        shown += [cell["source"]] if cell["cell_type"] == "markdown" else []
        for output in cell.get("outputs", []):
            for value in [output.get("text", ""), *output.get("data", {}).values()]:
                shown.append(value if isinstance(value, str) else "".join(map(str, value)))
    everything = "\n".join(shown)
    for id in registry.exercise_ids(chapter):
        assert "The course's own solution" not in everything
        solution, stub = find(id).bare.splitlines(), source.stub_text(find(id).text)
        answers = [line.strip() for line in solution if line.strip() not in stub]
        assert not all(line in everything for line in answers), id
