package import Facts
internal import Synchronization

/// An artifact store in memory, with the semantics of the durable one: for tests of what stands on it.
package final class MemoryArtifactStore: ArtifactStore {
    private struct State {
        var names = ArtifactNames()
        var blobs: [Digest: [UInt8]] = [:]
    }

    private let state = Mutex(State())
    private let capacityBytes: UInt64
    private let now: @Sendable () -> Int64

    package init(capacityBytes: UInt64 = 1 << 30, now: @escaping @Sendable () -> Int64 = { 0 }) {
        self.capacityBytes = capacityBytes
        self.now = now
    }

    package func entry(_ name: ArtifactName) -> ArtifactEntry? {
        state.withLock { $0.names[name] }
    }

    package func names(of digest: Digest) -> [StoredArtifact] {
        state.withLock { state in
            state.names.names(of: digest).sorted().compactMap { state.names[$0]?.stored }
        }
    }

    package func list(after name: ArtifactName?, count: Int, isPending: Bool) -> [ArtifactEntry] {
        state.withLock { state in
            ArtifactNames.page(
                state.names.names(isPending: isPending), after: name, count: count
            ).compactMap { state.names[$0] }
        }
    }

    package func pendingNames() -> [ArtifactName] { state.withLock { $0.names.names(isPending: true) } }

    package var usage: ArtifactUsage {
        var usage = state.withLock { $0.names.usage }
        usage.capacityBytes = capacityBytes
        return usage
    }

    package func beginUpload(expectedBytes: UInt64) throws(ArtifactError) -> any ArtifactUpload {
        let fits = state.withLock { state in
            var usage = state.names.usage
            usage.capacityBytes = capacityBytes
            guard usage.hasRoom(for: expectedBytes) else { return false }
            state.names.reservedBytes += expectedBytes
            return true
        }
        guard fits else { throw .full(capacityBytes) }
        return Upload(self, expectedBytes)
    }

    package func open(_ digest: Digest) throws(ArtifactError) -> any ArtifactReader {
        guard let bytes = state.withLock({ $0.blobs[digest] }) else {
            throw ArtifactError(.notFound, "no artifact has the digest \(digest)")
        }
        return Reader(bytes)
    }

    package func pin(_ name: ArtifactName) -> ArtifactPin? {
        guard state.withLock({ $0.names.pin(name) }) else { return nil }
        return ArtifactPin { [weak self] in self?.state.withLock { $0.names.unpin(name) } }
    }

    @discardableResult
    package func record(
        _ uses: [ArtifactUse], log: [UInt8], upTo offset: UInt64, isReceived: Bool
    ) throws(ArtifactError) -> Int {
        state.withLock { state in
            for entry in state.names.taking(uses, log: log, isReceived: isReceived) {
                state.names.set(entry, recordOffset: 0)
            }
            state.names.followed[log] = (offset, 0)
        }
        return 0
    }

    package func followedOffset(log: [UInt8]) -> UInt64 {
        state.withLock { $0.names.followed[log]?.offset ?? 0 }
    }

    package func beginSweep() -> UInt64 {
        state.withLock { state in
            state.names.sweeps += 1
            return state.names.sweeps
        }
    }

    package func sweep(_ rules: ArtifactSweepRules) throws(ArtifactError) -> ArtifactSweepReport {
        state.withLock { state in
            var report = ArtifactSweepReport()
            for entry in state.names.sweepable(rules) {
                state.names.remove(entry.name)
                guard let stored = entry.stored else { continue }
                report.names += 1
                guard !state.names.holds(stored.content.digest) else { continue }
                state.blobs[stored.content.digest] = nil
                report.blobs += 1
                report.bytes += stored.content.size
            }
            return report
        }
    }

    package func trustedMilliseconds() throws(ArtifactError) -> Int64? { now() }

    package func close() {}

    private func finish(
        _ bytes: [UInt8], _ reserved: UInt64, _ name: ArtifactName, _ expected: Digest?,
        _ mediaType: String, _ fileName: String
    ) throws(ArtifactError) -> StoredArtifact {
        let digest = SHA256.hash(bytes)
        let result: Result<StoredArtifact, ArtifactError> = state.withLock { state in
            state.names.reservedBytes -= reserved
            if let expected, expected != digest { return .failure(.mismatch(expected, digest)) }
            var entry = state.names[name] ?? ArtifactEntry(name: name)
            if let stored = entry.stored {
                guard stored.content.digest == digest else {
                    return .failure(.exists(name, stored.content.digest))
                }
                // Put again, so that its age counts from now.
                entry.stored?.storedMilliseconds = max(stored.storedMilliseconds, now())
                state.names.set(entry, recordOffset: 0)
                return .success(entry.stored ?? stored)
            }
            let stored = StoredArtifact(
                name: name,
                content: ArtifactContent(
                    digest: digest, size: UInt64(bytes.count), mediaType: mediaType,
                    fileName: fileName),
                storedMilliseconds: now())
            state.blobs[digest] = bytes
            entry.stored = stored
            state.names.set(entry, recordOffset: 0)
            return .success(stored)
        }
        return try result.get()
    }

    private final class Upload: ArtifactUpload {
        private let store: MemoryArtifactStore
        private let reserved: UInt64
        private let bytes = Mutex<[UInt8]?>([])

        init(_ store: MemoryArtifactStore, _ reserved: UInt64) {
            self.store = store
            self.reserved = reserved
        }

        deinit { abandon() }

        func write(_ more: [UInt8]) throws(ArtifactError) { bytes.withLock { $0?.append(contentsOf: more) } }

        func finish(
            as name: ArtifactName, expected: Digest?, mediaType: String, fileName: String
        ) throws(ArtifactError) -> StoredArtifact {
            let all = bytes.withLock { bytes in
                defer { bytes = nil }
                return bytes
            }
            guard let all else { throw ArtifactError(.failed, "the upload is over already") }
            return try store.finish(all, reserved, name, expected, mediaType, fileName)
        }

        func abandon() {
            let wasOpen = bytes.withLock { bytes in
                defer { bytes = nil }
                return bytes != nil
            }
            if wasOpen { store.state.withLock { $0.names.reservedBytes -= reserved } }
        }
    }

    private final class Reader: ArtifactReader {
        private let bytes: [UInt8]
        init(_ bytes: [UInt8]) { self.bytes = bytes }
        var size: UInt64 { UInt64(bytes.count) }

        func read(at position: UInt64, count: Int) throws(ArtifactError) -> [UInt8] {
            guard position < size else { return [] }
            return Array(bytes[Int(position)..<min(bytes.count, Int(position) + count)])
        }
    }
}
