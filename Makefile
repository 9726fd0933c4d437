# make try | demo | test | test-quick | check-wheel | teacher-cache | distill | eval | real-check | bench | evidence: each sets up a virtual environment first, if it must.
PYTHON ?= python3
VENV ?= .venv
RECIPE ?= demo
WORKERS ?= 0
DATA ?= $(or $(GOODSAM_DATA),../shared/data)
DEVICE ?= cpu
RENDERED = cache/try/photos
PHOTOS ?= $(RENDERED)
# Maps of own pictures do not mix with those of the rendered ones.
TRIED = cache/try/$(if $(filter $(RENDERED),$(PHOTOS)),maps,own)
GOODSAM = $(VENV)/bin/goodsam
UV = $(VENV)/bin/uv
# TORCH=cpu takes the builds of torch without CUDA, which are gigabytes smaller; cu130 and others are possible too.
TORCH ?=
INSTALL = $(UV) pip install --python $(VENV)/bin/python $(if $(TORCH),--torch-backend $(TORCH)) \
	--constraint constraints.txt --compile-bytecode

# Tests use one thread each; files are what the processes share out, for their tests share what they prepare.
PARALLEL ?= -n 2 --dist loadfile
# Tests are kept as bytecode whatever the environment says: compiling them takes each process eight seconds.
PYTEST = PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup dev try demo teacher-cache distill eval test test-quick check-wheel lint typecheck real-check bench evidence clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/' | expand -t 18

setup: $(VENV)/.ready  ## A virtual environment with everything to run; TORCH=cpu for a machine without a GPU.
dev: $(VENV)/.dev  ## The same with everything to test.

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet uv
	$(INSTALL) --editable '.[onnx,mobile-sam]'
	$(VENV)/bin/python -m compileall -q goodsam pipeline stages
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	$(INSTALL) --editable '.[onnx,dev]'
	touch $@

try: setup  ## Maps, tables and a report of six rendered panoramas, or of PHOTOS=folder, by the embedded network.
	[ "$(PHOTOS)" != $(RENDERED) ] || $(VENV)/bin/python -m scripts.street_walk $(RENDERED)
	$(GOODSAM) predict "$(PHOTOS)" $(TRIED) --model demo
	$(GOODSAM) report $(TRIED) --panoramas "$(PHOTOS)"

demo: setup  ## World, teacher cache, distillation, evaluation on the embedded default; nine to fourteen minutes on two cores.
	$(GOODSAM) world demo --workers 2
	$(GOODSAM) teacher-cache demo --workers 2
	$(GOODSAM) distill demo
	$(GOODSAM) eval demo

teacher-cache: setup  ## Stage one: RECIPE=my.toml, WORKERS=2.
	$(GOODSAM) teacher-cache $(RECIPE) --workers $(WORKERS)

distill: setup  ## Stage two: RECIPE=my.toml.
	$(GOODSAM) distill $(RECIPE)

eval: setup  ## Tables and overlays: RECIPE=my.toml.
	$(GOODSAM) eval $(RECIPE)

real-check: setup  ## The method on a folder of real panoramas: DATA=folder with panoramas/, assistant/*.onnx.
	$(VENV)/bin/python -m scripts.real_check --data $(DATA)

bench: dev  ## The hot spots beside their peers, into cache/bench/: DEVICE=cuda on a GPU; tens of minutes on one core.
	$(VENV)/bin/python -m scripts.bench --device $(DEVICE)

evidence: dev  ## What each part of the method is worth, into cache/evidence/: hours; ONLY=ladder for one part of the study, REAL=FOLDER for real panoramas too.
	$(VENV)/bin/python -m scripts.evidence $(if $(ONLY),--only $(ONLY)) $(if $(REAL),--real $(REAL))

test: dev  ## The tests, below ten minutes on two cores: in two processes, a file at a time.
	$(PYTEST) $(PARALLEL)

test-quick: dev  ## The tests that are not slow.
	$(PYTEST) $(PARALLEL) -m "not slow"

check-wheel: dev  ## The wheel, installed and run in an empty environment and folder; two minutes.
	$(VENV)/bin/python -m scripts.check_wheel

lint: dev  ## Linter and formatter.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

typecheck: dev  ## Strict type checks.
	$(VENV)/bin/pyright

clean:  ## Remove the demo's run, and what no other run of the cache shares with it.
	rm -rf cache/demo
	$(GOODSAM) gc --remove
