"""The exercises of the course, and what a notebook needs to use them.

    from course_lib.exercises import ____, exercise, find_the_bug, hint, predict, quiz, reveal

`exercise` checks your answer; `hint()`, `solution()`, `check()` and `reset()` speak of the exercise
that you ran last, or of the one you name; `progress()` shows what is done; `yours(id)` brings your
own answer into a later chapter. On the command line, `python -m course_lib exercises` shows what is
solved, `... exercises list` what there is, and `... exercises report` how good the checks are.
"""

from course_lib.grading.reader import (
    ____,
    check,
    exercise,
    find_the_bug,
    hint,
    order_lines,
    predict,
    quiz,
    reset,
    reveal,
    solution,
    stub_source,
    task_text,
    yours,
)
from course_lib.grading.reader import show_progress as progress

__all__ = [
    "____", "check", "exercise", "find_the_bug", "hint", "main", "order_lines", "predict",
    "progress", "quiz", "reset", "reveal", "solution", "stub_source", "task_text", "yours",
]  # fmt: skip


def main(argv: list[str]) -> int:
    """`python -m course_lib exercises [progress | list | report | stub ID | solution ID]`."""
    from course_lib.grading import report

    return report.main(argv)
