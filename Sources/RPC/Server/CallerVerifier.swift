package import Facts

/// Which side of a connection the certificate in question speaks for: the extended key usage that
/// it needs follows from it.
package enum CallDirection: Sendable {
    /// The other side called us: its certificate must be good for a client.
    case incoming
    /// We called the other side: its certificate must be good for a server.
    case outgoing
}

/// Decides who a certificate is. TLS has verified the handshake by then; this is the second look,
/// at anchor, validity and identity, from the leaf alone.
package protocol CallerVerifier: Sendable {
    /// Blocking; called off the event loop. The answer is cached by the leaf's SHA-256 for as long
    /// as `generation` stays the same. A refusal's sentence is sent to the other side and logged.
    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, ServiceError>

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
