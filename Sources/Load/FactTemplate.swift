package import Facts

/// Requests that differ in their facts' ids only: encoded once, then stamped with a number.
package struct FactTemplate: Sendable {
    /// Bytes of a fact's message where nothing else is asked for.
    package static let messageBytesDefault = 256

    private var bytes: [UInt8]
    /// Where the sixteen digits of each fact's id are.
    private let places: [Int]
    package let messageBytes: Int

    package var factsPerCall: Int { places.count }

    private static let digits = 16

    /// - Parameters:
    ///   - run: makes the ids of this run its own; at most 32 bytes.
    ///   - batch: facts a call; nil: one, by AppendFact.
    ///   - messageBytes: about as many bytes each message has, at least what its other fields take.
    package init(
        run: String, stream: String, fromZone: String, toZone: String, batch: Int?, messageBytes: Int,
        nowUnixMilliseconds: Int64
    ) throws(FactError) {
        let digits = String(repeating: "0", count: Self.digits)
        let encoder = FactEncoder(limits: FactLimits(objectBytes: FactLimits.objectBytesCeiling))
        func encode(padding: Int) throws(FactError) -> EncodedFact {
            var fact = FactSubmission()
            fact.messageID = "\(run)-\(digits)"
            fact.fromZone = fromZone
            fact.toZone = toZone
            fact.producedAtUnixMilliseconds = nowUnixMilliseconds
            fact.subject = "turbine:R80711"
            fact.predicate = "reading_taken"
            let note = String(repeating: "x", count: padding)
            fact.body = .objectJSON(
                Array(
                    #"{"note":"\#(note)","power_kw":1234.5,"quality":"good","rotor_rpm":12.75}"#.utf8))
            return try encoder.encode(fact)
        }
        var fact = try encode(padding: 0)
        if fact.message.count < messageBytes {
            fact = try encode(padding: messageBytes - fact.message.count)
        }
        self.messageBytes = fact.message.count
        bytes =
            batch.map { count in
                AppendRequestWriter.appendFacts(
                    stream: stream, repeatElement(fact, count: count))
            } ?? AppendRequestWriter.appendFact(stream: stream, fact)
        places = Self.places(of: Array("\(run)-\(digits)".utf8), in: bytes).map {
            $0 + run.utf8.count + 1
        }
        precondition(places.count == batch ?? 1, "each fact has its id once")
    }

    private static func places(of id: [UInt8], in bytes: [UInt8]) -> [Int] {
        var found: [Int] = []
        var index = 0
        while index + id.count <= bytes.count {
            if bytes[index] == id[0], bytes[index..<(index + id.count)].elementsEqual(id) {
                found.append(index)
                index += id.count
            } else {
                index += 1
            }
        }
        return found
    }

    /// The request of a call: its facts have ids that no other call's have.
    package mutating func body(call: Int) -> [UInt8] {
        for (index, place) in places.enumerated() {
            var number = call * places.count + index
            var digit = place + Self.digits
            while digit > place {
                digit -= 1
                bytes[digit] = UInt8(ascii: "0") + UInt8(number % 10)
                number /= 10
            }
        }
        return bytes
    }
}
