internal import SwiftProtobuf

/// Why a fact cannot be taken: about one fact, so that a batch can answer it beside the others.
package struct FactError: Error, Sendable, Equatable {
    package var reason: ErrorReason
    /// The path in the request, e.g. `envelope.message_id`.
    package var field: String
    /// What is wrong and what to do.
    package var sentence: String

    package init(_ reason: ErrorReason, field: String, _ sentence: String) {
        self.reason = reason
        self.field = field
        self.sentence = sentence
    }

    /// A refused JSON value; `field` is where it stands in the request.
    init(_ error: CanonicalJSONError, field: String) {
        reason =
            switch error.kind {
            case .numberNotRepresentable: .numberNotRepresentable
            case .tooLong: .tooLarge
            case .syntax, .invalidUTF8, .loneSurrogate, .duplicateName, .tooDeep: .invalidObject
            }
        self.field = JSONPath.join(field, error.path)
        sentence = error.sentence
    }

    package var serviceError: ServiceError { ServiceError(reason, sentence, field: field) }

    /// The answer to one invalid fact of a batch.
    package var appendResult: Bsfg_V1_AppendResult {
        var result = Bsfg_V1_AppendResult()
        result.outcome = .invalid
        result.error = serviceError.detail
        return result
    }
}
