internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Turns what NIO reports into the stage that failed and a sentence about it.
enum TransportFailure {
    /// A TCP connection that did not come about.
    static func connecting(
        _ error: any Error, to endpoint: String, timeoutMilliseconds: Int
    ) -> RPCClientError {
        if let error = error as? NIOConnectionError {
            return connecting(error, to: endpoint, timeoutMilliseconds)
        }
        return one(error, to: endpoint, timeoutMilliseconds)
    }

    private static func connecting(
        _ error: NIOConnectionError, to endpoint: String, _ timeoutMilliseconds: Int
    ) -> RPCClientError {
        guard !error.connectionErrors.isEmpty else {
            if error.dnsAError == nil, error.dnsAAAAError == nil {
                return silent(endpoint, timeoutMilliseconds)
            }
            return .transport(
                kind: .dns,
                sentence: "the name '\(error.host)' has no address; check the endpoint, the "
                    + "resolver, and /etc/hosts")
        }
        // Of several addresses the most telling answer: refused means that the host is up.
        let all = error.connectionErrors.map { one($0.error, to: endpoint, timeoutMilliseconds) }
        return all.first { $0.transportKind == .refused }
            ?? all.first { $0.transportKind == .unreachable } ?? all[0]
    }

    private static func one(
        _ error: any Error, to endpoint: String, _ timeoutMilliseconds: Int
    ) -> RPCClientError {
        if case ChannelError.connectTimeout = error {
            return silent(endpoint, timeoutMilliseconds)
        }
        let number = (error as? IOError)?.errnoCode ?? 0
        switch number {
        case ECONNREFUSED:
            return .transport(
                kind: .refused,
                sentence: "\(endpoint) refuses connections: nothing listens there; start the "
                    + "node, or check host and port")
        case ETIMEDOUT:
            return silent(endpoint, timeoutMilliseconds)
        case ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL:
            return .transport(
                kind: .unreachable,
                sentence: "there is no route to \(endpoint); check address, routes and firewall")
        case ECONNRESET, EPIPE:
            return closed("\(endpoint) closed the connection at once; check that it is a node")
        default:
            return .transport(
                kind: .unreachable,
                sentence: "cannot connect to \(endpoint): \(text(error)); check that the endpoint is the "
                    + "address and port of a node")
        }
    }

    private static func silent(_ endpoint: String, _ milliseconds: Int) -> RPCClientError {
        .transport(
            kind: .silent,
            sentence: "\(endpoint) did not answer in \(milliseconds) ms, neither accepting nor "
                + "refusing: a firewall drops the packets, or the host is down")
    }

    static func closed(_ sentence: String) -> RPCClientError {
        .transport(kind: .closed, sentence: sentence)
    }

    /// An error on a connection that was established, or in its TLS handshake.
    static func connected(
        _ error: any Error, to endpoint: String, handshakeDone: Bool
    ) -> RPCClientError {
        if let error = error as? RPCClientError { return error }
        if let alert = TLSAlert(error) {
            return .transport(
                kind: alert.isAboutCertificate ? .certificateRefused : .tls,
                sentence: "\(endpoint): \(alert.sentence)")
        }
        if error is HTTP2SessionError {
            return .transport(
                kind: .malformed, sentence: "\(endpoint) breaks the HTTP/2 protocol: \(error)")
        }
        if handshakeDone {
            let reason = isUncleanEnd(error) ? "" : ": \(text(error))"
            return closed("the connection to \(endpoint) was lost\(reason); call again")
        }
        return handshake(error, endpoint)
    }

    private static func isUncleanEnd(_ error: any Error) -> Bool {
        if case NIOSSLError.uncleanShutdown = error { true } else { false }
    }

    private static func handshake(_ error: any Error, _ endpoint: String) -> RPCClientError {
        let reasons = TLSAlert.boringNumbers(error).map { $0 & 0xFFF }
        let sentence =
            if reasons.contains(BoringReason.certificateVerifyFailed) {
                "the certificate of \(endpoint) does not verify: it is not of a CA in our trust "
                    + "file, is expired or not yet valid, or is not meant for servers; compare "
                    + "the CA files and both clocks, or let 'bsfg peer probe' say which it is"
            } else if reasons.contains(BoringReason.wrongVersionNumber) {
                "\(endpoint) does not speak TLS; check the port"
            } else if isUncleanEnd(error) || text(error).contains("EOF") {
                "\(endpoint) closed the connection during the TLS handshake; check that the port "
                    + "is a node's and that it takes our address"
            } else {
                "TLS with \(endpoint) failed: \(text(error))"
            }
        return .transport(kind: .tls, sentence: sentence)
    }

    private enum BoringReason {
        static let certificateVerifyFailed: UInt32 = 125
        static let wrongVersionNumber: UInt32 = 247
    }

    /// A unix socket that cannot be connected.
    static func unixSocket(_ error: any Error, path: String) -> RPCClientError {
        let number = (error as? IOError)?.errnoCode ?? 0
        switch number {
        case ENOENT:
            return .transport(
                kind: .unreachable,
                sentence: "no node runs here: the socket \(path) does not exist; start it with "
                    + "`bsfg serve`")
        case ECONNREFUSED:
            return .transport(
                kind: .refused,
                sentence: "no node runs here: nothing listens on \(path); start it with "
                    + "`bsfg serve`")
        case EACCES, EPERM:
            return .transport(
                kind: .unreachable,
                sentence: "the socket \(path) may not be opened by this user; run as the node's "
                    + "user or as root")
        default:
            return .transport(
                kind: .unreachable, sentence: "cannot connect to \(path): \(text(error))")
        }
    }

    static func text(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
        if let text = TLSAlert.boringText(error) { return text }
        return String(describing: error)
    }
}
