# Entry points: `make demo` runs everything on synthetic data, `make test` runs the tests. README.md explains them.
# `make setup PYTHON=/path/to/python3.11` uses that Python. The environment is .venv; outputs are in build/.

# Not /bin/sh: make 3.81, as on macOS, would look for simple commands in the PATH that it was started with.
SHELL := /bin/bash
PYTHON ?=
BENCH ?=
PART ?=

# Two processes with a Spark session each; tests/conftest.py says which tests share a process.
IN_PAIRS := -n 2 --dist loadfile --no-loadscope-reorder

# Use the environment's own Python and Spark, not other installed ones.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport SPARK_HOME SPARK_CONF_DIR PYTHONHOME PYTHONPATH PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

# $(call needs,FILE): fail with a message if FILE doesn't exist.
needs = @test -e "$(1)" || { echo "make $@: $(1) doesn't exist" >&2; exit 1; }

.PHONY: help setup demo results test test-fast lint bench cluster-test package docs clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

setup: ## make the environment in .venv: packages, Java if none is installed, Delta's jars, Horovod
	@for python in $(or $(PYTHON),$$(sed -n 's/^executable = //p' .venv/pyvenv.cfg 2>/dev/null) python3.11 python3); do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    exec env PYTHONPATH=lib "$$python" -m tools.setup; fi; \
	done; \
	echo "make setup: no Python 3.11 with venv found (Debian: apt-get install python3.11-venv; Fedora: dnf install" \
	  "python3.11; macOS: brew install python@3.11); if it isn't in PATH: make setup PYTHON=/path/to/python3.11" >&2; exit 1

demo: setup ## run the whole pipeline on a synthetic conservatoire: lake and report in build/demo
	$(call needs,jobs/pipeline.py)
	$(call needs,lib/etude/cli/demo_corpus.py)
	@made=$$(etude demo-corpus build/demo/landing) && echo "$$made" && \
	  case $$made in *'"status": "made"'*) rm -rf build/demo/lake;; esac  # remove the lake of another corpus
	spark-submit jobs/pipeline.py --config conf/demo.yaml
	@echo "report: $(CURDIR)/build/demo/report.html" >&2
	@echo "tables: $(CURDIR)/build/demo/lake (etude sql 'SELECT * FROM recommendations_current LIMIT 10' --config conf/demo.yaml)" >&2

results: setup ## run the paper's experiments on the synthetic conservatoire (one to two hours) into docs/results.md
	@etude demo-corpus build/demo/landing
	spark-submit jobs/compare.py --config conf/demo.yaml compare.path=docs/results.md

test: lint ## check format, lint and types, and run all tests except the cluster's
	pytest $(IN_PAIRS) -m "not cluster" --durations=25

test-fast: setup ## run the quick tests (about 3 minutes)
	pytest $(IN_PAIRS) -m "not slow and not cluster"

lint: setup ## check format, lint and types
	ruff format --check
	ruff check
	mypy

bench: setup ## BENCH=name: run one benchmark into build/bench/name.json; without BENCH, run all
	$(call needs,$(if $(BENCH),benchmarks/$(BENCH).py,benchmarks))
	@test -n "$(wildcard benchmarks/*.py)" || { echo "make bench: benchmarks/ holds no benchmark" >&2; exit 1; }
	@mkdir -p build/bench
	@for script in $(or $(BENCH),$(basename $(notdir $(filter-out %/__init__.py,$(wildcard benchmarks/[a-z]*.py))))); do \
	  echo "bench $$script" >&2; python "benchmarks/$$script.py" "build/bench/$$script.json" || exit 1; done

cluster-test: setup ## PART=name: run one test file that starts cluster processes; without PART, run all
	$(call needs,tests/cluster$(if $(PART),/test_$(PART).py))
	pytest -m cluster tests/cluster$(if $(PART),/test_$(PART).py)

package: setup ## pack what executors need into build/package; PART=train: with torch and Horovod
	python -m tools.package $(PART)

docs: setup ## generate docs/tables.md, settings.md, stages.md and conf/etude.yaml from the code's definitions
	python -m etude.reference

clean: ## remove outputs of demo, tests and benchmarks; keep environment, built wheels, fetched jars and build/lake
	rm -rf build/demo build/bench build/package build/tmp build/log spark-warehouse metastore_db derby.log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
