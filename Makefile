# make demo       see UniFormer learn from made-up videos and get tested, in minutes on a CPU
# make test       check the code and run the tests
# make test-all   the same with the long ones among the tests
# make setup      only make .venv, the Python that runs tools/*.py
# make docs       build the reference of the Python names into build/docs
# All set up what they need in .venv first; later calls find it ready.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.slowfast-ready

DEMO        := runs/demo
DEMO_RECIPE := configs/demo/uniformer_motion.yaml
DEMO_DATA   := $(DEMO)/data

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test test-all

help:
	@sed -n 's/^# //p' Makefile | head -n 6

setup: $(READY)

# Rebuilt when the dependencies change. An environment that is already there is kept and completed.
$(READY): setup.py pyproject.toml
	@echo "== Setting up $(VENV) (downloads PyTorch the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=/path/to/python3")'
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check torch torchvision
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(DEMO)/.data-ready: slowfast/datasets/synthetic.py | $(READY)
	@echo "== Writing made-up videos to $(DEMO_DATA)"
	$(RUN) -m slowfast.datasets.synthetic $(DEMO_DATA)
	@touch $@

demo: $(READY) $(DEMO)/.data-ready
	@echo "== Training and testing as $(DEMO_RECIPE) says; a run that was stopped goes on"
	$(RUN) tools/run_net.py --cfg $(DEMO_RECIPE) OUTPUT_DIR $(DEMO) \
		DATA.PATH_TO_DATA_DIR $(DEMO_DATA) DATA.PATH_PREFIX $(DEMO_DATA)
	@echo "== Done: $(DEMO)/results.json, predictions.csv beside it, curves: $(VENV)/bin/tensorboard --logdir $(DEMO)"

docs: $(READY)
	$(RUN) tools/make_docs.py --api build/docs

test: TESTS := -m 'not slow'
test test-all: $(READY)
	@echo "== Checking style"
	$(RUN) -m ruff check .
	@echo "== Running the tests"
	$(RUN) -m pytest $(TESTS)
