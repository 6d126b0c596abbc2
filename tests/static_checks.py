"""What can be said about the course without running it. Each check returns its complaints.

They take the folder of a course, so that tests can also hold them against a small course with
planted faults.
"""

import ast
import html
import re
import subprocess
from pathlib import Path

from course_lib import sync
from course_lib.checkpoint import defined_names, not_in_step

AT_MOST_LINES = 40  # in a cell, and in a definition
AT_MOST_IGNORED = (
    3  # cells per notebook whose output nbval does not compare: `setup` and two that time something
)

FIGURES_WITHOUT_CHAPTER = {"course"}  # the map in README
# May import every chapter, are imported by none:
ABOVE_ALL_CHAPTERS = {"bench", "distributed", "fast"}


def with_module(root: Path) -> list[sync.Chapter]:
    """The chapters that have a module; the one that starts the course has none."""
    return [chapter for chapter in sync.chapters(root) if chapter.module.is_file()]


# ---- notebooks ---------------------------------------------------------------------------------


def same_text(chapter: sync.Chapter) -> list[str]:
    """Every name of the module is defined in the notebook, with the same text."""
    if not chapter.module.is_file():
        return []
    notebook = sync.load(chapter.notebook)
    try:
        changed = sync.copy_definitions(chapter, notebook)
    except sync.SyncError as error:
        return [str(error)]
    return [
        f"{chapter.notebook.name} and its module define `{name}` differently" for name in changed
    ]


def ran_in_order(chapter: sync.Chapter) -> list[str]:
    """Execution counts are 1 to N: nbval compares nothing in a cell that has none."""
    cells = sync.code_cells(sync.load(chapter.notebook))
    return [
        f"cell {cell['id']} has execution count {cell.get('execution_count')}, not {count}"
        for count, cell in enumerate(cells, start=1)
        if cell.get("execution_count") != count
    ]


def stored_outputs(chapter: sync.Chapter) -> list[str]:
    """No error, no stderr, no address or path of one machine, and no picture without alt text."""
    found = []
    for cell in sync.code_cells(sync.load(chapter.notebook)):
        for output in cell["outputs"]:
            text = output_text(output)
            if output["output_type"] == "error":
                found.append(f"cell {cell['id']} stores an error: {output['ename']}")
            if output.get("name") == "stderr":
                found.append(f"cell {cell['id']} stores stderr: {text[:80]}")
            if re.search(r"\b0x[0-9a-f]{6,}\b", text):
                found.append(f"cell {cell['id']} stores an object's address")
            if "image/png" in output.get("data", {}):
                found.append(f"cell {cell['id']} shows a figure without `show(fig, alt=...)`")
    return found


def output_text(output: dict) -> str:
    """All that a reader can read in an output, pictures left out."""
    data = output.get("data", {})
    parts = [output.get("text", "")] + [
        data.get(f"text/{kind}", "") for kind in ("plain", "html", "markdown")
    ]
    return re.sub(r"data:image/[^\"']+", "", "\n".join("".join(part) for part in parts))


def checkpoint_in_step(chapter: sync.Chapter) -> list[str]:
    """The last code cell is the checkpoint, and its good lines are stored."""
    if not chapter.module.is_file():
        return []
    last = sync.code_cells(sync.load(chapter.notebook))[-1]
    if last["id"] != "checkpoint":
        return [f"the last code cell is {last['id']}, not `checkpoint`"]
    calls = [node for node in ast.walk(ast.parse(last["source"])) if isinstance(node, ast.Call)]
    asked = [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "checkpoint"]
    if asked != [repr(chapter.word)]:
        return [f'the checkpoint cell does not call checkpoint("{chapter.word}", ...)']
    text = sync.printed(last)
    if problem := not_in_step(text):
        return [problem]
    if len(text.strip().splitlines()) < 2:
        return ["the checkpoint prints no number: give it one that the classic mistakes move"]
    return []


def tidy(chapter: sync.Chapter) -> list[str]:
    """The file is as `sync` writes it: no metadata of an editor or a kernel, one layout."""
    notebook = sync.load(chapter.notebook)
    sync.tidy(notebook)
    same = sync.dump(notebook) == chapter.notebook.read_text(encoding="utf-8")
    return [] if same else ["its metadata or layout is not what `sync` writes"]


def first_cell(chapter: sync.Chapter) -> list[str]:
    """The first code cell is `setup`, and it is the same in every notebook."""
    here = sync.code_cells(sync.load(chapter.notebook))[0]
    there = sync.code_cells(sync.load(sync.chapters(chapter.root)[0].notebook))[0]
    if here["id"] != "setup":
        return [f"the first code cell is {here['id']}, not `setup`"]
    return (
        []
        if here["source"] == there["source"]
        else ["its first cell is not that of the first notebook"]
    )


def few_ignored(chapter: sync.Chapter) -> list[str]:
    """Few cells are exempt from comparison."""
    cells = sync.code_cells(sync.load(chapter.notebook))
    ignored = [cell["id"] for cell in cells if sync.IGNORE in cell["metadata"].get("tags", [])]
    return (
        [f"{len(ignored)} outputs are ignored: {', '.join(ignored)}"]
        if len(ignored) > AT_MOST_IGNORED
        else []
    )


