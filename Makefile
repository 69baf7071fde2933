# Each target works as the first command on a fresh clone. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# test-gpu runs the caller's Python with the caller's packages; no other target does.
CALLERS_PATHS := PYTHONPATH='$(PYTHONPATH)' LD_LIBRARY_PATH='$(LD_LIBRARY_PATH)'

# A sourced ROS, a conda environment or another .venv must not leak into this one.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport AMENT_PREFIX_PATH AMENT_CURRENT_PREFIX COLCON_PREFIX_PATH CMAKE_PREFIX_PATH RMW_IMPLEMENTATION
unexport FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE FASTDDS_BUILTIN_TRANSPORTS CYCLONEDDS_URI
unexport PIP_USER PIP_TARGET PIP_PREFIX
unexport $(filter-out ROS_DOMAIN_ID,$(filter ROS_%,$(.VARIABLES)))

BIN := .venv/bin

# Two processes, each with files of its own: much of the tests' time is waiting for other processes.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: help setup demo picture test test-slow test-gpu bench lint clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: ## build .venv from PyPI and the messages into it; PYTHON=python3.12 chooses the Python (3.11 to 3.13)
	@PYTHON='$(PYTHON)' scripts/setup.sh

demo: setup ## drive through the shipped street over ROS 2; pictures and videos in out/demo/
	$(BIN)/r3d2 demo

picture: demo ## the picture of the README, docs/demo.jpg, from that drive
	$(BIN)/python -c "from PIL import Image; Image.open('out/demo/contact_sheet.png').save( \
	    'docs/demo.jpg', quality=90, subsampling=0, optimize=True, progressive=True)"

test: setup ## the tests, without the slow ones
	$(PYTEST) -m "not slow and not gpu"

test-slow: setup ## the tests that take long
	$(PYTEST) -m "slow and not gpu" --timeout 400 -o faulthandler_timeout=430

test-gpu: ## what needs CUDA, with the Python given (PYTHON=...), without ROS; tests and measurements in out/gpu.json
	@mkdir -p out
	$(CALLERS_PATHS) $(or $(PYTHON),python3) tests/gpu/run.py --json out/gpu.json --limit-s 14400

bench: setup ## speed of the renderer and of the transport, as a table and in out/bench.json
	@mkdir -p out
	$(BIN)/r3d2 bench --json out/bench.json

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## remove everything that was built or made, .venv too
	rm -rf .venv build install log out .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
