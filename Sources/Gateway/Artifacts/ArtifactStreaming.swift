internal import Buffers
internal import Facts
internal import RPC

/// `PUT`, `GET` and `HEAD` of `/v1/artifacts/{zone}/{bucket}/{key}`, and `GET /v1/artifacts?uri=`.
struct ArtifactStreaming: StreamingService {
    let access: Access
    let store: any ArtifactStore
    let pool: BlockingPool

    func serves(path: String) -> Bool { ArtifactPath.serves(path) }

    func begin(_ request: StreamingRequest) throws(ServiceError) -> any StreamingCall {
        let asked = try ArtifactPath.read(path: request.path, query: request.query)
        if case .peer(let id) = request.caller.kind { access.gates.called(by: id) }
        guard request.method.utf8.elementsEqual("PUT".utf8) else {
            try access.checkGet(request.caller, asked.name)
            if let refusal = access.gateRefusal(request.caller) { throw refusal }
            let (access, caller, name) = (access, request.caller, asked.name)
            return ArtifactDownload(
                store, pool, asked, gate: { access.readRefusal(caller, name) }, isHead: request.method.utf8.elementsEqual("HEAD".utf8),
                range: request.header("range"), ifRange: request.header("if-range"),
                ifNoneMatch: request.header("if-none-match"))
        }
        guard request.query == nil else {
            throw ServiceError(
                .malformedRequest, "an artifact is put at its own path, without a query")
        }
        try access.checkPut(request.caller, asked.name)
        let expected = try announcedDigest(request)
        try refuseEarly(asked.name, request.contentLength, expected)
        let (access, caller, name) = (access, request.caller, asked.name)
        return ArtifactPut(
            store, pool, name, expectedBytes: request.contentLength, expected: expected,
            mediaType: try ArtifactService.mediaType(request.header("content-type") ?? ""),
            refusal: { access.putRefusal(caller, name) })
    }

    /// What the head tells already is refused before the body is sent.
    private func refuseEarly(
        _ name: ArtifactName, _ bytes: UInt64, _ expected: Digest?
    ) throws(ServiceError) {
        if let expected, let stored = store.find(name), stored.content.digest != expected {
            throw ServiceError(ArtifactError.exists(name, stored.content.digest))
        }
        let usage = store.usage
        guard usage.hasRoom(for: bytes) else {
            throw ServiceError(ArtifactError.full(usage.capacityBytes))
        }
    }

    private func announcedDigest(_ request: StreamingRequest) throws(ServiceError) -> Digest? {
        guard let text = request.header(DigestField.name) else { return nil }
        return try DigestField.read(text)
    }
}

/// One upload: its bytes go to the disk as they come, on the pool's threads.
private final class ArtifactPut: StreamingCall, @unchecked Sendable {
    // Sendable by hand: the server makes one call at a time, and each runs on the pool alone.

    private let store: any ArtifactStore
    private let pool: BlockingPool
    private let name: ArtifactName
    private let expectedBytes: UInt64
    private let expected: Digest?
    private let mediaType: String
    /// Asked before each piece and before the name is given: the grant may go meanwhile.
    private let refusal: @Sendable () -> ServiceError?
    private var upload: (any ArtifactUpload)?

    init(
        _ store: any ArtifactStore, _ pool: BlockingPool, _ name: ArtifactName,
        expectedBytes: UInt64, expected: Digest?, mediaType: String,
        refusal: @escaping @Sendable () -> ServiceError?
    ) {
        self.store = store
        self.pool = pool
        self.name = name
        self.expectedBytes = expectedBytes
        self.expected = expected
        self.mediaType = mediaType
        self.refusal = refusal
    }

    private func begun() throws(ArtifactError) -> any ArtifactUpload {
        if let upload { return upload }
        let upload = try store.beginUpload(expectedBytes: expectedBytes)
        self.upload = upload
        return upload
    }

    func receive(_ bytes: [UInt8], _ completion: @escaping @Sendable (ServiceError?) -> Void) {
        if let refusal = refusal() { return completion(refusal) }
        let isTaken = pool.submit { [self] in
            do throws(ArtifactError) {
                try begun().write(bytes)
                completion(nil)
            } catch {
                completion(ServiceError(error))
            }
        }
        if !isTaken { completion(ServiceError(ArtifactError.busyArtifacts)) }
    }

    func answer(_ completion: @escaping @Sendable (Result<StreamingAnswer, ServiceError>) -> Void) {
        let isTaken = pool.submit { [self] in
            if let refusal = refusal() {
                upload?.abandon()
                upload = nil
                return completion(.failure(refusal))
            }
            let isNew = store.find(name) == nil
            do throws(ArtifactError) {
                let stored = try begun().finish(
                    as: name, expected: expected, mediaType: mediaType, fileName: "")
                upload = nil
                completion(.success(answer(stored, isNew: isNew)))
            } catch {
                upload = nil
                completion(.failure(ServiceError(error)))
            }
        }
        if !isTaken { completion(.failure(ServiceError(ArtifactError.busyArtifacts))) }
    }

    private func answer(_ stored: StoredArtifact, isNew: Bool) -> StreamingAnswer {
        let body = stored.json + Array("\n".utf8)
        return StreamingAnswer(
            status: isNew ? 201 : 200,
            headers: [
                ("content-type", "application/json"), ("etag", DigestField.tag(stored.content.digest)),
                ("location", ArtifactPath.path(name)),
            ], contentLength: UInt64(body.count), body: WholeBody(body))
    }

