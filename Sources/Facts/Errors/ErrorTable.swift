extension ErrorReason {
    /// The error table: `docs/api/errors.md` is generated from it, and a reason without a line here
    /// fails a test. `served: false` marks what this release cannot yet answer with.
    static let table: [ErrorReason: ErrorRule] = [
        .malformedRequest: ErrorRule(
            .invalidArgument, .no,
            "The request could not be read; correct it as the message says and send it again."),
        .missingField: ErrorRule(
            .invalidArgument, .no, "A required field is absent; send it."),
        .invalidEnvelope: ErrorRule(
            .invalidArgument, .no,
            "A field of the envelope breaks its rule; correct it and send the fact again."),
        .invalidSubject: ErrorRule(
            .invalidArgument, .no,
            "The subject is not `kind:id` or `kind:scope/id` with a lower-case kind; correct it."),
        .invalidPredicate: ErrorRule(
            .invalidArgument, .no, "The predicate is not lower_snake_case; correct it."),
        .invalidObject: ErrorRule(
            .invalidArgument, .no,
            "The object or one of its artifact references breaks its rule; correct it."),
        .digestMismatch: ErrorRule(
            .invalidArgument, .no,
            "The bytes do not have the digest that was sent with them; send both again."),
        .numberNotRepresentable: ErrorRule(
            .invalidArgument, .no,
            "A number cannot be kept exactly as a double; send a string, or object_bytes."),
        .unknownField: ErrorRule(
            .invalidArgument, .no,
            "The request has a field that the contract does not know; remove or rename it."),
        .unknownZone: ErrorRule(
            .invalidArgument, .no,
            "No such zone is configured here; name a known one in `to_zone`."),
        .unknownStream: ErrorRule(
            .invalidArgument, .no, "No such stream is configured here; name a known one."),

        .tooLarge: ErrorRule(
            .resourceExhausted, .no,
            "The request or a part of it is above its limit; send less, or several calls."),

        .conflictingDuplicate: ErrorRule(
            .alreadyExists, .no,
            "The same message_id was stored with other content and nothing was changed; "
                + "a correction is a new fact with an id of its own."),
        .artifactExists: ErrorRule(
            .alreadyExists, .no,
            "The artifact exists with other bytes; use another key."),
        .consumerExists: ErrorRule(
            .alreadyExists, .no, "A consumer of this name exists; use it or choose another name."),

        .unsupportedEncoding: ErrorRule(
            .unimplemented, .no,
            "The content coding is not supported; send identity or gzip."),
        .notImplemented: ErrorRule(
            .unimplemented, .no, served: false,
            "This release has no such operation; see the contract for what it serves."),
        .unknownMethod: ErrorRule(
            .unimplemented, .no, httpStatus: 404,
            "There is nothing at this path; procedures are /bsfg.v1.<Service>/<Method>."),
        .methodNotAllowed: ErrorRule(
            .unimplemented, .no, httpStatus: 405,
            "The path does not answer this verb; procedures are called with POST."),
        .unsupportedMediaType: ErrorRule(
            .unimplemented, .no, httpStatus: 415,
            "The media type is not supported; send application/json or application/proto "
                + "(curl: use --json)."),
        .lengthRequired: ErrorRule(
            .unimplemented, .no, httpStatus: 411,
            "The body needs a Content-Length; send one."),

        .deadlineExceeded: ErrorRule(
            .deadlineExceeded, .yes,
            "The deadline passed before anything was admitted; call again with more time."),
        .internal: ErrorRule(
            .internal, .no,
            "The node failed in a way it should not; its log has the cause at this time."),

        .backpressure: ErrorRule(
            .resourceExhausted, .after,
            "The log is filled to its high watermark; send the same call again later."),
        .artifactStoreFull: ErrorRule(
            .resourceExhausted, .after,
            "The artifact store is full; send the same call again later."),
        .overloaded: ErrorRule(
            .resourceExhausted, .after,
            "The node has too much in flight; send the same call again later."),

        .outcomeUnknown: ErrorRule(
            .unavailable, .sameIdentifier,
            "It is not known whether the facts were stored; send the same call again with the "
                + "same ids, which is safe."),
        .logPoisoned: ErrorRule(
            .unavailable, .yes,
            "The log stopped after a disk error and accepts nothing; the operator has to look at "
                + "the disk and restart the node."),
        .readOnly: ErrorRule(
            .unavailable, .yes, served: false,
            "The node serves reads only at the moment; append later."),
        .draining: ErrorRule(
            .unavailable, .yes, "The node is stopping; call again when it is back."),
        .gateClosed: ErrorRule(
            .unavailable, .yes, "An operator closed the gate to this peer; call again when it is open."),
        .artifactPending: ErrorRule(
            .unavailable, .after,
            "The artifact is known and has not arrived here yet; call again later."),

        .identityNotAuthorised: ErrorRule(
            .permissionDenied, .no,
            "The certificate's identity may not make this call; the operator grants it in "
                + "peers.yaml or under `clients`."),
        .streamNotGranted: ErrorRule(
            .permissionDenied, .no,
            "The caller has no grant for this stream; the operator grants it."),
        .originNotGranted: ErrorRule(
            .permissionDenied, .no,
            "The caller has no grant for facts of this origin; the operator grants it."),
        .fromZoneNotAllowed: ErrorRule(
            .permissionDenied, .no,
            "Producers may only append facts whose from_zone is this node's zone; correct it."),
        .bucketNotGranted: ErrorRule(
            .permissionDenied, .no,
            "The caller has no grant for this bucket; the operator grants it."),
        .notTheOwner: ErrorRule(
            .permissionDenied, .no,
            "The consumer belongs to another identity; use a consumer of your own."),

        .consumerNotFound: ErrorRule(
            .notFound, .no,
            "There is no such consumer; the operator makes one with `bsfg consumer create`."),
        .artifactNotFound: ErrorRule(
            .notFound, .yes,
            "There is no such artifact here; call again later if its fact was just appended."),

        .historyMismatch: ErrorRule(
            .failedPrecondition, .no,
            "The two logs do not share the history that the call presumes; one side was restored "
                + "or copied, and an operator decides how to go on."),
        .consumerBound: ErrorRule(
            .failedPrecondition, .no,
            "The consumer is bound to another stream, origin or log; use another name."),
        .cursorDetached: ErrorRule(
            .failedPrecondition, .no,
            "The cursor was detached; the operator attaches it again."),
        .initOutOfRange: ErrorRule(
            .failedPrecondition, .no,
            "The initial timestamp is outside of what the log holds; choose one inside."),
        .profileMismatch: ErrorRule(
            .failedPrecondition, .no,
            "The stream has another profile on the other side; configure the same on both."),
        .formatUnsupported: ErrorRule(
            .failedPrecondition, .no,
            "The next fact is of a format that the caller says it does not know; upgrade the caller."),

        .beyondHead: ErrorRule(
            .outOfRange, .no,
            "The offset lies beyond what the log holds; ask for one up to its head."),
    ]
}
