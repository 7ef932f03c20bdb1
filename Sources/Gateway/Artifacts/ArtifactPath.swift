internal import Buffers
internal import Facts

/// Where a request names an artifact: `/v1/artifacts/{zone}/{bucket}/{key}`, or a URI in
/// `/v1/artifacts?uri=`. Percent-encoding is undone once; nothing is ever resolved against a directory.
enum ArtifactPath {
    static let prefix = "/v1/artifacts"

    static func serves(_ path: String) -> Bool {
        path.utf8.elementsEqual(prefix.utf8) || path.utf8.starts(with: "\(prefix)/".utf8)
    }

    /// The path of an artifact's own.
    static func path(_ name: ArtifactName) -> String {
        "\(prefix)/\(name.zone)/\(name.bucket)/\(encoded(name.key))"
    }

    static func uri(_ name: ArtifactName) -> String { "artifact://\(name.zone)/\(name.bucket)/\(encoded(name.key))" }

    static func read(path: String, query: String?) throws(ServiceError) -> ArtifactReferenceText {
        if path.utf8.elementsEqual(prefix.utf8) {
            guard let uri = parameter("uri", of: query ?? "") else {
                throw ServiceError(
                    .missingField,
                    "say which artifact: \(prefix)/ZONE/BUCKET/KEY, or ?uri=artifact://ZONE/BUCKET/KEY",
                    field: "uri")
            }
            return try read(uri: uri)
        }
        return ArtifactReferenceText(
            name: try name(String(path.dropFirst(prefix.count + 1)), "the path"), digest: nil)
    }

    /// `artifact://zone/bucket/key?digest=sha256:…`, or as the runbooks write it
    /// `s3://zone-bsfg-artifacts/bucket/key`.
    static func read(uri: String) throws(ServiceError) -> ArtifactReferenceText {
        let scheme = "artifact://"
        let storeScheme = "s3://"
        var rest: Substring
        if uri.utf8.starts(with: scheme.utf8) {
            rest = uri.dropFirst(scheme.count)
        } else if uri.utf8.starts(with: storeScheme.utf8) {
            rest = uri.dropFirst(storeScheme.count)
            let suffix = "-bsfg-artifacts"
            let host = rest.prefix { $0 != "/" }
            guard host.utf8.count > suffix.utf8.count,
                host.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
            else { throw malformed(uri) }
            rest = host.dropLast(suffix.count) + rest.dropFirst(host.count)
        } else {
            throw malformed(uri)
        }
        var digest: Digest?
        if let mark = rest.firstIndex(of: "?") {
            let query = String(rest[rest.index(after: mark)...])
            guard let text = parameter("digest", of: query), FactRules.isDigest(text) else {
                throw malformed(uri)
            }
            digest = Digest(hexadecimal: String(text.dropFirst("sha256:".count)))
            rest = rest[..<mark]
        }
        return ArtifactReferenceText(name: try name(String(rest), "the URI"), digest: digest)
    }

    private static func malformed(_ uri: String) -> ServiceError {
        ServiceError(
            .malformedRequest,
            "an artifact's URI is artifact://ZONE/BUCKET/KEY, with ?digest=sha256:… where it matters",
            field: "uri")
    }

    static func name(_ text: String, _ what: String) throws(ServiceError) -> ArtifactName {
        let parts = text.utf8.split(
            separator: UInt8(ascii: "/"), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let zone = decoded(parts[0]), let bucket = decoded(parts[1]),
            let key = decoded(parts[2]),
            let name = ArtifactName(zone: zone, bucket: bucket, key: key)
        else {
            throw ServiceError(
                .malformedRequest,
                "\(what) is ZONE/BUCKET/KEY: zone and bucket of a-z, 0-9, '.', '_' and '-', the key up "
                    + "to 512 bytes of segments without empty ones, '.', '..', backslashes and control "
                    + "characters", field: "key")
        }
        return name
    }

    // MARK: - Percent encoding

    /// Nil for what is no percent-encoded UTF-8.
    static func decoded(_ text: some Collection<UInt8>) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let decoded = Hexadecimal.decode(rest.prefix(2)) else { return nil }
            bytes += decoded
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Everything but letters, digits and `-._~/`.
    static func encoded(_ text: String) -> String {
        var output: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D...0x2F, 0x5F, 0x7E: output.append(byte)
            default: output += [UInt8(ascii: "%")] + Array(Hexadecimal.encode([byte]).utf8)
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    private static func parameter(_ name: String, of query: String) -> String? {
        for part in query.utf8.split(separator: UInt8(ascii: "&")) {
            let pieces = part.split(
                separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard pieces.count == 2, pieces[0].elementsEqual(name.utf8) else { continue }
            return decoded(pieces[1])
        }
        return nil
    }
}

/// An artifact as a request names it.
struct ArtifactReferenceText: Sendable, Equatable {
    var name: ArtifactName
    /// What its digest has to be; nil: any.
    var digest: Digest?
}
