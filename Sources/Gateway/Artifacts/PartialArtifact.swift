internal import Buffers
internal import Facts
internal import RPC

/// An artifact on its way from a peer: what has come of it, across lost connections. Used by one fetch
/// at a time.
final class PartialArtifact: @unchecked Sendable {
    let expected: ArtifactContent
    private let name: ArtifactName
    private let store: any ArtifactStore
    private let pool: BlockingPool
    private var upload: (any ArtifactUpload)?
    private var bytes: UInt64 = 0
    /// Nothing has come of this answer yet.
    private var isFirst = true
    /// What came cannot be gone on with.
    private var isBroken = false
    /// There is nothing to go on with, or nothing behind it: an answer whose last bytes came and whose end did not
    /// leaves no range to ask for.
    var mustStartOver: Bool { isBroken || bytes == 0 || bytes >= expected.size }

    init(
        _ name: ArtifactName, _ expected: ArtifactContent, _ store: any ArtifactStore,
        _ pool: BlockingPool
    ) {
        self.name = name
        self.expected = expected
        self.store = store
        self.pool = pool
    }

    /// An answer begins: what to ask for.
    func begin() -> [(name: String, value: String)] {
        isFirst = true
        guard bytes > 0 else { return [] }
        return [
            ("range", "bytes=\(bytes)-"), ("if-range", DigestField.tag(expected.digest)),
        ]
    }

    func take(_ head: RPCResponse, _ more: [UInt8]) async throws(RPCClientError) {
        let isContinued = head.status == 206
        do throws(ArtifactError) {
            try await onPool { [self] () throws(ArtifactError) in
                if isFirst, !isContinued {
                    // From its beginning, whatever was there.
                    upload?.abandon()
                    upload = try store.beginUpload(expectedBytes: expected.size)
                    bytes = 0
                }
                isFirst = false
                guard let upload else { throw ArtifactError(.failed, "a part came of nothing") }
                try upload.write(more)
                bytes += UInt64(more.count)
            }
        } catch {
            isBroken = true
            throw PartialArtifact.failure(error)
        }
    }

    /// Checks the digest and gives the bytes their name.
    func finish() async -> (PrefetchPlan.Outcome, String) {
        do throws(ArtifactError) {
            try await onPool { [self] () throws(ArtifactError) in
                // An empty artifact has no first piece to begin with.
                let whole: any ArtifactUpload
                if let upload {
                    whole = upload
                } else {
                    whole = try store.beginUpload(expectedBytes: expected.size)
                }
                upload = nil
                _ = try whole.finish(
                    as: name, expected: expected.digest, mediaType: expected.mediaType,
                    fileName: expected.fileName)
            }
            return (.stored, "")
        } catch {
            switch error.kind {
            case .digestMismatch, .exists: return (.missing, error.sentence)
            default: return (.unavailable(retryAfterMilliseconds: 10_000), error.sentence)
            }
        }
    }

    private func onPool(
        _ body: @escaping @Sendable () throws(ArtifactError) -> Void
    ) async throws(ArtifactError) {
        let result: Result<Void, ArtifactError> = await withCheckedContinuation { continuation in
            let isTaken = pool.submit {
                continuation.resume(returning: Result { () throws(ArtifactError) in try body() })
            }
            if !isTaken { continuation.resume(returning: .failure(.busyArtifacts)) }
        }
        try result.get()
    }

    private static func failure(_ error: ArtifactError) -> RPCClientError {
        .transport(kind: .cancelled, sentence: error.sentence)
    }
}
