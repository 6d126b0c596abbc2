"""Running a notebook from top to bottom in a fresh kernel, of this very Python or of another."""

import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

__all__ = ["CellFailed", "kernel_environment", "run_notebook"]

PEAK = "__import__('resource').getrusage(0).ru_maxrss"  # not there on Windows
CELL_TIMEOUT = 600  # seconds


class CellFailed(Exception):
    """A cell raised, hung, or brought its kernel down; shown with its text and its traceback."""

    def __init__(self, cell, reason: str):
        super().__init__(reason)
        self.cell, self.reason = cell, without_colours(reason)

    def __str__(self) -> str:
        trace = [line for out in self.cell.outputs for line in out.get("traceback", [])]
        lines = without_colours("\n".join(trace)).rstrip().splitlines()
        shown = lines if len(lines) <= 30 else ["...", *lines[-30:]]
        source = textwrap.indent(self.cell.source, "    ")
        parts = [f"Cell {self.cell.get('id', '?')} failed: {self.reason}", "", source]
        return "\n".join(parts + ([""] if shown else []) + shown)


def without_colours(text: str) -> str:
    """Text without the escape sequences that colour a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def kernel_environment(home: str | Path, **more: str) -> dict[str, str]:
    """The environment for a kernel: no progress bars, and `home` instead of the reader's folder."""
    return {
        **os.environ,
        "COURSE_HOME": str(home),
        "COURSE_PROGRESS": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # it would write to stderr
        **more,
    }


def kernel_of(python: str | Path):
    """A kernel manager that starts this Python, whatever kernel is registered on the machine."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OnePython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            # New kernels warn on the terminal that a local connection is not encrypted.
            spec = get_kernel_dict(["--log-level=ERROR"])
            spec["argv"][0] = str(python)
            return KernelSpec(resource_dir="", **spec)

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OnePython())


def run_notebook(
    notebook,
    folder: Path,
    environment: dict[str, str],
    on_cell: Callable[[int, int], None] | None = None,
    python: str | Path = sys.executable,
) -> int | None:
    """Execute an nbformat notebook in place; returns the kernel's peak memory in bytes, if known.

    `folder` is the kernel's working directory, and `python` its interpreter, which needs ipykernel.
    `on_cell(done, total)` is called before each code cell. Raises CellFailed at the first cell that
    does not succeed.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    where = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    client = NotebookClient(
        notebook,
        km=kernel_of(python),
        timeout=CELL_TIMEOUT,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=environment):
        for done, (index, cell) in enumerate(where):
            if on_cell:
                on_cell(done, len(where))
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                raise CellFailed(cell, f"{error.ename}: {error.evalue}") from error
            except CellTimeoutError as error:
                raise CellFailed(cell, f"not finished after {CELL_TIMEOUT} seconds") from error
            except DeadKernelError as error:
                raise CellFailed(cell, "the kernel died, perhaps for lack of memory") from error
        return peak_memory(client)


def peak_memory(client) -> int | None:
    """The most memory that the client's kernel has held so far, in bytes; None on Windows."""
    from nbformat.v4 import new_code_cell

    if sys.platform == "win32":
        return None
    probe = new_code_cell(PEAK, metadata={"tags": ["raises-exception"]})
    client.nb.cells.append(probe)
    try:
        client.execute_cell(probe, len(client.nb.cells) - 1, store_history=False)
    finally:
        client.nb.cells.pop()
    for output in probe.outputs:
        if output.output_type == "execute_result":
            unit = 1 if sys.platform == "darwin" else 1024
            return int(output.data["text/plain"]) * unit
    return None


def temporary_home() -> tempfile.TemporaryDirectory:
    """A folder that stands in for the reader's own while notebooks are run for a test."""
    return tempfile.TemporaryDirectory(prefix="next-token-", ignore_cleanup_errors=True)
