# make demo    four hospitals train one model, on this machine
# make sites   a server, an auditor and three hospitals as processes, over TLS; some are killed on the way
# make test    everything that CI runs: lint, types, docs, tests
# make evidence    what takes too long for that: provers that cheat, attacks without the defences that they test, kills
# make lint    make docs    make bench    make clean

PYTHON ?= python3
# No benchmarks by themselves: what others import, the tables, and what takes hours without a GPU.
BENCH ?= $(filter-out $(addprefix benchmarks/,_tables.py common.py gpu_cifar.py),$(wildcard benchmarks/*.py))
# What is run by hand before a release, or where something that it shows has changed: modules, one after another.
EVIDENCE ?= tests.evidence.wraparound tests.evidence.remove_defences tests.evidence.restarts $(SITES)
# Of real sites: faults_sites lays out hosts and a disk, and takes root.
SITES := $(addprefix tests.evidence.,fuzz_sites thousand_sites large_vectors killed_server faults_sites peers_nodes)
# How many rounds `make sites` has; 8 at least, for some are killed on the way.
ROUNDS ?= 20
# How many times a run is killed, for that.
KILLS ?= 300
# Where tests write: they wait for a disk ten thousand times, and one in memory, where it has 4 GB left, answers at once.
TEMPORARY := $(or $(shell df --output=avail /dev/shm 2>/dev/null | awk 'NR > 1 && $$1 > 4000000 {print "/dev/shm"}'),$(TMPDIR),/tmp)
BIN := .venv/bin
# What packages are compiled to is kept, whatever the caller's shell says: tests begin many processes that import them.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-compile --constraint constraints.txt --editable

.PHONY: demo sites test lint docs evidence bench clean

demo: .venv/demo
	$(BIN)/hansa run examples/hospitals.py

sites: .venv/sites
	$(BIN)/python examples/sites/demo.py --rounds $(ROUNDS)

test: lint docs
	OMP_NUM_THREADS=1 TMPDIR=$(TEMPORARY) $(BIN)/python -m pytest -n 3

lint: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

evidence: .venv/test
	for module in $(EVIDENCE); do $(BIN)/python -m $$module || exit 1; done
	OMP_NUM_THREADS=1 HANSA_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/contracts/test_kill.py tests/contracts/test_restarts.py \
	    tests/contracts/test_ray.py tests/attacks/test_site_parties.py

bench: .venv/test
	for file in $(BENCH) benchmarks/_tables.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of packages, so that a second call installs nothing.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'hansa needs Python 3.11 or newer. Name one: make demo PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
	    { echo 'Python cannot make an environment here. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@touch $@

.venv/demo: .venv/made pyproject.toml constraints.txt
	$(INSTALL) '.[torch,sklearn,verified]'
	@touch $@

.venv/sites: .venv/made pyproject.toml constraints.txt
	$(INSTALL) '.[torch,sklearn,verified,sites]'
	@touch $@

.venv/test: .venv/made pyproject.toml constraints.txt
	$(INSTALL) '.[torch,keras,jax,sklearn,xgboost,metrics,ray,privacy,postgres,verified,sites,ui,otel,driving,pdf,tensorboard,mlflow,wandb,zoo,dev,docs]'
	@du -s --si --apparent-size .venv | sed 's/\t.*/B of packages are installed/'
	@touch $@ .venv/demo .venv/sites
