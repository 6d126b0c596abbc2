"""Blind mutants: a reference with one small change made by a rule that knows nothing of the topic.

A check that is any good rejects them. Those that pass either compute the same thing or show what
the check does not look at; `tests/answers/survivors.py` gives a reason for each.
"""

import ast
import copy
from collections.abc import Callable, Iterator

from course_lib.grading import runner, source, verdict
from course_lib.grading.registry import Exercise

_BINARY = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
}
_COMPARE = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_NAMES = {
    "sum": "mean", "mean": "sum", "max": "min", "min": "max", "argmax": "argmin", "tril": "triu",
    "triu": "tril", "log": "log2", "exp": "log", "zeros": "ones", "ones": "zeros", "cos": "sin",
    "zeros_like": "ones_like", "sqrt": "exp", "tanh": "sin", "softmax": "log_softmax",
    "cat": "stack", "stack": "cat", "append": "extend", "cumsum": "cumprod", "sort": "topk",
    "size": "stride", "any": "all",
}  # fmt: skip


def mutants(item: Exercise) -> list[tuple[str, str]]:
    """(the changed line before and after, text) of every mutant, each text once."""
    tree = ast.parse(item.bare)
    function = tree.body[0]
    if isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant):
        function.body = function.body[1:]
    seen, found = {ast.unparse(tree)}, []
    for index, node in enumerate(ast.walk(tree)):
        for change in _changes(node, function):
            other = copy.deepcopy(tree)
            twin = next(n for i, n in enumerate(ast.walk(other)) if i == index)
            change(twin)
            text = ast.unparse(ast.fix_missing_locations(other))
            if text not in seen:
                seen.add(text)
                found.append((_difference(ast.unparse(tree), text), text))
    return found


def _difference(old: str, new: str) -> str:
    """The first line that differs, before and after."""
    pairs = zip(old.splitlines(), new.splitlines())
    return next(f"{a.strip()}  ->  {b.strip()}" for a, b in pairs if a != b)


def _changes(node, function) -> Iterator[Callable]:
    """The changes that apply to this node, as what to do to its twin in a copy."""
    if isinstance(node, ast.BinOp):
        for new in _BINARY.get(type(node.op), ()):
            yield lambda n, new=new: setattr(n, "op", new())
        if not isinstance(node.op, (ast.Add, ast.Mult)):
            yield lambda n: _assign(n, left=n.right, right=n.left)
        yield lambda n: _become(n, n.left)
        yield lambda n: _become(n, n.right)
    elif isinstance(node, ast.Compare):
        for new in _COMPARE.get(type(node.ops[0]), ()):
            yield lambda n, new=new: setattr(n, "ops", [new()])
    elif isinstance(node, ast.UnaryOp):
        yield lambda n: _become(n, n.operand)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield lambda n: setattr(n, "attr", _NAMES[n.attr])
    elif isinstance(node, ast.Name):
        yield from _other_names(node, function)
    elif isinstance(node, ast.Slice):
        for side in ("lower", "upper", "step"):
            if getattr(node, side) is not None:
                yield lambda n, side=side: setattr(n, side, None)
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield lambda n: setattr(n, "ifs", [])
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield _delete
    elif isinstance(node, ast.Tuple) and len(node.elts) > 1:
        yield lambda n: _swap(n.elts)


def _constants(node) -> Iterator[Callable]:
    value = node.value
    if isinstance(value, bool):
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(value, int):
        yield lambda n: setattr(n, "value", n.value + 1)
        yield lambda n: setattr(n, "value", n.value - 1)
    elif isinstance(value, float):
        yield lambda n: setattr(n, "value", n.value * 2)
        yield lambda n: setattr(n, "value", 0.0)
    elif isinstance(value, str) and value:
        yield lambda n: setattr(n, "value", n.value + "x")


def _calls(node) -> Iterator[Callable]:
    for i in range(len(node.keywords)):
        yield lambda n, i=i: n.keywords.pop(i)
    if len(node.args) > 1:
        yield lambda n: _swap(n.args)
    if isinstance(node.func, ast.Attribute):
        yield lambda n: _become(n, n.func.value)
    if len(node.args) >= 1:
        yield lambda n: _become(n, n.args[0])
    if isinstance(node.func, ast.Name) and node.func.id in _NAMES:
        yield lambda n: setattr(n.func, "id", _NAMES[n.func.id])


def _other_names(node, function) -> Iterator[Callable]:
    """A parameter or local variable in place of the next one."""
    names = [a.arg for a in function.args.args]
    for part in ast.walk(function):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id not in names:
            names.append(part.id)
    if isinstance(node.ctx, ast.Load) and node.id in names and len(names) > 1:
        for step in (1, len(names) - 1):
            other = names[(names.index(node.id) + step) % len(names)]
            yield lambda n, other=other: setattr(n, "id", other)


def _assign(node, **fields) -> None:
    for name, value in fields.items():
        setattr(node, name, value)


def _become(node, other) -> None:
    """Turn a node into another one, in place."""
    node.__class__ = other.__class__
    node.__dict__ = dict(other.__dict__)


def _delete(node) -> None:
    node.__class__, node.__dict__ = ast.Pass, {"lineno": node.lineno, "col_offset": 0}


def _swap(parts: list) -> None:
    parts[0], parts[1] = parts[1], parts[0]


def survives(item: Exercise, text: str) -> bool:
    """Does the check let this mutant pass?"""
    try:
        function = source.build(text, item.namespace, "mutant")
        got = verdict.run(item, function, seconds=1.0)
    except (SyntaxError, NameError, runner.Endless):
        return False
    if got != verdict.reference_outcomes(item):
        return False
    return verdict.judge(item, function).right
