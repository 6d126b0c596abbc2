"""The course itself: every chapter's seconds and memory, and how soon a reader sees something.

Every notebook runs once, from top to bottom, in a fresh kernel, as `python -m course_lib run` does
it. *First result* is the time from the start of the first cell to the end of the first cell that
shows something, the one that reports on the machine left out.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

from course_lib.bench.measure import CannotMeasure, Goal, Options, Result
from course_lib.environment import ROOT

__all__ = ["Chapter", "figure", "results", "run", "run_chapter", "table"]

BUDGETS = {  # what: (unit, the most it may be)
    "import course_lib": ("s", 0.1),
    "first result of every chapter": ("s", 5),
    "every chapter": ("s", 180),
    "all chapters": ("s", 600),
    "memory of every chapter": ("MB", 2000),
}
IMPORT = "import time; t = time.perf_counter(); import course_lib; print(time.perf_counter() - t)"


@dataclass(frozen=True)
class Chapter:
    """What one notebook took: seconds, seconds to its first result, peak memory in MB if known."""

    name: str
    seconds: float
    first: float
    memory: float | None


def import_time() -> float:
    """Seconds that `import course_lib` takes in a new Python."""
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise CannotMeasure(f"course_lib cannot be imported: {done.stderr.strip()}")
    return float(done.stdout)


def first_result(cells: list, ends: list[float]) -> float:
    """When the first code cell after `setup` that shows something was done, in seconds."""
    for cell, end in list(zip(cells, ends))[1:]:
        if cell["outputs"]:
            return end
    return ends[-1]


def run_chapter(path, home: str) -> Chapter:
    """Run one notebook in a fresh kernel; `home` stands in for the reader's own folder."""
    import nbformat

    from course_lib.kernel import CellFailed, kernel_environment, run_notebook

    notebook, starts = nbformat.read(path, as_version=4), []
    begin = time.perf_counter()
    try:
        memory = run_notebook(
            notebook,
            path.parent,
            kernel_environment(home),
            on_cell=lambda done, total: starts.append(time.perf_counter()),
        )
    except CellFailed as error:
        raise CannotMeasure(f"{path.name} does not run: {error.reason}") from error
    end = time.perf_counter()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    ends = [moment - starts[0] for moment in [*starts[1:], end]]
    return Chapter(path.stem, end - begin, first_result(cells, ends), memory and memory / 1e6)


def run(options: Options) -> list[Result]:
    """Every chapter once; a quick run takes the first three."""
    from course_lib.kernel import temporary_home
    from course_lib.runner import chosen_notebooks

    paths = chosen_notebooks([], ROOT / "notebooks")[: 3 if options.quick else None]
    if not paths:
        raise CannotMeasure(f"There are no notebooks in {ROOT / 'notebooks'}.")
    imports = [import_time() for _ in range(options.runs + 1)][1:]  # the first fills the disk cache
    chapters = []
    with temporary_home() as home:
        for path in paths:
            chapters.append(run_chapter(path, home))
            print(f"{path.stem}: {chapters[-1].seconds:.1f} s", flush=True)
    return results(imports, chapters)


def results(imports: list[float], chapters: list[Chapter]) -> list[Result]:
    """A row for every budget, and three for every chapter."""
    figures = {
        "import course_lib": imports,
        "first result of every chapter": [each.first for each in chapters],
        "every chapter": [each.seconds for each in chapters],
        "all chapters": [sum(each.seconds for each in chapters)],
        "memory of every chapter": [each.memory for each in chapters if each.memory],
    }
    rows = [
        Result("course", f"{each.name} {what}", unit, [value], more_is_better=False)
        for each in chapters
        for what, unit, value in (
            ("seconds", "s", each.seconds),
            ("first result", "s", each.first),
            ("memory", "MB", each.memory),
        )
        if value is not None
    ]
    for what, values in figures.items():
        unit, most = BUDGETS[what]
        worst = what != "import course_lib"  # a chapter runs once, an import several times
        goal = Goal(most, at_least=False, worst=worst)
        if values:  # Windows does not say how much memory a kernel took
            rows.append(Result("course", what, unit, values, goal=goal, more_is_better=False))
    return rows


def chapter_figures(rows: list[Result]) -> dict[str, dict[str, float]]:
    """The chapters' rows again: {chapter: {"seconds": ..., "first result": ..., "memory": ...}}."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        name, _, what = row.what.partition(" ")
        if row.goal is None:
            found.setdefault(name, {})[what] = row.ours[0]
    return found


def table(rows: list[Result]) -> str:
    """A line per chapter, and a line per budget below."""
    chapters = chapter_figures(rows)
    width = max(map(len, [*chapters, *BUDGETS]))
    lines = [f"{'chapter':<{width}}  {'seconds':>8}  {'first result':>12}  {'memory':>8}"]
    for name, of in chapters.items():
        memory = f"{of['memory']:.0f} MB" if "memory" in of else "-"
        first = f"{of['first result']:.1f} s"
        lines.append(f"{name:<{width}}  {of['seconds']:8.1f}  {first:>12}  {memory:>8}")
    budgets = [row for row in rows if row.goal is not None]
    lines += [f"{row.what:<{width}}  {row.verdict()} ({row.unit})" for row in budgets]
    return "\n".join(lines)


def figure(rows: list[Result]):
    """Seconds of every chapter as bars."""
    from course_lib.plotting import bars

    seconds = {name: of["seconds"] for name, of in chapter_figures(rows).items()}
    return bars(seconds, title="How long every chapter runs", xlabel="seconds")
