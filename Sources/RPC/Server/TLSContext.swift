internal import Facts
internal import NIOCore
internal import NIOSSL
internal import Synchronization

/// One TLS context and what was found out about the certificates that were shown to it. Session
/// tickets are good for one context only, so a new context ends every resumption, and what was
/// verified for a resumed session is always verified in the same trust.
final class TLSContext: Sendable {
    struct Verdict: Sendable {
        var result: Result<Caller, CallerRefusal>
        /// The verifier's generation that the result belongs to.
        var generation: UInt64
    }

    let context: NIOSSLContext
    let trustRoots: [X509Certificate]
    private let verdicts = Mutex<[Digest: Verdict]>([:])

    /// Anyone with a certificate of a trusted CA may add an entry.
    private static let verdictsMaximum = 4_096

    /// Blocking: parses certificates and key.
    init(_ tls: RPCServerTLS) throws(RPCServerError) {
        trustRoots = tls.trustRoots
        do {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try tls.certificateChain.map {
                    .certificate(try NIOSSLCertificate(bytes: $0.der, format: .der))
                },
                privateKey: .privateKey(try NIOSSLPrivateKey(bytes: tls.privateKey, format: .pem)))
            configuration.minimumTLSVersion = .tlsv13
            // NIOSSL's own verification and no callback: only so does each refusal send its own alert.
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates(
                try tls.trustRoots.map { try NIOSSLCertificate(bytes: $0.der, format: .der) })
            configuration.applicationProtocols = ["h2", "http/1.1"]
            configuration.shutdownTimeout = .seconds(2)
            context = try NIOSSLContext(configuration: configuration)
        } catch {
            throw RPCServerError(
                "The node's certificate, its key and the CAs that it trusts make no TLS context "
                    + "(\(error)); check that key and certificate belong together.")
        }
    }

    func verdict(_ leaf: Digest, generation: UInt64) -> Result<Caller, CallerRefusal>? {
        verdicts.withLock { verdicts in
            guard let verdict = verdicts[leaf], verdict.generation == generation else { return nil }
            return verdict.result
        }
    }

    func remember(_ leaf: Digest, _ verdict: Verdict) {
        verdicts.withLock { verdicts in
            // Starting over costs one verification a caller, and needs no order of age.
            if verdicts.count >= Self.verdictsMaximum { verdicts.removeAll() }
            verdicts[leaf] = verdict
        }
    }
}

/// The context that new connections get; replaced as a whole.
final class TLSContextHolder: Sendable {
    private let current: Mutex<PreparedServerTLS>

    init(_ tls: RPCServerTLS) throws(RPCServerError) {
        current = Mutex(try PreparedServerTLS(tls))
    }

    var context: TLSContext { current.withLock { $0.context } }

    /// A new context of the same certificates and trust, unless others take their place meanwhile. Blocking.
    func renew() throws(RPCServerError) {
        let before = current.withLock { $0 }
        let new = try PreparedServerTLS(before.tls)
        current.withLock { current in
            if current.context === before.context { current = new }
        }
    }

    func adopt(_ prepared: PreparedServerTLS) {
        current.withLock { $0 = prepared }
    }
}

/// A TLS context, and what it and those that follow it are made of.
package struct PreparedServerTLS: Sendable {
    let tls: RPCServerTLS
    let context: TLSContext

    init(_ tls: RPCServerTLS) throws(RPCServerError) {
        self.tls = tls
        context = try TLSContext(tls)
    }
}
