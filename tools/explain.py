#!/usr/bin/env python
"""Show where in a video a model sees its class: tools/explain.py CHECKPOINT VIDEO [--class NAME] ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["explain", *sys.argv[1:]]))
