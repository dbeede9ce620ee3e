# The recipes; .ci/run runs the same ones. `make` alone lists them.

export CARGO_TERM_COLOR ?= auto
CARGO ?= cargo
KEEP ?=

.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## install the Debian packages that demo and tests use, if any is missing
	@tests/setup.sh

# The plugins are started for every operation on every pod: linked statically they start as fast as
# a process can, and need nothing of the host.
PLUGIN = $(CARGO) rustc --quiet --release -p mainstay-cni --bin
STATIC = -- -C target-feature=+crt-static -C strip=symbols
release:
	@$(CARGO) build --release --bins --workspace
	@$(PLUGIN) mainstay-ipam $(STATIC)
	@$(PLUGIN) mainstay-none $(STATIC)

demo: setup release ## build, run three nodes and a switch, show what Mainstay does (KEEP=1 leaves it running)
	@KEEP=$(KEEP) target/release/mainstay-demo

demo-clean: ## end a demo that KEEP=1 has left running
	@target/release/mainstay-demo --clean

test: setup lint ## format, clippy, unit, property and end-to-end tests
	@$(CARGO) build --workspace --bins
	@$(CARGO) test --workspace --no-fail-fast

lint: ## formatting and clippy, warnings denied
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

unit: ## the tests that need neither root nor peers
	@$(CARGO) test --workspace --lib

e2e: setup ## the end-to-end tests alone (T=name runs the matching ones)
	@$(CARGO) build --workspace --bins
	@$(CARGO) test -p mainstay-tests --test e2e -- $(T)

# SIM_SEED=7 repeats one.
simulate: ## storms over hundreds of speakers from many seeds (SIM_SEEDS=100 of each kind), held against a model
	@SIM_SEEDS=$(or $(SIM_SEEDS),100) SIM_LARGE=1 $(CARGO) test --release -p bgp-sim --test storm

systemd: setup ## the tests under a real systemd alone (T=name runs the matching ones)
	@$(CARGO) build --workspace --bins
	@$(CARGO) test -p mainstay-tests --test systemd -- $(T)

bench: ## micro-benchmarks of the hot paths
	@$(CARGO) bench -p bgp-core --bench wire --bench speaker
	@$(CARGO) bench -p ipam-core --bench allocate

bench-peers: setup release ## the same work by BIRD, FRR, host-local and Mainstay; rewrites docs/benchmarks.md
	@target/release/mainstay-bench-peers

bench-leases: setup release ## durable ADDs at the socket, a /16 filled, memory and start; rewrites its part of docs/benchmarks.md
	@target/release/mainstay-bench-leases

bench-restart: setup release ## a restart of Mainstay, BIRD, FRR, OpenBGPD, GoBGP; rewrites its part of docs/benchmarks.md
	@target/release/mainstay-bench-restart

restart-matrix: setup release ## every way of ending against every peer; rewrites docs/restart.md
	@target/release/mainstay-restart-matrix

test-interop: setup release ## every feature against BIRD, FRR, GoBGP, OpenBGPD and ExaBGP; rewrites docs/interop.md
	@target/release/mainstay-interop

capture: setup release ## what the five speakers send, for the tests of the codec
	@CAPTURE=bgpd/core/tests/wire_support/captured.txt target/release/mainstay-interop ""

crash-suite: setup release ## kills, losses of power and failing disks for mainstay-ipamd; rewrites docs/reliability.md
	@nice target/release/mainstay-crash-suite

proto: ## make proto/src/gen from the .proto files again
	@UPDATE_GENERATED=1 $(CARGO) test -q -p mainstay-proto

golden: ## rewrite golden files and docs/configuration.md; read the diff
	@UPDATE_GOLDEN=1 INSTA_UPDATE=always $(CARGO) test -p mainstay-config -p mainstay-cli -p mainstay-cni -p mainstay-netmon -p bgp-core

cooldown-report: ## the rules of docs/internals/cooldown.md with their tests, which are run as well
	@UPDATE_GOLDEN=1 $(CARGO) test -q -p mainstay-tests --test e2e -- the_cooldown_page
	@$(CARGO) test -p ipam-core

fuzz: ## each parser under libFuzzer, led by coverage (T=wire, FUZZ_SECONDS=60 for each; MINIMISE=1 adds to the corpus)
	@CARGO=$(CARGO) tests/fuzz/run.sh $(T)

deny: ## licences, duplicate versions and sources of dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	@$(CARGO) deny check licenses bans sources

install: release ## install binaries, units, CNI plugins under DESTDIR (default /)
	@deploy/install.sh "$(DESTDIR)"

clean: ## remove what was built
	@$(CARGO) clean

.PHONY: help setup release demo demo-clean test lint unit e2e simulate systemd bench bench-peers bench-leases bench-restart restart-matrix test-interop capture crash-suite fuzz proto golden cooldown-report deny install clean
