import Facts
import Foundation
import LogSimulation
import Testing
import WriteAheadLog

@testable import Buffers

/// A realisation of the artifact store under test.
final class ArtifactSubject {
    let store: any ArtifactStore
    let clock: SimulationClock
    private let directory: String?

    init(_ realisation: Realisation, capacityBytes: UInt64 = 1 << 20) throws {
        clock = SimulationClock(seed: 1)
        switch realisation {
        case .memory:
            directory = nil
            store = MemoryArtifactStore(capacityBytes: capacityBytes) { [clock] in
                clock.wallMilliseconds
            }
        case .log:
            let directory = NSTemporaryDirectory() + "artifacts-\(UUID().uuidString)"
            self.directory = directory
            var environment = clock.environment
            environment.threads = true
            store = try FileArtifactStore(
                directory: directory, capacityBytes: capacityBytes, indexSizes: smallIndex,
                disk: LinuxDisk(), environment: environment)
        }
    }

    deinit {
        store.close()
        if let directory { try? FileManager.default.removeItem(atPath: directory) }
    }
}

let smallIndex = ArtifactIndex.Sizes(capacityBytes: 8 << 20, segmentBytes: 1 << 20)
let oneLog = [UInt8](repeating: 1, count: 16)
let otherLog = [UInt8](repeating: 2, count: 16)

func artifactName(_ key: String, zone: String = "plant-a") -> ArtifactName {
    ArtifactName(zone: zone, bucket: "batch-files", key: key)!
}

/// Bytes that differ from number to number.
func artifactBytes(_ number: Int, count: Int = 10_000) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number &* 17 &+ ($0 >> 8)) }
}

func artifactContent(_ bytes: [UInt8]) -> ArtifactContent {
    ArtifactContent(
        digest: SHA256.hash(bytes), size: UInt64(bytes.count), mediaType: "text/plain")
}

extension ArtifactStore {
    @discardableResult
    func put(
        _ name: ArtifactName, _ bytes: [UInt8], expected: Digest? = nil
    ) throws(ArtifactError) -> StoredArtifact {
        let upload = try beginUpload(expectedBytes: UInt64(bytes.count))
        for start in stride(from: 0, to: bytes.count, by: 4_000) {
            try upload.write(Array(bytes[start..<min(bytes.count, start + 4_000)]))
        }
        return try upload.finish(
            as: name, expected: expected, mediaType: "text/plain", fileName: "a file")
    }

    func bytes(_ name: ArtifactName) throws -> [UInt8]? {
        guard let stored = find(name) else { return nil }
        let reader = try open(stored.content.digest)
        var all: [UInt8] = []
        while true {
            let piece = try reader.read(at: UInt64(all.count), count: 3_000)
            if piece.isEmpty { return all }
            all += piece
        }
    }

    func use(_ name: ArtifactName, _ bytes: [UInt8], at offset: UInt64) -> ArtifactUse {
        ArtifactUse(name: name, content: artifactContent(bytes), offset: offset)
    }

    /// A sweep after which everything that may go is gone, at a moment of the clock.
    func sweepAll(
        firstOffsets: [[UInt8]: UInt64] = [:], usedBefore: Int64 = .max, unusedBefore: Int64 = .max
    ) throws(ArtifactError) -> ArtifactSweepReport {
        try sweep(
            ArtifactSweepRules(
                firstOffsets: firstOffsets, usedBefore: usedBefore, unusedBefore: unusedBefore,
                generation: beginSweep()))
    }
}
