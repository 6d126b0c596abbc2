"""The machinery behind the exercises: one source per exercise, and everything derived from it.

An exercise is an ordinary, correct function in `course_lib/exercises/<chapter>.py`, decorated with
`define(...)`. The lines a reader has to write carry the marker `#| hint comment`. From that one
function come the stub, the solution, the course's version that stands in for a missing answer, the
check, and the find-the-bug questions.

    source     text of functions: stubs, solutions, patches
    registry   what an exercise, a mistake, a prediction and a question are; where they are found
    probes     inputs that never change
    runner     run somebody's function with a time limit
    compare    is it the same value, and if not, how are the two related?
    verdict    judge one answer
    show       one object with a text face and an HTML face
    progress   the reader's record, as JSON in the reader's own folder
    own        the reader's accepted answers, as ordinary Python modules
    quiz       predictions, questions, find the bug, order the lines
    reader     what a notebook imports (through `course_lib.exercises`)
    mutants    blind changes of a reference, to test the checks
    report     how good the checks are, in numbers

Nothing here imports torch: a chapter's exercises do that when they are first needed.
"""

from course_lib.grading.probes import edge, mixed, wave, whole
from course_lib.grading.reader import stub_source, task_text
from course_lib.grading.registry import (
    Mistake,
    define,
    exercise_ids,
    parsons,
    prediction,
    question,
)

__all__ = [
    "Mistake", "define", "edge", "exercise_ids", "mixed", "parsons", "prediction", "question",
    "stub_source", "task_text", "wave", "whole",
]  # fmt: skip
