"""What the package is made of; settings of linter and tests are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "slowfast" / "__init__.py").read_text("utf-8"))[1]
README = ROOT / "README.md"
EXTRAS = {
    "onnx": ["onnx", "onnxruntime", "onnxscript"],
    "parquet": ["pyarrow"],
    "safetensors": ["safetensors"],
}

setup(
    name="slowfast",
    version=VERSION,
    description="Video classification with UniFormer, trained and tested from recipes",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["slowfast", "slowfast.*"]),
    package_data={"slowfast.finetuning": ["*.yaml"], "slowfast.reporting": ["*.css", "*.js"]},
    install_requires=[
        "torch>=2.4",
        "torchvision",
        "numpy",
        "av>=17,<19",
        "pillow",
        "fvcore",
        "iopath",
        "yacs",
        "pyyaml",
        "simplejson",
        "submitit",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        **EXTRAS,
        "dev": ["hypothesis", "matplotlib", "pdoc", "pytest", "ruff", *sum(EXTRAS.values(), [])],
    },
    entry_points={"console_scripts": ["slowfast = slowfast.cli:main"]},
)
