"""The alarm rings: a small mutation per chapter, in the library, in the notebook, and in both.

One side alone, and the texts differ: a static check says so, and so does the checkpoint cell. Both
sides in the same wrong way, and the texts agree: then the checkpoint's numbers are no longer those
that are stored, and a named test against an outside oracle fails.

The notebooks are not run: the definitions and the checkpoint cell are, in a copy of the course.
"""

import ast
import builtins
import json
import os
import shutil
import subprocess
import symtable
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import static_checks

from course_lib import sync
from course_lib.checkpoint import defined_names, definition_span, find_definition

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """In the definition of `name`, `old` becomes `new`: a mistake that people make."""

    name: str
    old: str
    new: str
    test: str  # in tests/test_<chapter>.py: the test that fails then


MUTATIONS = {
    "next_token": Mutation(
        "cross_entropy",
        ".mean()",
        ".sum()",
        "test_cross_entropy_equals_torch",
    ),
    "tokenizer": Mutation(
        "SPLIT_PATTERN",
        r"| ?\p{L}++",
        r"|\p{L}++",  # the space no longer goes with the word after it
        "test_split_pattern_is_that_of_gpt2",
    ),
    "attention": Mutation(
        "causal_mask",
        "diagonal=n_key - n_query",
        "diagonal=n_key - n_query + 1",
        "test_layer_equals_torch",
    ),
    "transformer": Mutation(
        "count_parameters",
        "0 if config.tied else config.vocab_size * c",
        "config.vocab_size * c",  # the tied matrix counted twice
        "test_published_sizes",
    ),
    "training": Mutation(
        "AdamW",
        "self.lr / (1 - beta1**self.t)",
        "self.lr",  # no correction for an average that starts at zero
        "test_adamw_equals_torch",
    ),
    "sampling": Mutation(
        "top_p",
        "probs.cumsum(dim=-1) - probs",
        "probs.cumsum(dim=-1)",  # the token that crosses p is lost
        "test_top_p_against_hugging_face",
    ),
    "pretrained": Mutation(
        "load_pretrained",
        "stored.T if is_turned(name) else stored",
        # what is square fits either way, so nothing complains
        "stored.T if is_turned(name) and stored.size(0) != stored.size(1) else stored",
        "test_logits_equal_hugging_face",
    ),
}
CHAPTERS = [chapter.word for chapter in static_checks.with_module(ROOT)]

# Reads versions of (the module's text, the cells) and runs the cells of each as a kernel would, in
# one process, because importing torch takes longer than all the rest. Prints what each printed.
RUN_CELLS = """
import contextlib, importlib, io, json, linecache, pathlib, sys

sys.dont_write_bytecode = True
word, versions = json.load(sys.stdin)
outputs = []
for number, (module, cells) in enumerate(versions):
    path = pathlib.Path("course_lib") / f"{word}.py"
    path.write_text(module, encoding="utf-8")
    sys.modules.pop(f"course_lib.{word}", None)
    importlib.invalidate_caches()
    names, out = {"__name__": "__main__"}, io.StringIO()
    with contextlib.redirect_stdout(out):
        for count, cell in enumerate(cells):
            name = f"<version {number} cell {count}>"
            linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
            exec(compile(cell, name, "exec"), names)
    outputs.append(out.getvalue())
    linecache.cache = {k: v for k, v in linecache.cache.items() if not k.startswith("<version")}
sys.stdout.write(json.dumps(outputs))
"""


@pytest.fixture
def course(tmp_path):
    """A copy of what the alarm needs of the course."""
    root = tmp_path / "course"
    leave = shutil.ignore_patterns("__pycache__", ".*")
    for room in ("course_lib", "tests", "notebooks"):
        shutil.copytree(ROOT / room, root / room, ignore=leave)
    for name in ("conftest.py", "pyproject.toml"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, root)
    return root


