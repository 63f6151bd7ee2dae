#!/usr/bin/env python
"""Train and test as a recipe says: tools/run_net.py --cfg RECIPE KEY VALUE ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
