import Testing

@testable import RPC

/// What the fuzzers found reaches the same code in every run of the tests.
@Suite("Corpora of the fuzzers", .serialized) struct CorpusTests {
    @Test func http1() { #expect(Corpus.replay("http1", HTTP1Harness.check) > 0) }

    @Test func http2() { #expect(Corpus.replay("http2", HTTP2Harness.check) > 0) }

    @Test func connect() { #expect(Corpus.replay("connect", CallHarness.connect) > 0) }

    @Test func grpc() { #expect(Corpus.replay("grpc", CallHarness.grpc) > 0) }

    @Test func revocations() {
        #expect(Corpus.replay("revocation", RevocationHarness.check) > 0)
    }

    @Test func certificates() {
        #expect(Corpus.replay("certificate", CertificateHarness.check) > 0)
    }
}