def short_cells(chapter: sync.Chapter) -> list[str]:
    """No code cell is longer than a screen."""
    return [
        f"cell {cell['id']} has {len(cell['source'].splitlines())} lines, {AT_MOST_LINES} is most"
        for cell in sync.code_cells(sync.load(chapter.notebook))
        if len(cell["source"].splitlines()) > AT_MOST_LINES
    ]


def cell_ids(chapter: sync.Chapter) -> list[str]:
    """Every id is unique and says what the cell is: translations are keyed by it."""
    ids = [cell["id"] for cell in sync.load(chapter.notebook)["cells"]]
    found = [f"two cells are called {each}" for each in sorted(set(ids)) if ids.count(each) > 1]
    for each in ids:
        random = re.fullmatch(
            r"[0-9a-f]{8}(-[0-9a-f]{4,})*|(cell|untitled|code|markdown)[-_]?\d*", each
        )
        if random or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*(-[a-zA-Z0-9_]+)*", each):
            found.append(f"the id {each} does not say what its cell is")
    return found


MEASURED = re.compile(r'<span data-measured="([^"]*)">(.*?)</span>', re.S)


def measured_numbers(chapter: sync.Chapter) -> list[str]:
    """A number that the prose marks as measured stands in the output of the cell that it names."""
    notebook = sync.load(chapter.notebook)
    outputs = {
        cell["id"]: html.unescape("\n".join(output_text(output) for output in cell["outputs"]))
        for cell in sync.code_cells(notebook)
    }
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        marked = MEASURED.findall(cell["source"])
        if len(marked) != cell["source"].count("data-measured"):
            found.append(f"cell {cell['id']} has a data-measured mark that cannot be read")
        for cell_id, number in marked:
            number = html.unescape(number.strip())
            whole = rf"(?<![\d.,])(?<!\d[−-]){re.escape(number)}(?!\d|[.,]\d)"
            if cell_id not in outputs:
                found.append(
                    f"cell {cell['id']} says {number} was measured in {cell_id}, no code cell"
                )
            elif not number or not re.search(whole, outputs[cell_id]):
                found.append(f"cell {cell['id']} says {number}, but {cell_id} does not print it")
    return found


def alt_texts(chapter: sync.Chapter) -> list[str]:
    """Every picture has alt text: in markdown, in HTML, and where a cell shows one."""
    found = []
    for cell in sync.load(chapter.notebook)["cells"]:
        if cell["cell_type"] == "markdown":
            missing = pictures_without_alt(cell["source"])
        else:
            missing = shown_without_alt(sync.python_source(cell))
        found += [f"cell {cell['id']}: no alt text for {each}" for each in missing]
    return found


def pictures_without_alt(text: str) -> list[str]:
    """The pictures of a markdown text that have no alt text."""
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)
    images = re.findall(r"<img\b[^>]*>", text, re.I)
    without = [image for image in images if not re.search(r"""\balt=(["'])\s*(?!\1)\S""", image)]
    return without + [
        address for alt, address in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text) if not alt.strip()
    ]


def shown_without_alt(source: str) -> list[str]:
    """The calls of `show` and `show_svg` that give no alt text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("show", "show_svg"):
            given = [word.value for word in node.keywords if word.arg == "alt"] + node.args[1:2]
            if not given or (
                isinstance(given[0], ast.Constant) and not str(given[0].value or "").strip()
            ):
                found.append(ast.unparse(node))
    return found


def notebook_imports(chapter: sync.Chapter) -> list[str]:
    """A notebook imports from no later chapter (but the very first shows the finished course)."""
    if not chapter.module.is_file():
        return []
    later = {each.word for each in sync.chapters(chapter.root) if each.number > chapter.number}
    used = [
        name
        for cell in sync.code_cells(sync.load(chapter.notebook))
        for name in sync.imported_modules(sync.python_source(cell))
    ]
    return [
        f"the notebook imports `{name}` of a later chapter" for name in sorted(later & set(used))
    ]


NOTEBOOK_CHECKS = [
    same_text,
    ran_in_order,
    stored_outputs,
    checkpoint_in_step,
    tidy,
    first_cell,
    few_ignored,
    short_cells,
    cell_ids,
    measured_numbers,
    alt_texts,
    notebook_imports,
]

# ---- modules -----------------------------------------------------------------------------------


def nothing_hidden(module: Path) -> list[str]:
    """Everything at the top level of a chapter's module is in `__all__`: the notebook shows it."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    defined = [name for node in tree.body for name in defined_names(node) if name != "__all__"]
    listed = sync.public_names(module)
    found = [f"`{name}` is not in `__all__`" for name in defined if name not in listed]
    found += [
        f"`__all__` lists `{name}`, which is not defined" for name in listed if name not in defined
    ]
    found += [
        f"`{name}` is listed or defined twice" for name in set(listed) if defined.count(name) > 1
    ]
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        run = runs_as_program(node)
        imported = isinstance(node, ast.Import | ast.ImportFrom)
        if not (docstring or run or imported or defined_names(node)):
            found.append(f"line {node.lineno} is neither an import nor a definition")
    return found


