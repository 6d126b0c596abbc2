"""The notebooks as a reader leaves them: run from top to bottom with the exercises filled in.

In every chapter the first exercise is answered wrongly first, in a cell of its own; then all are
solved. One folder keeps the answers from chapter to chapter, as it does for a reader, so that the
attention of chapter 3 arrives in the GPT of chapter 5. Training is cut short: what is learned is
the business of the notebooks' own run.
"""

import copy

import nbformat
import pytest

from course_lib import sync
from course_lib.grading import registry, source
from course_lib.grading.registry import find
from course_lib.kernel import kernel_environment, run_notebook

CHAPTERS = [chapter for chapter in sync.chapters() if chapter.word in registry.CHAPTERS]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The reader's folder, the same in all chapters."""
    return tmp_path_factory.mktemp("reader")


def as_text(cell) -> str:
    """What a cell has shown, as text."""
    shown = [(out.get("text"), out.get("data", {}).get("text/plain", "")) for out in cell.outputs]
    return "\n".join(text or plain for text, plain in shown)


def exercise_id(cell) -> str:
    return cell.id.removeprefix("exercise-")


def filled_in(chapter: sync.Chapter):
    """The notebook with every exercise solved, and the first one answered wrongly before that."""
    notebook = nbformat.read(chapter.notebook, as_version=4)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("@exercise("):
            item = find(f"{chapter.word}.{exercise_id(cell)}")
            if not any(each.id.endswith("-answered-wrong") for each in cells):
                wrong = copy.deepcopy(cell)
                wrong.id += "-answered-wrong"
                text = source.patched(item.bare, item.mistakes[0].variants[0])
                wrong.source = f'@exercise("{item.id}")\n{text}'
                cells.append(wrong)
            cell.source = f'@exercise("{item.id}")\n{item.solution}'
        cells.append(cell)
    notebook.cells = cells
    return notebook


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.word)
def test_solved_notebook_runs_with_the_readers_answers(chapter, home):
    notebook = filled_in(chapter)
    environment = kernel_environment(home, COURSE_STEPS="20")
    environment.pop("COURSE_DATA", None)
    run_notebook(notebook, chapter.notebook.parent, environment)  # raises where a cell does
    assert not [
        cell.id
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    shown = {cell.id: as_text(cell) for cell in notebook.cells if cell.cell_type == "code"}
    answers = {id: text for id, text in shown.items() if id.startswith("exercise-")}
    (wrong,) = [answers.pop(id) for id in list(answers) if id.endswith("-answered-wrong")]
    assert "not right yet" in wrong
    assert len(answers) == len(registry.exercise_ids(chapter.word))
    assert not {id for id, text in answers.items() if ": right" not in text}
    everything = "\n".join(shown.values())
    assert "the course's version (" not in everything  # `yours` has found every saved answer
