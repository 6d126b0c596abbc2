"""`python -m course_lib sync`: keep notebooks and library in step.

The library is the source. Every name in a chapter module's `__all__` is defined, with the same
text, at the top level of a cell of the chapter's notebook. This tool copies changed definitions
into the cells, writes the parts that are the same in every notebook (the first cell, the badges,
the exercises' stubs), reruns the notebooks that this touches, and refuses to store an error, a
warning, or a checkpoint that is not in step.
"""

import argparse
import ast
import difflib
import hashlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib.checkpoint import definition_span, find_definition, not_in_step
from course_lib.plotting import drawing, what_it_does

__all__ = ["Chapter", "SyncError", "chapters", "main"]

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
IGNORE = "nbval-ignore-output"


class SyncError(Exception):
    """Something that a person has to put right; the message says what and where."""


@dataclass(frozen=True)
class Chapter:
    """One word, and the rooms it names."""

    number: int
    word: str
    root: Path

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / f"{self.number:02d}_{self.word}.ipynb"

    @property
    def module(self) -> Path:
        return self.root / "course_lib" / f"{self.word}.py"


def chapters(root: Path = ROOT) -> list[Chapter]:
    """All chapters that have a notebook, in order."""
    found = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        found.append(Chapter(int(path.stem[:2]), path.stem[3:], root))
    return found


# ---- notebooks as files ------------------------------------------------------------------------


def load(path: Path) -> dict:
    """The notebook, each cell's source as one text."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SyncError(f"{path.name} is not a notebook that can be read: {error}.") from error
    for cell in notebook["cells"]:
        if not isinstance(cell["source"], str):
            cell["source"] = "".join(cell["source"])
    return notebook


def dump(notebook: dict) -> str:
    """The notebook as Jupyter itself would write it."""
    notebook = json.loads(json.dumps(notebook))
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(partial, path.stat().st_mode if path.exists() else 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def tidy(notebook: dict) -> None:
    """Drop what editors and kernels leave behind; tags and the note of what was run are kept."""
    note = notebook["metadata"].get("course")
    notebook["metadata"] = {**NOTEBOOK_METADATA, **({"course": note} if note else {})}
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        cell.pop("attachments", None) if not cell.get("attachments") else None
        cell["source"] = cell["source"].rstrip("\n")
        if cell["cell_type"] == "code":
            cell.setdefault("execution_count", None)
            cell["outputs"] = [_tidy_output(output) for output in cell.get("outputs", [])]


def _tidy_output(output: dict) -> dict:
    output = dict(output)
    if "metadata" in output:
        output["metadata"] = {}
    data = output.get("data", {})
    for holder, key in [(output, "text"), *((data, mime) for mime in data)]:
        if isinstance(holder.get(key), str) and "json" not in key:
            holder[key] = holder[key].splitlines(keepends=True)
    return output


def python_source(cell: dict) -> str:
    """A code cell's text, in which IPython's own lines (`%...`, `!...`) have become comments."""
    source = cell["source"]
    if source.startswith("%%"):
        return re.sub(r"(?m)^", "# ", source)
    try:
        ast.parse(source)
    except SyntaxError:
        return re.sub(r"(?m)^(\s*)([%!].*)$", r"\1pass  # \2", source)
    return source


def code_cells(notebook: dict) -> list[dict]:
    """The notebook's code cells, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict) -> str:
    """What a code cell has printed on stdout, as stored."""
    outputs = cell.get("outputs", [])
    return "".join("".join(each["text"]) for each in outputs if each.get("name") == "stdout")


# ---- definitions -------------------------------------------------------------------------------


