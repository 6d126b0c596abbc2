"""The notebooks where readers open them: alone in an empty folder, on Colab, on Python 3.13.

Every notebook is run a second time here, as a lone file: nbval runs it inside the course, where a
path that only leads somewhere in a checkout would not be noticed. COURSE_STEPS makes the training
runs short, because what they come to is nbval's business.

The twin is an environment with Colab's IPython, ipykernel, numpy and matplotlib. It is made with uv
for this Python and takes torch from it. COURSE_TWIN names the Python of one that is there already,
for example one with Colab's own Python and torch.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
import static_checks
from alone import CLONE, ROOT, UNREACHABLE, colab_site, redirect, without_git

from course_lib import machine, sync
from course_lib.environment import runs
from course_lib.first_cell import first_cell
from course_lib.grading import source
from course_lib.grading.registry import find
from course_lib.kernel import kernel_environment, run_notebook

COLAB = {  # of the image of August 2026; the packages that a kernel and its pictures are made of
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
    "jupyter-client": "7.4.9",
    "matplotlib": "3.10.0",
    "numpy": "2.1.3",
    "pyzmq": "26.2.1",
    "tornado": "6.5.7",
    "traitlets": "5.7.1",
}
# The rest of what the course imports, torch and what only torch needs left out.
WITHOUT_TORCH = {"filelock", "regex", "safetensors", "tiktoken", "tqdm"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST = NOTEBOOKS[0]
TWINS_CHAPTER = ROOT / "notebooks" / "02_tokenizer.ipynb"  # the quickest that has exercises
UNREACHED = re.compile(r"(?i)failed to fetch|dns error|timed? ?out|connect|offline|network")


def open_alone(path: Path, folder: Path):
    """Put a notebook into the folder, as a download would, and read it."""
    shutil.copy(path, folder)
    return nbformat.read(folder / path.name, as_version=4)


def printed(cell) -> str:
    """What a cell has printed; that it has written nothing to stderr is checked."""
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    assert {stream.name for stream in streams} <= {"stdout"}, cell
    return "".join(stream.text for stream in streams)


def everything_printed(notebook) -> dict[str, str]:
    """What each code cell has printed, by id."""
    return {cell.id: printed(cell) for cell in notebook.cells if cell.cell_type == "code"}


def all_text(cell) -> str:
    """All that can be read in a cell's outputs; kernels cut what is printed in different pieces."""
    streams = ["".join(output.get("text", "")) for output in cell["outputs"]]
    shown = [static_checks.output_text({**output, "text": ""}) for output in cell["outputs"]]
    return "".join(streams) + "\n".join(filter(str.strip, shown))


# ---- alone, on Colab and elsewhere --------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_runs_alone_on_colab(path, lone, monkeypatch, published):
    redirect(monkeypatch, published.as_uri())
    more = {"PYTHONPATH": colab_site(lone.parent / "site"), "COURSE_STEPS": "10"}
    notebook = open_alone(path, lone)
    run_notebook(notebook, lone, kernel_environment(lone.parent / "home", **more))
    version, device, reminder = everything_printed(notebook)["setup"].splitlines()
    assert version.startswith("Next Token ") and device.startswith("Device: ")
    assert "File > Save a copy in Drive" in reminder
    assert sorted(found.name for found in lone.iterdir()) == [path.name, CLONE]


def test_opened_again_it_needs_neither_git_nor_network(lone, monkeypatch, published):
    environment = {"PYTHONPATH": str(ROOT / "tests" / "offline")}
    redirect(monkeypatch, published.as_uri())
    for visit in ("first", "second"):
        notebook = open_alone(FIRST, lone)
        run_notebook(notebook, lone, kernel_environment(lone.parent / "home", **environment))
        texts = everything_printed(notebook)
        assert len(texts["setup"].splitlines()) == 2, visit
        redirect(monkeypatch, UNREACHABLE)
        without_git(monkeypatch, lone.parent / "nothing")


def answered(exercise_id: str, mistaken: bool = False) -> str:
    """An exercise's cell with the right answer in it, or with a typical mistake."""
    exercise = find(exercise_id)
    answer = exercise.solution
    if mistaken:
        answer = source.patched(exercise.bare, exercise.mistakes[0].variants[0])
    return f'@exercise("{exercise_id}")\n{answer}'


