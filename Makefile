# Every command that anyone types; CI calls the same ones. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# Ordinary builds check queries against the committed .sqlx/, so that they need no database.
export SQLX_OFFLINE ?= true
export PATH := $(CURDIR)/.tools/bin:$(PATH)

CARGO ?= cargo
WITH_POSTGRES := $(CARGO) run --quiet --package test-support --bin with-postgres --
# What `make up` passes on: make up UP="--https-port 9000 --tail=warn"
UP ?=

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- run -------------------------------------------------------------------------------------------------------------

.PHONY: up
up: dependencies ## install what is missing, build, and run everything on this machine
	$(CARGO) build --release --locked --package portico
	@APP_ENV=$${APP_ENV:-development} exec $(or $(CARGO_TARGET_DIR),target)/release/portico up $(UP)

.PHONY: dependencies
dependencies: ## install what is missing: a C compiler, cmake, curl, PostgreSQL
	@scripts/install-dependencies

# --- test ------------------------------------------------------------------------------------------------------------

.PHONY: test
test: ## install what the tests need and run all of them
	@scripts/install-dependencies --tests
	@scripts/install-tools cargo-nextest sslyze
	$(CARGO) build --locked --package portico
	$(WITH_POSTGRES) $(CARGO) nextest run --locked --workspace $(TESTS)

.PHONY: ci
ci: fmt lint doc test fuzz policy-check sqlx-check openapi-check deny ## all that must hold before a merge

.PHONY: fmt
fmt: ## is the code formatted? (cargo fmt mends it)
	$(CARGO) fmt --all -- --check

.PHONY: lint
lint: dependencies ## all lints, as errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc: dependencies ## the documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: policy-check
policy-check: dependencies ## the shipped policies are right in every environment, in canonical form, strong, and do what their cases say
	@for environment in development test production; do \
		APP_ENV=$$environment $(CARGO) run --quiet --locked --package portico -- policy check policies || exit; \
	done
	@$(CARGO) run --quiet --locked --package portico -- policy test policies
	@$(CARGO) run --quiet --locked --package portico -- policy audit policies --env production --fail-on low
	@$(CARGO) run --quiet --locked --package portico -- policy fmt --check policies

.PHONY: policy-schema
policy-schema: dependencies ## write policies/portico.schema.json
	@$(CARGO) run --quiet --locked --package portico -- policy schema > policies/portico.schema.json.new
	@mv policies/portico.schema.json.new policies/portico.schema.json

# --- generated and committed -----------------------------------------------------------------------------------------

.PHONY: sqlx-prepare
sqlx-prepare: dependencies ## write .sqlx/ after a query or a migration has changed
	@scripts/install-tools cargo-sqlx
	SQLX_OFFLINE=false $(WITH_POSTGRES) $(CARGO) sqlx prepare --workspace -- --all-targets

.PHONY: sqlx-check
sqlx-check: dependencies ## .sqlx/ says what the queries say
	@scripts/install-tools cargo-sqlx
	SQLX_OFFLINE=false $(WITH_POSTGRES) $(CARGO) sqlx prepare --workspace --check -- --all-targets

.PHONY: openapi
openapi: dependencies ## write docs/openapi.json, and the copy that the gateway checks requests against
	@$(CARGO) run --quiet --locked --package portico -- openapi > docs/openapi.json.new
	@mv docs/openapi.json.new docs/openapi.json
	@cp docs/openapi.json policies/core-api.openapi.json

.PHONY: openapi-check
openapi-check: dependencies ## docs/openapi.json and its copy in policies/ say what the code says
	@$(CARGO) run --quiet --locked --package portico -- openapi | diff -u docs/openapi.json - || \
		{ echo "docs/openapi.json is stale: run make openapi"; exit 1; }
	@diff -u docs/openapi.json policies/core-api.openapi.json || \
		{ echo "policies/core-api.openapi.json is stale: run make openapi"; exit 1; }

# --- fuzzing ---------------------------------------------------------------------------------------------------------

# Seconds for each target. What is found is reported and kept below target/fuzz/.
FUZZ_SECONDS ?= 20
FUZZ_TARGETS ?= parse evaluate

.PHONY: fuzz
fuzz: ## any bytes as policies and as requests, for FUZZ_SECONDS each
	@scripts/install-dependencies --tests
	@CARGO="$(CARGO)" FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz $(FUZZ_TARGETS)

# What `make api-fuzz` passes on: make api-fuzz API_FUZZ="--max-examples 500 --seed 1"
API_FUZZ ?=

.PHONY: api-fuzz
api-fuzz: dependencies ## Schemathesis asks a bank for what its OpenAPI document describes and does not (needs Python 3)
	@scripts/install-tools schemathesis
	$(CARGO) build --locked --package portico
	@scripts/api-fuzz $(API_FUZZ)

# --- the rest --------------------------------------------------------------------------------------------------------

.PHONY: deny
deny: ## licences, sources, duplicate versions, and who may use what
	@scripts/install-tools cargo-deny
	$(CARGO) fetch --locked --quiet
	$(CARGO) deny --workspace --all-features --offline check -D unnecessary-skip -D unmatched-skip bans licenses sources

.PHONY: advisories
advisories: ## known vulnerabilities (fetches their database: needs the network)
	@scripts/install-tools cargo-deny
	$(CARGO) deny --workspace --all-features check advisories

