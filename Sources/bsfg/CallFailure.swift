internal import Facts
internal import RPC

extension CommandFailure {
    /// A call's error with the exit status that it has everywhere.
    init(_ error: RPCClientError) {
        self.init(Self.status(of: error), error.description)
    }

    /// Runs a call and gives its errors their exit status.
    static func calling<Value>(
        _ body: () throws(RPCClientError) -> Value
    ) throws(CommandFailure) -> Value {
        do throws(RPCClientError) {
            return try body()
        } catch {
            throw CommandFailure(error)
        }
    }

    /// Runs a call and gives its errors their exit status.
    static func calling<Value>(
        _ body: () async throws(RPCClientError) -> Value
    ) async throws(CommandFailure) -> Value {
        do throws(RPCClientError) {
            return try await body()
        } catch {
            throw CommandFailure(error)
        }
    }

    private static func status(of error: RPCClientError) -> ExitStatus {
        switch error {
        case .transport(let kind, _):
            switch kind {
            case .dns, .refused, .unreachable, .silent, .timeout, .closed, .cancelled, .overloaded:
                .unavailable
            case .tls, .certificateRefused, .identity: .refused
            case .malformed: .failure
            }
        case .status(let failure):
            if failure.isRetryable {
                .unavailable
            } else {
                status(ofCode: failure.code)
            }
        }
    }

    private static func status(ofCode code: String) -> ExitStatus {
        switch ConnectCode(rawValue: code) {
        case .invalidArgument, .outOfRange, .unimplemented: .usage
        case .notFound, .alreadyExists, .permissionDenied, .failedPrecondition, .resourceExhausted,
            .unauthenticated, .aborted:
            .refused
        case .unavailable, .deadlineExceeded, .canceled: .unavailable
        case .unknown, .internal, .dataLoss, nil: .failure
        }
    }
}

extension RPCFailure {
    /// What the server says; without a detail, whether the code invites another try.
    var isRetryable: Bool { detail?.retryable ?? (code == ConnectCode.unavailable.rawValue) }
}

extension RPCClientError {
    /// Whether the same call may succeed later without anybody changing anything.
    var isTransient: Bool {
        switch self {
        case .status(let failure): failure.isRetryable
        case .transport(let kind, _):
            switch kind {
            case .refused, .unreachable, .silent, .timeout, .closed, .overloaded: true
            case .tls, .certificateRefused, .dns, .identity, .malformed, .cancelled: false
            }
        }
    }

    /// How long the server asks to wait.
    var retryAfterMilliseconds: Int? { failure?.retryAfterMilliseconds }
}
