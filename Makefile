# make demo      two nodes on this machine, kills and a cut link, and the proof that nothing is lost
# make test      every test of this release
# make fuzz      SECONDS (60) of each fuzzer, from its corpus
# make install   the binary into PREFIX/bin
# make deps      what demo and test need, fetched once; both call it

PREFIX ?= /usr/local
DEBUG = .build-debug
RELEASE = .build-release
FUZZ = .build-fuzz
SECONDS ?= 60

.PHONY: demo test fuzz install deps release check-generated clean

demo: release
	$(RELEASE)/release/bsfg demo $(DEMO_FLAGS)

test: deps
	swift build --scratch-path $(DEBUG) --build-tests
	python3 Tests/run.py --scratch-path $(DEBUG)

fuzz: deps
	Fuzz/run.py --scratch-path $(FUZZ) --seconds $(SECONDS)

release: deps
	swift build --scratch-path $(RELEASE) -c release --product bsfg

install: release
	install -D -m 755 $(RELEASE)/release/bsfg $(DESTDIR)$(PREFIX)/bin/bsfg
	install -d $(DESTDIR)$(PREFIX)/share/bsfg
	install -m 644 Sources/bsfg/Resources/* $(DESTDIR)$(PREFIX)/share/bsfg/

deps:
	@scripts/deps.sh

check-generated:
	Sources/Facts/Wire/regenerate.sh --check

clean:
	rm -rf $(DEBUG) $(RELEASE) $(FUZZ) .venv