def public_names(module: Path) -> list[str]:
    """A module's `__all__`, read without importing it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return list(ast.literal_eval(node.value))
    raise SyncError(
        f"{module.name} has no `__all__`: list in it every name that the notebook defines."
    )


def cell_that_defines(notebook: dict, name: str) -> dict | None:
    """The last code cell that defines `name` at its top level."""
    found = None
    for cell in code_cells(notebook):
        if is_exercise(cell):
            continue
        try:
            if definition_span(python_source(cell), name):
                found = cell
        except SyntaxError as error:
            raise SyncError(f"Cell {cell['id']} is not valid Python: {error}.") from error
    return found


def replaced(text: str, name: str, definition: str, parse: Callable[[str], str] = str) -> str:
    """`text` with the last top-level definition of `name` replaced by `definition`."""
    start, end = definition_span(parse(text), name)
    lines = text.splitlines()
    new = "\n".join([*lines[:start], *definition.splitlines(), *lines[end:]])
    return new + "\n" if text.endswith("\n") else new


def copy_definitions(chapter: Chapter, notebook: dict) -> list[str]:
    """Make the notebook's definitions equal to the library's; returns the names that changed."""
    changed, missing = [], []
    text = chapter.module.read_text(encoding="utf-8")
    for name in public_names(chapter.module):
        cell, definition = cell_that_defines(notebook, name), find_definition(text, name)
        if definition is None:
            raise SyncError(
                f"{chapter.module.name} lists `{name}` in `__all__` but does not define it at its "
                "top level."
            )
        if cell is None:
            missing.append(name)
        elif find_definition(python_source(cell), name) != definition:
            parse = lambda source: python_source({"source": source})  # noqa: E731
            cell["source"] = replaced(cell["source"], name, definition, parse)
            changed.append(name)
    if missing:
        raise SyncError(
            f"{chapter.notebook.name} does not define {', '.join(missing)}, which "
            f"course_lib/{chapter.module.name} lists in `__all__`: add a cell that defines each at "
            "its top level (any text; `sync` then copies the library's), or take the name out of "
            "the module."
        )
    return changed


def pull_definitions(chapter: Chapter, notebook: dict) -> str:
    """The library module's text with every definition taken from the notebook."""
    text = chapter.module.read_text(encoding="utf-8")
    for name in public_names(chapter.module):
        cell = cell_that_defines(notebook, name)
        if cell is not None:
            text = replaced(text, name, find_definition(python_source(cell), name))
    return text


# ---- the parts that every notebook shares ------------------------------------------------------


def write_first_cell(notebook: dict) -> None:
    """The first code cell, `setup`: the text of `course_lib.first_cell`, the same everywhere."""
    try:
        source = importlib.import_module("course_lib.first_cell").first_cell()
    except ImportError:
        return
    cells = notebook["cells"]
    cell = next((cell for cell in cells if cell["id"] == "setup"), None)
    if cell is None:
        cell = {"cell_type": "code", "id": "setup", "outputs": [], "execution_count": None}
        cells.insert(1 if cells and cells[0]["id"] == "header" else 0, cell)
    cell.update(source=source.rstrip("\n"), metadata={"tags": [IGNORE]})


def write_badges(chapter: Chapter, notebook: dict) -> None:
    """The row of badges under the title, from `course_lib.first_cell.badge_row(notebook name)`."""
    try:
        badge_row = importlib.import_module("course_lib.first_cell").badge_row
    except (ImportError, AttributeError):
        return
    header = next((cell for cell in notebook["cells"] if cell["id"] == "header"), None)
    if header is None:
        raise SyncError(f"{chapter.notebook.name} has no cell `header` with its title.")
    title, _, rest = header["source"].partition("\n")
    lines = rest.strip("\n").split("\n")
    if lines[0].startswith(("[![", "![")):
        lines = lines[1:]
    row = badge_row(chapter.notebook.name).strip()
    header["source"] = "\n".join(
        [title, "", *([row, ""] if row else []), "\n".join(lines).strip("\n")]
    )


