/// The messages of `docs/api/bsfg.proto` as data, in the contract's order; a test compares them
/// with the committed descriptor set.
extension WireSchema {
    static let definitions: [MessageDefinition] = [
        MessageDefinition(
            "StoredRecord",
            [
                FieldDefinition(3, "origin", .message("Origin")),
                FieldDefinition(5, "message", .bytes, oneof: "item"),
                FieldDefinition(6, "gap", .message("Notice"), oneof: "item"),
                FieldDefinition(7, "refused", .message("Notice"), oneof: "item"),
                FieldDefinition(8, "quarantined", .message("Notice"), oneof: "item"),
                FieldDefinition(9, "late", .bool),
            ]),
        MessageDefinition(
            "Origin",
            [
                FieldDefinition(1, "log_uuid", .bytes),
                FieldDefinition(2, "epoch", .uint64),
                FieldDefinition(3, "offset", .uint64),
                FieldDefinition(4, "appended_at_unix_ms", .int64),
            ]),
        MessageDefinition(
            "Notice",
            [
                FieldDefinition(1, "first", .message("Origin")),
                FieldDefinition(2, "last_offset", .uint64),
                FieldDefinition(3, "reasons", .string, repeated: true),
                FieldDefinition(4, "content", .bytes),
            ]),
        MessageDefinition(
            "Message",
            [
                FieldDefinition(1, "envelope", .message("Envelope")),
                FieldDefinition(2, "fact", .message("Fact")),
                FieldDefinition(3, "format", .uint32),
            ]),
        MessageDefinition(
            "Envelope",
            [
                FieldDefinition(1, "message_id", .string),
                FieldDefinition(2, "from_zone", .string),
                FieldDefinition(3, "to_zone", .string),
                FieldDefinition(4, "produced_at_unix_ms", .int64),
                FieldDefinition(5, "correlation_id", .string),
                FieldDefinition(6, "causation_id", .string),
                FieldDefinition(7, "labels", .stringMap),
                FieldDefinition(8, "object_media_type", .string),
                FieldDefinition(9, "object_schema", .string),
            ]),
        MessageDefinition(
            "Fact",
            [
                FieldDefinition(1, "subject", .string),
                FieldDefinition(2, "predicate", .string),
                FieldDefinition(3, "object_json", .string, oneof: "body"),
                FieldDefinition(4, "object_bytes", .bytes, oneof: "body"),
                FieldDefinition(5, "artifacts", .message("ArtifactReference"), repeated: true),
                FieldDefinition(6, "object", .jsonValue, oneof: "body"),
            ]),
        MessageDefinition(
            "ArtifactReference",
            [
                FieldDefinition(1, "zone", .string),
                FieldDefinition(2, "bucket", .string),
                FieldDefinition(3, "key", .string),
                FieldDefinition(4, "digest", .string),
                FieldDefinition(5, "size", .uint64),
                FieldDefinition(6, "media_type", .string),
                FieldDefinition(7, "file_name", .string),
            ]),
        MessageDefinition(
            "AppendFactRequest",
            [
                FieldDefinition(1, "stream", .string),
                FieldDefinition(2, "envelope", .message("Envelope")),
                FieldDefinition(3, "fact", .message("Fact")),
            ]),
        MessageDefinition(
            "AppendFactResponse",
            [
                FieldDefinition(1, "offset", .uint64),
                FieldDefinition(2, "epoch", .uint64),
                FieldDefinition(3, "outcome", .enumeration),
                FieldDefinition(4, "fill", .double),
                FieldDefinition(5, "content_digest", .bytes),
            ]),
        MessageDefinition(
            "AppendFactsRequest",
            [
                FieldDefinition(1, "stream", .string),
                FieldDefinition(2, "facts", .message("Message"), repeated: true),
                FieldDefinition(3, "stop_on_error", .bool),
            ]),
        MessageDefinition(
            "AppendFactsResponse",
            [
                FieldDefinition(1, "outcomes", .message("AppendResult"), repeated: true),
                FieldDefinition(2, "epoch", .uint64),
                FieldDefinition(3, "fill", .double),
            ]),
        MessageDefinition(
            "AppendResult",
            [
                FieldDefinition(1, "offset", .uint64),
                FieldDefinition(2, "outcome", .enumeration),
                FieldDefinition(3, "content_digest", .bytes),
                FieldDefinition(4, "error", .message("ErrorDetail")),
            ]),
        MessageDefinition(
            "FetchFactsRequest",
            [
                FieldDefinition(1, "consumer_name", .string),
                FieldDefinition(2, "limit", .uint32),
                FieldDefinition(3, "max_bytes", .uint32),
                FieldDefinition(4, "from_offset", .uint64),
                FieldDefinition(5, "wait_ms", .uint32),
                FieldDefinition(6, "source", .message("Position")),
                FieldDefinition(7, "receiver", .message("Position")),
                FieldDefinition(8, "format_max", .uint32),
            ]),
        MessageDefinition(
            "Position",
            [
                FieldDefinition(1, "log_uuid", .bytes),
                FieldDefinition(2, "epoch", .uint64),
                FieldDefinition(3, "offset", .uint64),
                FieldDefinition(4, "digest_before", .bytes),
                FieldDefinition(5, "digest_offset", .uint64),
            ]),
        MessageDefinition(
            "Entry",
            [
                FieldDefinition(1, "offset", .uint64),
                FieldDefinition(2, "appended_at_unix_ms", .int64),
                FieldDefinition(3, "origin", .message("Origin")),
                FieldDefinition(4, "crc32c", .fixed32),
                FieldDefinition(5, "message", .message("Message"), oneof: "item"),
                FieldDefinition(6, "gap", .message("Notice"), oneof: "item"),
                FieldDefinition(7, "refused", .message("Notice"), oneof: "item"),
                FieldDefinition(8, "quarantined", .message("Notice"), oneof: "item"),
                FieldDefinition(9, "late", .bool),
                FieldDefinition(10, "content_digest", .bytes),
            ]),
        MessageDefinition(
            "FetchFactsResponse",
            [
                FieldDefinition(1, "entries", .message("Entry"), repeated: true),
                FieldDefinition(2, "next_offset", .uint64),
                FieldDefinition(3, "head_offset", .uint64),
                FieldDefinition(4, "first_offset", .uint64),
                FieldDefinition(5, "confirmed_offset", .uint64),
                FieldDefinition(6, "source", .message("Position")),
            ]),
        MessageDefinition(
            "ConfirmReceiptRequest",
            [
                FieldDefinition(1, "consumer_name", .string),
                FieldDefinition(2, "offset", .uint64),
                FieldDefinition(3, "source", .message("Position")),
                FieldDefinition(4, "receiver", .message("Position")),
            ]),
        MessageDefinition(
            "ConfirmReceiptResponse",
            [
                FieldDefinition(1, "cursor_advanced_to", .uint64),
                FieldDefinition(2, "next_offset", .uint64),
                FieldDefinition(3, "passed", .message("Notice"), repeated: true),
            ]),
        MessageDefinition(
            "PutObjectRequest",
            [
                FieldDefinition(1, "bucket", .string),
                FieldDefinition(2, "key", .string),
                FieldDefinition(3, "blob", .bytes),
                FieldDefinition(4, "media_type", .string),
                FieldDefinition(5, "digest", .string),
            ]),
        MessageDefinition(
            "PutObjectResponse",
            [
                FieldDefinition(1, "bucket", .string),
                FieldDefinition(2, "key", .string),
                FieldDefinition(3, "digest", .string),
                FieldDefinition(4, "size", .uint64),
                FieldDefinition(5, "zone", .string),
            ]),
        MessageDefinition(
            "GetObjectRequest",
            [
                FieldDefinition(1, "zone", .string),
                FieldDefinition(2, "bucket", .string),
                FieldDefinition(3, "key", .string),
                FieldDefinition(4, "digest", .string),
            ]),
        MessageDefinition(
            "GetObjectResponse",
            [
                FieldDefinition(1, "blob", .bytes),
                FieldDefinition(2, "reference", .message("ArtifactReference")),
            ]),
        MessageDefinition(
            "HelloRequest",
            [
                FieldDefinition(1, "zone", .string),
                FieldDefinition(2, "release", .string),
                FieldDefinition(3, "features", .string, repeated: true),
                FieldDefinition(4, "format_max", .uint32),
            ]),
        MessageDefinition(
            "HelloResponse",
            [
                FieldDefinition(1, "zone", .string),
                FieldDefinition(2, "release", .string),
                FieldDefinition(3, "features", .string, repeated: true),
                FieldDefinition(4, "format_max", .uint32),
                FieldDefinition(5, "time_unix_ms", .int64),
                FieldDefinition(6, "page_bytes_max", .uint64),
                FieldDefinition(7, "record_bytes_max", .uint64),
                FieldDefinition(8, "caller_identity", .string),
                FieldDefinition(9, "caller_peer_id", .string),
            ]),
        MessageDefinition("ListStreamsRequest", []),
        MessageDefinition(
            "ListStreamsResponse",
            [
                FieldDefinition(1, "streams", .message("StreamInfo"), repeated: true)
            ]),
        MessageDefinition(
            "StreamInfo",
            [
                FieldDefinition(1, "stream", .string),
                FieldDefinition(2, "origin_zone", .string),
                FieldDefinition(3, "head", .message("Position")),
                FieldDefinition(4, "first_offset", .uint64),
                FieldDefinition(5, "confirmed_offset", .uint64),
                FieldDefinition(6, "profile", .string),
            ]),
        MessageDefinition(
            "OpenCursorRequest",
            [
                FieldDefinition(1, "consumer_name", .string),
                FieldDefinition(2, "stream", .string),
                FieldDefinition(3, "origin_zone", .string),
                FieldDefinition(4, "init_mode", .string),
                FieldDefinition(5, "init_timestamp_unix_ms", .int64),
                FieldDefinition(6, "dry_run", .bool),
                FieldDefinition(7, "receiver", .message("Position")),
                FieldDefinition(8, "profile", .string),
                FieldDefinition(9, "position", .message("Position")),
            ]),
        MessageDefinition(
            "OpenCursorResponse",
            [
                FieldDefinition(1, "start", .message("Position")),
                FieldDefinition(2, "existing", .bool),
                FieldDefinition(3, "init_mode", .string),
                FieldDefinition(4, "shortfall_ms", .int64),
                FieldDefinition(5, "head_offset", .uint64),
                FieldDefinition(6, "resolved_at_unix_ms", .int64),
                FieldDefinition(7, "epochs", .message("Epoch"), repeated: true),
            ]),
        MessageDefinition(
            "Epoch",
            [
                FieldDefinition(1, "epoch", .uint64),
                FieldDefinition(2, "first_offset", .uint64),
                FieldDefinition(3, "began_at_unix_ms", .int64),
                FieldDefinition(4, "reason", .string),
            ]),
        MessageDefinition(
            "NotifyAvailableRequest",
            [
                FieldDefinition(1, "stream", .string),
                FieldDefinition(2, "origin_zone", .string),
                FieldDefinition(3, "head_offset", .uint64),
            ]),
        MessageDefinition("NotifyAvailableResponse", []),
        MessageDefinition(
            "ErrorDetail",
            [
                FieldDefinition(1, "reason", .string),
                FieldDefinition(2, "retryable", .bool),
                FieldDefinition(3, "retry_after_ms", .uint32),
                FieldDefinition(4, "field", .string),
                FieldDefinition(5, "offset", .uint64),
                FieldDefinition(6, "first_offset", .uint64),
                FieldDefinition(7, "head_offset", .uint64),
                FieldDefinition(8, "stored_digest", .bytes),
                FieldDefinition(9, "offered_digest", .bytes),
                FieldDefinition(10, "fill", .double),
                FieldDefinition(11, "failures", .message("AppendResult"), repeated: true),
                FieldDefinition(12, "failed_count", .uint32),
                FieldDefinition(13, "accepted_count", .uint32),
            ]),
    ]

    /// The names of `Outcome`, by number: the contract's only enumeration.
    static let outcomeNames = [
        "OUTCOME_UNSPECIFIED",
        "OUTCOME_APPENDED",
        "OUTCOME_EXISTING",
        "OUTCOME_CONFLICT",
        "OUTCOME_INVALID",
        "OUTCOME_REFUSED",
        "OUTCOME_UNKNOWN",
        "OUTCOME_SKIPPED",
    ]
}
