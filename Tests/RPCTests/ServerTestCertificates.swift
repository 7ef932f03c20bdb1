import Foundation

@testable import RPC

/// Two CAs and the leaves of the tests, made once with the openssl command.
struct TestCertificates: Sendable {
    let directory: String

    func file(_ name: String) -> String { "\(directory)/\(name)" }

    static let shared = Task { try await make() }

    struct Failed: Error { var message: String }

    private static func make() async throws -> TestCertificates {
        let directory = NSTemporaryDirectory() + "bsfg-server-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        let certificates = TestCertificates(directory: directory)
        try await certificates.authority("ca")
        try await certificates.authority("otherca")
        try await certificates.leaf("server", "ca", usage: "serverAuth,clientAuth")
        for name in ["peer", "client", "second", "stranger"] {
            try await certificates.leaf(name, "ca", usage: "serverAuth,clientAuth")
        }
        try await certificates.leaf("foreign", "otherca", usage: "serverAuth,clientAuth")
        try await certificates.leaf("usage", "ca", usage: "serverAuth")
        try await certificates.leaf("expired", "ca", usage: "clientAuth", days: "-1")
        return certificates
    }

    private func openssl(_ arguments: [String]) async throws {
        let result = await run("openssl", arguments)
        guard result.exit == 0 else { throw Failed(message: "\(arguments): \(result.error)") }
    }

    private func authority(_ name: String) async throws {
        try await openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", file("\(name).key"), "-out", file("\(name).crt"), "-subj",
            "/CN=\(name)", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        ])
    }

    private func leaf(
        _ name: String, _ authority: String, usage: String, days: String = "30"
    ) async throws {
        try await openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            file("\(name).key"), "-out", file("\(name).csr"), "-subj", "/CN=\(name)",
        ])
        let extensions = file("\(name).ext")
        try Data(
            """
            basicConstraints=CA:FALSE
            keyUsage=digitalSignature
            extendedKeyUsage=\(usage)
            subjectAltName=DNS:\(name),DNS:localhost,IP:127.0.0.1
            """.utf8
        ).write(to: URL(fileURLWithPath: extensions))
        try await openssl([
            "x509", "-req", "-in", file("\(name).csr"), "-CA", file("\(authority).crt"), "-CAkey",
            file("\(authority).key"), "-CAcreateserial", "-out", file("\(name).crt"), "-days",
            days, "-extfile", extensions,
        ])
        try await openssl([
            "x509", "-in", file("\(name).crt"), "-outform", "DER", "-out", file("\(name).der"),
        ])
    }

    func serverTLS(key: String = "server") throws -> RPCServerTLS {
        RPCServerTLS(
            certificateChain: try X509Certificate.all(file: file("server.crt")),
            privateKey: try SmallFile.read(file("\(key).key"), bytesMaximum: 1 << 16),
            trustRoots: try X509Certificate.all(file: file("ca.crt")))
    }

    func der(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: file("\(name).der"))))
    }
}
