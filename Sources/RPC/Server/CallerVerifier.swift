package import Facts

/// Which side of a connection the certificate in question speaks for: the extended key usage that
/// it needs follows from it.
package enum CallDirection: String, Sendable {
    /// The other side called us: its certificate must be good for a client.
    case incoming
    /// We called the other side: its certificate must be good for a server.
    case outgoing
}

/// Why a certificate does not let its holder in: what the holder hears, and what the log says.
package struct CallerRefusal: Error, Sendable {
    /// The answer to the first request.
    package var error: ServiceError
    /// One of a fixed set of words: `revoked`, `expired`, `no_matching_identity`, …
    package var kind: String
    /// The names that the certificate shows.
    package var names: [String]
    /// SHA-256 of the certificate, lower-case hex; empty when it cannot be read.
    package var fingerprint: String

    package init(
        _ error: ServiceError, kind: String? = nil, names: [String] = [], fingerprint: String = ""
    ) {
        self.error = error
        self.kind = kind ?? error.reason.rawValue
        self.names = names
        self.fingerprint = fingerprint
    }
}

/// Decides who a certificate is. TLS has verified the handshake by then; this is the second look,
/// at anchor, validity, revocation and identity, from the leaf alone.
package protocol CallerVerifier: Sendable {
    /// Blocking; called off the event loop. The answer is cached by the leaf's SHA-256 for as long
    /// as `generation` stays the same. A refusal's sentence is sent to the other side and logged.
    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal>

    /// Rises whenever the same leaf may get another answer (configuration or trust changed). Read
    /// with every request, on the event loop.
    var generation: UInt64 { get }

    /// Whether what was verified in a generation still holds for this caller. One that does not is closed
    /// and has to connect again. Read with every request, on the event loop.
    func isCurrent(_ caller: Caller, since generation: UInt64) -> Bool
}

extension CallerVerifier {
    package func isCurrent(_ caller: Caller, since generation: UInt64) -> Bool {
        generation == self.generation
    }
}
