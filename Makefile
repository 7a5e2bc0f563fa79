# swarmnet: every command a developer or a new user needs. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
LAB := target/release/swarmnet-lab
# Namespaces, BPF and the engines need root; a user who is not is asked by sudo.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=KEEP,WAIT)
ifneq ($(SUDO),)
# Tests that need root are started by sudo as well; cargo itself is not.
HOST := $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export CARGO_TARGET_$(HOST)_RUNNER := $(SUDO)
endif
# All features: the lab's static server is behind one.
TEST := $(CARGO) test --release --workspace --all-features
CLIPPY := $(CARGO) clippy --release --workspace --all-targets --all-features -- -D warnings

.PHONY: help deps build demo test bench check fix clean-lab

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r n t; do \
		printf '  make %-10s %s\n' "$$n" "$$t"; done

deps: ## install the Debian packages that are missing (it names them first)
	@tests/lab/install-packages.sh

build: deps ## build everything in release mode, the lab included
	$(CARGO) build --release --workspace
	@# The server of the test images runs in a container without libraries.
	$(CARGO) rustc --release -p swarmnet-lab --bin whoami --features whoami -- \
		-C target-feature=+crt-static

demo: build ## a cluster of three hosts on this machine, step by step (KEEP=1 leaves it up)
	@$(SUDO) tests/demo.sh

test: deps ## formatting, lints, then unit, kernel and cluster tests, with one summary
	$(CARGO) fmt --all --check
	@$(MAKE) build
	$(CLIPPY)
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; started=$$SECONDS; \
	$(TEST) --no-fail-fast -- --include-ignored 2>&1 | tee "$$log" && status=0 || status=$$?; \
	awk -v status="$$status" -v seconds="$$((SECONDS - started))" ' \
		/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
		/^test .*ignored/ { print } \
		END { printf "\n%d passed, %d failed, %d ignored (%d s)\n", passed, failed, ignored, seconds; \
		      if (status || failed || !passed) exit 1 }' "$$log"

bench: build ## our path and its peer in one run, interleaved (figures, also in target/bench.txt)
	@tests/lab/install-packages.sh bench
	$(CARGO) bench -p swarmnet-tests --bench figures

check: deps ## what needs no root: formatting, lints, unit tests; changes no source
	$(CARGO) fmt --all --check
	$(CLIPPY)
	$(TEST) --lib --bins --test tidy
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; \
		else echo "skipped: cargo deny (install it with: cargo install cargo-deny)"; fi

fix: ## format, and apply what clippy can mend
	$(CARGO) clippy --release --workspace --all-targets --all-features --fix --allow-dirty
	$(CARGO) fmt --all

clean-lab: ## remove whatever a lab left behind, all labs
	@if [ -x $(LAB) ]; then for lab in default $$(ls /var/lib/swarmnet-lab 2>/dev/null); do \
		$(SUDO) $(LAB) --name "$$lab" down; done; else echo "no lab is built: nothing to remove"; fi