def runs_as_program(node: ast.stmt) -> bool:
    """Whether this is the block `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def short_definitions(module: Path) -> list[str]:
    """A definition fits on a screen, docstring included."""
    found = []
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        lines = (
            node.end_lineno
            - min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            + 1
        )
        if lines > AT_MOST_LINES and isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(f"`{node.name}` has {lines} lines, at most {AT_MOST_LINES} are allowed")
    return found


def documented(module: Path) -> list[str]:
    """The module, and every public function and class in it, has a docstring."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not ast.get_docstring(node):
            found.append(f"`{node.name}` has no docstring")
    return found


MODULE_CHECKS = [nothing_hidden, short_definitions, documented]

# ---- the whole house ---------------------------------------------------------------------------


def arrows(root: Path) -> list[str]:
    """Imports run one way: a chapter knows those before it, a support module knows none.

    The tools above all chapters know every chapter, and only they know one another. What a module
    does when it is run as a program does not count: nobody who imports it gets it.
    """
    number = {chapter.word: chapter.number for chapter in with_module(root)}
    found = []
    library = root / "course_lib"
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).with_suffix("").as_posix().replace("/", ".")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)):
            found.append(
                f"course_lib/{path.name} has a relative import: write `from course_lib.x import y`"
            )
        if name.startswith("exercises."):
            limit = number.get(
                name.split(".")[1], 99
            )  # an exercise is measured by its own chapter too
        elif name.split(".")[0] in ABOVE_ALL_CHAPTERS:
            limit = 99
        else:
            limit = number.get(name, 0) - 1
        tree.body = [node for node in tree.body if not runs_as_program(node)]
        for used in {each.split(".")[0] for each in sync.imported_modules(ast.unparse(tree))}:
            above = used in ABOVE_ALL_CHAPTERS and name.split(".")[0] not in ABOVE_ALL_CHAPTERS
            if above or (used in number and number[used] > limit and name != used):
                found.append(f"course_lib.{name} imports course_lib.{used}: the arrow runs back")
    return found


def one_word(root: Path) -> list[str]:
    """A chapter's word names its notebook, module, tests and figures."""
    found = []
    words = {chapter.word for chapter in sync.chapters(root)}
    for chapter in sync.chapters(root):
        if chapter.number == 0:
            continue
        if not any((root / "figures").glob(f"{chapter.word}-*.svg")):
            found.append(f"figures/{chapter.word}-*.svg is missing")
        for room in (
            f"course_lib/{chapter.word}.py",
            f"tests/test_{chapter.word}.py",
            f"figures/{chapter.word}.py",
        ):
            if not (root / room).is_file():
                found.append(f"{room} is missing")
    for path in sorted((root / "course_lib" / "exercises").glob("[a-z]*.py")):
        if path.stem not in words:
            found.append(f"course_lib/exercises/{path.name} belongs to no chapter")
    for path in sorted((root / "figures").glob("*.py")):
        if path.stem not in words | FIGURES_WITHOUT_CHAPTER:
            found.append(f"figures/{path.name} belongs to no chapter")
    numbers = [chapter.number for chapter in sync.chapters(root)]
    if numbers != list(range(len(numbers))) and 0 in numbers:
        found.append(f"the notebooks are numbered {numbers}")
    return found


def tracked_files(root: Path) -> list[Path]:
    """The files that git knows or would take in; without git, all but the environment."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    git = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if git.returncode == 0 and git.stdout:
        paths = [root / name for name in git.stdout.split("\0") if name]
    else:
        away = {".venv", ".git", "__pycache__", ".ipynb_checkpoints"}
        paths = [path for path in root.rglob("*") if not away & set(path.parts)]
    return [path for path in paths if path.is_file()]


# Written in pieces, so that this file is not its own first finding.
ONE_MACHINE = re.compile(
    r"(?<![\w.:/])/(?:wor" r"k|roo" r"t|hom" r"e/[a-z]\w*|Use" r"rs/[A-Za-z]\w*)/\w"
    r"|[A-Z]:\\+Use" r"rs\\"
    r"|/ipykernel" r"_\d"
    r"|\.devp" r"i\b|artifact" r"ory|\bnex" r"us\.|trusted" r"-host"
)  # fmt: skip


def machine_marks(root: Path) -> list[str]:
    """No tracked file names a path or a package host that only one machine has."""
    found = []
    for path in tracked_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for match in ONE_MACHINE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(root).as_posix()}:{line} names {match[0]}")
    for path in root.rglob("requirements*.txt"):
        if ".venv" not in path.parts and re.search(
            r"(?m)^\s*(--|-i|-f)", path.read_text(encoding="utf-8")
        ):
            found.append(
                f"{path.relative_to(root).as_posix()} names an index: the reader chooses that"
            )
    return found


HOUSE_CHECKS = [arrows, one_word, machine_marks]
