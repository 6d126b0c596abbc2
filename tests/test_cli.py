"""The commands, and how an environment comes to be, without installing anything."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import packaging.requirements
import packaging.specifiers
import psutil  # comes with ipykernel
import pytest
import yaml  # comes with transformers
from hypothesis import given
from hypothesis import strategies as st

import course_lib
from course_lib import __main__ as commands
from course_lib import __version__, address, environment, publish, runner, sync, testing
from course_lib.first_cell import badge_row, first_cell, notebook_links
from course_lib.kernel import CellFailed, kernel_environment, run_notebook

ROOT = Path(__file__).resolve().parent.parent
BEFORE_PACKAGES = ["__init__", "__main__", "environment", "machine", "shadows", "doctor"]


def course(*arguments, **keywords) -> subprocess.CompletedProcess:
    """`python -m course_lib` with these arguments, in a process of its own."""
    command = [sys.executable, "-m", "course_lib", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **keywords)


# ---- importing and starting --------------------------------------------------------------------


def test_importing_the_library_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import course_lib; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "['course_lib']", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "long_pause", "wanted"),
    [
        ({}, True, ("PASSIVE", "4000")),
        ({}, False, ("PASSIVE", None)),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, True, ("ACTIVE", None)),
        ({"GOMP_SPINCOUNT": "7"}, True, ("PASSIVE", "7")),
    ],
)
def test_openmp_is_told_to_sleep_soon_unless_the_reader_says_otherwise(
    given, long_pause, wanted, monkeypatch
):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.setenv(name, "")  # so that what the function sets is undone too
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(course_lib, "has_long_pause", lambda: long_pause)
    course_lib.set_waiting()
    assert tuple(os.environ.get(name) for name in names) == wanted


def test_the_package_itself_tells_openmp():
    code = "import course_lib, os; print(os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == "PASSIVE", done.stderr


def test_which_processors_pause_long(tmp_path):
    info = tmp_path / "cpuinfo"
    for text, wanted in (
        ("vendor_id : GenuineIntel\nflags : sse2 avx2 clflushopt", True),
        ("vendor_id : GenuineIntel\nflags : sse2 avx2", False),  # before Skylake
        ("vendor_id : AuthenticAMD\nflags : sse2 avx2 clflushopt", False),
    ):
        info.write_text(text, encoding="utf-8")
        assert course_lib.has_long_pause(str(info)) == wanted
    assert not course_lib.has_long_pause(str(tmp_path / "none"))  # not Linux


@pytest.mark.parametrize("name", BEFORE_PACKAGES)
def test_what_runs_first_can_be_read_by_an_old_python(name):
    text = (ROOT / "course_lib" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


def test_what_runs_first_needs_only_the_standard_library():
    names = ", ".join(f"course_lib.{name}" for name in BEFORE_PACKAGES if "__" not in name)
    names += ", course_lib.runner, course_lib.publish, course_lib.data"
    code = f"import course_lib.__main__, {names}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_usage_lists_every_verb(capsys):
    assert commands.main([]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in commands.VERBS)


def test_unknown_verb(capsys):
    assert commands.main(["walk"]) == 2
    assert "There is no verb `walk`." in capsys.readouterr().err


def test_every_verb_explains_itself():
    for verb in commands.VERBS:
        if not list((ROOT / "course_lib").glob(f"{commands.VERBS[verb][0]}*")):
            continue
        done = course(verb, "--help")
        assert done.returncode == 0 and "usage" in done.stdout, (verb, done.stderr)


def test_status_of_pytest_comes_through():
    assert testing.main(["-q", "tests/there_is_no_such_test.py"]) == 4
    assert course("run", "--chapter", "99").returncode == 2


# ---- which requirements are met ----------------------------------------------------------------

VERSIONS = st.lists(st.integers(0, 20), min_size=1, max_size=4).map(
    lambda parts: ".".join(map(str, parts))
)
SIGNS = st.sampled_from([">=", "<=", "<", ">", "==", "!="])


@given(VERSIONS, st.lists(st.tuples(SIGNS, VERSIONS), max_size=3))
def test_ranges_mean_what_packaging_says(version, conditions):
    text = ",".join(sign + wanted for sign, wanted in conditions)
    assert environment.satisfies(version, text) == (
        version in packaging.specifiers.SpecifierSet(text)
    )


@pytest.mark.parametrize(
    "version, versions",
    [
        ("2.13.0+cpu", ">=2.6,<2.14"),
        ("2.5.1", ">=2.6,<2.14"),
        ("2.14.0", ">=2.6,<2.14"),
        ("1.4.5", "~=1.4.2"),
        ("1.5", "~=1.4.2"),
        ("1.4", "==1.*"),
        ("2.0", "==1.*"),
        ("2.0", ""),
    ],
)
def test_ranges_as_they_are_written(version, versions):
    wanted = version in packaging.specifiers.SpecifierSet(versions)
    assert environment.satisfies(version, versions) == wanted


@pytest.mark.parametrize("path", ["requirements.txt", "tests/requirements.txt"])
def test_requirements_files_hold_ranges_and_nothing_else(path):
    lines = [line.split("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    wanted = [packaging.requirements.Requirement(line) for line in lines if line]
    found = environment.read_requirements(ROOT / path)
    assert [each.name for each in found] == [each.name for each in wanted]
    assert all("==" not in each.versions and ">=" in each.versions for each in found)


def test_missing_names_what_is_absent_or_outside_its_range(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# a comment\npytest>=1\npytest>=1000  # too new\nno-such-package>=1\n")
    assert [each.line for each in environment.missing([path])] == [
        "pytest>=1000",
        "no-such-package>=1",
    ]


# ---- preparing an environment ------------------------------------------------------------------


class Continued(Exception):
    """The program would go on in another Python."""


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """`environment`, with installing, making and continuing replaced by notes in a list."""
    notes = []

    def continue_in(python, arguments, **changes):
        notes.append(("continue", str(python), arguments, changes))
        raise Continued

    def make_venv():
        notes.append(("make",))

    def install(requirements):
        notes.append(("install", [each.line for each in requirements]))

    monkeypatch.setattr(environment, "continue_in", continue_in)
    monkeypatch.setattr(environment, "make_venv", make_venv)
    monkeypatch.setattr(environment, "install", install)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv(environment.MARK, raising=False)
    return notes


def file_with(tmp_path, text) -> Path:
    path = tmp_path / "wanted.txt"
    path.write_text(text)
    return path


def test_where_all_is_met_nothing_happens(stage, tmp_path):
    environment.prepare([file_with(tmp_path, "pytest>=1\n")], ["run"])
    assert stage == []


def test_an_environment_gets_only_what_it_lacks(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "is_environment", lambda: True)
    with pytest.raises(Continued):
        environment.prepare([file_with(tmp_path, "pytest>=1\nno-such-package>=1\n")], ["run", "-x"])
    assert stage == [
        ("install", ["no-such-package>=1"]),
        ("continue", sys.executable, ["run", "-x"], {environment.MARK: "1"}),
    ]


def test_what_is_still_missing_after_installing_is_named(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "is_environment", lambda: True)
    monkeypatch.setenv(environment.MARK, "1")
    with pytest.raises(environment.CannotPrepare, match="still missing: no-such-package>=1"):
        environment.prepare([file_with(tmp_path, "no-such-package>=1\n")], ["run"])


def test_from_the_systems_python_a_venv_is_made_and_used(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "is_environment", lambda: False)
    with pytest.raises(Continued):
        environment.prepare([file_with(tmp_path, "no-such-package\n")], ["test", "-q"])
    python = str(environment.venv_python(tmp_path))
    assert stage == [("make",), ("continue", python, ["test", "-q"], {})]


def test_a_venv_that_works_is_not_made_again(stage, tmp_path, monkeypatch):
    python = environment.venv_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(environment, "is_environment", lambda: False)
    monkeypatch.setattr(environment, "runs", lambda command: command[0] == str(python))
    with pytest.raises(Continued):
        environment.prepare([file_with(tmp_path, "no-such-package\n")], ["run"])
    assert stage == [("continue", str(python), ["run"], {})]
    monkeypatch.setattr(environment, "runs", lambda command: False)  # moved here, or half made
    with pytest.raises(Continued):
        environment.prepare([file_with(tmp_path, "no-such-package\n")], ["run"])
    assert stage[1:] == [("make",), ("continue", str(python), ["run"], {})]


def test_an_old_python_looks_for_a_newer_one(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 6))
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    with pytest.raises(environment.CannotPrepare, match="needs Python 3.11 or newer.* Python 3.9"):
        environment.find_newer_python()
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/somewhere/{name}")
    monkeypatch.setattr(environment, "runs", lambda command: command[0] == "python3.12")
    assert environment.find_newer_python() == ["python3.12"]


def test_condas_base_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert not environment.is_environment()  # a system's Python
    (tmp_path / "conda-meta").mkdir()
    assert environment.is_environment()
    (tmp_path / "condabin").mkdir()
    assert not environment.is_environment()


# ---- run ---------------------------------------------------------------------------------------


def notebook(tmp_path, *cells, name="01_small.ipynb") -> Path:
    """A notebook of code cells, (id, tags, source) each."""
    made = nbformat.v4.new_notebook()
    for cell_id, tags, source in cells:
        cell = nbformat.v4.new_code_cell(source, id=cell_id, metadata={"tags": tags})
        made.cells.append(cell)
    path = tmp_path / name
    nbformat.write(made, path)
    return path


def test_run_sums_up_and_changes_nothing(tmp_path, capsys):
    path = notebook(
        tmp_path,
        ("start", [], "import os\nprint(os.environ['COURSE_CORPUS'], os.environ['COURSE_HOME'])"),
        ("loss", ["headline"], "print('a line before')\nprint('loss 0.91 nats')"),
        ("text", ["sample"], "print('Once upon a time.')"),
    )
    before = path.read_bytes()
    assert runner.run([path], corpus="shakespeare") == 0
    printed = capsys.readouterr().out
    assert re.search(r"\[1/1\] 01_small +\d+\.\d s, \d+ MB\n", printed)
    assert re.search(r"(?m)^01_small +\d+\.\d +\d+ MB +loss 0\.91 nats$", printed)
    assert printed.endswith("From the trained model:\n\n    Once upon a time.\n")
    assert path.read_bytes() == before


def test_run_shows_the_cell_that_failed_and_stops(tmp_path, capsys):
    first = notebook(tmp_path, ("fine", [], "1"), ("bad", [], "nobody = {}\nnobody['home']"))
    second = notebook(tmp_path, ("never", [], "1"), name="02_next.ipynb")
    assert runner.run([first, second]) == 1
    captured = capsys.readouterr()
    assert "02_next" not in captured.out
    assert "01_small.ipynb: Cell bad failed: KeyError: 'home'" in captured.err
    assert "    nobody['home']" in captured.err and "line 2" in captured.err


def test_kernels_use_a_folder_that_is_not_the_readers(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("COURSE_DATA", os.path.relpath(tmp_path))
    monkeypatch.setenv("COURSE_GPT2", os.path.relpath(tmp_path / "gpt2"))
    path = notebook(
        tmp_path,
        ("home", [], f"import os\nassert os.environ['COURSE_HOME'] != {str(tmp_path / 'mine')!r}"),
        ("data", [], f"assert os.environ['COURSE_DATA'] == {str(tmp_path.resolve())!r}"),
        ("cache", [], f"assert os.environ['COURSE_CACHE'] == {str(tmp_path / 'mine' / 'data')!r}"),
        ("gpt2", [], f"assert os.environ['COURSE_GPT2'] == {str(tmp_path.resolve() / 'gpt2')!r}"),
    )
    assert runner.run([path]) == 0


def test_a_corpus_that_cannot_be_had_is_told_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(runner, "run", lambda *arguments: pytest.fail("it runs"))
    assert runner.main(["--corpus", "shakespeare"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Tiny Shakespeare (1.1 MB) is not on this machine")
    assert captured.err.count("\n") == 1 and not captured.out


def test_headline_falls_back_on_the_checkpoint():
    text = (
        "attention: 5 of 5 definitions equal the library's\nleak: 0.00 here, 0.00 in the library\n"
    )
    output = {"output_type": "stream", "name": "stdout", "text": text}
    cell = {"cell_type": "code", "id": "checkpoint", "metadata": {}, "outputs": [output]}
    assert runner.headline({"cells": [cell]}) == "leak: 0.00"
    assert runner.headline({"cells": [{**cell, "outputs": []}]}) == ""


def test_chapters_are_chosen_by_number_or_word(tmp_path):
    for name in ("01_apple.ipynb", "02_basket.ipynb", "10_cart.ipynb"):
        (tmp_path / name).touch()
    names = [path.stem for path in runner.chosen_notebooks(["basket", "01", "10_cart"], tmp_path)]
    assert names == ["01_apple", "02_basket", "10_cart"]
    assert len(runner.chosen_notebooks([], tmp_path)) == 3
    with pytest.raises(ValueError, match="There is no chapter 3. There are: 01_apple"):
        runner.chosen_notebooks(["3"], tmp_path)


def test_outputs_of_another_corpus_are_not_saved(capsys):
    with pytest.raises(SystemExit):
        runner.main(["--save", "--corpus", "shakespeare"])
    assert "leave --corpus out" in capsys.readouterr().err


def ended(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends within so many seconds; one that nobody has buried counts as ended."""
    try:
        process = psutil.Process(pid)
        deadline = time.monotonic() + seconds
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        pass
    return True


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_control_c_ends_the_run_and_its_kernel(tmp_path):
    note = tmp_path / "pid"
    path = notebook(
        tmp_path,
        ("note", [], f"import os\nopen({str(note)!r}, 'w').write(str(os.getpid()))"),
        ("wait", [], "import time\ntime.sleep(600)"),
    )
    code = (
        "import sys; from pathlib import Path; from course_lib import __main__, runner; "
        f"runner.main = lambda argv: runner.run([Path({str(path)!r})]); "
        "sys.argv = ['course_lib', 'run']; import runpy; "
        "runpy.run_module('course_lib', run_name='__main__', alter_sys=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.strip().endswith("Stopped.") and "Traceback" not in errors
    assert ended(int(note.read_text()))


# ---- publish -----------------------------------------------------------------------------------

OLD, NEW = ("a/b", "main"), ("c/d", "v1.0")


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("https://github.com/a/b", "https://github.com/c/d"),
        ("https://github.com/a/b.git", "https://github.com/c/d.git"),
        ("https://github.com/a/b/blob/main/x", "https://github.com/c/d/blob/v1.0/x"),
        (
            "https://x.google.com/github/a/b/blob/main/x",
            "https://x.google.com/github/c/d/blob/v1.0/x",
        ),
        ("https://github.com/a/b/blob/mainly/x", "https://github.com/c/d/blob/mainly/x"),
        ("https://github.com/a/bc/blob/main", "https://github.com/a/bc/blob/main"),
        ("on the main road from a/b", "on the main road from a/b"),
    ],
)
def test_links_are_led_elsewhere(text, wanted):
    assert publish.relinked(text, OLD, NEW) == wanted


