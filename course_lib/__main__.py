"""The course's commands: `python3 -m course_lib <verb>`. They need no package to start.

Where the packages are missing, a verb that needs them first makes the environment `.venv` and
continues there (see `course_lib.environment`). Each verb lives in a module of its own.
"""

import os
import sys

VERBS = {  # verb: (module, what is needed, what it does)
    "run": ("runner", "course", "execute every notebook in order and sample from the model"),
    "test": ("testing", "tests", "run every test, the notebooks among them"),
    "lab": ("lab", "course", "open JupyterLab at the first chapter"),
    "doctor": ("doctor", "", "say what this machine has, what is wrong and how to mend it"),
    "data": ("data", "course", "list the real texts and weights, or fetch them"),
    "exercises": ("exercises", "course", "show which exercises you have solved"),
    "sync": ("sync", "course", "bring notebooks and library in step"),
    "figures": ("figures", "course", "draw the course's diagrams again"),
    "bench": ("bench", "tests", "measure the speed of the library beside others"),
    "publish": ("publish", "course", "write the course's address into badges and first cells"),
}

USAGE = """\
usage: python -m course_lib <verb> [options]

{verbs}

`python -m course_lib <verb> --help` tells more of one verb. The first run or test sets everything
up: it makes an environment in .venv and installs the packages there."""


def usage():
    width = max(map(len, VERBS)) + 2
    verbs = ["  " + verb.ljust(width) + what for verb, (_, _, what) in VERBS.items()]
    return USAGE.format(verbs="\n".join(verbs))


def main(arguments):
    """Dispatch to the verb's module; returns the exit status."""
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    verb = arguments[0]
    if verb == "--version":
        from course_lib import __version__

        print("Next Token " + __version__)
        return 0
    if verb not in VERBS:
        print("There is no verb `" + verb + "`.\n\n" + usage(), file=sys.stderr)
        return 2
    module_name, needs, _ = VERBS[verb]
    from course_lib.shadows import shadowing_files, what_to_do

    shadows = shadowing_files()
    if shadows and verb != "doctor":
        print(what_to_do(shadows), file=sys.stderr)
        return 1
    # The doctor still has to start: look in those folders last.
    folders = {os.path.dirname(path) for path in shadows}
    sys.path.sort(key=lambda folder: os.path.realpath(folder) in folders)
    from course_lib import environment

    asks_for_help = {"-h", "--help"} & set(arguments[1:])
    try:
        if needs and not asks_for_help:  # a verb tells what it does before anything is installed
            files = [environment.ROOT / "requirements.txt"]
            if needs == "tests":
                files.append(environment.ROOT / "tests" / "requirements.txt")
            environment.prepare(files, arguments)
    except environment.CannotPrepare as error:
        print(error, file=sys.stderr)
        return 1
    import importlib

    try:
        module = importlib.import_module("course_lib." + module_name)
    except ModuleNotFoundError as error:
        if error.name != "course_lib." + module_name:
            raise
        print("The verb `" + verb + "` is not part of this version of the course.", file=sys.stderr)
        return 1
    return module.main(arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
