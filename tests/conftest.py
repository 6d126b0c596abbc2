"""What several tests share: the course in miniature, made once, copied for those who change it."""

import shutil

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