def python(root, *arguments, text=None):
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def parts(notebook: dict, names: list[str]) -> list[str]:
    """The notebook's imports, its definitions of `names`, what its checkpoint needs, and that."""
    sources = [sync.python_source(cell) for cell in sync.code_cells(notebook)]
    *lesson, checkpoint = [
        s for s, c in zip(sources, sync.code_cells(notebook)) if c["id"] != "setup"
    ]
    imports = [
        ast.unparse(node)
        for source in lesson
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    places: dict[str, tuple[int, int, str]] = {}
    waiting = [*names, *names_read(checkpoint)]
    while waiting:
        name = waiting.pop()
        for number, source in enumerate(lesson):
            if span := definition_span(source, name):
                places[name] = (number, span[0], find_definition(source, name))
        if name in places and name not in names:
            waiting += names_read(places[name][2]) - places.keys()
    definitions = [text for _, _, text in sorted(set(places.values()))]
    return ["\n".join(imports), *definitions, checkpoint]


def names_read(source: str) -> set[str]:
    """The names that a text uses and does not make itself; what is local to a function is not."""
    top = symtable.symtable(source, "cell", "exec")
    used, waiting = set(), [top]
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        found = scope.get_symbols()
        used |= {each.get_name() for each in found if each.is_referenced() and each.is_global()}
    made = {name for node in ast.parse(source).body for name in defined_names(node)}
    return used - made - set(dir(builtins))


def mutated(text: str, mutation: Mutation) -> str:
    definition = find_definition(text, mutation.name)
    assert definition, f"there is no {mutation.name} any more: choose another mutation"
    assert definition.count(mutation.old) == 1, f"{mutation.old!r} is not once in {mutation.name}"
    changed = definition.replace(mutation.old, mutation.new)
    return sync.replaced(text, mutation.name, changed)


def test_every_chapter_has_a_mutation():
    assert set(CHAPTERS) <= set(MUTATIONS)


@pytest.mark.parametrize("word", [word for word in CHAPTERS if word in MUTATIONS])
def test_alarm_rings(course, word):
    mutation = MUTATIONS[word]
    chapter = next(each for each in sync.chapters(course) if each.word == word)
    module = chapter.module.read_text(encoding="utf-8")
    notebook = sync.load(chapter.notebook)
    names = sync.public_names(chapter.module)
    assert not static_checks.same_text(chapter)
    stored = sync.printed(sync.code_cells(notebook)[-1])

    wrong_module = mutated(module, mutation)
    wrong_notebook = json.loads(json.dumps(notebook))
    cell = sync.cell_that_defines(wrong_notebook, mutation.name)
    cell["source"] = mutated(cell["source"], mutation)
    good, bad = parts(notebook, names), parts(wrong_notebook, names)
    versions = [(module, good), (wrong_module, good), (module, bad), (wrong_module, bad)]
    ran = python(course, "-c", RUN_CELLS, text=json.dumps([word, versions]))
    assert ran.returncode == 0, ran.stderr
    in_step, library_alone, notebook_alone, both = json.loads(ran.stdout)
    assert in_step == stored, "the definitions and the checkpoint cell do not stand alone"

    # The library alone: the module that the last version left behind is the wrong one.
    complaint = [f"{chapter.notebook.name} and its module define `{mutation.name}` differently"]
    assert static_checks.same_text(chapter) == complaint
    assert f"{len(names) - 1} of {len(names)}" in library_alone

    # The notebook alone.
    sync.write_text(chapter.notebook, sync.dump(wrong_notebook))
    sync.write_text(chapter.module, module)
    assert static_checks.same_text(chapter) == complaint
    assert f"{len(names) - 1} of {len(names)}" in notebook_alone

    # Both, in the same wrong way: the texts agree, the numbers and the oracle do not.
    sync.write_text(chapter.module, wrong_module)
    assert not static_checks.same_text(chapter)
    assert f"{len(names)} of {len(names)}" in both
    assert both != stored, "the checkpoint prints the same numbers: give it one that moves"
    test = f"tests/test_{word}.py::{mutation.test}"
    done = python(course, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", test)
    assert done.returncode == 1, f"{test} does not fail:\n{done.stdout}"
    assert mutation.test in done.stdout and "failed" in done.stdout
