/// Entries for people: the specification's snake_case names, the object as the JSON value that it is,
/// numbers as numbers, digests in hexadecimal.
package enum EntryPresentation {
    /// One entry of a page, from the bytes of an `Entry`.
    package static func json(entry: [UInt8]) throws(MalformedRecord) -> [UInt8] {
        try WireCodec.json(entry, "Entry", .presentation)
    }

    /// A whole page, from the bytes of a `FetchFactsResponse`.
    package static func json(page: [UInt8]) throws(MalformedRecord) -> [UInt8] {
        try WireCodec.json(page, "FetchFactsResponse", .presentation)
    }

    /// Each entry of a page as one line of JSON.
    package static func lines(page: [UInt8]) throws(MalformedRecord) -> [[UInt8]] {
        let result: Result<[[UInt8]], MalformedRecord> = page.withUnsafeBytes { bytes in
            do throws(WireProblem) {
                var entries: [[UInt8]] = []
                var reader = WireReader(bytes)
                let schema = WireSchema.message(named: "Entry")
                while let field = try reader.next() {
                    guard field.number == 1, field.type == .bytes else { continue }
                    entries.append(
                        try WireToJSON.convert(
                            reader.slice(field.content), as: schema, style: .presentation))
                }
                return .success(entries)
            } catch {
                return .failure(MalformedRecord(error, in: "the page"))
            }
        }
        return try result.get()
    }

    /// Any message of the contract in the same spelling.
    package static func json(
        protobuf bytes: [UInt8], messageName: String
    ) throws(MalformedRecord) -> [UInt8] {
        try WireCodec.json(bytes, messageName, .presentation)
    }

    /// The same JSON over several lines, indented by two spaces.
    package static func indented(_ json: [UInt8]) -> [UInt8] { JSONText.indented(json) }
}
