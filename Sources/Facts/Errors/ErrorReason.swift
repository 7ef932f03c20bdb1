/// Why a call was refused, as a program reads it: `ErrorDetail.reason`. The raw values are part of
/// the contract and never change or come back with another meaning.
package enum ErrorReason: String, CaseIterable, Sendable {
    case malformedRequest = "malformed_request"
    case missingField = "missing_field"
    case invalidEnvelope = "invalid_envelope"
    case invalidSubject = "invalid_subject"
    case invalidPredicate = "invalid_predicate"
    case invalidObject = "invalid_object"
    case digestMismatch = "digest_mismatch"
    case numberNotRepresentable = "number_not_representable"
    case unknownField = "unknown_field"
    case unknownZone = "unknown_zone"
    case unknownStream = "unknown_stream"

    case tooLarge = "too_large"

    case conflictingDuplicate = "conflicting_duplicate"
    case artifactExists = "artifact_exists"
    case consumerExists = "consumer_exists"

    case unsupportedEncoding = "unsupported_encoding"
    case notImplemented = "not_implemented"
    case unknownMethod = "unknown_method"
    case methodNotAllowed = "method_not_allowed"
    case unsupportedMediaType = "unsupported_media_type"
    case lengthRequired = "length_required"

    case deadlineExceeded = "deadline_exceeded"
    case `internal`

    case backpressure
    case artifactStoreFull = "artifact_store_full"
    case overloaded

    case outcomeUnknown = "outcome_unknown"
    case logPoisoned = "log_poisoned"
    case readOnly = "read_only"
    case draining
    case gateClosed = "gate_closed"
    case artifactPending = "artifact_pending"

    case identityNotAuthorised = "identity_not_authorised"
    case streamNotGranted = "stream_not_granted"
    case originNotGranted = "origin_not_granted"
    case fromZoneNotAllowed = "from_zone_not_allowed"
    case bucketNotGranted = "bucket_not_granted"
    case notTheOwner = "not_the_owner"

    case consumerNotFound = "consumer_not_found"
    case artifactNotFound = "artifact_not_found"

    case historyMismatch = "history_mismatch"
    case consumerBound = "consumer_bound"
    case cursorDetached = "cursor_detached"
    case initOutOfRange = "init_out_of_range"
    case profileMismatch = "profile_mismatch"
    case formatUnsupported = "format_unsupported"

    case beyondHead = "beyond_head"
}

/// Whether the same call may succeed when it is made again.
package enum RetryRule: String, Sendable {
    /// Never as it is: the call or the configuration has to change first.
    case no
    case yes
    /// Yes, not before `retry_after_ms`.
    case after
    /// Yes, and with the same message ids: the first attempt may have been stored.
    case sameIdentifier = "yes, same id"
}

/// One line of the error table.
package struct ErrorRule: Sendable {
    package let code: ConnectCode
    package let retry: RetryRule
    /// What happened and what to do, when the place that refuses knows nothing better.
    package let sentence: String
    /// False while no call of this release can be answered with it.
    package let served: Bool
    /// Refusals by HTTP before a procedure is known have a status of their own.
    package let httpStatus: Int

    init(
        _ code: ConnectCode, _ retry: RetryRule, served: Bool = true, httpStatus: Int? = nil,
        _ sentence: String
    ) {
        self.code = code
        self.retry = retry
        self.sentence = sentence
        self.served = served
        self.httpStatus = httpStatus ?? code.httpStatus
    }
}

extension ErrorReason {
    package var rule: ErrorRule { ErrorReason.table[self].unsafelyUnwrapped }
    package var code: ConnectCode { rule.code }
    package var retryable: Bool { rule.retry != .no }
    package var sentence: String { rule.sentence }
    package var httpStatus: Int { rule.httpStatus }
}
