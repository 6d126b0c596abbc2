"""What pytest and nbval need to know about this course.

Kernels start with this environment: the library on their path, no network but this machine's own,
one place for progress that is not the reader's, no progress bars, and no weights of GPT-2. When a
cell writes to stderr, nbval names only the stream; the hook below also shows the text.
"""

import os
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest

import course_lib  # noqa: F401  (it tells OpenMP how to wait, before a test imports torch)

ROOT = Path(__file__).parent


def pytest_configure(config):
    offline = ROOT / "tests" / "offline"
    runpy.run_path(str(offline / "sitecustomize.py"))
    paths = [str(offline), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # it writes to stderr
    os.environ["COURSE_PROGRESS"] = "0"
    os.environ.pop("COURSE_CACHE", None)
    os.environ["COURSE_GPT2"] = ""  # stored outputs are those of a machine without GPT-2's weights
    os.environ["COURSE_HOME"] = home = tempfile.mkdtemp(prefix="next-token-test-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    if getattr(config.option, "nbval", False) and not config.option.nbval_sanitize_with:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval.cfg")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under a failed notebook cell, show what it wrote to stderr."""
    outcome = yield
    report = outcome.get_result()
    outputs = getattr(item, "test_outputs", None)
    if call.when == "call" and report.failed and outputs:
        written = "".join(out.get("text", "") for out in outputs if out.get("name") == "stderr")
        if written:
            report.sections.append(("stderr of the cell", written))
