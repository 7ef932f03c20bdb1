internal import NIOSSL

/// What a client needs for TLS, as PEM.
package struct RPCClientTLS: Sendable {
    /// Leaf first, then issuing CAs. Empty: no certificate is sent.
    package var certificateChain: [UInt8]
    package var privateKey: [UInt8]
    /// Every certificate that a server's may chain to.
    package var trustRoots: [UInt8]
    /// The files they came from, for sentences.
    package var trustNames: [String]
    /// Sent as SNI; only where the server's identity is a host name.
    package var serverName: String?

    package init(
        certificateChain: [UInt8], privateKey: [UInt8], trustRoots: [UInt8],
        trustNames: [String] = ["our CA file"], serverName: String? = nil
    ) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
        self.trustRoots = trustRoots
        self.trustNames = trustNames
        self.serverName = serverName
    }

    /// TLS 1.3 with this certificate. The host's name is not verified: who the server is says the
    /// client's verifier, from the certificate.
    func makeContext(protocols: [String] = ["h2"]) throws(RPCClientError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv13
        configuration.certificateVerification = .noHostnameVerification
        configuration.applicationProtocols = protocols
        do {
            configuration.trustRoots = .certificates(
                try NIOSSLCertificate.fromPEMBytes(trustRoots))
            if !certificateChain.isEmpty {
                configuration.certificateChain =
                    try NIOSSLCertificate.fromPEMBytes(certificateChain)
                    .map { .certificate($0) }
                configuration.privateKey = .privateKey(
                    try NIOSSLPrivateKey(bytes: privateKey, format: .pem))
            }
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .transport(
                kind: .tls,
                sentence: "our certificate, key or CA file cannot be used for TLS (\(error)); "
                    + "check that all are PEM and that the key belongs to the certificate")
        }
    }
}
