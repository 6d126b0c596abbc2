"""A notebook alone in an empty folder: what the tests of the first cell and of Colab share."""

import os
import shutil
import subprocess
from pathlib import Path

from static_checks import tracked_files

from course_lib.address import REPOSITORY, TAG

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = f"https://github.com/{REPOSITORY}"
UNREACHABLE = "https://127.0.0.1:9/nobody/there"
CLONE = f"next-token-{TAG}"


def publish_course(folder: Path) -> Path:
    """A bare repository with the course as it is now, at its tag: what stands at the address."""
    work, bare = folder / "work", folder / "bare.git"
    for path in tracked_files(ROOT):
        copy = work / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", TAG], ["add", "."], [*who, "commit", "-qm", "The course"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    shutil.rmtree(work)
    return bare


def redirect(monkeypatch, target: str) -> None:
    """Let git fetch the course's address from somewhere else."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{target}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", ADDRESS)


def without_git(monkeypatch, folder: Path) -> None:
    """A PATH on which there is no git."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(folder))


def colab_site(folder: Path) -> str:
    """A PYTHONPATH with `google.colab` on it and a pip that refuses, and with no network."""
    for name, source in (("google/colab", ""), ("pip", "raise ImportError('pip is disabled')")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source)
    return os.pathsep.join([str(folder), str(ROOT / "tests" / "offline")])
