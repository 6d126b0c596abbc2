"""`python -m course_lib run`: execute every notebook in order, and sum up what came out.

Each notebook runs in a fresh kernel, on a copy in memory: the files in notebooks/ stay as they are
unless `--save` asks for the new outputs, and progress goes to a temporary folder that the chapters
share, not to the reader's own.

Two cell tags tell this tool what to show at the end. The last line that a cell tagged `headline`
prints is its chapter's headline number (without such a cell, the checkpoint's first number is). All
that a cell tagged `sample` prints is shown below the table: text from the trained model.

`--corpus NAME` sets COURSE_CORPUS=NAME for the kernels: the chapter on training then trains on
that, and the chapter on sampling samples from the model that came of it.
"""

import argparse
import os
import re
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib.environment import ROOT

__all__ = ["Row", "headline", "main", "sample", "table"]

CORPORA = ("little-world", "little-world-long", "tiny-world", "shakespeare")  # chapter 5's recipes


@dataclass(frozen=True)
class Row:
    """What is known of one chapter after its run; memory is in bytes."""

    chapter: str
    seconds: float
    memory: int | None
    headline: str


# ---- what the cells say ------------------------------------------------------------------------


def printed(cell) -> str:
    """What a cell has printed on stdout."""
    outputs = [out for out in cell.get("outputs", []) if out.get("name") == "stdout"]
    return "".join("".join(out["text"]) for out in outputs)


