import Facts
import Testing

@testable import Buffers
@testable import Gateway

/// What requests say of artifacts, read.
@Suite struct ArtifactRequestTests {
    @Test("gateway decision 43: a key is decoded once and never leaves its store", arguments: [
        "/v1/artifacts/plant-a/b/..", "/v1/artifacts/plant-a/b/a/../c", "/v1/artifacts/plant-a/b/./a",
        "/v1/artifacts/plant-a/b/a//c", "/v1/artifacts/plant-a/b/", "/v1/artifacts/plant-a/b",
        "/v1/artifacts/plant-a/b/%2e%2e/x", "/v1/artifacts/plant-a/b/a%2f..%2fb",
        "/v1/artifacts/plant-a/b/a%5cb", "/v1/artifacts/plant-a/b/a%00b", "/v1/artifacts/plant-a/b/%0a",
        "/v1/artifacts/plant-a/b/%ff", "/v1/artifacts/plant-a/b/%zz", "/v1/artifacts/plant-a/b/%2",
        "/v1/artifacts/../b/a", "/v1/artifacts/plant-a/../a", "/v1/artifacts/Plant/b/a",
        "/v1/artifacts/plant-a/b/" + String(repeating: "k", count: 513),
    ])
    func refusedPaths(_ path: String) {
        let error = #expect(throws: ServiceError.self) {
            try ArtifactPath.read(path: path, query: nil)
        }
        #expect(error?.reason == .malformedRequest)
    }

    @Test("gateway decision 43: a key may look odd", arguments: [
        ("a", "a"), ("2025/001/x.bin", "2025/001/x.bin"), ("a%20b", "a b"), ("%C3%A9", "é"),
        ("..a/b..", "..a/b.."), ("%252e", "%2e"), ("a+b", "a+b"),
        (String(repeating: "k", count: 512), String(repeating: "k", count: 512)),
    ])
    func takenPaths(_ sent: String, _ key: String) throws {
        let read = try ArtifactPath.read(path: "/v1/artifacts/plant-a/b/\(sent)", query: nil)
        #expect(read.name.key == key)
        // What we send ourselves is read back the same.
        let path = ArtifactPath.path(read.name)
        #expect(try ArtifactPath.read(path: path, query: nil) == read)
        #expect(try ArtifactPath.read(uri: ArtifactPath.uri(read.name)) == read)
    }

    @Test func `an artifact is named by its URI`() throws {
        let digest = String(repeating: "0a", count: 32)
        let expected = ArtifactName(zone: "plant-a", bucket: "batch-files", key: "2025/x y.json")
        for uri in [
            "artifact://plant-a/batch-files/2025/x%20y.json",
            "s3://plant-a-bsfg-artifacts/batch-files/2025/x%20y.json",
        ] {
            let query = "uri=" + ArtifactPath.encoded(uri)
            let read = try ArtifactPath.read(path: "/v1/artifacts", query: query)
            #expect(read.name == expected && read.digest == nil)
        }
        let exact = try ArtifactPath.read(
            path: "/v1/artifacts",
            query: "x=1&uri=artifact://plant-a/batch-files/a?digest=sha256:\(digest)")
        #expect(exact.digest == Digest(hexadecimal: digest))
        for query in [
            nil, "", "uri=", "uri=http://plant-a/b/c", "uri=artifact://plant-a/b", "url=x",
            "uri=artifact://plant-a/b/c?digest=sha256:12", "uri=s3://plant-a/b/c", "uri=s3:///b/c",
            "uri=s3://-bsfg-artifacts/b/c",
        ] as [String?] {
            #expect(throws: ServiceError.self, "\(query ?? "nil")") {
                try ArtifactPath.read(path: "/v1/artifacts", query: query)
            }
        }
    }

    @Test func `only its own paths are served`() {
        for path in ["/v1/artifacts", "/v1/artifacts/", "/v1/artifacts/a/b/c"] {
            #expect(ArtifactPath.serves(path))
        }
        for path in ["/v1/artifact", "/v1/artifactsx", "/V1/artifacts/a", "/", ""] {
            #expect(!ArtifactPath.serves(path))
        }
    }

    @Test func `ranges as RFC 9110 has them`() {
        let cases: [(String?, UInt64, ByteRange)] = [
            (nil, 10, .whole), ("bytes=0-0", 10, .part(first: 0, count: 1)),
            ("bytes=2-", 10, .part(first: 2, count: 8)),
            ("bytes=2-100", 10, .part(first: 2, count: 8)),
            ("bytes=-3", 10, .part(first: 7, count: 3)),
            ("bytes=-30", 10, .part(first: 0, count: 10)), ("bytes=-0", 10, .unsatisfiable),
            ("bytes=10-", 10, .unsatisfiable), ("bytes=0-", 0, .unsatisfiable),
            ("bytes=5-2", 10, .whole), ("bytes=0-1,3-4", 10, .whole), ("lines=0-1", 10, .whole),
            ("bytes=a-b", 10, .whole), ("bytes=-", 10, .whole), ("bytes=", 10, .whole),
            ("bytes=99999999999999999999-", 10, .whole),
        ]
        for (text, size, expected) in cases {
            #expect(ByteRange(text, size: size) == expected, "\(text ?? "nil") of \(size)")
        }
    }

    @Test func `digests as RFC 9530 has them`() throws {
        let digest = SHA256.hash(Array("content".utf8))
        let text = DigestField.text(digest)
        #expect(text.hasPrefix("sha-256=:") && text.hasSuffix(":"))
        #expect(try DigestField.read(text) == digest)
        #expect(try DigestField.read("md5=:AAAA:, \(text)") == digest)
        #expect(try DigestField.read("md5=:AAAA:") == nil)
        for bad in ["sha-256=:AAAA:", "sha-256=::", "sha-256=:!!!!:"] {
            #expect(throws: ServiceError.self) { try DigestField.read(bad) }
        }
        let tag = DigestField.tag(digest)
        for text in [tag, "\"x\", \(tag)", "W/\(tag)", "*"] {
            #expect(DigestField.matches(text, digest))
        }
        #expect(!DigestField.matches("\"x\"", digest) && !DigestField.matches("", digest))
    }
}
