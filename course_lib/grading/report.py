"""How good the checks are, in numbers: `python -m course_lib exercises report`.

The right and wrong answers come from `tests/answers`, written without looking at the mistakes'
patches: other styles, other names.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading import mutants, reader, registry, verdict

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Row:
    """The numbers of one chapter; pairs are (good, total)."""

    chapter: str
    exercises: int
    mistakes: int
    mutants: tuple[int, int]
    wrong: tuple[int, int]  # named, of all
    right: tuple[int, int]  # accepted, of all


def answers(chapter: str) -> tuple[list, list]:
    """(id, function) of right answers, and (id, keys, function) of wrong ones."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    module = importlib.import_module(f"answers.{chapter}")
    return module.RIGHT, module.WRONG


def named(item: registry.Exercise, keys: tuple[str, ...], function: Callable) -> bool:
    """Is this wrong answer rejected, and by the name of what is wrong with it?"""
    found = verdict.judge(item, function)
    kinds = ("mistake", "two", "like", "random", "relation")
    return found.kind in kinds and set(found.keys) <= set(keys)


def row(chapter: str, with_mutants: bool = True) -> Row:
    """Measure one chapter."""
    items = [registry.find(i) for i in registry.exercise_ids(chapter)]
    every = [(item, text) for item in items if with_mutants for _, text in mutants.mutants(item)]
    rejected = sum(not mutants.survives(item, text) for item, text in every)
    right, wrong = answers(chapter)
    return Row(
        chapter,
        len(items),
        sum(len(item.mistakes) for item in items),
        (rejected, len(every)),
        (sum(named(registry.find(i), keys, f) for i, keys, f in wrong), len(wrong)),
        (sum(verdict.judge(registry.find(i), f).right for i, f in right), len(right)),
    )


def table(rows: list[Row]) -> str:
    """The rows and their sum as text."""
    total = Row("all", *(sum(getattr(r, name) for r in rows) for name in ("exercises", "mistakes")),
                *(tuple(map(sum, zip(*(getattr(r, name) for r in rows))))
                  for name in ("mutants", "wrong", "right")))  # fmt: skip
    head = ("chapter", "exercises", "named mistakes", "mutants rejected", "wrong answers named",
            "right answers accepted")  # fmt: skip
    lines = [head]
    for r in [*rows, total]:
        shares = (f"{a} of {b}" for a, b in (r.mutants, r.wrong, r.right))
        lines.append((r.chapter, str(r.exercises), str(r.mistakes), *shares))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


def listing() -> str:
    """All exercises, predictions and questions, chapter by chapter."""
    lines = []
    for chapter in registry.CHAPTERS:
        found = registry.listing(chapter)
        words = [("exercises", "define"), ("predictions", "prediction"), ("questions", "question")]
        lines.append(chapter)
        for word, kind in [*words, ("lines to order", "parsons")]:
            names = ", ".join(i.partition(".")[2] for i in found[kind])
            lines += [f"  {word}: {names}"] if names else []
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """`exercises [progress | list | report [chapter ...] | stub ID | solution ID]`."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib exercises",
        description="Without arguments: what you have solved so far.",
    )
    verbs = ("progress", "list", "report", "stub", "solution")
    parser.add_argument("what", nargs="?", default="progress", choices=verbs)
    parser.add_argument("names", nargs="*", help="chapters (report) or ids (stub, solution)")
    options = parser.parse_args(argv)
    try:
        if options.what == "progress":
            reader.show_progress()
        elif options.what == "list":
            print(listing())
        elif options.what == "stub":
            print(*map(reader.stub_source, options.names), sep="\n\n")
        elif options.what == "solution":
            print(*(registry.find(name).solution for name in options.names), sep="\n")
        else:
            chapters = options.names or registry.CHAPTERS
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # mutants make torch warn
                print(table([row(chapter) for chapter in chapters]))
    except (ValueError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
