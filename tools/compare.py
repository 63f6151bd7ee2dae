#!/usr/bin/env python
"""Compare tested runs on the same videos: tools/compare.py RUN RUN ... [--out FILE]"""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
