"""The last cell of every chapter: does what the reader's kernel holds still equal the library?

    from course_lib.checkpoint import checkpoint
    checkpoint("attention", leak=lambda lib: float(...))

Two things are compared. The text of every definition in the chapter module's `__all__`, and,
because two sides that changed in the same wrong way still agree, one or more numbers that the
classic mistakes move: each keyword is a function from a namespace of the chapter's definitions to a
number, and is called with the kernel's namespace and with the library's. Short stable lines are
printed; nothing is ever raised.
"""

import ast
import difflib
import importlib
import inspect
import linecache
import re
import sys
from pathlib import Path
from types import FunctionType, SimpleNamespace

__all__ = ["checkpoint", "find_definition", "defined_names", "source_in_kernel", "not_in_step"]


def checkpoint(chapter: str, **numbers) -> None:
    """Compare the caller's definitions and numbers with those of `course_lib.<chapter>`; print it.

    A keyword's function gets an object whose attributes are the chapter's names: `lib.attend(...)`.
    It starts from torch's seed 0 both times. It returns an int, a float (shown with two decimals)
    or a text.
    """
    library = importlib.import_module(f"course_lib.{chapter}")
    kernel = sys._getframe(1).f_globals
    text = Path(library.__file__).read_text(encoding="utf-8")
    equal, remarks = 0, []
    for name in library.__all__:
        remark = _compare(name, kernel, library, text)
        equal += remark is None
        remarks += remark or []
    print(f"{chapter}: {equal} of {len(library.__all__)} definitions equal the library's")
    for remark in remarks:
        print(remark)
    theirs = SimpleNamespace(**{name: getattr(library, name) for name in library.__all__})
    yours = SimpleNamespace(
        **{name: kernel.get(name, getattr(library, name)) for name in library.__all__}
    )
    for label, number in numbers.items():
        here, there = _number(number, yours), _number(number, theirs)
        mark = "" if here == there else "  (these differ)"
        print(f"{label.replace('_', ' ')}: {here} here, {there} in the library{mark}")


def not_in_step(output: str) -> str | None:
    """What is wrong with a checkpoint's printed text, in one sentence; None when all is in step."""
    lines = output.strip().splitlines()
    first = (
        re.fullmatch(r"\w+: (\d+) of (\d+) definitions equal the library's", lines[0])
        if lines
        else None
    )
    if not first:
        return "the checkpoint has not printed how many definitions equal the library's"
    if first[1] != first[2]:
        return f"the checkpoint says {first[1]} of {first[2]} definitions equal the library's"
    for line in lines[1:]:
        number = re.fullmatch(r"([^:]+): (.+) here, (.+) in the library", line)
        if not number or number[2] != number[3]:
            return f"the checkpoint says: {line}"
    return None


def _compare(name: str, kernel: dict, library, text: str) -> list[str] | None:
    """None where kernel and library define `name` alike, else lines that say how they differ."""
    if name not in kernel:
        return [f"  {name}: not defined here yet (run the cell that defines it)"]
    mine, original = kernel[name], getattr(library, name)
    if mine is original and callable(mine):
        return [f"  {name}: imported from the library, not defined here"]
    if _is_accepted_answer(mine):
        return [f"  {name}: your own accepted answer stands here"]
    if not callable(mine) and type(mine) is type(original) and repr(mine) == repr(original):
        return None  # a constant: what counts is its value
    wanted = find_definition(text, name)
    found = source_in_kernel(name, mine)
    if found is None:
        return [f"  {name}: its text cannot be read here, so it was not compared"]
    if _normal(found) == _normal(wanted):
        return None
    if _normal(found, docstring=False) == _normal(wanted, docstring=False):
        return [f"  {name}: only its description differs"]
    return [
        f"  {name}: changed here. Keep yours (-) if you meant it, or copy the library's (+) back.",
        *_difference(found, wanted),
    ]


def _is_accepted_answer(mine) -> bool:
    """Whether a right answer to an exercise stands in this name's place."""
    reader = sys.modules.get("course_lib.grading.reader")
    answers = getattr(reader, "_session", {}).get("functions", {})
    return any(mine is answer for answer in answers.values())


