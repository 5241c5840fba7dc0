# Each target makes .venv when pyproject.toml or constraints.txt changed, then runs.
# WORKERS processes share the tests, one thread each.
# uv is used where it is on the PATH, else pip.

PYTHON ?= python3
WORKERS ?= 2
SHARED := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
WITH_SDK := test_credentials.py test_faults.py test_loop.py
# Lines run by the tests' own processes; commands that they start are not counted, since tracing
# these makes each half as long again, as it does long tests, of whose parameters the first count.
# A part of the tests (ARGS) has no floor.
FLOOR := 88
COVERED := --cov --cov-report=term:skip-covered --cov-fail-under=$(FLOOR) --durations=20
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
# Hundreds of commands are started; none may have to compile what it imports.
export PYTHONDONTWRITEBYTECODE :=

ifdef UV
VENV = uv venv --quiet --allow-existing --python $(PYTHON)
INSTALL = uv pip install --quiet --compile-bytecode --python $(1)/bin/python
CHECK_INSTALLED = uv pip check --quiet --python $(BIN)/python
else
VENV = $(PYTHON) -m venv
INSTALL = $(1)/bin/python -m pip install --quiet
CHECK_INSTALLED = $(BIN)/python -m pip check
endif

.PHONY: demo demo-label-studio test test-oldest-sdk test-postgresql check docs mutants gpu soak bench clean

demo: .venv/installed
	$(BIN)/coreloop demo $(ARGS)

demo-label-studio: .venv/installed .venv-label-studio/installed
	$(BIN)/coreloop demo --label-studio $(ARGS)

test: .venv/installed-test .venv-label-studio/installed .build/onnxruntime/installed
	$(MAKE) check docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SHARED) $(if $(ARGS),$(ARGS),$(COVERED))
	$(MAKE) test-oldest-sdk

# What the SDK is used for (tokens, docs/label-studio.md) and whole loops, once more with the oldest
# SDK that pyproject.toml allows.
test-oldest-sdk: .venv/installed-test .venv-label-studio/installed .build/sdk-2.0.19/installed
	CORELOOP_SDK=2.0.19 PYTHONPATH=$(CURDIR)/.build/sdk-2.0.19 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest $(addprefix tests/label_studio/,$(WITH_SDK)) \
		-m "not browser and not slow" $(SHARED)

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry . --extend-exclude "tests|examples|.*build"
	$(CHECK_INSTALLED)

# A link that leads nowhere is an error; the site is .build/site/index.html.
docs: .venv/installed-test
	$(BIN)/mkdocs build --strict --quiet

# Puts the faults of tests/mutants/list.toml in, one at a time; ARGS: words of those to try.
mutants: .venv/installed-test .venv-label-studio/installed
	WORKERS=$(WORKERS) $(BIN)/python -m tests.mutants.run $(ARGS)

# Every CUDA path, in under eight minutes; without a card in miniature. ARGS: parts to run.
gpu: .venv/installed-test
	$(BIN)/python -m tests.gpu.run $(ARGS)

bench: .venv/installed-test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only -s $(ARGS)

# 500 kills in two flows, a fault in every system call, 5,000 answers that no server should give.
soak: .venv/installed-test .venv-label-studio/installed
	CORELOOP_KILLS=250 CORELOOP_SERVER_KILLS=250 CORELOOP_FAULT_SECONDS=28800 \
		CORELOOP_ANSWERS=5000 $(BIN)/python -m pytest tests/durability tests/label_studio \
		-m soak -s --timeout 30000 $(ARGS)

test-postgresql: .venv/installed-test
	$(BIN)/python -m pytest tests/db tests/steps tests/durability --postgresql $(ARGS)

clean:
	rm -rf .venv .venv-label-studio .build

.venv/installed: pyproject.toml constraints.txt
	$(VENV) .venv
	$(call INSTALL,.venv) -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(call INSTALL,.venv) -c constraints.txt -e ".[test,docs,annotators,postgresql,ray,fabric,lora,onnx,s3,http,heic]"
	touch $@

# Label Studio pins its own SDK, so it lives apart and is never a dependency.
.venv-label-studio/installed:
	$(VENV) .venv-label-studio
	$(call INSTALL,.venv-label-studio) label-studio==1.23.2
	touch $@

.build/sdk-2.0.19/installed:
	$(call INSTALL,.venv) --no-deps --target .build/sdk-2.0.19 label-studio-sdk==2.0.19
	touch $@

# What an exported model needs to predict, and nothing else.
.build/onnxruntime/installed:
	$(VENV) .build/onnxruntime
	$(call INSTALL,.build/onnxruntime) -c constraints.txt onnxruntime numpy pillow
	touch $@
