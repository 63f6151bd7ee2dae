#!/usr/bin/env python
"""Run a published row's test and compare: tools/reproduce.py RECIPE --checkpoint FILE [KEY VALUE ...]"""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