def write_exercises(chapter: Chapter, notebook: dict) -> list[str]:
    """The cells `exercise-<name>` with the exercises' stubs, each after the text with its task.

    The text stands in a cell `exercise-<name>-text`, which the notebook's author writes; the stub
    comes from `course_lib.exercises`. Returns complaints: exercises without a place, and cells
    without an exercise.
    """
    if not (chapter.root / "course_lib" / "exercises" / f"{chapter.word}.py").is_file():
        return []
    stub_source = importlib.import_module("course_lib.exercises").stub_source
    registry = importlib.import_module("course_lib.grading.registry")
    ids = registry.ids("define", chapter.word)
    cells = notebook["cells"]
    complaints = []
    for exercise_id in ids:
        name = exercise_id.split(".", 1)[1]
        cell = next((cell for cell in cells if cell["id"] == f"exercise-{name}"), None)
        if cell is None:
            places = [i for i, cell in enumerate(cells) if cell["id"] == f"exercise-{name}-text"]
            if not places:
                complaints.append(f"no cell exercise-{name}-text sets the task of {exercise_id}")
                continue
            cell = {"cell_type": "code", "id": f"exercise-{name}", "metadata": {}}
            cell |= {"outputs": [], "execution_count": None}
            cells.insert(places[0] + 1, cell)
        cell["source"] = stub_source(exercise_id).rstrip("\n")
    known = {f"exercise-{exercise_id.split('.', 1)[1]}" for exercise_id in ids}
    for cell in code_cells(notebook):
        if is_exercise(cell) and cell["id"] not in known:
            complaints.append(f"cell {cell['id']} asks for an exercise that there is not")
    return complaints


def is_exercise(cell: dict) -> bool:
    """Whether this is an exercise: what it defines is the reader's, not the library's."""
    return cell["cell_type"] == "code" and cell["source"].startswith("@exercise(")


def in_step(chapter: Chapter, notebook: dict) -> tuple[dict, list[str]]:
    """A copy with everything that the library determines written into it, and complaints."""
    fresh = json.loads(json.dumps(notebook))
    tidy(fresh)
    write_first_cell(fresh)
    write_badges(chapter, fresh)
    if chapter.module.is_file():
        copy_definitions(chapter, fresh)
    return fresh, write_exercises(chapter, fresh)


# ---- running -----------------------------------------------------------------------------------


