#!/usr/bin/env python
"""Speed and memory beside the plain formulation: tools/benchmark.py model|step|operators|test|train ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
