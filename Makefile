# `make run` shows clockd at work, `make test` proves it; both do their own set-up. `make help` lists the rest.

GO        ?= go
PREFIX    ?= /usr/local
DESTDIR   ?=
# How long each fuzz target runs in `make test` and `make fuzz`.
FUZZTIME  ?= 2s
# How long the demo runs in `make soak`, and how often the tests.
SOAKTIME  ?= 10m
SOAKCOUNT ?= 5
# How many seeds of all scenarios `make soak` holds against the truth, and how many at a time; 1000 seeds are an hour of one core.
SOAKSEEDS ?= 1000
SOAKJOBS  ?= $(shell nproc)
# How often each benchmark is repeated: this kind of machine is noisy, compare minima or medians.
BENCHCOUNT ?= 5
BENCH     ?= .
# Packages in which nothing runs beside anything: the race detector has nothing to see there and makes their long computations ten
# times longer. `make lint` checks that they start no goroutine; `make soak` runs them with the detector all the same.
ALONE := sync/agreement sync/roundtrip metrics internal/node internal/sim internal/lab/course internal/lab/report internal/lab/simrun \
	order/abcast/core order/abcast/explore
# Further words for `clockd demo`, such as ARGS="--for 30s --json", and for `go test`.
ARGS      ?=
TESTFLAGS ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS   := $(CURDIR)/.tools
# A private chrony, where `make deps` could not install one without disturbing the machine's own time daemon.
export PATH := $(TOOLS)/bin:$(TOOLS)/chrony/usr/sbin:$(TOOLS)/chrony/usr/bin:$(PATH):/usr/sbin:/sbin

# Where packages put what Prometheus and Grafana read.
SHARE = $(DESTDIR)$(PREFIX)/share/clockd

.PHONY: help deps deps-system build run demo-observability docs test cross fuzz bench experiments lint soak test-systemd test-kernel packages image version release install clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what tests and linters need (apt as root; otherwise says what is missing)
	@scripts/deps system servers tools

deps-system:
	@scripts/deps system servers

build: ## build the programs into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

hashicorp-raft-member: ## build bin/hashicorp-raft-member, which clockbench order needs for --engine hashicorp-raft
	cd bench/hashicorp && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/hashicorp-raft-member .
.PHONY: hashicorp-raft-member

run: build ## watch clocks that drift apart being held together (clockd demo)
	@bin/clockd demo $(ARGS)

demo-observability: deps-system build ## watch the demo's hosts with Prometheus, alerts and (where installed) InfluxDB and Grafana
	@scripts/demo-observability $(ARGS)

docs: ## write what is made from the code: docs/metrics.md and the dashboards of deploy/grafana
	$(GO) generate ./metrics/prometheus ./deploy/grafana/gen

test: deps-system cross fuzz ## everything: cross-compile check, fuzz targets, tests with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 10m $(TESTFLAGS) $$(scripts/packages-but $(ALONE) cmd/clockbench)
	$(GO) test -race -short -timeout 10m $(TESTFLAGS) ./cmd/clockbench
	$(GO) test -timeout 10m $(TESTFLAGS) $(ALONE:%=./%) ./cmd/clockbench
	$(GO) test -run 'Ratio|Alloc|Million' ./virtualclock ./sync/roundtrip ./hw ./order # what the race detector would falsify, or not end

cross: ## check that other architectures compile
	GOOS=linux GOARCH=arm64 $(GO) vet ./...
	GOOS=linux GOARCH=riscv64 $(GO) build ./...
	GOOS=linux GOARCH=386 $(GO) build ./...
	cd bench/hashicorp && $(GO) vet ./...

fuzz: ## run every fuzz target for FUZZTIME (2s)
	@scripts/fuzz $(FUZZTIME)

bench: ## benchmarks, with ratios where only a ratio means anything
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) $$(scripts/with-benchmarks)

experiments: build ## make the pages and pictures of docs/experiments anew
	bin/clockbench course all --seed 1 --out docs/experiments --pages > bin/experiments.txt

