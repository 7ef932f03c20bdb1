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
    let trustFiles: [String]
    private let verdicts = Mutex<[Digest: Verdict]>([:])

    /// Anyone with a certificate of a trusted CA may add an entry.
    private static let verdictsMaximum = 4_096

    /// Blocking: reads the files.
    init(_ files: RPCServerTLS) throws(RPCServerError) {
        trustFiles = files.trustFiles
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try Self.certificates(files.certificateFile)
                .map { .certificate($0) },
            privateKey: .privateKey(try Self.privateKey(files.privateKeyFile)))
        configuration.minimumTLSVersion = .tlsv13
        // NIOSSL's own verification and no callback: only so does each refusal send its own alert.
        configuration.certificateVerification = .noHostnameVerification
        var trusted: [NIOSSLCertificate] = []
        for file in files.trustFiles { trusted += try Self.certificates(file) }
        configuration.trustRoots = .certificates(trusted)
        configuration.applicationProtocols = ["h2", "http/1.1"]
        configuration.shutdownTimeout = .seconds(2)
        do {
            context = try NIOSSLContext(configuration: configuration)
        } catch {
            throw RPCServerError(
                "The certificate \(files.certificateFile) and the key \(files.privateKeyFile) make "
                    + "no TLS context (\(error)); check that they belong together.")
        }
    }

    private static func certificates(
        _ file: String
    ) throws(RPCServerError) -> [NIOSSLCertificate] {
        let found: [NIOSSLCertificate]
        do {
            found = try NIOSSLCertificate.fromPEMFile(file)
        } catch {
            throw RPCServerError(
                "The certificate file \(file) cannot be read (\(error)); it has to be PEM.")
        }
        if found.isEmpty {
            throw RPCServerError("The file \(file) holds no certificate; it has to be PEM.")
        }
        return found
    }

    private static func privateKey(_ file: String) throws(RPCServerError) -> NIOSSLPrivateKey {
        do {
            return try NIOSSLPrivateKey(file: file, format: .pem)
        } catch {
            throw RPCServerError(
                "The private key \(file) cannot be read (\(error)); it has to be PEM.")
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
    private let current: Mutex<(files: RPCServerTLS, context: TLSContext)>

    init(_ files: RPCServerTLS) throws(RPCServerError) {
        current = Mutex((files, try TLSContext(files)))
    }

    var context: TLSContext { current.withLock { $0.context } }

    /// A context that can take the place of the one in use. Blocking.
    ///
    /// - Parameter files: other files than before; nil: the same.
    func prepare(_ files: RPCServerTLS? = nil) throws(RPCServerError) -> PreparedServerTLS {
        let files = files ?? current.withLock { $0.files }
        return PreparedServerTLS(files: files, context: try TLSContext(files))
    }

    /// A new context of the same files, unless others take their place meanwhile. Blocking.
    func renew() throws(RPCServerError) {
        let before = context
        let new = try prepare()
        current.withLock { current in
            if current.context === before { current = (new.files, new.context) }
        }
    }

    func adopt(_ prepared: PreparedServerTLS) {
        current.withLock { $0 = (prepared.files, prepared.context) }
    }
}

/// A TLS context made of files that were good when they were read; nothing uses it yet.
package struct PreparedServerTLS: Sendable {
    let files: RPCServerTLS
    let context: TLSContext
}
