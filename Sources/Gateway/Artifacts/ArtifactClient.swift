internal import Buffers
package import Facts
package import RPC

/// What producers and consumers do with artifacts over `/v1/artifacts`, in constant memory.
package struct ArtifactClient: Sendable {
    /// An artifact as a command names it.
    package struct Target: Sendable {
        package let zone: String
        package let bucket: String
        package let key: String
        /// What its digest has to be, where the URI says so.
        package let digest: Digest?
        let name: ArtifactName

        /// `artifact://ZONE/BUCKET/KEY[?digest=sha256:…]`, `s3://ZONE-bsfg-artifacts/BUCKET/KEY`, or
        /// `ZONE/BUCKET/KEY`.
        package init(_ text: String) throws(ServiceError) {
            let found = try ArtifactPath.read(
                uri: text.contains("://") ? text : "artifact://\(ArtifactPath.encoded(text))")
            name = found.name
            digest = found.digest
            (zone, bucket, key) = (name.zone, name.bucket, name.key)
        }

        package var uri: String { ArtifactPath.uri(name) }
    }

    private let client: RPCClient

    package init(_ client: RPCClient) { self.client = client }

    /// Sends bytes under a name.
    /// - Returns: the reference that goes into a fact, as JSON.
    package func put(
        _ target: Target, _ upload: RPCUpload, digest: Digest, mediaType: String
    ) async throws(RPCClientError) -> [UInt8] {
        let response = try await client.stream(
            "PUT", ArtifactPath.path(target.name),
            headers: [
                ("content-type", mediaType), (DigestField.name, DigestField.text(digest)),
            ], upload: upload)
        guard (200..<300).contains(response.status) else {
            throw .status(RPCClient.failure(of: response))
        }
        return response.body
    }

    /// Reads an artifact from a position on; `isContinued` says whether the other side began there.
    /// - Returns: its digest and size as the other side has them.
    package func fetch(
        _ target: Target, from position: UInt64,
        _ take: @escaping @Sendable (_ isContinued: Bool, [UInt8]) async throws(RPCClientError) -> Void
    ) async throws(RPCClientError) -> Digest? {
        var path = ArtifactPath.path(target.name)
        if let digest = target.digest {
            let uri = ArtifactPath.encoded("\(target.uri)?digest=sha256:\(digest)")
            path = "\(ArtifactPath.prefix)?uri=\(uri)"
        }
        let response = try await client.stream(
            "GET", path, headers: position > 0 ? [("range", "bytes=\(position)-")] : []
        ) { (head: RPCResponse, bytes: [UInt8]) async throws(RPCClientError) in
            try await take(head.status == 206, bytes)
        }
        guard (200..<300).contains(response.status) else {
            throw .status(RPCClient.failure(of: response))
        }
        guard let text = response.header(DigestField.name) else { return nil }
        return try? DigestField.read(text)
    }
}
