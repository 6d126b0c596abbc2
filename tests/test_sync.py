"""`python -m course_lib sync`, on a miniature course in a folder of its own."""

import json

import mini_course
import pytest

from course_lib import sync
from course_lib.plotting import what_it_does

APPLE = "notebooks/01_apple.ipynb"
BASKET = "notebooks/02_basket.ipynb"


def cell(root, path, cell_id):
    cells = json.loads((root / path).read_text(encoding="utf-8"))["cells"]
    return next(cell for cell in cells if cell["id"] == cell_id)


def source(root, path, cell_id):
    return "".join(cell(root, path, cell_id)["source"])


def printed(root, path, cell_id):
    return sync.printed(cell(root, path, cell_id))


def test_library_is_copied_and_run(synced):
    assert "grams: int = GRAMS" in source(synced, APPLE, "apple-class")
    assert "@dataclass(frozen=True)" in source(synced, APPLE, "apple-class")
    assert source(synced, APPLE, "apple-first-try") == "def weigh(grams):\n    return grams"
    assert printed(synced, APPLE, "apple-weigh") == "0.15 kg\n"
    assert printed(synced, APPLE, "checkpoint") == (
        "apple: 4 of 4 definitions equal the library's\none apple: 0.15 here, 0.15 in the library\n"
    )
    assert printed(synced, BASKET, "basket-weight") == "0.40 kg\n"


def test_first_cell_and_badges_are_written(synced):
    for path in (APPLE, BASKET):
        assert source(synced, path, "setup").startswith("# Finds the course.")
        assert cell(synced, path, "setup")["metadata"] == {"tags": ["nbval-ignore-output"]}
    header = source(synced, APPLE, "header").splitlines()
    assert header[0] == "# 1 · Apple" and header[-1] == "You weigh an apple."
    assert header[2] == "[![Open in Colab](badge.svg)](https://example.org/01_apple.ipynb)"


def test_figure_is_shown_with_its_alt_text(synced):
    (output,) = cell(synced, APPLE, "apple-picture")["outputs"]
    assert 'alt="A line."' in "".join(output["data"]["text/html"])
    assert "data:image/svg+xml;base64," in "".join(output["data"]["text/html"])
    assert "".join(output["data"]["text/plain"]) == "A line."


def test_in_step_is_left_alone(mini):
    before = {path: (mini / path).read_bytes() for path in (APPLE, BASKET)}
    stamps = {path: (mini / path).stat().st_mtime_ns for path in (APPLE, BASKET)}
    check = mini_course.tool(mini, "sync", "--check")
    again = mini_course.tool(mini, "sync")
    assert check.returncode == 0 and again.returncode == 0, check.stdout + again.stdout
    assert "running" not in again.stdout
    assert {path: (mini / path).read_bytes() for path in before} == before
    assert {path: (mini / path).stat().st_mtime_ns for path in stamps} == stamps


def test_changed_library_is_reported_then_copied(mini):
    mini_course.edit(mini, "course_lib/apple.py", "grams / 1000", "grams / 100")
    before = (mini / APPLE).read_bytes()
    check = mini_course.tool(mini, "sync", "--check")
    assert check.returncode == 1
    assert "-    return apple.grams / 1000" in check.stdout
    assert "+    return apple.grams / 100" in check.stdout
    assert "02_basket.ipynb: its stored outputs are older" in check.stdout
    assert (mini / APPLE).read_bytes() == before

    only = mini_course.tool(mini, "sync", "apple", "--only")
    assert only.returncode == 0, only.stderr
    assert printed(mini, APPLE, "apple-weigh") == "1.50 kg\n"
    assert printed(mini, BASKET, "basket-weight") == "0.40 kg\n"

    later = mini_course.tool(mini, "sync", "apple")
    assert "01_apple.ipynb: in step" in later.stdout and "02_basket.ipynb: running" in later.stdout
    assert printed(mini, BASKET, "basket-weight") == "4.00 kg\n"
    assert mini_course.tool(mini, "sync", "--check").returncode == 0


def test_outputs_that_used_a_stored_model_are_stale_when_it_changes(mini):
    (mini / "course_lib" / "models").mkdir()
    model = mini / "course_lib" / "models" / "pips.safetensors"
    model.write_bytes(b"old")

    def change(cell):
        cell["source"] = "".join(cell["source"]) + "\nprint(len('pips.safetensors'))"

    mini_course.change_cell(mini, APPLE, "apple-weigh", change)
    done = mini_course.tool(mini, "sync", "apple", "--only")
    assert done.returncode == 0, done.stderr
    assert mini_course.tool(mini, "sync", "--check", "apple").returncode == 0
    model.write_bytes(b"new")
    check = mini_course.tool(mini, "sync", "--check", "apple")
    assert check.returncode == 1 and "older than its code" in check.stdout


