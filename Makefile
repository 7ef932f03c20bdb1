# make demo      two nodes on this machine, kills and a cut link, and the proof that nothing is lost
# make test      every test of this release
# make fuzz      SECONDS (60) of each fuzzer, from its corpus
# make prove     the long round of faults and its table, about an hour (docs/proof.md)
# make schedules SCHEDULES=200 random ones over real nodes in network namespaces (docs/proof.md); root
# make hostile   1,000 hostile connections for a minute, and the memory that they cost
# make bench     the log beside the raw disk and others' logs, 25 minutes (docs/performance.md); alone
# make micro     allocations and instructions of single steps against their thresholds
# make install   program, unit, user and the node's directory: PREFIX=/usr/local ROOT=/opt/bsfg DESTDIR=
# make deps      what demo and test need, fetched once; both call it; bench-deps: what bench needs

PREFIX ?= /usr/local
ROOT ?= /opt/bsfg
DEBUG = .build-debug
RELEASE = .build-release
FUZZ = .build-fuzz
SECONDS ?= 60
PROVE_MINUTES ?= 35
SCHEDULES ?= 200

.PHONY: demo test prove schedules hostile fuzz bench micro install deps bench-deps release clean

demo: release
	$(RELEASE)/release/bsfg demo $(DEMO_FLAGS)

test: deps
	swift build --scratch-path $(DEBUG) --build-tests
	python3 Tests/run.py --scratch-path $(DEBUG)

fuzz: deps
	Fuzz/run.py --scratch-path $(FUZZ) --seconds $(SECONDS)

prove: release
	python3 Tests/prove.py --no-build --minutes $(PROVE_MINUTES) $(PROVE_FLAGS)

schedules: release
	BSFG=$(CURDIR)/$(RELEASE)/release/bsfg python3 Tests/EndToEnd/schedules.py --schedules $(SCHEDULES) $(SCHEDULE_FLAGS)

hostile: release
	BSFG=$(CURDIR)/$(RELEASE)/release/bsfg .venv/bin/python Tests/EndToEnd/hostile.py --seconds 60 --connections 1000

bench: deps bench-deps
	python3 Benchmarks/bench.py $(BENCH_FLAGS)

micro: deps
	python3 Tests/EndToEnd/micro_benchmarks.py

release: deps
	swift build --scratch-path $(RELEASE) -c release --product bsfg

# Of another build: make install BINARY=path
install: $(if $(BINARY),,release)
	@BINARY="$(or $(BINARY),$(RELEASE)/release/bsfg)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" \
		ROOT="$(ROOT)" scripts/install.sh

deps:
	@scripts/deps.sh

bench-deps:
	@scripts/bench-deps.sh

clean:
	rm -rf $(DEBUG) $(RELEASE) $(FUZZ) .build-prove .build-bench .build-micro .venv .venv-bench
