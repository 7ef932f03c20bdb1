/// A fact as a producer sent it, not judged yet.
///
/// Not the generated messages: their maps keep one of two labels that differ only in Unicode
/// normalisation, and their `object` is no longer the text that was sent.
package struct FactSubmission: Sendable {
    package struct Label: Sendable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    package enum Body: Sendable {
        case absent
        /// JSON text as sent in `object_json`.
        case objectJSON([UInt8])
        /// An `object` that the request's reader brought into canonical form.
        case canonicalObject([UInt8])
        /// An `object` that cannot be kept.
        case refusedObject(CanonicalJSONError)
        case objectBytes([UInt8])
    }

    package struct Artifact: Sendable {
        package var zone = ""
        package var bucket = ""
        package var key = ""
        package var digest = ""
        package var size: UInt64 = 0
        package var mediaType = ""
        package var fileName = ""

        package init() {}
    }

    /// False when the request had no envelope, or no fact, at all.
    package var hasEnvelope = true
    package var hasFact = true
    package var messageID = ""
    package var fromZone = ""
    package var toZone = ""
    package var producedAtUnixMilliseconds: Int64 = 0
    package var correlationID = ""
    package var causationID = ""
    package var labels: [Label] = []
    package var objectMediaType = ""
    package var objectSchema = ""
    package var subject = ""
    package var predicate = ""
    package var body: Body = .absent
    package var artifacts: [Artifact] = []
    /// 0 when the request left it out.
    package var format: UInt32 = 0

    package init() {}
}

package struct AppendFactSubmission: Sendable {
    package var stream = ""
    package var fact = FactSubmission()

    package init() {}
}

/// A batch whose facts are read one at a time: together they may take a hundred times the bytes of their request.
package struct AppendFactsSubmission: Sendable {
    package internal(set) var stream = ""
    package internal(set) var stopOnError = false
    /// Of the facts, in `bytes`.
    var ranges: [Range<Int>] = []
    var bytes: [UInt8] = []
    /// The refusals of the JSON reader; nil: the request was binary.
    var refusals: [CanonicalJSONError]?

    package var count: Int { ranges.count }

    package func fact(at index: Int) throws(ServiceError) -> FactSubmission {
        try WireCodec.read(bytes, refusals) { reader throws(WireProblem) in
            try reader.message(ranges[index])
        }
    }
}
