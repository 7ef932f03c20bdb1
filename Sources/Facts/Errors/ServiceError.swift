internal import Foundation
internal import SwiftProtobuf

/// A refusal on its way to a caller: exactly one `ErrorDetail` in one Connect error.
package struct ServiceError: Error, Sendable {
    /// Of a message, and of a field: both may quote what was sent, of which an error is no copy. With gRPC both forms
    /// of a message stand in a head, which nghttp2 sends up to 64 KiB.
    package static let messageBytesMaximum = 8 << 10

    package var reason: ErrorReason
    /// One sentence: what happened and what to do.
    package var message: String { didSet { message = ServiceError.bounded(message) } }
    /// The path of the field that is at fault, e.g. `fact.object.counter`; empty: none.
    package var field: String { didSet { field = ServiceError.bounded(field) } }
    /// Also the `Retry-After` header, rounded up to seconds; 0: none.
    package var retryAfterMilliseconds: UInt32 = 0
    package var offset: UInt64?
    package var firstOffset: UInt64?
    package var headOffset: UInt64?
    package var storedDigest: Digest?
    package var offeredDigest: Digest?
    package var fill: Double = 0
    /// Of a batch: the first 64.
    package var failures: [Bsfg_V1_AppendResult] = []
    package var failedCount: UInt32 = 0
    package var acceptedCount: UInt32 = 0
    /// Whatever the table says of the reason, unless the place that refuses knows better.
    package var retryable: Bool

    /// An empty message takes the reason's own sentence.
    package init(_ reason: ErrorReason, _ message: String = "", field: String = "") {
        self.reason = reason
        self.message = message.isEmpty ? reason.sentence : ServiceError.bounded(message)
        self.field = ServiceError.bounded(field)
        self.retryable = reason.retryable
    }

    private static func bounded(_ text: String) -> String {
        ShownText.bounded(text, bytes: messageBytesMaximum)
    }

    package var code: ConnectCode { reason.code }
    package var httpStatus: Int { reason.httpStatus }

    /// Nil when the caller is not told to wait.
    package var retryAfterSeconds: UInt32? {
        guard retryAfterMilliseconds > 0 else { return nil }
        return (retryAfterMilliseconds - 1) / 1000 + 1
    }

    package var detail: Bsfg_V1_ErrorDetail {
        var detail = Bsfg_V1_ErrorDetail()
        detail.reason = reason.rawValue
        detail.retryable = retryable
        detail.retryAfterMs = retryAfterMilliseconds
        detail.field = field
        if let offset { detail.offset = offset }
        if let firstOffset { detail.firstOffset = firstOffset }
        if let headOffset { detail.headOffset = headOffset }
        if let storedDigest { detail.storedDigest = Data(storedDigest.bytes) }
        if let offeredDigest { detail.offeredDigest = Data(offeredDigest.bytes) }
        detail.fill = fill
        detail.failures = Array(failures.prefix(64))
        detail.failedCount = failedCount
        detail.acceptedCount = acceptedCount
        return detail
    }

    /// The error that a detail describes; nil for a reason that this release does not know.
    package init?(detail: Bsfg_V1_ErrorDetail, message: String) {
        guard let reason = ErrorReason(rawValue: detail.reason) else { return nil }
        self.init(reason, message, field: detail.field)
        retryable = detail.retryable
        retryAfterMilliseconds = detail.retryAfterMs
        if detail.hasOffset { offset = detail.offset }
        if detail.hasFirstOffset { firstOffset = detail.firstOffset }
        if detail.hasHeadOffset { headOffset = detail.headOffset }
        storedDigest = Digest(detail.storedDigest)
        offeredDigest = Digest(detail.offeredDigest)
        fill = detail.fill
        failures = detail.failures
        failedCount = detail.failedCount
        acceptedCount = detail.acceptedCount
    }

    /// The JSON body of a unary Connect error. `debug` is the detail as JSON, for people with curl.
    package var connectBody: [UInt8] {
        var body = Array("{\"code\":\"\(code.rawValue)\",\"message\":".utf8)
        JSONText.appendString(message.utf8, to: &body)
        body += Array(",\"details\":[{\"type\":\"bsfg.v1.ErrorDetail\",\"value\":\"".utf8)
        let detail = detail
        let bytes: [UInt8] = (try? detail.serializedBytes()) ?? []
        bytes.withUnsafeBytes { Base64.encode($0, padded: false, into: &body) }
        body += Array("\",\"debug\":".utf8)
        body += (try? detail.jsonUTF8Bytes()) ?? Array("{}".utf8)
        body += Array("}]}".utf8)
        return body
    }
}
