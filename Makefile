# Two commands matter: `make up` starts everything on this machine, `make test` tests everything.
# They need Python 3.11 or newer with pip, and nothing else.

PYTHON  ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
           done)
BASE    ?= $(shell git rev-parse -q --verify origin/main || git rev-parse -q --verify main || echo HEAD)
WORKERS ?= 2
TAG     ?= $(shell git rev-parse --short HEAD)
PYTHON_IMAGE ?=
TESTS   ?=

VENV    := .venv/bin/
INSTALL = $(or $(PYTHON),python3) dev/install.py services dev
# protoc finds its plug-ins on the PATH.
WITH_TOOLS = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help up test lint fmt gen lock bench fuzz image clean
.DEFAULT_GOAL := help

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Start everything on this machine: http://localhost:8080. Ctrl-C stops it, data stays in .data/
	@$(INSTALL)
	@$(VENV)python -m dev.up

test: ## Run every test; only some with TESTS="game_svc tests/test_story.py"
	@$(INSTALL) test
	@$(VENV)python -m pytest -n $(WORKERS) $(TESTS)

lint: ## Check style, types, the contract, Envoy's configuration, the image, the manifests, and what is generated
	@$(INSTALL) test
	@$(or $(PYTHON),python3) dev/install.py .venv-manifests manifests
	$(VENV)ruff check .
	$(VENV)ruff format --check .
	$(VENV)mypy --strict .
	$(WITH_TOOLS) python -m dev.gen --check
	$(VENV)python -m mesh.settings --check .env.example
	$(VENV)buf lint gen/popcorn.binpb
	@mkdir -p .data
	@if git show $(BASE):gen/popcorn.binpb > .data/contract-before.binpb 2>/dev/null; then \
	  echo "$(VENV)buf breaking gen/popcorn.binpb --against $(BASE)"; \
	  $(VENV)buf breaking gen/popcorn.binpb --against .data/contract-before.binpb; \
	else echo "There is no earlier contract to compare with."; fi
	@GATEWAY_TARGET=gateway:9000 GAME_TARGET=game-svc:9000 TOKEN_ISSUER=https://lint.test TOKEN_AUDIENCE=lint CORS_ORIGINS= \
	  $(VENV)python -m mesh.edge --folder .data/edge-to-check
	$(VENV)envoy --mode validate --log-level critical -c .data/edge-to-check/envoy.yaml
	$(VENV)python -m dev.manifests

fmt: ## Bring the code into shape
	@$(INSTALL) test
	$(VENV)ruff check --fix .
	$(VENV)ruff format .

gen: ## Generate gen/ and docs/api/ from protos/, and .env.example from the settings
	@$(INSTALL) test
	$(WITH_TOOLS) python -m dev.gen
	$(VENV)python -m mesh.settings --write .env.example

lock: ## Pin and hash the dependencies of pyproject.toml into requirements/
	@$(INSTALL) test
	$(VENV)python -m dev.lock

bench: ## Measure what the mesh costs, against empty handlers of the same shape
	@$(INSTALL)
	$(VENV)python -m bench

fuzz: ## Throw requests of every shape at the REST API, and hold its answers to gen/openapi.json
	@$(INSTALL) test
	$(VENV)python -m dev.fuzz

image: ## Build the one image of all services, with Docker: PYTHON_IMAGE=python:...@sha256:... (TAG=...)
	@case "$(PYTHON_IMAGE)" in *@sha256:*) ;; *) \
	  echo "PYTHON_IMAGE is not set to an image by digest: it should look like python:3.13-slim-bookworm@sha256:..." >&2; \
	  exit 2;; esac
	@command -v docker > /dev/null || { echo "Docker is not installed; without it there is make up." >&2; exit 2; }
	docker build --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --tag evening-popcorn:$(TAG) .

clean: ## Remove the virtual environments, caches and the data of `make up`
	rm -rf .venv .venv-manifests .data .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