def test_publish_stamps_badges_first_cells_and_pages(tmp_path):
    old, new = (address.REPOSITORY, address.TAG), ("another-teacher/this-course", "v99.0")
    for folder in ("course_lib", "notebooks"):
        (tmp_path / folder).mkdir()
    for name in ("course_lib/address.py", "README.md"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_markdown_cell(f"# 1 · Small\n\n{badge_row('01_small.ipynb')}", id="header"),
        nbformat.v4.new_code_cell(first_cell().rstrip("\n"), id="setup"),
    ]
    path = tmp_path / "notebooks" / "01_small.ipynb"
    nbformat.write(made, path)
    assert "course_lib/address.py" in publish.stamp(*new, tmp_path)
    assert publish.address(tmp_path) == new
    header, setup = sync.load(path)["cells"]
    assert header["source"].split("\n")[2] == badge_row("01_small.ipynb", *new)
    assert setup["source"] == first_cell(*new).rstrip("\n")
    assert old[0] not in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert publish.stamp(*new, tmp_path) == []
    publish.stamp(*old, tmp_path)
    for name in ("course_lib/address.py", "README.md"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize(
    "remote, wanted",
    [
        ("https://github.com/a/b.git", "a/b"),
        ("git@github.com:a/b.git", "a/b"),
        ("https://github.com/a/b", "a/b"),
        ("https://example.org/a/b", None),
    ],
)
def test_default_address_is_the_remote(tmp_path, remote, wanted):
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert publish.remote_repository(tmp_path) == wanted


@pytest.mark.parametrize("arguments", [["nonsense"], ["a/b", "--tag", "no tag"], ["a/b/c"]])
def test_publish_refuses_what_is_no_address(arguments, capsys):
    assert publish.main(arguments) == 2
    assert capsys.readouterr().err.startswith("`")


def test_readme_links_every_notebook_where_it_is_published():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for chapter in sync.chapters(ROOT):
        for place, link in notebook_links(chapter.notebook.name).items():
            assert link in text, f"README's map lacks {chapter.notebook.name} on {place}"


@pytest.mark.parametrize("chapter", sync.chapters(ROOT), ids=lambda each: each.word)
def test_every_notebook_begins_with_its_badges_and_the_one_first_cell(chapter):
    cells = sync.load(chapter.notebook)["cells"]
    assert badge_row(chapter.notebook.name) in cells[0]["source"].splitlines()
    assert sync.code_cells({"cells": cells})[0]["source"] == first_cell().rstrip("\n")


@pytest.mark.parametrize("place", publish.PLACES)
def test_pages_name_no_other_address(place):
    path = ROOT / place
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for found in re.findall(r"https://github\.com/([\w-]+/[\w-]+)", text):
        assert found == address.REPOSITORY


def test_the_citation_is_complete_and_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["authors"]
    assert citation["title"].startswith("Next Token") and citation["type"] == "software"
    assert citation["version"] == __version__
    assert citation["license"] == ["MIT", "CC-BY-4.0"]
    assert citation["repository-code"] == f"https://github.com/{address.REPOSITORY}"
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_licences_of_code_and_text():
    code, text = ((ROOT / name).read_text(encoding="utf-8") for name in ("LICENSE", "LICENSE-text"))
    assert code.startswith("MIT License") and "WITHOUT WARRANTY OF ANY KIND" in code
    assert "CC BY 4.0" in text and "creativecommons.org/licenses/by/4.0/legalcode" in text


def test_the_form_for_faults_asks_for_the_doctors_report():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"]
        for part in form["body"]:
            assert part["type"] in {"input", "textarea", "dropdown"}
            assert part["attributes"]["label"] and part["validations"]["required"]
    bug = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    (doctor,) = [part for part in bug["body"] if part["id"] == "doctor"]
    assert "python3 -m course_lib doctor" in doctor["attributes"]["description"]


def test_the_devcontainer_installs_all_requirements_for_the_cpu():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(text)
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.1[1-9]", container["image"])
    command = container["postCreateCommand"]
    assert environment.CPU_WHEELS in command
    named = [word for word in command.split() if word.endswith(".txt")]
    assert named == ["requirements.txt", "tests/requirements.txt"]
    assert all((ROOT / name).is_file() for name in named)


# ---- what pytest shows -------------------------------------------------------------------------


def test_a_cell_that_writes_to_stderr_is_shown_with_its_text(tmp_path):
    for name in (
        "conftest.py",
        "pyproject.toml",
        "tests/nbval.cfg",
        "tests/offline/sitecustomize.py",
    ):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    path = notebook(tmp_path, ("loud", [], "import sys\nprint('a warning', file=sys.stderr)"))
    made = nbformat.read(path, as_version=4)
    made.cells[0].execution_count = 1
    nbformat.write(made, path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "stderr of the cell" in done.stdout and "a warning" in done.stdout


WAYS_OUT = {
    "connect": "socket.socket().connect(('192.0.2.1', 80))",
    "connect_ex": "socket.socket().connect_ex(('192.0.2.1', 80))",
    "six": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80, 0, 0))",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "lookup": "socket.getaddrinfo('example.org', 80)",
    "create": "socket.create_connection(('example.org', 80), timeout=1)",
    "urllib": "__import__('urllib.request').request.urlopen('http://example.org', timeout=1)",
    "requests": "__import__('requests').get('http://192.0.2.1', timeout=1)",
}


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT)
def test_tests_have_no_network(way):
    with pytest.raises(OSError, match="without a network"):
        exec(f"import socket; {way}")


def test_what_tests_start_has_no_network_but_this_machine():
    code = "import socket\nwith socket.create_server(('127.0.0.1', 0)) as server:\n"
    code += "    socket.create_connection(server.getsockname()).close()\nprint('here')\n"
    code += WAYS_OUT["connect"]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "here\n" and "without a network" in done.stderr


def test_kernels_have_no_network(tmp_path):
    cells = [nbformat.v4.new_code_cell(f"import socket; {WAYS_OUT['connect']}")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellFailed, match="without a network"):
        run_notebook(notebook, tmp_path, kernel_environment(tmp_path))
