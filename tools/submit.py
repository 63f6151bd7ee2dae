#!/usr/bin/env python
"""Send a run to a cluster: tools/submit.py --cfg RECIPE --nodes N --gpus N --time H:M:S [--dry-run | --local] ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["submit", *sys.argv[1:]]))
