package import Facts

/// Why a call of `RPCClient` has no answer, or not the one asked for.
package enum RPCClientError: Error, Sendable, CustomStringConvertible {
    /// The stage at which a connection or a call broke off.
    package enum TransportKind: String, Sendable {
        /// The host's name has no address.
        case dns
        /// The host answers that nothing listens there.
        case refused
        /// No route, or the socket's file is missing or forbidden.
        case unreachable
        /// Nothing answers at all: a firewall that drops, or a host that is down.
        case silent
        /// No TLS came about: we refused the server, or the handshake did not come to its end.
        case tls
        /// The other side's alert says that it does not take our certificate, or that it wants one.
        case certificateRefused = "certificate_refused"
        /// TLS is good, but the server is not who it should be.
        case identity
        /// Connected, and no answer in time. What was asked for may have been done.
        case timeout
        /// The connection was lost. What was asked for may have been done.
        case closed
        /// The caller's task was cancelled. What was asked for may have been done.
        case cancelled
        /// Too many calls of this client are outstanding; nothing was sent.
        case overloaded
        /// The other side does not speak what we speak, or sends more than we take.
        case malformed
    }

    case transport(kind: TransportKind, sentence: String)
    /// The server answered with an error.
    case status(RPCFailure)

    package var description: String {
        switch self {
        case .transport(_, let sentence): sentence
        case .status(let failure): failure.description
        }
    }

    package var transportKind: TransportKind? {
        if case .transport(let kind, _) = self { kind } else { nil }
    }

    package var failure: RPCFailure? {
        if case .status(let failure) = self { failure } else { nil }
    }
}

/// A Connect error, or another HTTP status that is not 200.
package struct RPCFailure: Sendable, CustomStringConvertible {
    package var httpStatus: Int
    /// One of Connect's sixteen; inferred from the status where the body is not a Connect error.
    package var code: String
    package var message: String
    /// What the server says a program should know, where it is one of ours.
    package var detail: Bsfg_V1_ErrorDetail?
    /// From the detail, or from `Retry-After`.
    package var retryAfterMilliseconds: Int?

    package init(
        httpStatus: Int, code: String, message: String, detail: Bsfg_V1_ErrorDetail? = nil,
        retryAfterMilliseconds: Int? = nil
    ) {
        self.httpStatus = httpStatus
        self.code = code
        self.message = message
        self.detail = detail
        self.retryAfterMilliseconds = retryAfterMilliseconds
    }

    /// `ErrorDetail.reason`, also one that this release does not know.
    package var reason: String? { detail?.reason }

    /// The error as the server made it; nil where it is not one of our contract's.
    package var serviceError: ServiceError? {
        detail.flatMap { ServiceError(detail: $0, message: message) }
    }

    package var description: String {
        message.isEmpty ? "the server answered \(code) (HTTP \(httpStatus))" : message
    }
}

/// The server is not who it should be; made by the verifier that `RPCClient` is given.
package struct ServiceRefusal: Error, Sendable {
    package var reason: String
    package var sentence: String

    package init(reason: String, sentence: String) {
        self.reason = reason
        self.sentence = sentence
    }
}

/// An answer as HTTP has it.
package struct RPCResponse: Sendable {
    package var status: Int
    /// Names in lower case.
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]

    package init(status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first value of a header, by lower-case name.
    package func header(_ name: String) -> String? {
        headers.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }
}
