# The daily verbs; CI runs the same ones. `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
TRAINER_NEEDS := pydantic pydantic_core annotated-types typing-inspection typing_extensions ruamel.yaml zstandard brotli \
    filelock typer annotated-doc rich safetensors sentencepiece protobuf pytest pluggy iniconfig packaging pygments

# Compiled modules are kept, also where the machine says otherwise: the tests start some 500 processes of this project.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all faults cluster-faults corruptions fuzz mutations lint bench gpu wheels liveness docs tutorial site pictures clean

demo: $(VENV)/.installed  ## install, then the main job: a TTT sweep on real text
	$(BIN)/orchestrator plan search_spaces/ttt.yaml
	$(BIN)/orchestrator sweep search_spaces/ttt.yaml

test: $(VENV)/.installed  ## every test this machine can run, in parallel, one process more than cores
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --no-loadscope-reorder

test-all: $(VENV)/.installed  ## the slow ones as well: every preset over ranks, slots under fire; one by one, since some measure time; about 15 minutes
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/.installed  ## style, types, and every link and anchor of the pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	folder=$$(mktemp -d) && $(MKDOCS) --quiet --site-dir $$folder && rm -r $$folder

faults: $(VENV)/.installed  ## kills at random moments, also on Ray, and faults at system calls (strace): 360 in all; appends to results/LOG.md
	$(BIN)/python -m tests.faults.campaign --inline 70 --ray 30 --calls 60 --program 200 --log results/LOG.md

cluster-faults: $(VENV)/.installed  ## nodes killed, cut off and slow, the head killed, the store full, SIGTERM in each phase; needs root, about 40 minutes
	$(BIN)/python -m tests.faults.cluster --log results/LOG.md

corruptions: $(VENV)/.installed  ## files of a finished store corrupted in 400 ways: the same result, or a message that names the file; about 10 minutes
	$(BIN)/python -m tests.faults.corruptions --cases 400

fuzz: $(VENV)/.installed  ## every reader of files and arguments on 10,000 mutated inputs; about 3 minutes
	$(BIN)/python -m tests.faults.readers --inputs 10000

mutations: $(VENV)/.installed  ## each guard of docs/legality.md is removed in a copy: the tests it names must fail; about 5 minutes
	$(BIN)/python -m tests.mutations.run

# The table comes first, so that no failing ratio swallows it: a minute and a half on a quiet CPU. The rest takes hours.
bench: $(VENV)/.installed  ## a table of this device, appended to results/LOG.md, then the figures of the README, as ratios from one run
	$(BIN)/python -m tests.benchmarks.device --log results/LOG.md
	$(BIN)/python -m pytest -m bench tests/benchmarks -s

# The limits add up to less than 8 minutes; a benchmark that meets its own still writes what it measured.
gpu:  ## on a machine with a GPU, its own torch and NumPy: a table in results/LOG.md, then the gpu tests; ends within 8 minutes
	test ! -d .wheels || timeout -k 5 40 $(PYTHON) -m pip install -q --no-index --no-deps --upgrade --target build/site .wheels/*.whl
	PYTHONPATH=build/site timeout -k 10 260 $(PYTHON) -m tests.benchmarks.device --seconds 220 --log results/LOG.md || failed=1; \
	    PYTHONPATH=build/site timeout -k 10 150 $(PYTHON) -m pytest tests/gpu && test -z "$$failed"

wheels:  ## what the trainer and its tests need beside torch and NumPy, for Python 3.12 on Linux: carry it to a machine without a network
	$(PYTHON) -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp -d .wheels \
	    $(addprefix --platform manylinux,_2_34_x86_64 _2_28_x86_64 _2_17_x86_64 2014_x86_64 1_x86_64) \
	    -c constraints.txt $(TRAINER_NEEDS)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

liveness: $(VENV)/.installed  ## every preset's switches are alive on nano siblings, in truly compiled training too
	for file in trainer/spec/presets/*.yaml; do \
	    $(BIN)/python -m trainer check $$(basename $$file .yaml) --compiler inductor || exit 1; done

docs: $(VENV)/.installed  ## docs/reference/ and the pages of presets, written anew from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/presets.py
	$(BIN)/python docs/preset_table.py

tutorial: $(VENV)/.installed  ## docs/tutorial.md, with the output that its commands print now
	$(BIN)/python docs/tutorial.py

site: $(VENV)/.installed  ## the pages of docs/ as a site: build/docs/index.html
	$(MKDOCS)

pictures: $(VENV)/.installed  ## docs/pictures/: terminal and report of the demo; about 10 minutes, needs Chromium
	$(BIN)/python docs/pictures.py

clean:
	rm -rf $(VENV) runs
