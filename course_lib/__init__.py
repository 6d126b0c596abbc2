"""Next Token: build a GPT from nothing, on a corpus whose true entropy is known.

Importing this package is quick and imports no torch. What a chapter needs it takes from the
chapter's module, `from course_lib.attention import CausalSelfAttention`. The four names below
serve every notebook: `setup()` in the first cell, `device()` for where tensors live,
`user_folder()` for what should last, and `CannotStart` for a failure told in one sentence.
"""

import os

# Two torch threads on a busy machine wait for each other by spinning unless OpenMP is told, before
# torch is imported, to let them sleep: 15 ms for a step instead of 182.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["CannotStart", "device", "setup", "user_folder"]


def __getattr__(name):
    """The names of `course_lib.machine`, imported when first asked for."""
    if name in __all__:
        from course_lib import machine

        return getattr(machine, name)
    raise AttributeError(f"module 'course_lib' has no attribute {name!r}")
