"""Files that stand in the way of a module: a `torch.py` or `random.py` beside the notebooks.

Python looks in the folder it starts in first, so `import random` then finds the reader's own file
and something far away fails. This module itself imports as little as it can.
"""

import os
import sys

__all__ = ["PACKAGES", "shadowing_files", "what_to_do"]

# What notebooks and library import that does not come with Python.
PACKAGES = {
    "IPython",
    "filelock",
    "hypothesis",
    "ipykernel",
    "jupyter_client",
    "jupyterlab",
    "matplotlib",
    "nbclient",
    "nbformat",
    "nbval",
    "numpy",
    "pytest",
    "regex",
    "safetensors",
    "tiktoken",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
}


def shadowing_files(folders=None):
    """Paths in the course's folder, in notebooks/ and where we are that hide a module's name."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if folders is None:
        folders = [root, os.path.join(root, "notebooks"), os.getcwd()]
    names = PACKAGES | set(getattr(sys, "stdlib_module_names", ["random", "json", "types", "code"]))
    found = []
    for folder in dict.fromkeys(os.path.realpath(folder) for folder in folders):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            package = os.path.isfile(os.path.join(path, "__init__.py"))
            if (name.endswith(".py") and name[:-3] in names) or (package and name in names):
                found.append(path)
    return found


def what_to_do(paths):
    """One sentence about files that hide a module."""
    listed = ", ".join(paths)
    return (
        "Python finds " + listed + " where it should find the module of that name: "
        "give the file another name, and delete the folder __pycache__ beside it."
    )