def test_comments_and_docstrings_are_copied_without_a_run(mini):
    mini_course.edit(mini, "course_lib/apple.py", "Its mass in kilograms.", "How heavy, in kg.")
    done = mini_course.tool(mini, "sync")
    assert done.returncode == 0 and "running" not in done.stdout
    assert '"""How heavy, in kg."""' in source(mini, APPLE, "apple-weigh")


def test_pull_copies_the_other_way(mini):
    def change(cell):
        cell["source"] = [
            "GRAMS = 200\n" if "GRAMS = 150" in line else line for line in cell["source"]
        ]

    mini_course.change_cell(mini, APPLE, "apple-class", change)
    done = mini_course.tool(mini, "sync", "--pull", "--no-run")
    assert done.returncode == 0, done.stderr
    assert "+GRAMS = 200" in done.stdout
    text = (mini / "course_lib/apple.py").read_text(encoding="utf-8")
    assert text == mini_course.APPLE.replace("GRAMS = 150  # a middling one", "GRAMS = 200")


def test_name_that_the_notebook_does_not_define_is_refused(mini):
    with (mini / "course_lib/apple.py").open("a", encoding="utf-8") as file:
        file.write('\n\ndef peel(apple: Apple) -> Apple:\n    """Peeled."""\n    return apple\n')
    mini_course.edit(mini, "course_lib/apple.py", '"weigh"]', '"weigh", "peel"]')
    before = (mini / APPLE).read_bytes()
    done = mini_course.tool(mini, "sync", "apple", "--only")
    assert done.returncode == 1
    assert "01_apple.ipynb does not define peel" in done.stderr
    assert (mini / APPLE).read_bytes() == before


@pytest.mark.parametrize(
    ("line", "complaints"),
    [
        ("1 / 0", ["ZeroDivisionError"]),
        (
            "import warnings; warnings.warn('hm'); globals()['weigh'] = lambda apple: 3",
            ["cell apple-weigh wrote to stderr", "the checkpoint says 3 of 4"],
        ),
    ],
)
def test_bad_run_is_not_saved(mini, line, complaints):
    def change(cell):
        cell["source"] = "".join(cell["source"]) + "\n" + line

    mini_course.change_cell(mini, APPLE, "apple-weigh", change)
    before = (mini / APPLE).read_bytes()
    done = mini_course.tool(mini, "sync", "apple", "--only")
    assert done.returncode == 1
    assert "saved" in done.stderr
    for complaint in complaints:
        assert complaint in done.stderr
    assert (mini / APPLE).read_bytes() == before
    assert [each.name for each in sorted((mini / "notebooks").iterdir())] == [
        "01_apple.ipynb",
        "02_basket.ipynb",
    ]


def test_unknown_chapter(synced):
    done = mini_course.tool(synced, "sync", "pear")
    assert done.returncode == 2
    assert "There is no chapter pear. Known: apple, basket." in done.stdout


def test_editors_metadata_is_untidy_and_goes(mini):
    def change(notebook):
        notebook["metadata"]["widgets"] = {}
        notebook["cells"][2]["metadata"]["execution"] = {"iopub.status.busy": "2026-01-01"}

    mini_course.change_cell(mini, APPLE, None, change)
    check = mini_course.tool(mini, "sync", "--check")
    assert check.returncode == 1 and "not tidy" in check.stdout
    done = mini_course.tool(mini, "sync")
    assert done.returncode == 0 and "running" not in done.stdout
    assert "iopub" not in (mini / APPLE).read_text(encoding="utf-8")


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.ipynb"
    sync.write_text(path, "old")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sync.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        sync.write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_broken_notebook_is_named(tmp_path):
    path = tmp_path / "03_pear.ipynb"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(sync.SyncError, match=r"03_pear\.ipynb is not a notebook"):
        sync.load(path)


@pytest.mark.parametrize(
    ("source", "parses_to"),
    [
        ("%time x = 1\ny = 2", "y = 2"),
        ("!ls\ndef f():\n    return 1", "def f"),
        ("%%bash\nls", ""),
        ("x = ('%d'\n% 3)", "% 3"),
    ],
)
def test_cells_with_magics_parse(source, parses_to):
    import ast

    text = sync.python_source({"source": source})
    ast.parse(text)
    assert parses_to in text


def test_what_it_does_sees_code_only():
    plain = 'def f(x):\n    """One."""\n    return x + 1\n'
    other = 'def f(x):\n    """Two\n    lines."""\n\n    # why\n    return x + 1  # because\n'
    assert what_it_does(plain) == what_it_does(other)
    assert what_it_does(plain) != what_it_does(plain.replace("+ 1", "+ 2"))
    assert what_it_does('x = "# no comment"') == 'x = "# no comment"'
