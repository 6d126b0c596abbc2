"""Next Token: build a GPT from nothing, on a corpus whose true entropy is known.

Importing this package is quick and imports no torch. What a chapter needs it takes from the
chapter's module, `from course_lib.attention import CausalSelfAttention`. The four names below
serve every notebook: `setup()` in the first cell, `device()` for where tensors live,
`user_folder()` for what should last, and `CannotStart` for a failure told in one sentence.
"""

import os

__version__ = "0.1.0"
__all__ = ["CannotStart", "device", "setup", "user_folder"]


def set_waiting() -> None:
    """Tell OpenMP, before torch is imported, how torch's threads wait for each other.

    They meet after every product. Left alone they spin for milliseconds: on a busy machine a small
    training step took 245 ms instead of 51. Told to sleep at once they must be woken each time: 49
    ms on an idle machine, where 26 would do. 4,000 turns are a fifth of a millisecond on an Intel
    processor of 2015 or later: 26 ms idle, 79 busy. Others make shorter turns, and sleep at once.
    What the reader has set stays.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ) and has_long_pause():
        os.environ["GOMP_SPINCOUNT"] = "4000"  # on Linux it counts for more than the policy
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def has_long_pause(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether one PAUSE instruction takes some 140 cycles: Intel's optimization manual, Skylake."""
    try:
        with open(cpuinfo, encoding="utf-8") as file:
            first = file.read(4096)  # the first core's entry
    except OSError:
        return False
    return "GenuineIntel" in first and "clflushopt" in first  # which came with Skylake too


set_waiting()


def __getattr__(name):
    """The names of `course_lib.machine`, imported when first asked for."""
    if name in __all__:
        from course_lib import machine

        return getattr(machine, name)
    raise AttributeError(f"module 'course_lib' has no attribute {name!r}")
