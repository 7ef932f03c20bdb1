internal import Buffers
internal import Facts
internal import RPC
internal import SwiftProtobuf

/// PutObject and GetObject: artifacts that fit into a message. Larger ones go over `/v1/artifacts`.
struct ArtifactService: Sendable {
    /// Of a message's blob, in bytes.
    static let blobBytesMaximum = 8 << 20
    static let defaultMediaType = "application/octet-stream"

    let access: Access
    let zone: String
    let store: any ArtifactStore
    let pool: BlockingPool

    // MARK: - PutObject

    func put(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        onPool(respond) { () throws(ServiceError) in
            let message = try WireCodec.decodeRequest(
                Bsfg_V1_PutObjectRequest.self, request.body, request.encoding)
            let name = try ArtifactService.name(zone, message.bucket, message.key)
            try access.checkPut(request.caller, name)
            guard message.blob.count <= ArtifactService.blobBytesMaximum else {
                throw ServiceError(
                    .tooLarge,
                    "the blob has \(message.blob.count) bytes, and a message carries "
                        + "\(ArtifactService.blobBytesMaximum); send it with PUT "
                        + ArtifactPath.path(name), field: "blob")
            }
            let expected = try ArtifactService.digest(message.digest)
            let mediaType = try ArtifactService.mediaType(message.mediaType)
            let stored: StoredArtifact
            do throws(ArtifactError) {
                let upload = try store.beginUpload(expectedBytes: UInt64(message.blob.count))
                try upload.write([UInt8](message.blob))
                stored = try upload.finish(
                    as: name, expected: expected, mediaType: mediaType, fileName: "")
            } catch {
                throw ServiceError(error)
            }
            return WireCodec.encode(stored.putResponse, request.encoding)
        }
    }

    // MARK: - GetObject

    func get(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        onPool(respond) { () throws(ServiceError) in
            let message = try WireCodec.decodeRequest(
                Bsfg_V1_GetObjectRequest.self, request.body, request.encoding)
            let stored = try found(message, request.caller)
            guard stored.content.size <= UInt64(ArtifactService.blobBytesMaximum) else {
                throw ServiceError(
                    .tooLarge,
                    "\(stored.name) has \(stored.content.size) bytes, and a message carries "
                        + "\(ArtifactService.blobBytesMaximum); read it with GET "
                        + ArtifactPath.path(stored.name))
            }
            // As it is read, and as it is sent: in JSON as base64.
            let bytes = Int(stored.content.size)
            try request.answerMemory?.hold(
                bytes: bytes + (request.codec == .json ? bytes / 3 * 4 : bytes))
            var response = Bsfg_V1_GetObjectResponse()
            do throws(ArtifactError) {
                let reader = try store.open(stored.content.digest)
                response.blob = .init(try reader.read(at: 0, count: Int(reader.size)))
            } catch {
                throw ServiceError(error)
            }
            response.reference = stored.reference
            return WireCodec.encode(response, request.encoding)
        }
    }

    private func found(_ message: Bsfg_V1_GetObjectRequest, _ caller: Caller)
        throws(ServiceError) -> StoredArtifact
    {
        let digest = try ArtifactService.digest(message.digest)
        if message.key.isEmpty, message.bucket.isEmpty, let digest {
            // Bytes are read by whoever may read one of their names; nobody else learns that there is one.
            for stored in store.names(of: digest)
            where (try? access.checkGet(caller, stored.name)) != nil { return stored }
            throw ServiceError(.artifactNotFound, "no artifact that is granted to you has that digest")
        }
        let name = try ArtifactService.name(
            message.zone.isEmpty ? zone : message.zone, message.bucket, message.key)
        try access.checkGet(caller, name)
        return try ArtifactService.stored(name, digest, in: store)
    }

    // MARK: - Parts that the streaming form shares

    /// - Throws: `artifact_pending` while the bytes are on their way, `artifact_not_found`.
    static func stored(_ name: ArtifactName, _ digest: Digest?, in store: any ArtifactStore)
        throws(ServiceError) -> StoredArtifact
    {
        let entry = store.entry(name)
        guard let stored = entry?.stored else {
            guard entry?.isPending == true else {
                throw ServiceError(.artifactNotFound, "there is no artifact \(name) here")
            }
            var pending = ServiceError(
                .artifactPending,
                "a fact here refers to \(name), and its bytes have not arrived yet; ask again")
            pending.retryAfterMilliseconds = 1_000
            throw pending
        }
        if let digest, digest != stored.content.digest {
            var mismatch = ServiceError(
                .digestMismatch, "\(name) has the digest sha256:\(stored.content.digest) here")
            mismatch.storedDigest = stored.content.digest
            mismatch.offeredDigest = digest
            throw mismatch
        }
        return stored
    }

    static func name(_ zone: String, _ bucket: String, _ key: String)
        throws(ServiceError) -> ArtifactName
    {
        for (text, field) in [(bucket, "bucket"), (key, "key")] where text.isEmpty {
            throw ServiceError(.missingField, "the \(field) is required; send it", field: field)
        }
        guard let name = ArtifactName(zone: zone, bucket: bucket, key: key) else {
            let bad = FactRules.isStreamOrZone(zone)
                ? (FactRules.isStreamOrZone(bucket) ? "key" : "bucket") : "zone"
            throw ServiceError(
                .malformedRequest,
                bad == "key"
                    ? "a key has up to 512 bytes of segments without empty ones, '.', '..', "
                        + "backslashes and control characters"
                    : "a \(bad) is [a-z0-9][a-z0-9._-]{0,63}", field: bad)
        }
        return name
    }

    /// `sha256:` and 64 digits; nil where it was left out.
    static func digest(_ text: String) throws(ServiceError) -> Digest? {
        guard !text.isEmpty else { return nil }
        guard FactRules.isDigest(text) else {
            throw ServiceError(
                .malformedRequest, "a digest is sha256: and 64 lower-case hexadecimal digits",
                field: "digest")
        }
        return Digest(hexadecimal: String(text.dropFirst("sha256:".count)))
    }

    static func mediaType(_ text: String) throws(ServiceError) -> String {
        guard !text.isEmpty else { return defaultMediaType }
        guard FactRules.isMediaType(text) else {
            throw ServiceError(
                .malformedRequest, "a media type is type/subtype, as in application/pdf",
                field: "media_type")
        }
        return text
    }

    private func onPool(
        _ respond: @escaping @Sendable (RPCReply) -> Void,
        _ body: @escaping @Sendable () throws(ServiceError) -> [UInt8]
    ) {
        let isTaken = pool.submit {
            do throws(ServiceError) {
                respond(.message(try body()))
            } catch {
                respond(.failure(error))
            }
        }
        if !isTaken {
            respond(.failure(ServiceError(.overloaded, "too many artifacts are in work; retry")))
        }
    }
}

extension StoredArtifact {
    var reference: Bsfg_V1_ArtifactReference {
        var reference = Bsfg_V1_ArtifactReference()
        reference.zone = name.zone
        reference.bucket = name.bucket
        reference.key = name.key
        reference.digest = "sha256:\(content.digest)"
        reference.size = content.size
        reference.mediaType = content.mediaType
        reference.fileName = content.fileName
        return reference
    }

    var putResponse: Bsfg_V1_PutObjectResponse {
        var response = Bsfg_V1_PutObjectResponse()
        response.zone = name.zone
        response.bucket = name.bucket
        response.key = name.key
        response.digest = "sha256:\(content.digest)"
        response.size = content.size
        return response
    }
}
