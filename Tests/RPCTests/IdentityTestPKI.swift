import Foundation

@testable import RPC

/// Certificates made by the openssl command, so that our reading of them is checked against a
/// second implementation's writing.
final class IdentityTestPKI {
    let directory: String

    init() throws {
        directory = NSTemporaryDirectory() + "identity-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    struct OpenSSLFailed: Error { let output: String }

    @discardableResult
    func openssl(_ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw OpenSSLFailed(output: output) }
        return output
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// A CA, self-signed or issued by another.
    func authority(_ name: String, commonName: String? = nil, issuer: String? = nil) throws {
        try issue(
            name, subject: "/CN=\(commonName ?? name)", issuer: issuer,
            extensions: [
                "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign",
                "subjectKeyIdentifier=hash",
            ], days: "60")
    }

    static let both = "extendedKeyUsage=serverAuth,clientAuth"

    /// A certificate; `key` as for `openssl genpkey`.
    func issue(
        _ name: String, subject: String, issuer: String? = nil, extensions: [String] = [],
        key: [String] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        days: String = "30"
    ) throws {
        try openssl(["genpkey", "-out", "\(name).key"] + key)
        try openssl([
            "req", "-new", "-utf8", "-key", "\(name).key", "-subj", subject, "-out", "\(name).csr",
        ])
        try ("[x]\n" + extensions.joined(separator: "\n") + "\n").write(
            toFile: path("\(name).ext"), atomically: true, encoding: .utf8)
        let signer =
            issuer.map { ["-CA", "\($0).crt", "-CAkey", "\($0).key"] } ?? ["-signkey", "\(name).key"]
        try openssl(
            [
                "x509", "-req", "-in", "\(name).csr", "-out", "\(name).crt", "-days", days,
                "-set_serial", "0x\(String(UInt64.random(in: 1...UInt64.max >> 1), radix: 16))",
                "-extfile", "\(name).ext", "-extensions", "x",
            ] + signer)
    }

    /// A leaf for both directions with the given alternative names.
    func leaf(
        _ name: String, commonName: String? = nil, issuer: String, names: [String] = [],
        usage: String? = IdentityTestPKI.both
    ) throws {
        var extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
        if let usage { extensions.append(usage) }
        if !names.isEmpty { extensions.append("subjectAltName=\(names.joined(separator: ","))") }
        try issue(
            name, subject: "/CN=\(commonName ?? name)", issuer: issuer, extensions: extensions)
    }

    func certificate(_ name: String) throws -> X509Certificate {
        try X509Certificate.all(file: path("\(name).crt"))[0]
    }

    func der(_ name: String) throws -> [UInt8] { try certificate(name).der }

    func anchors(_ names: String...) throws -> TrustAnchors {
        try TrustAnchors(files: names.map { path("\($0).crt") })
    }
}
