"""The first cell, in every place that it may find itself; git leads its address to a local copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from alone import ADDRESS, CLONE, ROOT, UNREACHABLE, colab_site, redirect, without_git

import course_lib
from course_lib import machine
from course_lib.first_cell import first_cell
from course_lib.kernel import CellFailed, kernel_environment, run_notebook


def run_cell(folder: Path, then: str = "", times: int = 1) -> subprocess.CompletedProcess:
    """Run the first cell in a plain Python in that folder, and something after it.

    Torch is replaced by a stand-in, which makes it quick.
    """
    stand_in = folder.parent / "stand_in"
    stand_in.mkdir(exist_ok=True)
    (stand_in / "torch.py").write_text(
        "__version__ = '2.11.0'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    (folder / "cell.txt").write_text(first_cell(), encoding="utf-8")
    code = f"import sys; sys.path[0] = {str(stand_in)!r}\ncell = open('cell.txt').read()\n"
    code += "exec(cell)\n" * times + then
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def only_sentence(done: subprocess.CompletedProcess) -> str:
    """What the cell says when it cannot start: the message of its CannotStart."""
    assert done.returncode == 1, done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("CannotStart: "), done.stderr
    assert "During handling" not in done.stderr
    return last.removeprefix("CannotStart: ")


def test_it_is_short_and_does_nothing_it_should_not():
    text = first_cell()
    assert len(text.splitlines()) <= 32
    assert not any(word in text for word in ("pip", "%", "!", "chdir"))
    compile(text, "first cell", "exec")


def test_in_the_course_it_needs_neither_git_nor_network(lone, monkeypatch):
    inside = lone / "a" / "b"
    inside.mkdir(parents=True)
    shutil.copytree(ROOT / "course_lib", lone / "course_lib")
    without_git(monkeypatch, lone / "nothing")
    done = run_cell(inside, "print(course_lib.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(lone / "course_lib" / "__init__.py")


def test_a_lone_notebook_fetches_the_course_once(lone, monkeypatch, published):
    redirect(monkeypatch, published.as_uri())
    done = run_cell(lone, f"print(course_lib.__file__, sys.path.count({str(lone / CLONE)!r}))", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, *_, last = done.stdout.splitlines()
    assert first.startswith("Next Token ") and second.startswith("Device: CPU")
    assert last == f"{lone / CLONE / 'course_lib' / '__init__.py'} 1"
    without_git(monkeypatch, lone / "nothing")  # the next time, in a new kernel
    again = run_cell(lone)
    assert again.returncode == 0, again.stderr


def test_no_network(lone, monkeypatch):
    redirect(monkeypatch, UNREACHABLE)
    sentence = only_sentence(run_cell(lone))
    assert sentence.startswith(f"{ADDRESS} cannot be fetched (") and "network" in sentence
    assert sorted(path.name for path in lone.iterdir()) == ["cell.txt"]


def test_no_git(lone, monkeypatch):
    without_git(monkeypatch, lone.parent / "nothing")
    sentence = only_sentence(run_cell(lone))
    assert sentence == f"git is missing. Install it, or download all of {ADDRESS}."


def test_another_repository(lone, monkeypatch, published):
    redirect(monkeypatch, UNREACHABLE)
    monkeypatch.setenv("COURSE_REPO", published.as_uri())
    done = run_cell(lone)
    assert done.returncode == 0, done.stderr
    assert (lone / CLONE / "course_lib").is_dir()


def test_git_asks_for_no_password(lone, monkeypatch):
    """A private or misspelt repository makes git ask on the terminal, where a kernel would hang."""
    asking = lone.parent / "bin"
    asking.mkdir()
    (asking / "git").write_text('#!/bin/sh\necho "prompt: $GIT_TERMINAL_PROMPT" >&2\nexit 128\n')
    (asking / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(asking), prepend=os.pathsep)
    assert "(prompt: 0)" in only_sentence(run_cell(lone))


def test_kaggle_has_colabs_variables_but_is_not_colab(lone, monkeypatch, published):
    redirect(monkeypatch, published.as_uri())
    for name in ("COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.setenv(name, "x")
    done = run_cell(lone)
    assert done.returncode == 0, done.stderr
    assert "Colab" not in done.stdout


# ---- in a real kernel --------------------------------------------------------------------------


def lone_notebook(folder: Path, *sources: str):
    """A downloaded notebook: the first cell and some more."""
    cells = [nbformat.v4.new_code_cell(source) for source in (first_cell(), *sources)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, folder / "03_attention.ipynb")
    return notebook


def test_on_colab(lone, monkeypatch, published):
    """An empty folder with only the notebook, `google.colab`, the real torch and a kernel."""
    redirect(monkeypatch, published.as_uri())
    notebook = lone_notebook(lone, first_cell(), "course_lib.device()")
    site = colab_site(lone.parent / "site")
    environment = kernel_environment(lone.parent / "home", PYTHONPATH=site)
    run_notebook(notebook, lone, environment)
    for cell in notebook.cells[:2]:
        assert {output.get("name") for output in cell.outputs} == {"stdout"}
        printed = "".join(output.text for output in cell.outputs)
        version, device, reminder = printed.splitlines()
        assert version.startswith(f"Next Token {course_lib.__version__} on Python 3")
        assert device.startswith("Device: ")
        assert "File > Save a copy in Drive" in reminder
    assert sorted(path.name for path in lone.iterdir()) == ["03_attention.ipynb", CLONE]


def test_a_failure_is_one_sentence_in_the_notebook(lone, monkeypatch):
    redirect(monkeypatch, UNREACHABLE)
    notebook = lone_notebook(lone, "print('never')")
    with pytest.raises(CellFailed):
        run_notebook(notebook, lone, kernel_environment(lone.parent / "home"))
    (output,) = notebook.cells[0].outputs
    (line,) = output.traceback
    assert line.startswith(f"{ADDRESS} cannot be fetched (")


# ---- setup() and where things are kept ---------------------------------------------------------


def test_drive_is_used_where_it_is_mounted(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COURSE_HOME", raising=False)
    monkeypatch.setattr(machine, "DRIVE", tmp_path / "drive")
    monkeypatch.setattr(machine, "on_colab", lambda: True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert tmp_path / "drive" not in machine.user_folder().parents
    assert not (tmp_path / "drive").exists()  # nothing is mounted or made in its place
    course_lib.setup()
    assert "or this notebook is lost" in capsys.readouterr().out
    (tmp_path / "drive").mkdir()
    assert machine.user_folder() == tmp_path / "drive" / "next-token"
    course_lib.setup()
    assert "your progress is kept there" in capsys.readouterr().out


@pytest.mark.parametrize(
    "platform, variable, wanted",
    [
        ("linux", "XDG_DATA_HOME", "data/next-token"),
        ("linux", None, ".local/share/next-token"),
        ("darwin", None, "Library/Application Support/next-token"),
        ("win32", "LOCALAPPDATA", "data/next-token"),
        ("win32", None, "AppData/Local/next-token"),
    ],
)
def test_each_system_has_its_place(tmp_path, monkeypatch, platform, variable, wanted):
    for name in ("COURSE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine.sys, "platform", platform)
    monkeypatch.setattr(machine.Path, "home", lambda: tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "data"))
    folder = machine.user_folder()
    assert folder == tmp_path / wanted and folder.is_dir()


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "file" / "below"))
    assert machine.user_folder() == tmp_path / "file" / "below"


@pytest.mark.parametrize(
    "capability, wanted",
    [(None, "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")],
)
def test_number_format_for_mixed_precision(capability, wanted):
    assert machine.mixed_precision(capability) == wanted


def test_a_t4_is_reported_with_float16(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    properties = type("properties", (), {"total_memory": 15.6e9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert machine.describe_device() == "Tesla T4 with 16 GB, mixed precision in float16"
    assert course_lib.device() == "cuda"


def test_a_kernel_without_torch_is_told_what_to_do():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import course_lib\ntry: course_lib.setup()\n"
        "except course_lib.CannotStart as error: print(error)"
    )
    bare = [sys.executable, "-S", "-c", code]  # no packages
    done = subprocess.run(bare, capture_output=True, text=True)
    assert "has no torch" in done.stdout and "pip install -r" in done.stdout, done.stderr
