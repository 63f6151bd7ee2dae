#!/usr/bin/env python
"""Train a model on your own classes: tools/finetune.py DATA --init CHECKPOINT|none ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
