#!/usr/bin/env python
"""Write a trained model for other programs: tools/export.py CHECKPOINT --to onnx|torch-export|safetensors ..."""

import sys

from entry import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
