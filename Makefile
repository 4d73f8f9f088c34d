# make help lists the targets. PYTHON sets the interpreter of .venv: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TOOLS := $(VENV)/tools
DEMO := outputs/demo
# Packages that only torch's CUDA build needs
CUDA := triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
	cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

.DEFAULT_GOAL := help
.PHONY: help setup train demo pictures test test-slow soak bench check docs format lock audit wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "cpnet needs Python 3.10 or newer; this is " + sys.version.split()[0] + ": make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(READY) ## create .venv and install the tested versions into it

train: $(READY) ## train a small CPNet on a synthetic corpus, in two minutes
	$(PY) -m cpnet.train dataset=synthetic model=cpnet_small optimizer.lr=1e-3 epochs=20

demo: $(DEMO)/results.json ## answer about video files in a browser; the first time, render videos and train on them
	$(PY) -m cpnet.demo checkpoint=$(DEMO)/checkpoints/best.ckpt

$(DEMO)/results.json: | $(READY)
	$(PY) -m cpnet.train dataset=rendered model=cpnet_frames resume=true hydra.run.dir=$(DEMO)

pictures: $(DEMO)/results.json ## redraw the pictures of docs/, of the model that make demo trains, and of kept results
	$(PY) -m cpnet.predict checkpoint=$(DEMO)/checkpoints/best.ckpt video=data/rendered/videos/video_00296.mp4 \
		query="the green ball passes by again" top=2 hydra.run.dir=outputs/pictures/predict
	$(PY) -m cpnet.report checkpoint=$(DEMO)/checkpoints/best.ckpt best=1 video_dir=data/rendered/videos hydra.run.dir=outputs/pictures
	$(PY) docs/pictures.py $(DEMO)/checkpoints/best.ckpt data/rendered outputs/pictures

test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m 'not slow'

test-slow: $(READY) ## run the tests that take more than a minute each
	OMP_NUM_THREADS=1 $(PY) -m pytest -m slow

soak: $(READY) ## kill and resume a training 100 times and compare it with an uninterrupted one: half an hour
	KILLS=100 OMP_NUM_THREADS=1 $(PY) -m pytest -m slow tests/smoke/test_kills.py

bench: $(READY) ## time the model on this machine, in at most ten minutes: SECTION=steps,serving JSON=FILE
	$(PY) benchmarks/bench.py $(SECTION) $(if $(JSON),--json $(JSON))

check: $(READY) ## formatting, lint, strict types, architecture, doctests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -q tests/test_architecture.py --doctest-modules src

# The first command finds public names without a docstring.
docs: $(READY) ## build the site into build/docs, without a network; a broken link or an undocumented name is an error
	$(PY) -m ruff check src
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs . build/docs
	@echo "open build/docs/index.html"

format: $(READY) ## format the code and apply lint's automatic fixes
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

$(TOOLS):
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv==0.13.9 pip-audit==2.10.1 || { rm -rf $(TOOLS); exit 1; }

# Keeps the comments at the head of the file.
lock: $(TOOLS) ## update requirements.lock, the tested versions with the hashes of their files
	{ sed '/^[^#]/,$$d' requirements.lock && $(TOOLS)/bin/uv pip compile pyproject.toml --extra dev --constraint constraints.txt \
		--universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
		$(foreach name,torch $(CUDA),--no-emit-package $(name)); } > requirements.lock.new || { rm requirements.lock.new; exit 1; }
	mv requirements.lock.new requirements.lock

audit: $(TOOLS) ## check requirements.lock for known vulnerabilities; needs a network
	@$(TOOLS)/bin/pip-audit --version
	@$(TOOLS)/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip || { code=$$?; \
		echo "make audit: either versions above have known vulnerabilities, or the database could not be reached from here"; exit $$code; }

wheel: $(READY) ## build the wheel into dist/
	$(PY) -m build --wheel

clean: ## remove .venv, build products and caches; data and outputs stay
	rm -rf $(VENV) build dist docs/api .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
