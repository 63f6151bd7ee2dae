#!/usr/bin/env python
"""Write features of videos: tools/extract.py CHECKPOINT LIST --out DIR [--layer NAME] [--dense] ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