def test_on_colab_with_drive_mounted_work_is_kept_there(lone, monkeypatch, published):
    redirect(monkeypatch, published.as_uri())
    drive = lone.parent / "drive"
    drive.mkdir()
    sources = [
        first_cell(),
        f"from pathlib import Path\nfrom course_lib import data, machine\n"
        f"machine.DRIVE = Path({str(drive)!r})\ncourse_lib.setup()\n"
        f"print(data.cache_folder())",
        "from course_lib.exercises import exercise\nfrom course_lib.next_token import *",
        answered("tokenizer.merge"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    more = {"PYTHONPATH": colab_site(lone.parent / "site"), "COURSE_HOME": ""}
    run_notebook(notebook, lone, kernel_environment("", **more))
    before, after = (printed(cell) for cell in notebook.cells[:2])
    assert "or this notebook is lost" in before
    assert "your progress is kept there" in after
    assert after.splitlines()[-1] == str(drive / "next-token" / "data")
    assert "tokenizer.merge: right" in all_text(notebook.cells[-1])
    assert any((drive / "next-token").iterdir())


def test_kaggle_is_not_colab_and_keeps_work_in_its_own_folder(tmp_path, monkeypatch, capsys):
    """Kaggle builds on Colab's image: its variables are set, and `google.colab` is there."""
    (tmp_path / "google" / "colab").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert machine.on_colab()
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("COURSE_HOME", raising=False)
    monkeypatch.setattr(machine, "KAGGLE", tmp_path / "kaggle")
    machine.KAGGLE.mkdir()
    assert not machine.on_colab()
    assert machine.user_folder() == machine.KAGGLE / "next-token"
    machine.setup()
    assert "Colab" not in capsys.readouterr().out


# ---- environments made with uv ------------------------------------------------------------------


def uv(*arguments: str) -> None:
    """Run uv; the test is skipped where it is missing or reaches no package index."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    command = shutil.which("uv", path=os.pathsep.join(places))
    if not command:
        pytest.skip("uv is not installed")
    try:
        done = subprocess.run(
            [command, *arguments, "--quiet", "--no-python-downloads"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("the package index answers too slowly")
    if done.returncode and UNREACHED.search(done.stderr) and "unsatisfiable" not in done.stderr:
        pytest.skip("the package index cannot be reached: " + done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr


def make_environment(folder: Path, python: str, *more: str) -> Path:
    """An environment of that Python with Colab's versions; returns the path of its Python."""
    uv("venv", "--python", python, str(folder))
    inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    made = folder.joinpath(*inside)
    pins = [f"{name}=={version}" for name, version in COLAB.items()]
    uv("pip", "install", "--python", str(made), *pins, *more)
    return made


@pytest.fixture(scope="session")
def twin(tmp_path_factory):
    """The Python of the twin: see above."""
    if os.environ.get("COURSE_TWIN"):
        return Path(os.environ["COURSE_TWIN"])
    python = make_environment(tmp_path_factory.mktemp("twin") / "twin", sys.executable)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Looked up last: what the twin has itself comes first.
    Path(done.stdout.strip(), "ours.pth").write_text("\n".join(sorted(ours)), encoding="utf-8")
    return python


def versions(python: Path, *names: str) -> list[str]:
    """The versions of the packages that this Python imports."""
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_twins_versions_are_colabs(twin):
    assert versions(twin, *COLAB) == list(COLAB.values())
    path = Path(os.environ.get("COURSE_DATA", "")).resolve().parent / "colab/colab-constraints.txt"
    if path.is_file():
        pins = path.read_text(encoding="utf-8").replace("_", "-").splitlines()
        assert {f"{name}=={version}" for name, version in COLAB.items()} <= set(pins)


def test_a_chapter_in_the_twin_prints_what_is_stored(twin, lone, monkeypatch, published):
    """A real chapter as a lone notebook; two of its exercises are answered, right and wrong."""
    redirect(monkeypatch, published.as_uri())
    notebook = open_alone(TWINS_CHAPTER, lone)
    exercises = [cell for cell in notebook.cells if cell.source.startswith("@exercise(")][:2]
    ids = [re.match(r'@exercise\("([\w.]+)"\)', cell.source)[1] for cell in exercises]
    for cell, exercise_id, mistaken in zip(exercises, ids, (False, True)):
        cell.source = answered(exercise_id, mistaken)
    environment = kernel_environment(lone.parent / "home", PYTHONPATH=colab_site(lone / "site"))
    run_notebook(notebook, lone, environment, python=twin)
    everything_printed(notebook)
    assert f"{ids[0]}: right" in all_text(exercises[0])
    assert f"{ids[1]}: not right yet" in all_text(exercises[1])
    stored = {cell["id"]: cell for cell in sync.load(TWINS_CHAPTER)["cells"]}
    compared = 0
    for cell in notebook.cells:
        ignored = sync.IGNORE in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and cell not in exercises and not ignored:
            assert all_text(cell) == all_text(stored[cell.id]), cell.id
            compared += bool(cell.outputs)
    assert compared > 20


# ---- Python 3.13 --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def python313(tmp_path_factory):
    """Python 3.13 with what the course imports, torch left out: its wheels are gigabytes."""
    if sys.version_info >= (3, 13):
        pytest.skip("all tests run on Python 3.13 or newer here")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = ["python3.13", *map(str, sorted(pyenv.glob("3.13.*/bin/python")))]
    found = [each for each in candidates if runs([each, "-c", "import venv"])]
    if not found:
        pytest.skip("there is no Python 3.13 on this machine")
    folder = tmp_path_factory.mktemp("python313") / "environment"
    return make_environment(folder, found[-1], *sorted(WITHOUT_TORCH))


def test_python_313_compiles_everything_without_a_warning(python313, tmp_path):
    rooms = [str(ROOT / room) for room in ("course_lib", "figures", "tests")]
    command = [python313, "-W", "error", "-m", "compileall", "-q", "-f", *rooms]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SAME_EVERYWHERE = """
import hashlib, json
from course_lib import data
from course_lib.tokenizer import Tokenizer
from course_lib.world import little_world
train, validation = little_world().split(300, 50)
tokenizer = Tokenizer.train(train, 400)
facts = [train, validation, tokenizer.merges, [tokenizer.encode(text) for text in validation]]
facts += [list(data.sms()), list(data.pairs()), tokenizer.to_tiktoken().encode(train[0])]
print(hashlib.sha256(json.dumps(facts).encode()).hexdigest())
"""


def test_python_313_gives_the_same_texts_tokens_and_splits(python313, tmp_path):
    """Little World promises the same bytes on every Python, and the splits must not move either."""
    lines = [f"{('ham', 'spam')[i % 4 == 0]}\tMessage {i % 40}" for i in range(50)]
    (tmp_path / "sms.tsv").write_text("\n".join(lines), encoding="utf-8")
    lines = [f"One {i % 30}.\t第{i % 25}。\tx" for i in range(90)]
    (tmp_path / "cmn.txt").write_text("\n".join(lines), encoding="utf-8")
    environment = {**os.environ, "COURSE_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    digests = set()
    for python in (sys.executable, python313):
        command = [python, "-c", SAME_EVERYWHERE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_first_cell_in_a_kernel_of_python_313(python313, lone, monkeypatch, published):
    """With a stand-in for torch; a figure is drawn, and a data set that is missing is told."""
    redirect(monkeypatch, published.as_uri())
    site = colab_site(lone.parent / "site")
    stand_in = "__version__ = '2.11.0'\nclass cuda:\n    is_available = lambda: False\n"
    (lone.parent / "site" / "torch.py").write_text(stand_in)
    figure = (
        "from course_lib.plotting import new_figure, show\nfig, ax = new_figure(3, 2)\n"
        "ax.plot([1, 2], [1, 2])\nshow(fig, alt='A line.')"
    )
    missing = (
        "from course_lib import data\ntry:\n    data.fetch('sms')\nexcept ValueError as error:"
    )
    sources = [first_cell(), figure, missing + "\n    print(error)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    environment = kernel_environment(lone.parent / "home", PYTHONPATH=site)
    run_notebook(notebook, lone, environment, python=python313)
    setup, _, told = (printed(cell) for cell in notebook.cells)
    assert " on Python 3.13." in setup and "torch 2.11.0" in setup
    assert "alt=" in json.dumps(notebook.cells[1].outputs)
    assert "without a network" in told and "COURSE_DATA" in told
