#!/usr/bin/env python
"""Make the lists of a data set: tools/prepare_data.py {kinetics,something,ucf101,hmdb51,folders,shards} --help"""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
