"""What several tests share: the course in miniature, made once, copied for those who change it."""

import shutil

import alone
import mini_course
import pytest


@pytest.fixture(scope="session")
def synced(tmp_path_factory):
    """The miniature course after `figures` and `sync`: its notebooks are in step and have run."""
    root = mini_course.build(tmp_path_factory.mktemp("course") / "mini")
    for name in ("figures", "sync"):
        done = mini_course.tool(root, name)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def mini(synced, tmp_path):
    """A copy of that course, to be changed."""
    return shutil.copytree(synced, tmp_path / "mini")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """What stands at the course's address: see `publish_course`."""
    return alone.publish_course(tmp_path_factory.mktemp("published"))


@pytest.fixture
def lone(tmp_path, monkeypatch):
    """An empty folder, and an environment in which nothing points to this checkout."""
    for name in ("PYTHONPATH", "COURSE_REPO", "COURSE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the cell must not need pip
    folder = tmp_path / "lone"
    folder.mkdir()
    return folder