.PHONY: dist
dist: dependencies ## the binary to ship, optimised by counts of a run: target/dist/portico (needs llvm-profdata, nginx, wrk and h2load)
	CARGO="$(CARGO)" scripts/build-dist

.PHONY: bench
bench: dependencies ## what the gateway adds to a request
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/bench --binary $(or $(CARGO_TARGET_DIR),target)/release/portico

.PHONY: bench-edge
bench-edge: dependencies ## the gateway beside nginx, haproxy and a bare pingora proxy (needs those two, wrk and h2load; EDGE=--features needs redis-server)
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/edge --binary $(or $(CARGO_TARGET_DIR),target)/release/portico \
		--bare $(or $(CARGO_TARGET_DIR),target)/release/bare_proxy $(EDGE)

# What `make edge-drill` passes on: make edge-drill DRILL="--rate 500 --swaps 100"
DRILL ?=

.PHONY: edge-drill
edge-drill: dependencies ## swaps, upgrades and drains under load with WebSockets open: no request may fail
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/drill --binary $(or $(CARGO_TARGET_DIR),target)/release/portico $(DRILL)

# What `make edge-soak` passes on: make edge-soak SOAK="--minutes 5"
SOAK ?=

.PHONY: edge-soak
edge-soak: dependencies ## an hour of constant load: memory stays flat and no request fails
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/soak --binary $(or $(CARGO_TARGET_DIR),target)/release/portico $(SOAK)

.PHONY: fleet-drill
fleet-drill: ## three gateways in network namespaces lose one thing after the other (needs root, iproute2, Redis)
	@scripts/install-dependencies --tests
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/fleet-drill --binary $(or $(CARGO_TARGET_DIR),target)/release/portico

# What `make rotation-drill` passes on: make rotation-drill ROTATION="--rate 500 --rounds 1"
ROTATION ?=

.PHONY: rotation-drill
rotation-drill: ## signing keys rotate for ten minutes under load while processes die: no valid token may be refused
	@scripts/install-dependencies --tests
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/rotation --binary $(or $(CARGO_TARGET_DIR),target)/release/portico \
		--out $(or $(CARGO_TARGET_DIR),target)/rotation-drill.md $(ROTATION)

.PHONY: schedules
schedules: ## the key ring under a million random schedules of events
	PROPTEST_CASES=1000000 $(CARGO) test --release --locked --package keyring --lib schedules

# What `make rollout-drill` passes on: make rollout-drill ROLLOUT="--rate 500 --policies 20"
ROLLOUT ?=

.PHONY: rollout-drill
rollout-drill: dependencies ## policies go out to ten gateways under load, forged ones too, while processes die
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/rollout --binary $(or $(CARGO_TARGET_DIR),target)/release/portico \
		--out $(or $(CARGO_TARGET_DIR),target)/rollout-drill.md $(ROLLOUT)

# What `make login-flood` passes on: make login-flood FLOOD="--turns 3 --seconds 5"
FLOOD ?=

.PHONY: login-flood
login-flood: dependencies ## 500 log-ins a second of strangers: customers must not notice
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/login-flood --binary $(or $(CARGO_TARGET_DIR),target)/release/portico \
		--out $(or $(CARGO_TARGET_DIR),target)/login-flood.md $(FLOOD)

# What `make login-timing` passes on: make login-timing TIMING="--samples 200"
TIMING ?=

.PHONY: login-timing
login-timing: dependencies ## 6,000 refused log-ins: their time must not tell who has an account
	$(CARGO) build --release --locked --package portico --package bench
	$(or $(CARGO_TARGET_DIR),target)/release/login-timing --binary $(or $(CARGO_TARGET_DIR),target)/release/portico \
		--out $(or $(CARGO_TARGET_DIR),target)/login-timing.md $(TIMING)

# What these pass on, such as make bench-strictness STRICTNESS=--details; --binary names another gateway than the one built here.
STRICTNESS ?=
STRICTNESS_BENCH = $(or $(CARGO_TARGET_DIR),target)/release/strictness-bench \
	--binary $(or $(CARGO_TARGET_DIR),target)/release/portico

.PHONY: bench-strictness
bench-strictness: strictness-programs ## how strictly the gateway, nginx and haproxy read HTTP (needs those two)
	$(STRICTNESS_BENCH) http $(STRICTNESS)

.PHONY: bench-conformance
bench-conformance: strictness-programs ## h2spec asks the gateway, nginx and haproxy about HTTP/2 (needs all three)
	$(STRICTNESS_BENCH) conformance $(STRICTNESS)

.PHONY: bench-tokens
bench-tokens: strictness-programs ## forged and misused tokens to the gateway and haproxy (needs the latter)
	$(STRICTNESS_BENCH) tokens $(STRICTNESS)

.PHONY: bench-tls
bench-tls: strictness-programs ## sslyze and testssl.sh look at the gateway, nginx and haproxy (needs all but sslyze)
	@scripts/install-tools sslyze
	$(STRICTNESS_BENCH) tls --sslyze $(CURDIR)/.tools/sslyze/bin/sslyze $(STRICTNESS)

.PHONY: strictness-programs
strictness-programs: dependencies
	$(CARGO) build --release --locked --package portico --package bench

.PHONY: clean
clean: ## remove what was built; data (.portico) and tools (.tools) stay
	$(CARGO) clean
