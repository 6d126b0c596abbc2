"""The doctor finds each of the usual failures and says how to mend it."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from course_lib import __main__ as commands
from course_lib import doctor, environment, machine, shadows

ROOT = Path(__file__).resolve().parent.parent


def wrong(finding) -> str:
    """The finding as it is printed; it has to be marked and to say what to do."""
    assert finding.mend, f"the doctor finds nothing wrong: {finding}"
    text = str(finding)
    assert text.startswith("! ") and "-> " in text
    return text


def test_on_this_machine_the_report_covers_everything(capsys):
    doctor.main([])
    printed = capsys.readouterr().out
    for what in "Python packages torch device kernel memory disk course names".split():
        assert f"\n  {what} " in printed or f"\n! {what} " in printed, printed
    assert "your work" in printed


def test_status_and_count(monkeypatch, capsys):
    fine, broken = doctor.Finding("disk", "90 GB free"), doctor.Finding("Python", "3.9", "Update.")
    monkeypatch.setattr(doctor, "examine", lambda: [fine, broken])
    assert doctor.main([]) == 1
    assert "1 thing to mend" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: [fine])
    assert doctor.main([]) == 0
    assert "All is well" in capsys.readouterr().out


def test_old_python(monkeypatch):
    assert not doctor.check_python().mend
    monkeypatch.setattr(sys, "version_info", (3, 9, 6))
    assert "needs Python 3.11 or newer" in wrong(doctor.check_python())


def test_missing_packages(monkeypatch):
    assert not doctor.check_packages().mend
    unmet = [environment.Requirement("tiktoken>=0.8")]
    monkeypatch.setattr(environment, "missing", lambda files: unmet)
    text = wrong(doctor.check_packages())
    assert "tiktoken>=0.8" in text and "course_lib run" in text


def broken_torch(folder: Path, monkeypatch, source: str) -> None:
    """Put a package `torch` that does not start before the real one."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    "source, said, remedy",
    [
        (
            "raise ImportError('libcudnn.so.9: cannot open shared object file')",
            "libcudnn.so.9: cannot open",
            "--force-reinstall torch",
        ),
        (
            "raise OSError('[WinError 126] Error loading c10.dll')",
            "WinError 126",
            "Visual C++ runtime",
        ),
        ("import os; os._exit(134)", "status 134", "--force-reinstall torch"),
    ],
)
def test_torch_without_its_libraries(tmp_path, monkeypatch, source, said, remedy):
    broken_torch(tmp_path, monkeypatch, source)
    (finding,) = doctor.check_torch()
    text = wrong(finding)
    assert "does not start" in text and said in text and remedy in text


def test_no_torch_at_all(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    (finding,) = doctor.check_torch()
    assert "not installed" in wrong(finding)


def kernel(folder: Path, monkeypatch, command: str) -> None:
    """Register a kernel `python3` that is started by this command, before all others."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(f'{{"argv": ["{command}", "-m", "x"], "display_name": "P"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


def test_right_kernel(tmp_path, monkeypatch):
    kernel(tmp_path, monkeypatch, Path(sys.executable).as_posix())
    assert not doctor.check_kernel().mend


def test_wrong_kernel(tmp_path, monkeypatch):
    other = tmp_path / "elsewhere" / "python3.11"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    kernel(tmp_path, monkeypatch, other.as_posix())
    text = wrong(doctor.check_kernel())
    assert "another Python" in text and "-m ipykernel install" in text


def test_kernel_that_is_gone(tmp_path, monkeypatch):
    kernel(tmp_path, monkeypatch, "/no/such/python")
    assert "does not exist" in wrong(doctor.check_kernel())


def test_little_memory(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: (0.5e9, 4e9))
    assert "Close other programs" in wrong(doctor.check_memory())
    monkeypatch.setattr(machine, "memory", lambda: None)
    assert not doctor.check_memory().mend


@pytest.mark.parametrize("installed, free, is_wrong", [
    (True, 0.5e9, True), (True, 3e9, False), (False, 3e9, True), (False, 9e9, False),
])  # fmt: skip
def test_low_disk(monkeypatch, installed, free, is_wrong):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage(1e12, 0, free))
    finding = doctor.check_disk(installed)
    assert bool(finding.mend) == is_wrong
    if is_wrong:
        assert "Make room" in wrong(finding)


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert machine.free_disk(tmp_path / "a" / "b") > 0


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A folder into which nothing can be written (for root, too)."""
    real = doctor.tempfile.NamedTemporaryFile

    def refuse(*arguments, dir=None, **keywords):
        if dir is not None and Path(dir).resolve() == tmp_path.resolve():
            raise PermissionError(13, "Permission denied")
        return real(*arguments, dir=dir, **keywords)

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    return tmp_path


def test_no_permission_to_write_into_the_course(locked, monkeypatch):
    assert not doctor.check_writing().mend
    monkeypatch.setattr(doctor, "ROOT", locked)
    text = wrong(doctor.check_writing())
    assert "Permission denied" in text and "folder of your own" in text


def test_no_permission_to_keep_progress(locked, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(locked))
    text = wrong(doctor.check_folder())
    assert "Permission denied" in text and "COURSE_HOME" in text


def test_course_data_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert not doctor.check_data().mend
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert not doctor.check_data().mend
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nothing"))
    assert "which is not a folder" in wrong(doctor.check_data())


def test_shadowing_files(tmp_path, monkeypatch):
    assert not doctor.check_shadows().mend
    for name in ("torch.py", "random.py", "lesson.py", "torch_notes.py"):
        (tmp_path / name).touch()
    (tmp_path / "numpy").mkdir()  # a folder with data in it hides nothing
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    names = [Path(path).name for path in shadows.shadowing_files()]
    assert names == ["json", "random.py", "torch.py"]
    text = wrong(doctor.check_shadows())
    assert "torch.py" in text and "give the file another name" in text


def test_no_verb_starts_beside_a_shadowing_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "torch.py").touch()
    monkeypatch.chdir(tmp_path)
    assert commands.main(["run"]) == 1
    assert "torch.py" in capsys.readouterr().err


def test_a_module_that_hides_random_does_not_stop_the_doctor(tmp_path):
    (tmp_path / "torch").mkdir()  # one that fails at once, to save time
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('no library')")
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')\n")
    done = subprocess.run(
        [sys.executable, "-m", "course_lib", "doctor"],
        cwd=tmp_path,
        env={**environment.os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "random.py" in done.stdout + done.stderr and done.returncode == 1
    assert "give the file another name" in done.stdout + done.stderr
