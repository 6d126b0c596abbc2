"""`python -m course_lib publish OWNER/REPO [--tag TAG]`: write the course's address everywhere.

The address stands in `course_lib/address.py`. From it follow the first cell and the badges of every
notebook, and the links in the README and its companions.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from course_lib.environment import ROOT

__all__ = ["PLACES", "address", "main", "relinked", "remote_repository", "stamp"]

PLACES = [  # files with links to the course's own pages
    "README.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    ".github/ISSUE_TEMPLATE/bug.yml",
    ".github/ISSUE_TEMPLATE/unclear.yml",
]


def address(root: Path = ROOT) -> tuple[str, str]:
    """The repository, "OWNER/REPO", and the tag that address.py names."""
    text = (root / "course_lib" / "address.py").read_text(encoding="utf-8")
    return tuple(re.search(rf'(?m)^{name} = "(.*)"$', text)[1] for name in ("REPOSITORY", "TAG"))


def remote_repository(root: Path = ROOT) -> str | None:
    """OWNER/REPO of git's remote `origin`, if that is a repository on GitHub."""
    try:
        done = subprocess.run(
            ["git", "remote", "get-url", "origin"], cwd=root, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", done.stdout.strip())
    return match[1] if match else None


def relinked(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """`text` with every link to the repository and tag `old` led to `new`.

    Links on GitHub, Colab, Kaggle and nbviewer all hold `github/OWNER/REPO` or
    `github.com/OWNER/REPO`, and perhaps `/blob/TAG` after it.
    """

    def replacement(match: re.Match) -> str:
        page = f"/{match['kind']}/{new[1]}" if match["kind"] else ""
        return f"{match['site']}{new[0]}{page}"

    pattern = (
        rf"(?P<site>github(?:\.com)?/){re.escape(old[0])}(?![\w-])"
        rf"(?:/(?P<kind>blob|tree|raw)/{re.escape(old[1])}(?![\w.-]))?"
    )
    return re.sub(pattern, replacement, text)


def stamp(repository: str, tag: str, root: Path = ROOT) -> list[str]:
    """Write the address into every place that holds it; returns the names of changed files."""
    from course_lib import sync
    from course_lib.first_cell import badge_row, first_cell

    old, new = address(root), (repository, tag)
    changed = []

    def write(path: Path, text: str) -> None:
        if text != path.read_text(encoding="utf-8"):
            sync.write_text(path, text)
            changed.append(path.relative_to(root).as_posix())

    for place in PLACES:
        path = root / place
        if path.is_file():
            write(path, relinked(path.read_text(encoding="utf-8"), old, new))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = sync.load(path)
        for cell in notebook["cells"]:
            if cell["id"] == "setup":
                cell["source"] = first_cell(*new).rstrip("\n")
            elif cell["cell_type"] == "markdown":
                row = badge_row(path.name, *old)
                source = cell["source"].replace(row, badge_row(path.name, *new))
                cell["source"] = relinked(source, old, new)
        write(path, sync.dump(notebook))
    path = root / "course_lib" / "address.py"
    text = path.read_text(encoding="utf-8")
    for name, value in zip(("REPOSITORY", "TAG"), new, strict=True):
        text = re.sub(rf'(?m)^{name} = ".*"$', f'{name} = "{value}"', text)
    write(path, text)  # last: until then a second call can finish what an interrupted one began
    return changed


def main(argv: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 where the address is not one."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib publish",
        description="Write the course's address into badges, first cells and links.",
    )
    parser.add_argument(
        "repository", nargs="?", metavar="OWNER/REPO", help="default: git's remote `origin`"
    )
    parser.add_argument("--tag", help="tag or branch that readers get (default: as it is)")
    options = parser.parse_args(argv)
    repository = options.repository or remote_repository()
    if not repository:
        print(
            "git's remote `origin` is not a repository on GitHub: give its name, OWNER/REPO.",
            file=sys.stderr,
        )
        return 2
    tag = options.tag or address()[1]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        print(f"`{repository}` is not of the form OWNER/REPO.", file=sys.stderr)
        return 2
    if not re.fullmatch(r"\w[\w.-]*", tag):
        print(f"`{tag}` cannot be used as a tag here: letters, digits, . _ and -.", file=sys.stderr)
        return 2
    changed = stamp(repository, tag)
    print(f"The course's address is https://github.com/{repository} at {tag}.")
    print("\n".join(f"  changed {name}" for name in changed) or "Nothing had to change.")
    return 0
