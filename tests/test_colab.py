"""The promise to Colab: nothing that it brings has to be replaced for this course to run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.environment import read_requirements, satisfies

ROOT = Path(__file__).resolve().parent.parent
UNREACHABLE = re.compile(r"(?i)failed to fetch|dns error|timed? ?out|connect|offline")


@pytest.fixture(scope="module")
def constraints() -> Path:
    """Colab's package list, beside the folder with the real data sets."""
    data = os.environ.get("COURSE_DATA")
    path = Path(data or "").resolve().parent / "colab" / "colab-constraints.txt"
    if not data or not path.is_file():
        pytest.skip("COURSE_DATA is not set, or Colab's package list does not lie beside it")
    return path


def versions(path: Path) -> dict[str, str]:
    """The versions in a constraints file, by name."""
    pairs = re.findall(r"(?m)^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def replaced(requirements: Path, there: dict[str, str]) -> list[str]:
    """The requirements that would replace a version that is there already."""
    return [
        f"{each.line} would replace {each.name} {there[each.name]}"
        for each in read_requirements(requirements)
        if each.name in there and not satisfies(there[each.name], each.versions)
    ]


def test_nothing_of_colabs_would_be_replaced(constraints):
    there = versions(constraints)
    assert len(there) > 500 and {"torch", "tiktoken", "matplotlib"} <= set(there)
    assert not replaced(ROOT / "requirements.txt", there)


def test_a_requirement_that_colab_does_not_meet_is_named(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("torch>=2.12\ntqdm>=4\n")
    there = {"torch": "2.11.0", "tqdm": "4.67.3"}
    assert replaced(path, there) == ["torch>=2.12 would replace torch 2.11.0"]


def resolve(requirements: Path, constraints: Path) -> subprocess.CompletedProcess:
    """Ask uv for versions of everything, dependencies included, that leave Colab's as they are."""
    uv = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if not uv:
        pytest.skip("uv is not installed")
    command = [uv, "pip", "compile", str(requirements), "--constraint", str(constraints)]
    command += ["--python-version", "3.13", "--python-platform", "linux", "--no-header", "--quiet"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index answers too slowly")
    if done.returncode and UNREACHABLE.search(done.stderr) and "unsatisfiable" not in done.stderr:
        pytest.skip("the package index cannot be reached: " + done.stderr.strip().splitlines()[-1])
    return done


def test_dependencies_leave_colabs_versions_as_they_are(constraints):
    done = resolve(ROOT / "requirements.txt", constraints)
    assert done.returncode == 0, done.stderr
    found, there = versions_of(done.stdout), versions(constraints)
    assert found["torch"] == there["torch"] and found["nbval"]
    assert not {name for name in found if name in there and found[name] != there[name]}


def versions_of(text: str) -> dict[str, str]:
    """The versions that uv has chosen, by name."""
    return dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text))


def test_the_resolver_names_what_would_be_replaced(constraints, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("torch>=2.12\n")
    done = resolve(path, constraints)
    assert done.returncode != 0 and "torch" in done.stderr
