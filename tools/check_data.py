#!/usr/bin/env python
"""Decode every video of a list and name those that fail: tools/check_data.py LIST [--media PREFIX] ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
