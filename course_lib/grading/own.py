"""The reader's accepted answers as ordinary Python modules, so that later chapters can use them.

`my_gpt/attention/causal_attention.py` in the reader's folder holds the answer to
`attention.causal_attention`: imports at the top, then the function as the reader wrote it.
"""

import importlib
import importlib.util
import inspect
import types
from pathlib import Path

from course_lib.grading import progress, source
from course_lib.grading.registry import Exercise


def path(item: Exercise) -> Path:
    """Where the reader's answer is kept."""
    return progress.folder() / "my_gpt" / item.chapter / f"{item.name}.py"


def save(item: Exercise, function) -> bool:
    """Write an accepted answer; False where it cannot be written."""
    try:
        text = module_text(item, function)
        for folder in (path(item).parent.parent, path(item).parent):
            if not (folder / "__init__.py").exists():
                progress.write_atomically(folder / "__init__.py", "")
        progress.write_atomically(path(item), text)
    except (OSError, SyntaxError):
        return False
    return True


def load(item: Exercise):
    """The saved answer as a function, or None where there is none that can be loaded."""
    try:
        spec = importlib.util.spec_from_file_location(
            f"my_gpt_{item.chapter}_{item.name}", path(item)
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        name = source.first_function(_last_definition(path(item).read_text("utf-8"))).name
        return getattr(module, name)
    except Exception:  # a file that the reader has edited may raise anything
        return None


def _last_definition(text: str) -> str:
    import ast

    nodes = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    return ast.get_source_segment(text, nodes[-1])


def remove(item: Exercise) -> None:
    """Put the saved answer aside (as .py.old)."""
    try:
        path(item).replace(path(item).with_suffix(".py.old"))
    except OSError:
        pass


def module_text(item: Exercise, function) -> str:
    """A module with everything the function uses: imports, constants, helpers, then itself."""
    imports, pieces = [], []
    _collect(function, imports, pieces, set())
    head = f'"""Your own answer to {item.id}, kept by the course when it passed."""\n'
    imports = sorted(set(imports), key=lambda line: (line.startswith("from"), line))
    return "\n\n".join(["\n".join([head, *imports]), *pieces])


def _collect(function, imports: list[str], pieces: list[str], done: set[str]) -> None:
    for name in sorted(_names(function.__code__)):
        if name not in function.__globals__ or name in done or name == function.__name__:
            continue
        done.add(name)
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            imports.append(
                f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
            )
        elif _importable(value):
            renamed = "" if value.__name__ == name else f" as {name}"
            imports.append(f"from {value.__module__} import {value.__name__}{renamed}")
        elif isinstance(value, types.FunctionType):
            _collect(value, imports, pieces, done)
        elif inspect.isclass(value):
            pieces.append(inspect.getsource(value))
        elif isinstance(value, (int, float, str, bytes, tuple, type(None))):
            pieces.append(f"{name} = {value!r}\n")
    pieces.append(source.function_text(function))


def _names(code) -> set[str]:
    inner = [c for c in code.co_consts if hasattr(c, "co_names")]
    return set(code.co_names).union(*map(_names, inner))


def _importable(value) -> bool:
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not module or not name or module == "__main__":
        return False
    try:
        return getattr(importlib.import_module(module), name, None) is value
    except ImportError:
        return False
