# Every target sets up what it needs in .venv; nothing global is touched. `make help` lists them.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
DB      ?= data
DEMO    ?= --turns 3
KILLS   ?= 60
REPORT  ?= build/faults.txt
PROTOS  := $(wildcard proto/rolltrace/v1/*.proto)
SERVICES = $(shell grep -l '^service ' $(PROTOS))

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check stubs check-stubs faults bench bench-peers bench-micro bounds soak test-vllm test-engines test-rllm test-frameworks fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

# Two stamps: running needs less than developing.
$(VENV)/.runs: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rolltrace needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing rolltrace into $(VENV) (once) ..."
	@$(BIN)/python -m pip install -q -U 'pip>=25.1' && $(BIN)/python -m pip install -q -e '.[all]'
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	@echo "installing the test tools into $(VENV) (once) ..."
	@$(BIN)/python -m pip install -q --group dev
	@touch $@

setup: $(VENV)/.develops ## install everything for development into .venv

run: $(VENV)/.runs ## start the pair, on the demo worker or on WORKERS="http://... http://..."
	@$(BIN)/python -m rolltrace_demo up --db-path $(DB) $(foreach url,$(WORKERS),--worker $(url))

demo: $(VENV)/.runs ## in a second terminal: an agent runs, its traces arrive live
	@$(BIN)/python -m rolltrace_demo agent $(DEMO)

test: $(VENV)/.develops ## the tests
	@$(BIN)/python -m pytest

check: $(VENV)/.develops ## format, lint, types, layers
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

# Two generators, each in an environment of its own. The .py come from an old grpcio-tools: its version
# sets the oldest grpcio and protobuf that the committed stubs load beside. The .pyi come from a newer
# one, since the mypy-protobuf that types async stubs rightly does not run beside protobuf 4; a .pyi is
# never loaded, so its generator limits nobody.
STUB_PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 $(PYTHON),$(shell $(p) -c 'import sys; sys.version_info < (3, 13) and print(sys.executable)' 2>/dev/null)))

.stubs/ready:
	@test -n "$(STUB_PYTHON)" || { echo "stubs need Python 3.11 or 3.12: set STUB_PYTHON=/path/to/python3.12"; exit 1; }
	@$(STUB_PYTHON) -m venv .stubs/py && .stubs/py/bin/python -m pip install -q 'grpcio-tools==1.62.3' 'setuptools<81'
	@$(STUB_PYTHON) -m venv .stubs/pyi && .stubs/pyi/bin/python -m pip install -q 'grpcio-tools==1.71.2' 'mypy-protobuf==3.7.0' 'setuptools<81'
	@touch $@

stubs: .stubs/ready ## generate the Python stubs from proto/
	@find proto -name '*_pb2*' -delete
	@.stubs/py/bin/python -m grpc_tools.protoc -Iproto --python_out=proto $(PROTOS)
	@.stubs/py/bin/python -m grpc_tools.protoc -Iproto --grpc_python_out=proto $(SERVICES)
	@PATH=".stubs/pyi/bin:$$PATH" .stubs/pyi/bin/python -m grpc_tools.protoc -Iproto --mypy_out=quiet:proto $(PROTOS)
	@PATH=".stubs/pyi/bin:$$PATH" .stubs/pyi/bin/python -m grpc_tools.protoc -Iproto --mypy_grpc_out=quiet:proto $(SERVICES)

check-stubs: stubs ## fail when the committed stubs are not those of proto/
	@test -z "$$(git status --porcelain proto)" || { git status --short proto; echo "commit what 'make stubs' wrote"; exit 1; }

faults: $(VENV)/.develops ## every fault of docs/reliability.md, and a report; KILLS=500 for the long form
	@KILLS=$(KILLS) REPORT=$(REPORT) $(BIN)/python -m pytest tests/faults -q --timeout 3600

bench: $(VENV)/.develops $(if $(filter no,$(PEERS)),,bench-peers) ## Rolltrace beside other gateways; ONLY=a,c ROUNDS=3 SECONDS=1.5 PEERS=no OUT=document
	@$(BIN)/python -m bench --only '$(ONLY)' --rounds $(or $(ROUNDS),3) --seconds $(or $(SECONDS),1.5) \
	  $(if $(filter no,$(PEERS)),--no-peers) $(if $(OUT),--out '$(OUT)')

bench-micro: $(VENV)/.develops ## the hot functions alone, in microseconds
	@$(BIN)/python -m pytest bench/micro -q -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-columns=min,median,iqr,rounds

# Each peer has an environment of its own in .peers; nginx is the system's, or its package unpacked there and not
# installed. One that can't be had is left out of the comparison, and tried again the next time.
NGINX ?= $(firstword $(wildcard /usr/sbin/nginx /usr/local/bin/nginx /usr/bin/nginx))
bench-peers: $(if $(NGINX),,.peers/nginx/.ready) .peers/sglang-router/.ready .peers/rllm-model-gateway/.ready ## install the gateways that bench compares with

.peers/nginx/.ready:
	@mkdir -p $(@D) && cd $(@D) && echo "unpacking nginx into $(@D) ..." >&2 && \
	  apt-get download -q nginx && dpkg-deb -x nginx_*.deb . && touch .ready || \
	  echo "nginx is left out: there is none in /usr/sbin, and apt-get gives none" >&2

.peers/sglang-router/.ready: PEER = sglang-router
.peers/rllm-model-gateway/.ready: PEER = rllm-model-gateway==0.1.0 uvloop httptools
.peers/%/.ready:
	@echo "installing $(PEER) into $(@D) (once) ..." >&2
	@$(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install -qq $(PEER) && touch $@ || \
	  echo "$* is left out: pip could not install $(PEER)" >&2

bounds: $(VENV)/.develops ## 5,000 streams at once and 100,000 sessions, as figures against their bounds
	@$(BIN)/python -m bench.bounds

soak: $(VENV)/.develops ## everything at once for MINUTES=30, and verdicts: memory, growth, completeness, promises
	@$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),30)

test-vllm: $(VENV)/.develops ## the end-to-end suite on a real vLLM on the CPU (about 4 GB, 15 minutes the first time)
	@tests/vllm/server/install.sh
	@$(BIN)/python -m pytest tests/vllm -m vllm --timeout 900

test-engines: $(VENV)/.develops .engines/llamacpp/.ready ## a real llama.cpp on the CPU (about 200 MB), with a tiny model made here
	@$(BIN)/python -m pytest tests/engines -m engines --timeout 300

.engines/llamacpp/.ready: tests/engines/server/model.py
	@echo "installing llama.cpp into $(@D) ..." >&2
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@timeout 600 $(@D)/bin/python -m pip install -qq --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
	@$(@D)/bin/python $< $(@D)/tiny.gguf && touch $@

# Each framework has an environment of its own, of the versions in the table.
FRAMEWORKS := $(shell awk '/^[^\#]/ {print $$1}' tests/frameworks/versions.txt)
test-frameworks: $(VENV)/.develops $(FRAMEWORKS:%=.frameworks/%/.ready) ## eight agent frameworks through the gateway to the real vLLM, beside a direct connection
	@tests/vllm/server/install.sh
	@$(BIN)/python -m pytest tests/frameworks -m frameworks --timeout 900

.frameworks/%/.ready: tests/frameworks/versions.txt
	@echo "installing $* into $(@D) ..." >&2
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@timeout 900 $(@D)/bin/python -m pip install -qq --disable-pip-version-check $$(awk '$$1 == "$*" {$$1 = ""; print}' $<)
	@touch $@

test-rllm: $(VENV)/.develops .peers/rllm-model-gateway/.ready ## rLLM's published client on Rolltrace and on its own gateway, compared
	@$(BIN)/python -m pytest tests/rllm -m rllm

# Atheris is for this alone, so it has an environment of its own.
.venv-fuzz/.ready: pyproject.toml
	@test -x .venv-fuzz/bin/python || $(PYTHON) -m venv .venv-fuzz
	@echo "installing rolltrace and atheris into .venv-fuzz (once) ..."
	@.venv-fuzz/bin/python -m pip install -q -U 'pip>=25.1' && .venv-fuzz/bin/python -m pip install -q -e '.[all]' 'atheris>=3'
	@touch $@

fuzz: .venv-fuzz/.ready ## every fuzzing target for its share of MINUTES=60, guided by coverage
	@.venv-fuzz/bin/python -m tests.fuzz $(or $(MINUTES),60) $(TARGETS)

clean: ## remove what the other targets made, but for data
	@rm -rf .venv .venv-fuzz .engines .fuzz .stubs .peers .frameworks .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
