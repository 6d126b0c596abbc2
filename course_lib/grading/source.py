"""The text of functions: find it, blank it, patch it, run it."""

import ast
import inspect
import io
import itertools
import linecache
import re
import textwrap
import tokenize
from types import FunctionType

BLANK = "____"
MARK = re.compile(r"\s*#\|\s?(.*)$")
_numbers = itertools.count(1)


def function_text(function) -> str:
    """The source of `function` without its decorators, dedented. OSError when there is none."""
    text = textwrap.dedent(inspect.getsource(function))
    node = first_function(text)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines)) + "\n"


def first_function(text: str) -> ast.FunctionDef:
    """The first function definition of `text`, parsed."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return node
    raise OSError("there is no function definition in this text")


def solution_text(text: str) -> str:
    """A reference as a reader may see it: the markers become ordinary comments."""
    lines = []
    for line in text.splitlines():
        mark = MARK.search(line)
        if mark:
            line = line[: mark.start()] + (f"  # {mark[1]}" if mark[1] else "")
        lines.append(line)
    return "\n".join(lines) + "\n"


def stub_text(text: str) -> str:
    """A reference with every marked line blanked: the right-hand side becomes `____`."""
    lines = text.splitlines()
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    marks = {i + 1: MARK.search(line)[1] for i, line in enumerate(lines) if MARK.search(line)}
    for number in sorted(marks, reverse=True):
        node = min(
            (s for s in statements if s.lineno <= number <= _header_end(s)),
            key=lambda s: _header_end(s) - s.lineno,
        )
        part = _blanked(node)
        head = lines[node.lineno - 1 : part.lineno]
        head[-1] = head[-1].encode()[: part.col_offset].decode()
        start = "\n".join(head) if part is not node else head[-1]
        if part is not node:
            start = re.sub(r"[(\s]+$", " ", start)  # the value may stand in brackets
        tail = ":" if hasattr(node, "body") else ""
        comment = f"  # {marks[number]}" if marks[number] else ""
        lines[node.lineno - 1 : _header_end(node)] = [start + BLANK + tail + comment]
    return "\n".join(lines) + "\n"


def _header_end(node: ast.stmt) -> int:
    """Last line of a statement, or of the header of one that has a body."""
    body = getattr(node, "body", None)
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno


def _blanked(node: ast.stmt) -> ast.AST:
    """The part of a statement that the reader writes."""
    for field in ("value", "test", "iter"):
        part = getattr(node, field, None)
        if part is not None and not isinstance(node, ast.Expr):
            return part
    return node


def count_blanks(function) -> int:
    """How many `____` are left in a function, read from its source (or else from its code)."""
    try:
        tree = ast.parse(function_text(function))
    except (OSError, SyntaxError, TypeError):
        return _blanks_in_code(function.__code__)
    return sum(isinstance(node, ast.Name) and node.id == BLANK for node in ast.walk(tree))


def _blanks_in_code(code) -> int:
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return int(BLANK in code.co_names) + sum(map(_blanks_in_code, inner))


def bare(text: str) -> str:
    """The text without comments and without blank lines: what patches are applied to."""
    out, end = [], (1, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.start[0] > end[0]:
            end = (token.start[0], 0)
        out.append(" " * (token.start[1] - end[1]))
        out.append("" if token.type == tokenize.COMMENT else token.string)
        end = token.end
    lines = (line.rstrip() for line in "".join(out).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def patched(text: str, *changes: dict[str, str]) -> str | None:
    """`text` with each old -> new of each change put in; None where two changes overlap.

    ValueError when an old text does not occur exactly once: then the patch means nothing.
    """
    spans = []
    for old, new in (pair for change in changes for pair in change.items()):
        if text.count(old) != 1:
            raise ValueError(
                f"the patch must match exactly once, and {old!r} occurs {text.count(old)} times"
            )
        spans.append((text.index(old), text.index(old) + len(old), new))
    spans.sort()
    if any(a[1] > b[0] for a, b in zip(spans, spans[1:])):
        return None
    for start, end, new in reversed(spans):
        text = text[:start] + new + text[end:]
    return text


def build(text: str, namespace: dict, label: str = "answer") -> FunctionType:
    """Run a function definition in a copy of `namespace` and return the function.

    The text is put where `inspect` and tracebacks look for it.
    """
    filename = f"<{label} {next(_numbers)}>"
    lines = [line + "\n" for line in text.splitlines()]
    linecache.cache[filename] = (len(text), None, lines, filename)
    space = dict(namespace)
    exec(compile(text, filename, "exec"), space)
    return space[first_function(text).name]
