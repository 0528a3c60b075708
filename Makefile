# make demo   the main job on an embedded default        make test    the test suite
# make check  lint, format and types                     make test-slow   the tests that take minutes, the notebooks among them
# make test-browser  the studio, and the search of the site, in Chromium, where there is one (apt install chromium, or CHROMIUM=path)
# make screenshots  every page of the studio as a picture, in runs/screenshots        FOLDER=runs/demo make screenshots
# make fuzz   inputs that nobody would write, thousands of them        SEED=7 make fuzz  the same ones once more
# make kills  every command stopped at its file operations: killed, interrupted, on a full disk
# make bench  speed ratios against a bare loop and installed peers, and what was aimed at; ten minutes
# make mutations  breaks the mathematics on purpose, piece by piece, and sees the tests fail
# make bench-samplers  samplers compared on every density, and the same samplers in other libraries; over half an hour
# make results  the tables and figures of docs/results.md, docs/results/ and docs/samplers.md from experiments/records
# make docs  the site, in docs/_build/html: pages, executed notebooks, API reference; 70 s on two cores
# TORCH=cu126 make demo   takes that build of PyTorch; without it a machine without an NVIDIA GPU gets the one for CPUs

PYTHON ?= python3
BIN := .venv/bin
WHEELS := https://download.pytorch.org/whl
DENSITIES ?= banana ring-mixture quartic student-t funnel double-well ill-conditioned logistic
# more threads do not help networks this small, and hurt on a busy machine
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-browser screenshots test-slow fuzz kills mutations check bench bench-samplers results docs clean

demo: .venv/usable
	$(BIN)/stanley demo --out runs/demo

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow and not browser"

test-browser: .venv/ready
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(JOBS),1) -m browser tests/studio tests/test_site.py -rs

screenshots: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/studio/screenshots.py

# the notebooks are among them, and need what the site needs
test-slow: .venv/ready
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow

fuzz: .venv/ready
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED))

kills: .venv/ready
	$(BIN)/python -m tests.kills $(if $(SEED),--seed $(SEED))

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

bench: .venv/ready
	$(BIN)/pip install --quiet -e '.[bench]' -c constraints.txt
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/chain_speed.py --json runs/chain_speed.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/nuts.py --targets logistic gaussian --chains 4 --seeds 1 --out runs/nuts.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/nuts.py --targets logistic --chains 64 --seeds 1 --out runs/nuts_64.json

mutations: .venv/ready
	$(BIN)/python -m tests.mutations --jobs 2

bench-samplers: .venv/ready
	$(BIN)/pip install --quiet -e '.[bench]' -c constraints.txt
	for target in $(DENSITIES); do $(BIN)/stanley compare experiments/samplers.yaml --target $$target --workers 2 || exit 1; done
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/samplers_peers.py

results: .venv/ready
	$(BIN)/python experiments/results.py

# warnings are errors, and so are links between its pages that lead nowhere
docs: .venv/ready
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints.txt
	rm -rf docs/_build docs/files
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs 2 docs docs/_build/html
	$(BIN)/python docs/extensions/links.py docs/_build/html
	$(BIN)/python docs/extensions/search.py docs/_build/html metropolis:samplers inpaint:uses ess:metrics Langevin:api/samplers

# Both are stale when the requirements are newer than the environment. The demonstration needs the
# library alone, half of what the tests need.
.venv/usable: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
ifdef TORCH
	$(BIN)/pip install --quiet torch --index-url $(WHEELS)/$(TORCH)
	$(BIN)/pip install --quiet -e '.[studio]'
else
	@if command -v nvidia-smi >/dev/null; then \
	    echo "PyTorch: an NVIDIA GPU is here, so the build of PyPI, for CUDA on Linux"; \
	    $(BIN)/pip install --quiet -c constraints.txt torch; \
	else \
	    echo "PyTorch: no NVIDIA GPU is here, so the build for CPUs, of $(WHEELS)/cpu"; \
	    $(BIN)/pip install --quiet -c constraints.txt torch --index-url $(WHEELS)/cpu --timeout 20 --retries 1 || { \
	        echo "PyTorch: that address does not answer, so the build of PyPI, which may bring CUDA along"; \
	        $(BIN)/pip install --quiet -c constraints.txt torch; }; \
	fi
	$(BIN)/pip install --quiet -c constraints.txt -e '.[studio]'
endif
	touch $@

.venv/ready: .venv/usable
	$(BIN)/pip install --quiet $(if $(TORCH),,-c constraints.txt) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs docs/_build docs/files
