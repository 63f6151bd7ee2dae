"""How the scripts of this folder begin: with slowfast's command line, or with how to get what this Python lacks."""

import os
import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Run a command; return its exit status, 2 where a package is missing (see slowfast.cli.main)."""
    try:
        from slowfast.cli import main

        return main(words)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        is_ours_and_there = package == "slowfast" and error.name != "slowfast"
        if is_ours_and_there or not package or os.environ.get("SLOWFAST_DEBUG") == "1":
            raise
        print(
            f"slowfast: error: {sys.executable} has no package {package!r}: set up and use the Python of this checkout "
            "(make setup && . .venv/bin/activate), or install into the one you use (python -m pip install .)",
            file=sys.stderr,
        )
        return 2
