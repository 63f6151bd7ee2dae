#!/usr/bin/env python
"""Tell the classes of videos, of a long video over time, or of a camera: tools/predict.py CHECKPOINT VIDEO ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