lint: ## golangci-lint (import table, forbidden calls, bugs), staticcheck, shell scripts
	@scripts/deps tools
	golangci-lint run --allow-parallel-runners ./...
	staticcheck -checks 'all,-ST1000,-ST1020,-ST1021,-ST1022' ./...
	@if command -v promtool >/dev/null; then cd deploy/prometheus && promtool check rules recording.rules.yml alerts.rules.yml && promtool test rules rules_test.yml; fi
	@! grep -nE '^[[:space:]]*go |\.Go\(' $$(ls $(ALONE:%=%/*.go) | grep -v _test.go) || { echo 'lint: a package of ALONE starts a goroutine: take it off that list' >&2; exit 1; }
	@for script in .ci/run scripts/*; do bash -n "$$script" || exit 1; done

soak: build test-systemd test-kernel ## long runs: the demo for SOAKTIME (10m), SOAKSEEDS (1000) seeds of all scenarios, tests SOAKCOUNT (5) times
	scripts/soak $(SOAKTIME)
	bin/clockbench sim --all --seeds 1-$(SOAKSEEDS) --jobs $(SOAKJOBS) --bounds-only
	$(GO) test -race -count $(SOAKCOUNT) -shuffle on -timeout 2h $(TESTFLAGS) ./...
	$(GO) test -tags soak -timeout 24h $(TESTFLAGS) ./sync/agreement ./internal/sim ./order/abcast/explore # every bound, 200 seeds for each liar; 10,000 schedules: hours
	CLOCKD_KV_FOR=1h $(GO) test -tags soak -run "LinearizableForLong|FaultAMinute" -timeout 4h $(TESTFLAGS) ./examples/kv # real processes, one fault after the other
	CLOCKD_LIVE_FOR=5m $(GO) test -run TestLiveRunInTheBrowser -timeout 30m $(TESTFLAGS) ./internal/lab/report
	scripts/fuzz 60s

test-kernel: ## a User-mode Linux kernel is built (once, 4 minutes), and clockd steers its clock in simulated hours
	@scripts/deps system
	@scripts/uml-kernel
	$(GO) test -tags kernel -count 1 -v -timeout 60m $(TESTFLAGS) ./internal/e2e/kernel

test-systemd: ## packages and the image built twice and compared; a Debian booted with systemd where all of it is used (root)
	@scripts/deps system packagers booters rootfs
	CLOCKD_TEST_SYSTEMD=1 $(GO) test -count 1 -timeout 20m $(TESTFLAGS) ./internal/e2e/packaged

packages: ## .deb and .rpm for amd64 and arm64, with SBOM and checksums, into dist/
	@scripts/deps packagers
	@scripts/packages

image: ## an OCI image for amd64 and arm64, into dist/ (no Docker needed)
	@scripts/deps packagers
	@scripts/image

version: ## print the version of this tree
	@scripts/version

release: ## all that a release has, into dist/: at a tag vX.Y.Z, everything committed, CHANGELOG.md knows it
	@scripts/release

install: build ## install into $(DESTDIR)$(PREFIX)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/doc/clockd' '$(DESTDIR)$(PREFIX)/share/man/man1' \
		'$(DESTDIR)$(PREFIX)/share/bash-completion/completions'
	install -m 0755 bin/clockd bin/clockbench '$(DESTDIR)$(PREFIX)/bin/'
	install -m 0644 LICENSE README.md CHANGELOG.md docs/*.md '$(DESTDIR)$(PREFIX)/share/doc/clockd/'
	install -d '$(DESTDIR)$(PREFIX)/share/doc/clockd/experiments'
	install -m 0644 docs/experiments/* '$(DESTDIR)$(PREFIX)/share/doc/clockd/experiments/'
	install -m 0644 deploy/man/*.1 '$(DESTDIR)$(PREFIX)/share/man/man1/'
	install -d '$(SHARE)/prometheus' '$(SHARE)/grafana/dashboards' '$(SHARE)/grafana/provisioning/datasources' '$(SHARE)/grafana/provisioning/dashboards'
	install -m 0644 deploy/prometheus/recording.rules.yml deploy/prometheus/alerts.rules.yml '$(SHARE)/prometheus/'
	install -m 0644 deploy/grafana/dashboards/*.json '$(SHARE)/grafana/dashboards/'
	install -m 0644 deploy/grafana/provisioning/datasources/*.yaml '$(SHARE)/grafana/provisioning/datasources/'
	sed 's|/usr/local/|$(PREFIX)/|' deploy/grafana/provisioning/dashboards/clockd.yaml > '$(SHARE)/grafana/provisioning/dashboards/clockd.yaml'
	install -d '$(DESTDIR)$(PREFIX)/include' '$(DESTDIR)$(PREFIX)/share/clockd/python' '$(DESTDIR)$(PREFIX)/share/doc/clockd/readers'
	install -m 0644 readers/c/clockd.h '$(DESTDIR)$(PREFIX)/include/'
	install -m 0644 readers/python/clockd.py '$(DESTDIR)$(PREFIX)/share/clockd/python/'
	install -m 0644 readers/c/now.c '$(DESTDIR)$(PREFIX)/share/doc/clockd/readers/'
	bin/clockd completion bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/clockd'
	bin/clockbench completion bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/clockbench'

clean: ## remove what was built, but not the tools
	rm -rf bin dist
