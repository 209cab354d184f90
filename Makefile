# The door: `make demo` (everything, on made-up data), `make test`. All of it is explained in README.md.
# PYTHON=/path/to/python3.11 make setup: with that Python. The environment is .venv; what is made lies in build/.

SHELL := /bin/sh
PYTHON ?=
BENCH ?=
PART ?=

# Two processes, each with a Spark session of its own; a file's tests stay together, and so do their fixtures.
IN_PAIRS := -n 2 --dist loadfile --no-loadscope-reorder

# For a few megabytes, compiling code takes longer than running it (where Java compiles less it also keeps less, unless
# told), checksums of the tables' logs longer than reading them, and noting the Python line of each expression longer
# than planning it; a job on real data keeps the defaults.
SMALL := --driver-java-options "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m" \
  --conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN \
  --conf spark.databricks.delta.writeChecksumFile.enabled=false --conf spark.python.sql.dataFrameDebugging.enabled=false

# The environment's own Python and Spark, whatever else is installed.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport SPARK_HOME PYTHONHOME

# $(call needs,FILE): a target whose part isn't written yet says so and fails.
needs = @test -e "$(1)" || { echo "make $@: $(1) is not here yet" >&2; exit 1; }

.PHONY: help setup demo test test-fast lint bench cluster-test docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

setup: ## the environment in .venv: packages, Java where there is none, Delta's jars, Horovod
	@for python in $(or $(PYTHON),$$(sed -n 's/^executable = //p' .venv/pyvenv.cfg 2>/dev/null) python3.11 python3); do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    exec env PYTHONPATH=lib "$$python" -m etude.environment; fi; \
	done; \
	echo "Etude needs Python 3.11 with venv (Debian: apt-get install python3.11-venv; Fedora: dnf install python3.11;" \
	  "macOS: brew install python@3.11); where it isn't in PATH: make setup PYTHON=/path/to/python3.11" >&2; exit 1

demo: setup ## the whole pipeline on a synthetic conservatoire: lake and report in build/demo
	$(call needs,jobs/pipeline.py)
	$(call needs,lib/etude/cli/demo_corpus.py)
	@made=$$(etude demo-corpus build/demo/landing) && echo "$$made" && \
	  case $$made in *'"status": "made"'*) rm -rf build/demo/lake;; esac  # a lake of another corpus
	spark-submit $(SMALL) jobs/pipeline.py --config conf/demo.yaml
	@echo "report: $(CURDIR)/build/demo/report.html" >&2
	@echo "tables: $(CURDIR)/build/demo/lake (etude sql 'SELECT * FROM recommendations_latest LIMIT 10' --config conf/demo.yaml)" >&2

test: lint ## set-up where missing, lint, types and all tests but the cluster's
	pytest $(IN_PAIRS) -m "not cluster" --durations=25

test-fast: setup ## the quick tests, for the inner loop: about 3 minutes
	pytest $(IN_PAIRS) -m "not slow and not cluster"

lint: setup ## format, lint and types
	ruff format --check
	ruff check
	mypy

bench: setup ## BENCH=name: one benchmark into build/bench/name.json; without it, all of them
	$(call needs,$(if $(BENCH),benchmarks/$(BENCH).py,benchmarks))
	@test -n "$(wildcard benchmarks/*.py)" || { echo "make bench: no benchmark is here yet" >&2; exit 1; }
	@mkdir -p build/bench
	@for script in $(or $(BENCH),$(basename $(notdir $(filter-out %/__init__.py,$(wildcard benchmarks/[a-z]*.py))))); do \
	  echo "bench $$script" >&2; python "benchmarks/$$script.py" "build/bench/$$script.json" || exit 1; done

cluster-test: setup ## PART=name: the tests that start cluster parts; without it, all of them
	$(call needs,tests/cluster$(if $(PART),/test_$(PART).py))
	pytest -m cluster tests/cluster$(if $(PART),/test_$(PART).py)

docs: setup ## docs/tables.md, docs/settings.md and conf/etude.yaml from the code's own definitions
	python -m etude.reference

clean: ## what was made by demo, tests and benchmarks; environment, built wheels and fetched jars stay
	rm -rf build/demo build/bench build/lake build/tmp build/log spark-warehouse metastore_db derby.log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