    func abandon() {
        _ = pool.submit { [self] in
            upload?.abandon()
            upload = nil
        }
    }
}

/// One artifact, or a part of it, read piece by piece on the pool's threads.
private final class ArtifactDownload: StreamingCall {
    private let store: any ArtifactStore
    private let pool: BlockingPool
    private let asked: ArtifactReferenceText
    /// Asked before each piece.
    private let gate: @Sendable () -> ServiceError?
    private let isHead: Bool
    private let range: String?
    private let ifRange: String?
    private let ifNoneMatch: String?

    init(
        _ store: any ArtifactStore, _ pool: BlockingPool, _ asked: ArtifactReferenceText,
        gate: @escaping @Sendable () -> ServiceError?, isHead: Bool, range: String?, ifRange: String?, ifNoneMatch: String?
    ) {
        self.store = store
        self.pool = pool
        self.asked = asked
        self.gate = gate
        self.isHead = isHead
        self.range = range
        self.ifRange = ifRange
        self.ifNoneMatch = ifNoneMatch
    }

    func receive(_ bytes: [UInt8], _ completion: @escaping @Sendable (ServiceError?) -> Void) {
        completion(ServiceError(.malformedRequest, "reading an artifact takes no body"))
    }

    func answer(_ completion: @escaping @Sendable (Result<StreamingAnswer, ServiceError>) -> Void) {
        let isTaken = pool.submit { [self] in
            do throws(ServiceError) {
                completion(.success(try answer()))
            } catch {
                completion(.failure(error))
            }
        }
        if !isTaken { completion(.failure(ServiceError(ArtifactError.busyArtifacts))) }
    }

    private func answer() throws(ServiceError) -> StreamingAnswer {
        let stored = try ArtifactService.stored(asked.name, asked.digest, in: store)
        let (digest, size) = (stored.content.digest, stored.content.size)
        var headers: [(name: String, value: String)] = [
            ("etag", DigestField.tag(digest)), ("accept-ranges", "bytes"),
            (DigestField.name, DigestField.text(digest)),
        ]
        if let ifNoneMatch, DigestField.matches(ifNoneMatch, digest) {
            return StreamingAnswer(status: 304, headers: headers)
        }
        let counts = ifRange.map { DigestField.matches($0, digest) } ?? true
        let wanted = ByteRange(counts && !isHead ? range : nil, size: size)
        var answer = StreamingAnswer(status: 200, contentLength: size)
        var first: UInt64 = 0
        switch wanted {
        case .whole: break
        case .part(let start, let count):
            answer.status = 206
            answer.contentLength = count
            first = start
            headers.append(("content-range", "bytes \(start)-\(start + count - 1)/\(size)"))
        case .unsatisfiable:
            headers.append(("content-range", "bytes */\(size)"))
            return StreamingAnswer(status: 416, headers: headers)
        }
        headers.append(("content-type", stored.content.mediaType))
        // What others put here is never run by a browser in our name.
        headers.append(("x-content-type-options", "nosniff"))
        headers.append(("content-disposition", "attachment"))
        answer.headers = headers
        guard !isHead, answer.contentLength > 0 else { return answer }
        do throws(ArtifactError) {
            answer.body = ArtifactBody(try store.open(digest), pool, from: first, gate)
        } catch {
            throw ServiceError(error)
        }
        return answer
    }

    func abandon() {}
}

/// The bytes of an artifact from a position on.
private final class ArtifactBody: StreamingBody, @unchecked Sendable {
    // Sendable by hand: one call at a time, each on the pool alone.

    private let reader: any ArtifactReader
    private let pool: BlockingPool
    private var position: UInt64
    private let gate: @Sendable () -> ServiceError?

    init(
        _ reader: any ArtifactReader, _ pool: BlockingPool, from position: UInt64,
        _ gate: @escaping @Sendable () -> ServiceError?
    ) {
        self.gate = gate
        self.reader = reader
        self.pool = pool
        self.position = position
    }

    func read(
        _ count: Int, _ completion: @escaping @Sendable (Result<[UInt8], ServiceError>) -> Void
    ) {
        if let refusal = gate() { return completion(.failure(refusal)) }
        let isTaken = pool.submit { [self] in
            do throws(ArtifactError) {
                let bytes = try reader.read(at: position, count: count)
                position += UInt64(bytes.count)
                completion(.success(bytes))
            } catch {
                completion(.failure(ServiceError(error)))
            }
        }
        if !isTaken { completion(.failure(ServiceError(ArtifactError.busyArtifacts))) }
    }
}

/// A short body that is there already.
private final class WholeBody: StreamingBody {
    private let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func read(
        _ count: Int, _ completion: @escaping @Sendable (Result<[UInt8], ServiceError>) -> Void
    ) {
        completion(.success(bytes))
    }
}

extension ArtifactError {
    static let busyArtifacts = ArtifactError(
        .busy, "too many calls wait for the disk; retry shortly")
}

extension StoredArtifact {
    /// As `/v1` shows it: the reference that goes into a fact.
    var json: [UInt8] {
        var output = Array("{".utf8)
        let members: [(String, String)] = [
            ("zone", name.zone), ("bucket", name.bucket), ("key", name.key),
            ("digest", "sha256:\(content.digest)"), ("media_type", content.mediaType),
        ]
        for (index, (key, value)) in members.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            JSONText.appendString(key.utf8, to: &output)
            output.append(UInt8(ascii: ":"))
            JSONText.appendString(value.utf8, to: &output)
        }
        output += Array(",\"size\":\(content.size)}".utf8)
        return output
    }
}
