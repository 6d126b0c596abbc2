"""`python3 -m course_lib bench`: how fast the library is, measured beside others.

Each benchmark is a module of this package with one function `run(options) -> list[Result]`,
imported when it is asked for; `measure` holds what they share. A benchmark may also have functions
`table(results)`, which returns a text, and `figure(results)`, which returns a matplotlib figure;
otherwise its rows are shown one by one, and its ratios as bars.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

BENCHMARKS = {  # name: what it measures
    "train": "tokens per second of a training step",
    "speedrun": "time to a given loss on tiny Shakespeare",
    "generate": "tokens per second of writing text, with and without the cache",
    "tokenizer": "time to train a tokenizer, and megabytes encoded per second",
    "growth": "how time and memory grow with context, width and depth",
    "gpu": "tokens per second and MFU of a 124M model in training, on an NVIDIA GPU",
    "course": "seconds and memory of every chapter, and how soon a reader sees something",
}

FIGURE_FORMATS = (".svg", ".png", ".pdf")

ABOUT = """\
Measure the library beside others: one run of ours, one of theirs, and again, so that whatever else
the machine does disturbs both. Ratios are the figures to trust. Packages that are not installed
are left out, and it says so."""

PEERS = """\
another contestant: --peer "NAME: COMMAND" (may be given more than once)
  The command is run once in every round, in turn with the others. It must print its figure on its
  last line as unit and number, for example `tokens/s 1234.5`, and measure it after a warm-up of its
  own, because its start is not ours to time. In the command, {benchmark} becomes the benchmark's
  name and {case} the name of the row, for example `4x4x128-64-12-float32` (layers x heads x width,
  context, batch, number format). The number of threads is in the variable OMP_NUM_THREADS. A
  command that ends with status 77 has nothing to say on this row, and is left out."""


def parse(argv: list[str]):
    """The command line as `argparse.Namespace`."""
    names = "\n".join(f"  {name:<11}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m course_lib bench",
        description=f"{ABOUT}\n\nbenchmarks:\n{names}\n  {'all':<11}all of them, one after another",
        epilog=PEERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", nargs="?", default="all", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--quick", action="store_true", help="two rounds instead of five")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of every comparison")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's threads, ours and theirs")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME: COMMAND", help="see below"
    )
    parser.add_argument("--json", metavar="FILE", help="save every single figure there as JSON")
    parser.add_argument(
        "--figure",
        metavar="FILE",
        help="save the figure there (otherwise beside the JSON, or in your folder for this course)",
    )
    parser.add_argument(
        "--ablate", action="store_true", help="speedrun: the recipe without each ingredient in turn"
    )
    options = parser.parse_args(argv)
    if options.runs is not None and options.runs < 1:
        parser.error(f"--runs {options.runs}: there must be at least 1 round")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads {options.threads}: there must be at least 1 thread")
    if options.figure and Path(options.figure).suffix not in FIGURE_FORMATS:
        formats = " or ".join(FIGURE_FORMATS)
        parser.error(f"--figure {options.figure}: its name must end in {formats}")
    if options.json and Path(options.json).suffix != ".json":
        parser.error(f"--json {options.json}: its name must end in .json")
    try:
        from course_lib.bench.measure import Options, Peer

        peers = [Peer.parse(text) for text in options.peer]
    except ValueError as error:
        parser.error(str(error))
    runs = options.runs or (2 if options.quick else 5)
    return options, Options(runs, options.quick, peers, options.ablate)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that were asked for; returns 0 unless one of them could not run at all.

    A goal that is missed is reported and does not change the status: a busy machine is no bug.
    """
    asked, options = parse(argv or [])
    from course_lib.bench import measure

    if asked.threads:
        import torch

        torch.set_num_threads(asked.threads)
    chosen = list(BENCHMARKS) if asked.benchmark == "all" else [asked.benchmark]
    machine = measure.describe_machine()
    print(measure.machine_text(machine) + ("\nA quick run: few rounds." if asked.quick else ""))
    results, figures = [], {}
    for name in chosen:
        start = time.perf_counter()
        try:
            module = importlib.import_module(f"course_lib.bench.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"course_lib.bench.{name}":
                raise
            print(f"\n{name}: this benchmark is not part of this version.", file=sys.stderr)
            continue
        print(f"\n{name}: {BENCHMARKS[name]}\n", flush=True)
        try:
            found = module.run(options)
        except measure.CannotMeasure as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print("\n" + getattr(module, "table", measure.table)(found))
        print(f"({time.perf_counter() - start:.0f} s for all of it)", flush=True)
        results += found
        figures[name] = (getattr(module, "figure", measure.ratio_figure), found)
    if not results:
        return 1
    for path in measure.save(asked, options, machine, results, figures):
        print(f"saved {path}")
    return 0
