#!/usr/bin/env python
"""Make report.html of a tested run anew: tools/report.py RUN [--out FILE]"""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
