#!/usr/bin/env python
"""Make the lists of a data set: tools/prepare_data.py {kinetics,something,ucf101,hmdb51,folders,shards} --help"""

import sys

from slowfast import cli


def main() -> int:
    return cli.main(["prepare", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
