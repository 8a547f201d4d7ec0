# make help         this list
# make demo         show on the committed samples what nopfix does; needs Python only
# make test         install what is missing, lint, type-check, run the tests (six minutes on two processors)
# make lint         ruff and mypy --strict, a part of make test
# make corpus       every oracle case; takes hours (JOBS=n, CORPUS="names")
# make alignment    what becomes of alignment at -O2, against gas (ten minutes; JOBS=n)
# make bench        ratios of processor times, as a table and build/bench.json (BENCH="options")
# make bench-compare OLD=JSON NEW=JSON: what got slower or faster between two such
# make compare      OLD=REVISION's rewriter and this one over all objects below OBJECTS=FOLDER
# make fuzz         mutated objects for SECONDS=n
# make mutation     every condition of the proofs made wrong in turn; takes hours (EVERY=n: each nth)
# make man          manual pages and shell completions from the commands' own options, in docs
# make docs         the documentation as a site of its own, links checked, in build/site
# make package      sdist, wheel and each extra of it in empty environments (PYTHONS="names"), .deb
# make tag          mark the commit as the release that nopfix/__init__.py names (SIGN= for unsigned)
# make samples      make the committed sample objects again
# make clean        take away what make has made, the virtual environment too
# make kernel-test  build, boot and live-patch a kernel through the wrapper; takes half an hour
# make kpatch-test  the real kpatch-build on three kernels; takes hours, goes on where it stopped

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A plain path instead of setuptools' import hook, which costs 14 ms at every start.
EDITABLE := --config-settings editable_mode=compat --editable
JOBS ?= 2
SECONDS ?= 3600
EVERY ?= 1
SIGN ?= --sign

.PHONY: help demo test lint corpus alignment bench bench-compare compare fuzz mutation kernel-test kpatch-test man docs package tag samples clean

help:
	@sed -n 's/^# \(make \)/\1/p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/demo
	$(BIN)/python -m samples.demo

test: $(VENV)/test tools lint
# One process more than processors: some tests wait for others.
	$(BIN)/python -m pytest -n $$(( $(JOBS) + 1 )) --dist worksteal

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: tools
tools:
	sh tests/install-tools

corpus: $(VENV)/test tools
	$(BIN)/nopfix-corpus run --matrix full $(foreach name,$(CORPUS),--corpus $(name)) -j $(JOBS)

alignment: $(VENV)/test tools
	$(BIN)/python -m nopfix.corpus.alignment -j $(JOBS)

bench: $(VENV)/test tools
	$(BIN)/python -m tests.bench --json build/bench.json $(BENCH)

bench-compare: $(VENV)/test
	$(BIN)/python -m tests.bench --compare $(OLD) $(NEW)

compare: $(VENV)/test
	$(BIN)/python tests/compare_versions.py --old $(OLD) $(OBJECTS)

fuzz: $(VENV)/test
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

mutation: $(VENV)/test tools
	$(BIN)/python -m tests.mutation --every $(EVERY)

kernel-test: $(VENV)/test tools
	$(BIN)/python -m tests.kernel.kernel_test

kpatch-test: $(VENV)/test tools
	$(BIN)/python -m tests.kpatch -j $(JOBS)

man: $(VENV)/test
	$(BIN)/python docs/generate.py

docs: $(VENV)/test
	$(BIN)/python docs/site.py build/docs
	$(BIN)/mkdocs build --strict --config-file build/docs/mkdocs.yml  # --quiet makes it lenient

package: $(VENV)/test tools
	$(BIN)/python -m tests.package $(foreach python,$(PYTHONS),--python $(python))

tag:
	@git diff --quiet HEAD || { echo "what isn't committed has no part in a release" >&2; exit 1; }
	@version=$$($(PYTHON) -c 'import nopfix; print(nopfix.__version__)') && \
	if ! grep -q "^## \[$$version\]" CHANGELOG.md; then \
		echo "CHANGELOG.md has no section for $$version" >&2; exit 1; \
	fi && git tag $(SIGN) -m "nopfix $$version" "v$$version" && echo "v$$version"

samples:
	samples/make

# A checkout has these links; what unpacks a source package makes them.
LINKS := $(addprefix nopfix/,rewriter dwarf verifier corpus)

$(LINKS):
	ln -s ../$(@F) $@

$(VENV)/demo: pyproject.toml | $(LINKS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(EDITABLE) '.[verify]'
	touch $@

$(VENV)/test: pyproject.toml | $(LINKS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(EDITABLE) '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .cache .mypy_cache .ruff_cache
