# Each target does all the set-up that it needs.
# make setup | demo | test | test-thorough | test-all | test-package | test-tensorflow | test-plugins |
# test-recipes | docs | coverage | lint | bench | bench-peers
PYTHON ?= python3
VENV ?= .venv
DATA ?= ../shared/data
BIN := $(VENV)/bin
COCO := --images $(DATA)/coco-tiny/images --annotations $(DATA)/coco-tiny/instances.json
PEERS := captum lime xaitk-saliency
# One process more than there are cores: many tests wait for a server or for another process.
PARALLEL := --numprocesses $(shell expr $$(nproc) + 1) --dist worksteal
INSTALL := pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup demo test test-thorough test-all test-package test-tensorflow test-plugins test-recipes docs \
	coverage lint bench bench-peers clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(INSTALL) --editable '.[dev]'
	touch $@

# Other libraries, to compare with. One that does not install is tried again next time, and until
# then a row of the table that says so.
$(VENV)-peers/.ready: benchmarks/peers-requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/$(INSTALL) --editable . psutil
	for peer in $(PEERS); do \
		$(VENV)-peers/bin/$(INSTALL) -c benchmarks/peers-requirements.txt $$peer || failed=1; \
	done; test -n "$$failed" || touch $@

demo: setup
	$(BIN)/iassa explain --example cat --out explanations/demo

# On all cores at once, each test on one; a process that is done takes tests of another.
test: setup
	$(BIN)/pytest $(PARALLEL) -m "not thorough"

# Reading all tests takes longer than finding the files that have some.
test-thorough: setup
	$(BIN)/pytest $(PARALLEL) -m thorough $$(grep -l mark.thorough tests/test_*.py)

# Both at once, which takes less time than one after the other.
test-all: setup
	$(BIN)/pytest $(PARALLEL)

# Lines and branches of src that all tests reach, in the processes that they start as well.
coverage: setup
	rm -f .coverage .coverage.*
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The wheel, installed as users install it, on every Python that pyproject.toml names and the machine
# has, or on those of PYTHONS. It makes and removes environments of its own.
test-package:
	$(PYTHON) tests/installed_wheel.py $(PYTHONS)

# Too large for the environment of all tests: TensorFlow, below the Keras of docs/models.md.
$(VENV)-tensorflow/.ready: tests/tensorflow-requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-tensorflow
	$(VENV)-tensorflow/bin/$(INSTALL) --editable . -r tests/tensorflow-requirements.txt
	touch $@

test-tensorflow: $(VENV)-tensorflow/.ready
	KERAS_BACKEND=tensorflow $(VENV)-tensorflow/bin/pytest tests/test_models_page.py -k keras

# Quantus brings OpenCV with libraries of a desktop.
$(VENV)-plugins/.ready: tests/plugins-requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-plugins
	$(VENV)-plugins/bin/$(INSTALL) --editable . -r tests/plugins-requirements.txt
	touch $@

test-plugins: $(VENV)-plugins/.ready
	$(VENV)-plugins/bin/pytest tests/test_plugins_quantus.py tests/test_plugins_xaitk.py

# What these packages warn of is for their authors.
OTHERS := $(addprefix -W ignore::,DeprecationWarning FutureWarning ResourceWarning \
	pytest.PytestUnraisableExceptionWarning)

# Trackers, labelling tools and servers bring much, and older releases of what iassa has.
$(VENV)-recipes/.ready: tests/recipes-requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-recipes
	grep -v -i -E '^(certifi|importlib.metadata|pandas|protobuf|psutil|python.dateutil)=' \
		constraints.txt >$(VENV)-recipes/constraints.txt
	$(VENV)-recipes/bin/pip install --quiet --disable-pip-version-check -c $(VENV)-recipes/constraints.txt \
		--editable '.[http]' -r tests/recipes-requirements.txt
	touch $@

test-recipes: $(VENV)-recipes/.ready
	$(VENV)-recipes/bin/pytest tests/test_pages.py -k recipes $(OTHERS)

# The site, in docs/_build/html. The build runs its notebooks; a warning is an error.
docs: setup
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# About an hour on two quiet cores: quality 15, calibration 10, peers 10, tolerance 6, the others
# the rest. 4096 calls, which calibration.py has by default, would take half an hour more.
bench: setup bench-peers
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/endpoint.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/black_boxes.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/app.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/gallery.py workers
	$(BIN)/python benchmarks/calibration.py --calls 256 1024
	$(BIN)/python benchmarks/tolerance.py $(COCO)
	$(BIN)/python benchmarks/quality.py $(COCO) --min-score 0.4

bench-peers: $(VENV)-peers/.ready
	$(VENV)-peers/bin/python benchmarks/peers.py

clean:
	rm -rf $(VENV) $(VENV)-peers $(VENV)-tensorflow $(VENV)-plugins $(VENV)-recipes docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
