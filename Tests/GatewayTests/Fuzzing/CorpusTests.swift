import Testing

@testable import Gateway

/// What the fuzzers found reaches the same code in every run of the tests.
@Suite("Corpora of the fuzzers") struct CorpusTests {
    @Test func configuration() {
        let files = [
            ConfigurationTestFiles.main, ConfigurationTestFiles.peers,
            ConfigurationTestFiles.cursors,
        ]
        Corpus.write(
            "configuration", [("tests", Array(files.joined(separator: "%%\n").utf8))])
        #expect(Corpus.replay("configuration", ConfigurationHarness.check) > 0)
    }
}
