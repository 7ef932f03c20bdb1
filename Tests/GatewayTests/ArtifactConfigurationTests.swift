import Testing

@testable import Gateway

@Suite struct ArtifactConfigurationTests {
    private func load(
        _ addition: String = "", main: String = ConfigurationTestFiles.main,
        peers: String = ConfigurationTestFiles.peers
    ) throws -> NodeConfiguration {
        try ConfigurationTestFiles(main: main + addition, peers: peers).load()
    }

    private func problem(_ addition: String, main: String = ConfigurationTestFiles.main) -> String {
        do {
            _ = try load(addition, main: main)
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func `without anything that uses artifacts there is no store`() throws {
        let node = try load()
        #expect(node.artifacts == nil)
        #expect(node.streams[0].artifactReferences == .unchecked)
        #expect(node.clients[0].artifacts.isEmpty)
    }

    @Test func `a bucket that is granted or a stream that asks is enough for one`() throws {
        let client = ConfigurationTestFiles.main.replacing(
            "    roles: [producer, consumer]\n",
            with: "    roles: [producer, consumer]\n    artifacts: [batch-files, notes]\n")
        let granted = try load(main: client)
        #expect(granted.artifacts == ArtifactConfiguration())
        #expect(granted.clients[0].artifacts == ["batch-files", "notes"])
        let peers = ConfigurationTestFiles.peers.replacing(
            "    authorized: true\n", with: "    authorized: true\n    artifacts: [batch-files]\n",
            maxReplacements: 1)
        #expect(try load(peers: peers).artifacts != nil)
        let stream = ConfigurationTestFiles.main.replacing(
            "  - name: facts.audit\n",
            with: "  - name: facts.audit\n    artifact_references: required\n")
        let required = try load(main: stream)
        #expect(required.artifacts != nil)
        #expect(required.streams.map(\.artifactReferences) == [.unchecked, .required])
    }

    @Test func `the section's keys, and what they are without it`() throws {
        let plain = try #require(try load("artifacts: {}\n").artifacts)
        #expect(plain.capacityBytes == 10 << 30)
        #expect(plain.retentionMilliseconds == 30 * 86_400_000)
        #expect(plain.uploadGraceMilliseconds == 86_400_000)
        let set = try #require(
            try load(
                "artifacts: {capacity: 2GiB, artifact_retention: 7d, upload_grace: 0s, "
                    + "sweep_interval: 30s}\n"
            ).artifacts)
        #expect(set.capacityBytes == 2 << 30 && set.retentionMilliseconds == 7 * 86_400_000)
        #expect(set.uploadGraceMilliseconds == 0 && set.sweepIntervalMilliseconds == 30_000)
    }

    @Test func `what cannot be is refused where it stands`() {
        #expect(problem("artifacts: {capacity: 1KiB}\n").contains("'capacity' is a size from 1MiB"))
        #expect(problem("artifacts: {retention: 1d}\n").contains("no key 'retention'"))
        #expect(problem("artifacts: {sweep_interval: 1ms}\n").contains("'sweep_interval'"))
        let stream = ConfigurationTestFiles.main.replacing(
            "  - name: facts.audit\n",
            with: "  - name: facts.audit\n    artifact_references: always\n")
        #expect(problem("", main: stream).contains("'always' is not a value"))
        let client = ConfigurationTestFiles.main.replacing(
            "    roles: [producer, consumer]\n",
            with: "    roles: [producer, consumer]\n    artifacts: [Batch]\n")
        #expect(problem("", main: client).contains("'Batch' is no bucket name"))
    }
}
