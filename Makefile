# "make" builds runnel, "make help" lists all targets.

GO         ?= go
# Without git the version is the changelog's newest, or "devel" before the first release.
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || sed -n 's/^\#\# \[\([0-9][^]]*\)\].*/v\1/p' CHANGELOG.md | head -n 1)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Its output ends with the number, names and reasons of the skipped tests.
GOTESTSUM   = gotest.tools/gotestsum@v1.13.0
FUZZTIME   ?= 10s
# The race detector needs a C compiler, which "make servers" installs.
RACE        = $(shell command -v gcc >/dev/null && echo -race)

# Two packages at a time: a package mostly waits for database servers and the
# disk, and several packages need 256 MiB each.
TEST = $(GO) run $(GOTESTSUM) --format pkgname-and-test-fails -- $(RACE) -p 2

.PHONY: build setup run test test-short test-faults test-long test-https model test-clean servers fuzz bench bench-quick bench-long bench-build bench-micro lint scan house notices help

build: setup ## build bin/runnel
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/runnel ./cmd/runnel

# Go fetches modules over HTTPS, for which a bare machine lacks the certificates.
setup:
	@sh test/servers/prepare.sh certificates

run: build ## build, then serve the embedded default on 127.0.0.1:8080
	bin/runnel serve

test: servers ## run every test on real servers, preparing them first
	$(TEST) -timeout 15m ./...

test-short: setup ## run the tests that need no server
	RUNNEL_TEST_SHORT=1 $(GO) test $(RACE) -p 2 -timeout 5m ./...

test-faults: servers ## run the tests of crashes, outages and pauses, once more and in full
	$(TEST) -timeout 30m -count=1 -run 'Fault|Crash|Kill|Outage|Pause|Down' ./...

test-long: servers ## run every test at full length (RUNNEL_TEST_LONG=1)
	RUNNEL_TEST_LONG=1 $(TEST) -timeout 55m -count=1 ./...

test-https: ## run the tests of the API over TLS, with HTTP/1.1 and with HTTP/2
	RUNNEL_TEST_HTTP=https $(TEST) -timeout 10m -count=1 ./api/...
	RUNNEL_TEST_HTTP=h2 $(TEST) -timeout 10m -count=1 ./api/...

MODEL_TIME ?= 150s
model: ## simulate the moves of mastership, 100,000 seeds of 3 and of 5 partitions (at most MODEL_TIME each)
	$(GO) run ./test/model -partitions 3 -seeds 100000 -within $(MODEL_TIME)
	$(GO) run ./test/model -partitions 5 -seeds 100000 -within $(MODEL_TIME)

test-clean: ## remove the shared servers and the images that tests keep
	sh test/servers/clean.sh

# Tests of a server that is not available are skipped and counted.
servers: ## install the servers' packages, make their images, start the shared servers
	sh test/servers/prepare.sh
	-$(GO) test -timeout 10m -count=1 -run '^TestSharedServerIsFoundAgain$$' ./test/servers

fuzz: ## run each fuzz target for FUZZTIME (10s)
	GO='$(GO)' sh .ci/fuzz $(FUZZTIME)

bench: bench-build ## measure every case beside ceiling and peers, into bin/bench.{md,json,svg} (about 25 minutes on an idle machine)
	bin/bench -out bin/bench

bench-quick: bench-build ## print the main ratios beside their targets (under 3 minutes on an idle machine)
	@bin/bench -quick

bench-long: bench-build ## the same as bench with 10^7 entries too, into bin/bench-long.* (more than an hour)
	bin/bench -long -out bin/bench-long

# "go run" would not pass an interrupt on to the bench.
bench-build: build
	@sh test/bench/prepare.sh
	@$(GO) build -o bin/bench ./test/bench

bench-micro: ## run the Go benchmarks of single functions
	$(GO) test -run '^$$' -bench . -benchmem ./...

lint: ## check formatting, go vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

scan: build ## compare the binary with the database of vulnerabilities, where that can be had
	GO='$(GO)' .ci/vulnerabilities bin/runnel

house: ## print the measures of the source tree: its language, files and functions
	@$(GO) run ./test/house

notices: ## write the licences of the binary's modules into docs/NOTICES.txt
	GO='$(GO)' .ci/notices

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 14
