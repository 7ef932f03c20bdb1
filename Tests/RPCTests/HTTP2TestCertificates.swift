import Foundation
import NIOSSL

@testable import RPC

/// Certificates made once per test run with the openssl command.
struct HTTP2TestCertificates: Sendable {
    static let shared = HTTP2TestCertificates()

    let directory: String

    private init() {
        directory = NSTemporaryDirectory() + "bsfg-http2-\(UUID().uuidString)"
        try! FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        makeAuthority("ca")
        makeAuthority("other-ca")
        issue("server", authority: "ca", usage: "serverAuth,clientAuth", days: 10)
        issue("client", authority: "ca", usage: "clientAuth,serverAuth", days: 10)
        issue("stranger", authority: "other-ca", usage: "clientAuth", days: 10)
        issue("expired-server", authority: "ca", usage: "serverAuth,clientAuth", days: -1)
        issue("expired", authority: "ca", usage: "clientAuth", days: -1)
    }

    private func makeAuthority(_ name: String) {
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 "
                + "-subj /CN=\(name) -keyout \(name).key -out \(name).crt")
    }

    private func issue(_ name: String, authority: String, usage: String, days: Int) {
        try! "extendedKeyUsage=\(usage)\nsubjectAltName=DNS:\(name),IP:127.0.0.1\n".write(
            toFile: "\(directory)/\(name).ext", atomically: true, encoding: .utf8)
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=\(name) "
                + "-keyout \(name).key -out \(name).csr")
        openssl(
            "x509 -req -in \(name).csr -CA \(authority).crt -CAkey \(authority).key "
                + "-CAcreateserial -days \(days) -extfile \(name).ext -out \(name).crt")
    }

    private func openssl(_ arguments: String) {
        let result = run("/usr/bin/openssl", arguments.split(separator: " ").map(String.init))
        precondition(result.status == 0, "openssl \(arguments): \(result.error)")
    }

    /// Runs a program in the directory and waits for it.
    func run(
        _ program: String, _ arguments: [String]
    ) -> (status: Int32, output: String, error: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        let (output, error) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        try! process.run()
        let outputData = output.fileHandleForReading.readDataToEndOfFile()
        let errorData = error.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (
            process.terminationStatus, String(decoding: outputData, as: UTF8.self),
            String(decoding: errorData, as: UTF8.self)
        )
    }

    func bytes(_ file: String) -> [UInt8] {
        [UInt8](FileManager.default.contents(atPath: "\(directory)/\(file)")!)
    }

    /// Client material; without a name no certificate is sent.
    func client(_ name: String? = "client", trusting authority: String = "ca") -> RPCClientTLS {
        RPCClientTLS(
            certificateChain: name.map { bytes("\($0).crt") } ?? [],
            privateKey: name.map { bytes("\($0).key") } ?? [],
            trustRoots: bytes("\(authority).crt"))
    }

    func serverContext(
        protocols: [String] = ["h2"], certificate: String = "server"
    ) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(bytes("\(certificate).crt"))
                .map { .certificate($0) },
            privateKey: .privateKey(
                try NIOSSLPrivateKey(bytes: bytes("\(certificate).key"), format: .pem)))
        configuration.minimumTLSVersion = .tlsv13
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates(
            try NIOSSLCertificate.fromPEMBytes(bytes("ca.crt")))
        configuration.applicationProtocols = protocols
        return try NIOSSLContext(configuration: configuration)
    }
}
