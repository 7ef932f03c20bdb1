internal import Facts
internal import Logging
internal import Synchronization

/// What the server says of those whom it refuses: counted always, kept for who asks, and written as far as
/// nobody fills the disk with it.
extension ServerCore {
    /// A handshake that came to nothing.
    /// - Parameters:
    ///   - explanation: what the TLS library or libcrypto calls it.
    ///   - leafDER: what the caller showed; its names cost a parse, which is not for an event loop.
    func tellHandshakeFailed(
        _ failure: HandshakeFailure, _ explanation: String, leafDER: [UInt8]? = nil,
        fingerprint: String = "", address: String
    ) {
        counters.handshakeFailed(failure)
        let names = leafDER.flatMap { try? X509Certificate(der: $0).names() } ?? []
        var refusal = refusal(.handshake, failure.rawValue, failure.sentence ?? explanation)
        if leafDER != nil || failure == .refusedByCaller { refusal.sentence += " (\(explanation))" }
        refusal.names = names.map(\.description)
        refusal.fingerprint = fingerprint
        refusal.address = address
        guard failure.sentence != nil else {
            // The end of a scanner or a health check, whom nobody refused.
            return write("TLS handshake failed", "tls_failed", refusal)
        }
        keep(refusal)
        write(
            "TLS handshake refused", "tls_refused", refusal,
            ["direction": "\(CallDirection.incoming.rawValue)", "alert": "\(failure.alert ?? 0)"])
    }

    /// Somebody whose certificate passed the handshake, or had passed it, and does not let him in.
    func tellRefused(_ caller: CallerRefusal, address: String, isOpen: Bool = false) {
        counters.refusedCaller(caller.kind)
        var refusal = refusal(.certificate, caller.kind, caller.error.message)
        refusal.names = caller.names
        refusal.fingerprint = caller.fingerprint
        refusal.address = address
        keep(refusal)
        write(
            isOpen ? "caller refused, its connection is closed" : "caller refused", "tls_refused",
            refusal, ["direction": "\(CallDirection.incoming.rawValue)"],
            // A change of trust closes what is open, once: nobody causes that at will.
            isBounded: !isOpen)
    }

    /// A call that was answered with an error, where the error is that it may not be made.
    func tellDenied(_ error: ServiceError, _ caller: Caller, _ path: String, address: String) {
        guard error.code == .permissionDenied else { return }
        var refusal = refusal(.request, error.reason.rawValue, error.message)
        refusal.identity = caller.identity
        refusal.names = caller.certificate?.names ?? []
        refusal.fingerprint = caller.certificate?.fingerprint ?? ""
        refusal.address = address
        refusal.path = path
        keep(refusal)
        write("access denied", "access_denied", refusal, ["path": "\(ConnectHead.shown(path))"])
    }

    /// A connection that does not take its answers, and is closed.
    func tellStalled(address: String) {
        guard lines.withLock({ $0.admits(LineKind(event: "write_stalled")) }) else { return }
        logger.notice(
            "connection takes no answers",
            metadata: ["event": "write_stalled", "address": "\(address)"])
    }

    private func refusal(_ place: Refusal.Place, _ reason: String, _ sentence: String) -> Refusal {
        Refusal(
            unixMilliseconds: RequestDispatcher.unixMilliseconds(), place: place, reason: reason,
            sentence: sentence)
    }

    private func keep(_ refusal: Refusal) {
        recentRefusals.withLock { $0.note(refusal) }
    }

    // MARK: Lines

    private func write(
        _ message: Logger.Message, _ event: String, _ refusal: Refusal,
        _ more: Logger.Metadata = [:], isBounded: Bool = true
    ) {
        let kind = LineKind(event: event, reason: refusal.reason, identity: refusal.identity)
        guard !isBounded || lines.withLock({ $0.admits(kind) }) else { return }
        let shown = refusal.bounded
        logger.notice(
            message,
            metadata: kind.metadata.merging([
                "explanation": "\(shown.sentence)", "names": "\(shown.names.joined(separator: " "))",
                "fingerprint": "\(shown.fingerprint)", "address": "\(shown.address)",
            ]) { $1 }.merging(more) { $1 })
    }

    /// Once a minute, and at the end: says what was not written.
    func tellLeftOut() {
        for (kind, count) in lines.withLock({ $0.endMinute() }) {
            logger.notice(
                "lines left out",
                metadata: kind.metadata.merging([
                    "event": "lines_left_out", "of": "\(kind.event)", "count": "\(count)",
                ]) { $1 })
        }
    }
}

extension LineKind {
    fileprivate var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = ["event": "\(event)"]
        if !reason.isEmpty { metadata["reason"] = "\(reason)" }
        if !identity.isEmpty { metadata["identity"] = "\(identity)" }
        return metadata
    }
}
