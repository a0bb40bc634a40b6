# The one entry point; .ci/run calls the same targets. `make` lists them.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Passed to every cargo command, e.g. CARGO_FLAGS=--locked.
CARGO_FLAGS ?=
# How often `make crash` kills the daemon.
KILLS ?= 200
# Of `make cross` and `make cross-test`: one of cross/*-linux-*.sh.
TARGET ?= aarch64-unknown-linux-gnu

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

.PHONY: alarms
alarms: ## what the detectors find and raise without need, kind by kind, and the score's benchmark
	cargo test $(CARGO_FLAGS) --lib alarm::tests::table -- --ignored --nocapture

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
unit: ## check the systemd units, where systemd's tools are installed
	@.ci/unit

.PHONY: page
page: packages ## open the demo's page in a headless chromium and look at what it shows
	@.ci/page

# Built with the same features as the packages of other targets, by the same scripts.
.PHONY: deb
deb: packages ## build this machine's package (amd64) into target/debian
	@cross/build.sh x86_64-unknown-linux-gnu
	@cross/deb.sh x86_64-unknown-linux-gnu

.PHONY: nspawn
nspawn: ## test the package under a real systemd, in a container (as root); SUITES="bookworm trixie"
	@systemd/tests/run.sh $(SUITES)

.PHONY: reproducible
reproducible: packages ## build program and package twice, compare the bytes
	@cross/reproducible.sh

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

.PHONY: judge
judge: ## how good the forecasts are: intervals, points, M4-like series (JUDGE="FILE or FOLDER …", see docs/analytics.md)
	cargo run --quiet --release $(CARGO_FLAGS) --example judge -- $(JUDGE)

.PHONY: cross
cross: ## build weir for TARGET as packages ship it (cross/README.md)
	@cross/build.sh $(TARGET)

.PHONY: cross-test
cross-test: ## golden and unit tests on TARGET (ARM) under qemu-user; needs `make cross` of it and of x86-64
	@cross/test.sh $(TARGET)

.PHONY: gateway
gateway: ## builds, tests under qemu, packages, virtual machine, systemd; UNIT=1: unit tests on ARM too
	@cross/gateway.sh