def imported_modules(source: str) -> list[str]:
    """The modules of `course_lib` that a Python text imports, without the leading `course_lib.`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += names if node.module == "course_lib" else [node.module]
    return sorted({name.split(".", 1)[1] for name in found if name.startswith("course_lib.")})


def run_hash(chapter: Chapter, notebook: dict) -> str:
    """A hash of what the stored outputs came from: cells, modules, figures and stored models.

    The tools under every chapter (plotting, checkpoint, ...) are left out: they do not change a
    number. So are comments and docstrings.
    """
    cells = [cell for cell in code_cells(notebook) if cell["id"] != "setup"]
    library = chapter.root / "course_lib"
    words = {each.word for each in chapters(chapter.root)} | {"world", "data"}
    waiting = [name for cell in cells for name in imported_modules(python_source(cell))]
    waiting += [chapter.word]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = library / f"{name}.py"
        if name in words and name not in seen and path.is_file():
            seen.add(name)
            waiting += imported_modules(path.read_text(encoding="utf-8"))
    paths = [library / f"{name}.py" for name in sorted(seen)]
    paths += [path for path in [library / "exercises" / f"{chapter.word}.py"] if path.is_file()]
    parts = [what_it_does(python_source(cell)) for cell in cells]
    parts += [what_it_does(path.read_text(encoding="utf-8")) for path in paths]
    code = "\n".join(cell["source"] for cell in cells)
    for path in sorted((chapter.root / "figures").glob("*.svg")):
        if re.search(rf"""["']{re.escape(path.stem)}["']""", code):
            parts.append(drawing(path).decode("utf-8"))
    for path in sorted((library / "models").glob("*")):
        if path.name in code:
            parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def is_current(chapter: Chapter, notebook: dict) -> bool:
    """Whether the stored outputs were made by this code and this library."""
    counts = [cell.get("execution_count") for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        return False
    return notebook["metadata"].get("course", {}).get("ran") == run_hash(chapter, notebook)


def execute(chapter: Chapter, notebook: dict) -> dict:
    """The notebook with the outputs of a run from top to bottom in a fresh kernel."""
    import nbformat

    from course_lib.kernel import CellFailed, kernel_environment, run_notebook, temporary_home

    work = nbformat.from_dict(json.loads(json.dumps(notebook)))
    with temporary_home() as home:
        environment = kernel_environment(home)
        for name in ("COURSE_DATA", "COURSE_CACHE", "COURSE_GPT2"):  # what one machine has
            environment.pop(name, None)
        try:
            run_notebook(work, chapter.notebook.parent, environment)
        except CellFailed as error:
            raise SyncError(f"{chapter.notebook.name} was not saved. {error}") from error
    return as_run(work)


def as_run(work) -> dict:
    """An nbformat notebook that has been run, in the form in which it is stored."""
    ran = json.loads(json.dumps(work))
    for cell in code_cells(ran):
        cell["outputs"] = joined_streams(cell["outputs"])
    tidy(ran)
    return ran


def joined_streams(outputs: list[dict]) -> list[dict]:
    """Outputs in which pieces of one stream are joined: where they were cut is an accident."""
    joined: list[dict] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if (
            output["output_type"] == "stream"
            and last.get("name") == output["name"]
            and "text" in last
        ):
            last["text"] = "".join(last["text"]) + "".join(output["text"])
        else:
            joined.append(dict(output))
    return joined


def faults(chapter: Chapter, notebook: dict) -> list[str]:
    """What in the outputs must not be stored."""
    found = []
    for count, cell in enumerate(code_cells(notebook), start=1):
        if cell.get("execution_count") != count:
            found.append(f"cell {cell['id']} did not run as number {count} (an empty cell?)")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"cell {cell['id']} raised {output['ename']}: {output['evalue']}")
            if output.get("name") == "stderr":
                found.append(
                    f"cell {cell['id']} wrote to stderr: {''.join(output['text']).strip()[:500]}"
                )
    if chapter.module.is_file():
        last = next((cell for cell in notebook["cells"] if cell["id"] == "checkpoint"), None)
        problem = "there is no cell `checkpoint`" if last is None else not_in_step(printed(last))
        if problem:
            found.append(problem)
    return found


# ---- the command -------------------------------------------------------------------------------


def source_diff(old: dict, new: dict, name: str) -> str:
    """What would change in the cells, as a unified diff per cell."""
    before = {cell["id"]: cell["source"] for cell in old["cells"]}
    after = {cell["id"]: cell["source"] for cell in new["cells"]}
    parts = []
    for cell_id in [*after, *(cell_id for cell_id in before if cell_id not in after)]:
        mine, wanted = before.get(cell_id, ""), after.get(cell_id, "")
        here, there = f"{name} cell {cell_id}", "as the library has it"
        parts += difflib.unified_diff(
            mine.splitlines(), wanted.splitlines(), here, there, n=2, lineterm=""
        )
    return "\n".join(parts)


def check(chapter: Chapter) -> list[str]:
    """What `sync` would change in this chapter, readable; empty when all is in step."""
    text = chapter.notebook.read_text(encoding="utf-8")
    notebook = load(chapter.notebook)
    fresh, complaints = in_step(chapter, notebook)
    found = [f"{chapter.notebook.name}: {complaint}" for complaint in complaints]
    difference = source_diff(notebook, fresh, chapter.notebook.name)
    if difference:
        found.append(difference)
    elif text != dump(fresh):
        found.append(f"{chapter.notebook.name}: its metadata or layout is not tidy")
    if not is_current(chapter, fresh):
        found.append(
            f"{chapter.notebook.name}: its stored outputs are older than its code or the library"
        )
    found += [f"{chapter.notebook.name}: {fault}" for fault in faults(chapter, fresh)]
    return found


def pull(chapter: Chapter) -> bool:
    """Copy the notebook's definitions into the library; whether anything changed."""
    if not chapter.module.is_file():
        return False
    old = chapter.module.read_text(encoding="utf-8")
    new = pull_definitions(chapter, load(chapter.notebook))
    if new != old:
        here, there = chapter.module.name, "from the notebook"
        print(
            "\n".join(
                difflib.unified_diff(old.splitlines(), new.splitlines(), here, there, lineterm="")
            )
        )
        write_text(chapter.module, new)
    return new != old


def update(chapter: Chapter, run: bool, force: bool) -> None:
    """Bring one notebook in step with the library, and rerun it where something changed."""
    notebook = load(chapter.notebook)
    fresh, complaints = in_step(chapter, notebook)
    for complaint in complaints:
        print(f"{chapter.notebook.name}: {complaint}")
    difference = source_diff(notebook, fresh, chapter.notebook.name)
    if difference:
        print(difference)
    if run and (force or not is_current(chapter, fresh) or faults(chapter, fresh)):
        print(f"{chapter.notebook.name}: running", flush=True)
        fresh = execute(chapter, fresh)
        accept(chapter, fresh)
    same = write_notebook(chapter, fresh)
    print(f"{chapter.notebook.name}: {'in step' if same else 'saved'}", flush=True)


def accept(chapter: Chapter, fresh: dict) -> None:
    """Note in a notebook what its outputs came from. SyncError where they must not be stored."""
    found = faults(chapter, fresh)
    if found:
        raise SyncError(f"{chapter.notebook.name} was run but not saved:\n  " + "\n  ".join(found))
    fresh["metadata"]["course"] = {"ran": run_hash(chapter, fresh)}


def write_notebook(chapter: Chapter, fresh: dict) -> bool:
    """Store the notebook if it differs from the file; returns whether it was the same."""
    text = dump(fresh)
    same = text == chapter.notebook.read_text(encoding="utf-8")
    if not same:
        write_text(chapter.notebook, text)
    return same


def main(argv: list[str] | None = None) -> int:
    """The command. Returns its status: 0 in step, 1 something to put right, 2 a wrong call."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib sync", description=__doc__.split("\n")[0]
    )
    parser.add_argument("words", nargs="*", help="chapters to bring in step (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, report what is not in step"
    )
    parser.add_argument(
        "--pull", action="store_true", help="copy changed definitions from notebook to library"
    )
    parser.add_argument(
        "--no-run", action="store_true", help="write the cells, do not run the notebooks"
    )
    parser.add_argument("--only", action="store_true", help="leave the later chapters alone")
    parser.add_argument("--force", action="store_true", help="rerun even where nothing changed")
    options = parser.parse_args(argv)
    known = chapters()
    named = {re.sub(r"^\d\d_", "", Path(word).stem) for word in options.words}
    unknown = named - {chapter.word for chapter in known}
    if unknown:
        print(
            f"There is no chapter {sorted(unknown)[0]}. Known: {', '.join(c.word for c in known)}."
        )
        return 2
    chosen = [chapter for chapter in known if not named or chapter.word in named]
    status = 0
    if options.pull:
        chosen = [chapter for chapter in chosen if pull(chapter)]
    if chosen and named and not (options.only or options.check):
        chosen = [chapter for chapter in known if chapter.number >= chosen[0].number]
    for chapter in chosen:
        try:
            if options.check:
                complaints = check(chapter)
                print("\n".join(complaints or [f"{chapter.notebook.name}: in step"]))
                status |= bool(complaints)
            else:
                update(
                    chapter,
                    not options.no_run,
                    options.force and (not named or chapter.word in named),
                )
        except SyncError as error:
            print(error, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