def tagged(notebook, tag: str) -> list:
    """The code cells that carry a tag."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell for cell in code if tag in cell["metadata"].get("tags", [])]


def headline(notebook) -> str:
    """The chapter's headline number: see the module's description."""
    for cell in reversed(tagged(notebook, "headline")):
        lines = printed(cell).strip().splitlines()
        if lines:
            return lines[-1].strip().removeprefix("headline: ")
    for cell in notebook["cells"]:
        if cell.get("id") == "checkpoint":
            found = re.search(r"(?m)^([^:\n]+): (.+?) here, .+ in the library$", printed(cell))
            return f"{found[1]}: {found[2]}" if found else ""
    return ""


def sample(notebook) -> str:
    """The text from the trained model that this chapter shows, if any."""
    return "\n".join(printed(cell).rstrip() for cell in tagged(notebook, "sample"))


def table(rows: list[Row]) -> str:
    """The rows, aligned, under a line of headings and with the total below."""
    width = max(len("chapter"), *(len(row.chapter) for row in rows))
    room = max(30, shutil.get_terminal_size((100, 20)).columns - width - 24)
    lines = [f"{'chapter':<{width}}  {'seconds':>8}  {'memory':>8}  headline"]
    for row in rows:
        memory = f"{row.memory / 1e6:.0f} MB" if row.memory else "-"
        first, *rest = textwrap.wrap(row.headline, room) or [""]
        lines.append(f"{row.chapter:<{width}}  {row.seconds:8.1f}  {memory:>8}  {first}".rstrip())
        lines += [" " * (width + 22) + line for line in rest]
    peak = max((row.memory or 0 for row in rows), default=0)
    memory = f"{peak / 1e6:.0f} MB" if peak else "-"
    lines.append(f"{'all':<{width}}  {sum(row.seconds for row in rows):8.1f}  {memory:>8}  at most")
    return "\n".join(lines if peak else [*lines[:-1], lines[-1].removesuffix("  at most")])


# ---- running -----------------------------------------------------------------------------------


def chosen_notebooks(wanted: list[str], folder: Path) -> list[Path]:
    """The notebooks that numbers or words such as "3", "03" or "attention" name; all if none."""
    known = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not wanted:
        return known
    chosen = set()
    for name in wanted:
        stem = Path(name).stem
        matches = [
            path
            for path in known
            if stem in (path.stem, path.stem[3:])
            or (stem.isdigit() and int(path.stem[:2]) == int(stem))
        ]
        if not matches:
            raise ValueError(
                f"There is no chapter {name}. There are: {', '.join(p.stem for p in known)}."
            )
        chosen.update(matches)
    return sorted(chosen)


class Progress:
    """A line per chapter, which on a terminal counts the cells while they run."""

    def __init__(self, name: str, number: int, total: int):
        self.start, self.live = time.perf_counter(), sys.stdout.isatty()
        self.label = f"[{number}/{total}] {name}"
        if not self.live:
            print(self.label, end="", flush=True)

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def __call__(self, done: int, total: int) -> None:
        if self.live:
            text = f"cell {done + 1} of {total}, {self.seconds():.0f} s"
            print(f"\r{self.label}  {text}", end="\x1b[K", flush=True)

    def end(self, text: str) -> None:
        print(f"\r{self.label}  {text}\x1b[K" if self.live else f"  {text}", flush=True)


def save(path: Path, notebook) -> None:
    """Store the new outputs in the checked-in notebook, with the care that `sync` takes."""
    from course_lib import sync

    chapter = next(each for each in sync.chapters() if each.notebook == path)
    fresh = sync.as_run(notebook)
    sync.accept(chapter, fresh)
    sync.write_notebook(chapter, fresh)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns 0 where every cell of every chapter succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib run",
        description="Execute the notebooks in order, in fresh kernels, and sum up what came out.",
    )
    parser.add_argument(
        "--chapter",
        nargs="+",
        default=[],
        metavar="N",
        help="only these chapters, by number or word (default: all)",
    )
    parser.add_argument(
        "--corpus",
        choices=CORPORA,
        default=CORPORA[0],
        help="train on this and sample from it (default: %(default)s)",
    )
    parser.add_argument(
        "--save", action="store_true", help="store the outputs in the checked-in notebooks"
    )
    options = parser.parse_args(argv)
    if options.save and options.corpus != CORPORA[0]:
        parser.error("--save keeps the outputs of the default corpus only: leave --corpus out")
    try:
        notebooks = chosen_notebooks(options.chapter, ROOT / "notebooks")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not notebooks:
        print(f"There are no notebooks in {ROOT / 'notebooks'}.", file=sys.stderr)
        return 2
    if options.corpus == "shakespeare":  # now, and not when the earlier chapters are done
        from course_lib.data import DataUnavailable, fetch

        try:
            fetch("shakespeare")
        except DataUnavailable as error:
            print(error, file=sys.stderr)
            return 1
    return run(notebooks, options.corpus, options.save)


def run(notebooks: list[Path], corpus: str = CORPORA[0], keep: bool = False) -> int:
    """Run these notebooks and print the summary; returns the exit status."""
    import nbformat

    from course_lib.data import cache_folder
    from course_lib.kernel import CellFailed, kernel_environment, run_notebook, temporary_home
    from course_lib.sync import SyncError

    more = {"COURSE_CORPUS": corpus}
    if not keep:  # what the reader has fetched; stored outputs must not depend on it
        more["COURSE_CACHE"] = str(cache_folder().resolve())
    for name in ("COURSE_DATA", "COURSE_GPT2"):
        if os.environ.get(name):  # the kernels start in another folder
            more[name] = str(Path(os.environ[name]).resolve())
    rows, samples, problem = [], [], None
    with temporary_home() as home:
        environment = kernel_environment(home, **more)
        for number, path in enumerate(notebooks, start=1):
            notebook = nbformat.read(path, as_version=4)
            progress = Progress(path.stem, number, len(notebooks))
            try:
                memory = run_notebook(notebook, path.parent, environment, progress)
            except CellFailed as error:
                progress.end(f"failed after {progress.seconds():.1f} s")
                problem = f"{path.name}: {error}"
                break
            except BaseException:
                progress.end("stopped")
                raise
            row = Row(path.stem, progress.seconds(), memory, headline(notebook))
            size = f", {memory / 1e6:.0f} MB" if memory else ""
            progress.end(f"{row.seconds:.1f} s{size}")
            rows.append(row)
            if keep:
                try:
                    save(path, notebook)
                except SyncError as error:
                    problem = str(error)
                    break
            if sample(notebook):
                samples.append(sample(notebook))
    if rows:
        print("\n" + table(rows))
    if problem:
        print("\n" + problem, file=sys.stderr)
        return 1
    if samples:
        print("\nFrom the trained model:\n\n" + textwrap.indent(samples[-1], "    "))
    return 0
