# The two commands of the README are `make quickstart` and `make test`; each installs what is missing.

VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
FASTAI ?= .venv-fastai
OUTPUT ?= build/quickstart
DATA ?= ../shared/data
CHROMIUM ?= chromium
REVIEWS = $(addprefix $(DATA)/imdb/,train.csv.gz test.csv.gz unsup.csv.gz)

.PHONY: install quickstart test test-data test-cluster test-long test-browser chaos conformance lint manifests bench clean

install: $(INSTALLED)

# torch first and by its pin: a range would take a build with several GB of CUDA.
$(INSTALLED): constraints.txt pyproject.toml
	@echo "installing into $(VENV): about a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(shell grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/python jobs/quickstart.py --output $(OUTPUT)

# First what needs no Ray, in two processes; then what shares one Ray of two cores.
test: install
	$(BIN)/python -m pytest -n 2 -m "not ray and not cluster and not long and not data and not browser"
	$(BIN)/python -m pytest -m "ray and not cluster and not long and not data and not browser"

# What needs a data set that lies beside the repository.
test-data: install
	$(BIN)/python -m pytest -m data

# Twenty times kill -9 at random moments of tokenize, and of embed: workers, drivers, whole Ray instances. About twenty
# minutes.
chaos: install
	rm -rf build/chaos
	$(BIN)/python tests/jobs/chaos.py build/chaos --kills 20 20 --output benchmarks/results/chaos.json \
		--input jobs/sample/scifact/corpus.jsonl.gz --text-columns title text --id-column _id --keep-columns title

# Several Ray nodes on this machine, killed and added in the middle of jobs.
test-cluster: install
	$(BIN)/python -m pytest -m "cluster and not long"

# What CI has no time for: more faults in more phases, more nodes lost, whole sweeps.
test-long: install
	$(BIN)/python -m pytest -m long

# The page of a map in headless Chromium: `apt install chromium`, or CHROMIUM=/path/of/chrome where it has another name.
test-browser: install
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest -m browser

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# cluster/kuberay/VERB.yaml out of VERB.toml; a test holds that they are equal.
manifests: install
	for config in cluster/kuberay/*.toml; do \
		$(BIN)/ulmfit-ray manifest $$(basename $$config .toml) $$config > $${config%.toml}.yaml || exit 1; \
	done

# All tokens of the data sets that lie beside the repository, and of 220,000 random texts, against fastai's own; what
# papers say of the data sets; and a language model and a classifier on their way from fastai to us and back.
conformance: install $(FASTAI)/.installed test-data
	mkdir -p build
	$(FASTAI)/bin/python tests/conformance/with_fastai.py build/fastai.json
	$(BIN)/python tests/conformance/compare.py build/fastai.json --output benchmarks/results/conformance.json
	rm -rf build/from-fastai
	$(BIN)/ulmfit-ray import-fastai --weights tests/golden/fastai_model.pth --itos tests/golden/fastai_model.pkl \
		--output build/from-fastai/lm
	$(BIN)/ulmfit-ray export-fastai --model build/from-fastai/lm --output build/from-fastai/models
	$(BIN)/ulmfit-ray import-fastai --weights tests/golden/fastai_classifier.pth --itos tests/golden/fastai_model.pkl \
		--labels neg neutral pos --output build/from-fastai/imported-classifier
	$(BIN)/ulmfit-ray export-fastai --model build/from-fastai/imported-classifier \
		--output build/from-fastai/classifier/models
	$(FASTAI)/bin/python -W ignore tests/conformance/load_exported.py build/from-fastai

$(FASTAI)/.installed:
	$(PYTHON) -m venv $(FASTAI)
	$(FASTAI)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0
	$(FASTAI)/bin/pip install --quiet --disable-pip-version-check fastai==2.8.12 spacy==3.8.18
	touch $@

# The last eleven need the data sets that lie beside the repository, and minutes, the reviews' recipes hours; the peer of
# the first of them and of the job's is fastai.
bench: quickstart $(FASTAI)/.installed
	$(BIN)/python benchmarks/encode_precision.py --model $(OUTPUT)/pretrain --tokens $(OUTPUT)/tokenize
	$(BIN)/python benchmarks/encode_job.py --model $(OUTPUT)/pretrain --tokens $(OUTPUT)/tokenize
	$(BIN)/python benchmarks/train_lm.py --keep-memory
	$(BIN)/python benchmarks/train_lm.py --keep-memory --shape 400-1152-3 --vocab-size 60000 --global-batch-size 64 \
		--bptt 72 --steps 2
	$(BIN)/python benchmarks/precision.py --config jobs/configs/quickstart/pretrain.toml --tokens $(OUTPUT)/tokenize \
		--steps 1392
	$(BIN)/python benchmarks/train_overhead.py
	$(BIN)/python benchmarks/tokenization.py
	$(BIN)/python benchmarks/long_documents.py
	$(BIN)/python benchmarks/object_store.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/search_index.py
	$(BIN)/python benchmarks/neighbours.py
	$(BIN)/python benchmarks/encode.py --input $(DATA)/imdb/train.csv.gz --fastai $(FASTAI)/bin/python
	$(BIN)/python benchmarks/retrieval.py --data $(DATA)
	$(BIN)/python benchmarks/tokenization.py --input $(DATA)/imdb/train.csv.gz --documents 25000
	$(BIN)/python benchmarks/tokenize_job.py --input $(REVIEWS) --fastai $(FASTAI)/bin/python
	$(BIN)/python benchmarks/tokenize_memory.py --input $(REVIEWS)
	$(BIN)/python benchmarks/recipes.py human_numbers --data $(DATA)/human_numbers
	$(BIN)/python benchmarks/recipes.py wikitext2 --data $(DATA)/wikitext-2
	$(BIN)/python benchmarks/recipes.py imdb_small --data $(DATA)/imdb --work build/imdb_small
	$(BIN)/python benchmarks/recipes.py imdb_both_directions --data $(DATA)/imdb
	$(BIN)/python benchmarks/classify.py --model build/imdb_small/classifier-0 --tokens build/imdb_small/test.csv.tokens

clean:
	rm -rf build $(VENV) $(FASTAI)
