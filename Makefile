# The one entry point; .ci/run calls the same targets. `make` lists them.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Passed to every cargo command, e.g. CARGO_FLAGS=--locked.
CARGO_FLAGS ?=
# How often `make crash` kills the daemon.
KILLS ?= 200

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: packages
packages: ## install the system packages that the tests need (as root; else say which)
	@.ci/packages

.PHONY: test
test: packages ## build and run all tests; then what the feature systemd changes
	@echo '== build'
	@cargo build --quiet $(CARGO_FLAGS)
	@cargo test --quiet --no-run $(CARGO_FLAGS)
	@echo '== tests'
	@cargo test --no-fail-fast $(CARGO_FLAGS) -- --quiet
	@echo '== tests with libsystemd'
	@cargo test --quiet $(CARGO_FLAGS) --features systemd --lib systemd
	@echo '== the build that packages ship'
	@cargo check --quiet $(CARGO_FLAGS) --no-default-features --features systemd

.PHONY: slow
slow: packages ## the tests that take minutes, and measurements of the state store
	cargo test $(CARGO_FLAGS) --lib -- --ignored --nocapture

.PHONY: fmt
fmt: ## format the sources
	@cargo fmt

.PHONY: lint
lint: packages ## formatting, clippy on everything, docs: no warnings
	@cargo fmt --check
	@cargo clippy --quiet $(CARGO_FLAGS) --all-targets -- -D warnings
	@cargo clippy --quiet $(CARGO_FLAGS) --lib --bins --all-features -- -D warnings
	@RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --quiet $(CARGO_FLAGS) --lib --no-deps

.PHONY: deny
deny: ## licences, sources and (where there is a snapshot) advisories of the dependencies
	@.ci/deny

.PHONY: unit
unit: ## check the systemd unit, where systemd's tools are installed
	@.ci/unit

.PHONY: check
check: packages ## does it compile, in each combination of features
	cargo check --quiet $(CARGO_FLAGS) --all-targets
	cargo check --quiet $(CARGO_FLAGS) --no-default-features
	cargo check --quiet $(CARGO_FLAGS) --no-default-features --features systemd
	cargo check --quiet $(CARGO_FLAGS) --all-targets --all-features

.PHONY: bench
bench: ## measure the hot paths
	cargo bench $(CARGO_FLAGS)

.PHONY: judge-fit
judge-fit: ## what profiles of weir fit are worth on data they were not fitted to, against the defaults
	cargo test --release $(CARGO_FLAGS) --test fit -- --ignored --nocapture judge

.PHONY: bench-daemon
bench-daemon: packages ## measure the whole daemon under load, against a bare subscriber
	cargo bench $(CARGO_FLAGS) --bench daemon

.PHONY: crash
crash: packages ## kill the daemon KILLS times (200) at random moments and count what it says
	KILLS=$(KILLS) cargo test $(CARGO_FLAGS) --features failpoints --test crash -- --nocapture
