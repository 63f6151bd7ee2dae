#!/usr/bin/env python
"""Is this machine fit for a run? tools/doctor.py [--cfg RECIPE]"""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
