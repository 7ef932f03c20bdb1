import Testing

@testable import RPC

/// What the fuzzers found reaches the same code in every run of the tests.
@Suite("Corpora of the fuzzers", .serialized) struct CorpusTests {
    @Test func http1() { #expect(Corpus.replay("http1", HTTP1Harness.check) > 0) }

    @Test func http2() { #expect(Corpus.replay("http2", HTTP2Harness.check) > 0) }

    @Test func certificates() {
        #expect(Corpus.replay("certificate", CertificateHarness.check) > 0)
    }
}