def _number(function, namespace) -> str:
    """The function's result as a short stable text, or why there is none."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
    try:
        result = function(namespace)
    except (
        Exception
    ) as error:  # a changed definition may fail in any way; the reader is told, not stopped
        reason = str(error).strip().splitlines()
        return f"{type(error).__name__}" + (f" ({reason[0][:80]})" if reason else "")
    if isinstance(result, str | bool):
        return str(result)
    if isinstance(result, int):
        return f"{result:,}"
    return f"{float(result):.2f}".replace("-0.00", "0.00")


# ---- the text of a definition ------------------------------------------------------------------


def defined_names(node: ast.stmt) -> list[str]:
    """The names that a top-level statement defines: by a def, a class, or an assignment."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    else:
        targets = node.targets if isinstance(node, ast.Assign) else []
    flat = [part for target in targets for part in getattr(target, "elts", [target])]
    return [target.id for target in flat if isinstance(target, ast.Name)]


def find_definition(text: str, name: str, around: int | None = None) -> str | None:
    """The text of the last top-level definition of `name` in Python source, decorators included.

    With `around`, a line number counted from 1, only a definition that holds that line.
    """
    span = definition_span(text, name, around)
    return None if span is None else "\n".join(text.splitlines()[span[0] : span[1]])


def definition_span(text: str, name: str, around: int | None = None) -> tuple[int, int] | None:
    """The first line (from 0) and the line after the last of that definition, or None."""
    found = None
    for node in ast.parse(text).body:
        if name in defined_names(node):
            decorators = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
            start = min([node.lineno, *decorators])
            if around is None or start <= around <= node.end_lineno:
                found = (start - 1, node.end_lineno)
    return found


def source_in_kernel(name: str, thing) -> str | None:
    """The text of a function, class or constant that a cell defined; None where it is not found.

    `inspect.getsource` fails for classes that are defined in a cell. Every cell that ran is in
    `linecache`, under IPython old and new and under nbval, so the cell is found by the file name
    that the function's code, or a method's, was compiled under. A class without methods and a
    constant are looked for in all cells.
    """
    for code in _codes(thing):
        if not code.co_filename.startswith("<string"):  # that is dataclass-made code
            cell = "".join(linecache.getlines(code.co_filename))
            text = _safely_find(cell, name, code.co_firstlineno)
            if text is not None:
                return text
    latest = None
    if not isinstance(thing, FunctionType):
        for filename, entry in list(linecache.cache.items()):
            is_cell = len(entry) > 2 and not Path(filename).is_file()
            latest = (is_cell and _safely_find("".join(entry[2]), name)) or latest
    return latest


def _codes(thing):
    """The code objects of a function, or of a class's own methods, wrappers removed."""
    if isinstance(thing, type):
        inside = vars(thing).values()
        members = [getattr(each, "__func__", getattr(each, "fget", each)) for each in inside]
        own = [each for each in members if getattr(each, "__module__", None) == thing.__module__]
    else:
        own = [thing] if callable(thing) else []
    for member in own:
        try:
            code = getattr(inspect.unwrap(member), "__code__", None)
        except ValueError:
            code = None
        if code is not None:
            yield code


def _safely_find(text: str, name: str, around: int | None = None) -> str | None:
    try:
        return find_definition(text, name, around) if name in text else None
    except (SyntaxError, ValueError):
        return None


def _normal(text: str | None, docstring: bool = True) -> str:
    """The definition without its comments and layout, so that only what it says is compared."""
    if text is None:
        return ""
    tree = ast.parse(text)
    if not docstring:
        for node in ast.walk(tree):
            kinds = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
            if isinstance(node, kinds) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _difference(mine: str, theirs: str, at_most: int = 16) -> list[str]:
    """The changed lines, yours with - and the library's with +, a line of context around them."""
    lines = list(difflib.unified_diff(mine.splitlines(), theirs.splitlines(), lineterm="", n=1))[2:]
    shown = [f"    {line}".rstrip() for line in lines if not line.startswith("@@")]
    if len(shown) > at_most:
        shown = [*shown[:at_most], f"    ... and {len(shown) - at_most} more lines"]
    return shown
