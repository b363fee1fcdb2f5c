# make demo            trains and tests a small UperNet-ConvNeXt on generated images, on a CPU
# make demo-detection  the same with a Mask R-CNN
# make test            lint and all tests, in two processes (TEST_PROCESSES=N: in N)
# make campaigns       the slow tests
# make bench           times ConvNeXt and UperNet against other implementations, in minutes
# make lint            checks style, import contracts, types, workflows and the site
# make docs            builds the site in site/; open site/index.html
# make release         builds wheel and sdist in dist/ and checks them; uploads nothing
#
# Each command creates the environment it needs in .venv. TORCH_INDEX_URL=URL installs torch from
# another index, such as https://download.pytorch.org/whl/cpu or
# https://download.pytorch.org/whl/cu130.

PYTHON ?= python3
TORCH_INDEX_URL ?=
TEST_PROCESSES ?= 2

BIN := .venv/bin
# Most modules are never imported: Python compiles the others at their first import, which is faster.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --no-compile \
    --constraint requirements/constraints.txt
unexport PYTHONDONTWRITEBYTECODE
DEMO := work_dirs/demo
DEMO_CONFIG := configs/upernet_convnext_atto_samples.py
DEMO_CHECKPOINT := $(DEMO)/iter_800.pth
DETECTION := work_dirs/demo-detection
DETECTION_CONFIG := configs/mask_rcnn_convnext_atto_samples.py
DETECTION_CHECKPOINT := $(DETECTION)/epoch_7.pth
# A full build each time: Sphinx does not repeat the warnings of an unchanged page.
BUILD_SITE := rm -rf site && $(BIN)/python -m sphinx --fail-on-warning --quiet -c docs . site

.DELETE_ON_ERROR:
.PHONY: demo demo-detection test lint campaigns triton bench docs release

demo: $(DEMO_CHECKPOINT)
	@$(BIN)/python tools/test.py $(DEMO_CONFIG) $(DEMO_CHECKPOINT) \
	    --work-dir $(DEMO) --show-dir $(DEMO)/pictures

# Trained once; remove work_dirs/demo to train again. An interrupted run is resumed.
$(DEMO_CHECKPOINT): | .venv/installed
	@$(BIN)/python tools/make_samples.py data/samples/segmentation
	@$(BIN)/python tools/train.py $(DEMO_CONFIG) --work-dir $(DEMO) --resume

demo-detection: $(DETECTION_CHECKPOINT)
	@$(BIN)/python tools/test.py $(DETECTION_CONFIG) $(DETECTION_CHECKPOINT) \
	    --work-dir $(DETECTION) --show-dir $(DETECTION)/pictures

$(DETECTION_CHECKPOINT): | .venv/installed
	@$(BIN)/python tools/make_samples.py data/samples/detection --kind detection
	@$(BIN)/python tools/train.py $(DETECTION_CONFIG) --work-dir $(DETECTION) --resume

test: lint .rivals/installed .openmim/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/oracles \
	    -n $(TEST_PROCESSES) --dist worksteal --cov --cov-report term:skip-covered
	PYTHONPATH=.rivals $(BIN)/python -m pytest tests/oracles

campaigns: .venv/installed-tests .rivals/installed triton
	$(BIN)/python -m pytest tests --ignore tests/oracles --ignore tests/backbones/triton_kernels -m campaign

# Tests the kernels in Triton's interpreter, and compiles them for GPUs. Half an hour; needs no GPU.
triton: .venv/installed-tests .triton/installed
	PYTHONPATH=.triton $(BIN)/python -m pytest tests/backbones/triton_kernels -m 'campaign or not campaign'

bench: .rivals/installed
	@PYTHONPATH=.rivals $(BIN)/python tools/benchmark.py backbone head segmentor \
	    --versions v1 v2 --quick --json work_dirs/benchmark/quick.json

lint: .venv/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BUILD_SITE)

docs: .venv/installed-tests
	$(BUILD_SITE)

# Builds dist/ and checks it; uploads nothing.
release: lint .release/installed
	rm -rf dist
	.release/bin/python -m build --outdir dist
	.release/bin/twine check --strict dist/*

.venv/installed: requirements/constraints.txt setup.cfg pyproject.toml setup.py
	@echo 'Installing torch and OpenMMLab into .venv …'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: expected Python 3.11 or newer, got %d.%d; name one with PYTHON=…" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv
	@$(PIP) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) torch
	@$(PIP) setuptools wheel
	@$(PIP) --no-build-isolation --editable '.[openmmlab]'
	@touch $@

.venv/installed-tests: .venv/installed
	@echo 'Installing what the tests need into .venv …'
	@$(PIP) --no-build-isolation --editable '.[openmmlab,lint,docs,tests]'
	@touch $@

# In a separate folder, which only the oracle tests see.
.rivals/installed: requirements/rivals.txt | .venv/installed
	@echo 'Installing the oracles of the tests into .rivals …'
	@rm -rf .rivals
	@$(BIN)/python -m pip --disable-pip-version-check install --no-deps \
	    --target .rivals --requirement requirements/rivals.txt
	@touch $@

# In a separate folder, or a CPU build of torch would find it.
.triton/installed: requirements/triton.txt | .venv/installed
	@echo 'Installing Triton for its tests into .triton …'
	@rm -rf .triton
	@$(BIN)/python -m pip --disable-pip-version-check install --no-deps \
	    --target .triton --requirement requirements/triton.txt
	@touch $@

.release/installed: requirements/release.txt
	@echo 'Installing what builds a release into .release …'
	@$(PYTHON) -m venv .release
	@.release/bin/python -m pip --disable-pip-version-check install --requirement requirements/release.txt
	@touch $@

# In a separate folder: tests/test_mim.py creates environments that see it and .venv.
.openmim/installed: requirements/mim.txt | .venv/installed
	@echo 'Installing openmim for its tests into .openmim …'
	@rm -rf .openmim
	@$(BIN)/python -m pip --disable-pip-version-check install --no-deps \
	    --target .openmim --requirement requirements/mim.txt
	@touch $@
