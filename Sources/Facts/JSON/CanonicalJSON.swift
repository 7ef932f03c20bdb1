/// RFC 8785 canonical JSON by a strict scanner of our own: no text is accepted that two readers
/// could understand differently, and no number that a double changes without a word.
package enum CanonicalJSON {
    /// Containers within containers.
    package static let depthLimit = 64

    /// - Parameter limitBytes: of the canonical text, which is up to five times as long as what was sent.
    package static func canonicalise(
        _ bytes: UnsafeRawBufferPointer, limitBytes: Int = .max
    ) throws(CanonicalJSONError) -> [UInt8] {
        var canonicaliser = Canonicaliser(JSONReader(bytes), limitBytes: limitBytes)
        canonicaliser.output.reserveCapacity(min(bytes.count, limitBytes))
        try canonicaliser.value()
        do {
            try canonicaliser.reader.expectEnd()
        } catch {
            throw canonicaliser.located(error)
        }
        if let deferred = canonicaliser.deferred { throw deferred }
        return canonicaliser.output
    }

    package static func canonicalise(
        _ bytes: [UInt8], limitBytes: Int = .max
    ) throws(CanonicalJSONError) -> [UInt8] {
        let result: Result<[UInt8], CanonicalJSONError> = bytes.withUnsafeBytes { buffer in
            do throws(CanonicalJSONError) {
                return .success(try canonicalise(buffer, limitBytes: limitBytes))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// One pass over a text: validates, and writes the canonical form as it goes.
///
/// What makes a value unusable without making the text unreadable (a duplicate name, a lone
/// surrogate, a number that a double cannot keep, too long a text) is `deferred`, so that one bad fact of
/// a batch does not hide where the next begins; from there on nothing is kept of it. Everything else is
/// thrown at once.
struct Canonicaliser {
    private struct Member {
        var name: Range<Int>
        var text: Range<Int>
    }

    private enum Place {
        case name(Range<Int>)
        case index(Int)
    }

    var reader: JSONReader
    var output: [UInt8] = []
    private(set) var deferred: CanonicalJSONError?
    private let depthLimit: Int
    private let limitBytes: Int
    /// The decoded names of all open objects, end to end.
    private var names: [UInt8] = []
    /// The members of all open objects, the innermost's last.
    private var members: [Member] = []
    private var places: [Place] = []

    /// - Parameter limitBytes: of `output`.
    init(_ reader: JSONReader, depthLimit: Int = CanonicalJSON.depthLimit, limitBytes: Int = .max) {
        self.reader = reader
        self.limitBytes = limitBytes
        self.depthLimit = depthLimit
    }

    func located(_ problem: JSONReader.Problem) -> CanonicalJSONError {
        var path: [UInt8] = []
        for place in places where path.count <= JSONPath.limitBytes {
            switch place {
            case .index(let index): JSONPath.append(.index(index), to: &path)
            case .name(let range): JSONPath.append(.name(Array(names[range])), to: &path)
            }
        }
        return CanonicalJSONError(
            kind: problem.kind, path: JSONPath.text(path), byteOffset: problem.byteOffset,
            problem: problem.text)
    }

    /// Throws what makes the text unreadable, keeps the rest for the end.
    private mutating func report(_ problem: JSONReader.Problem) throws(CanonicalJSONError) {
        switch problem.kind {
        case .loneSurrogate, .duplicateName, .numberNotRepresentable:
            // Only the first is told, so only for it the path is written: a text may have as many as it has bytes.
            if deferred == nil { deferred = located(problem) }
        case .syntax, .invalidUTF8, .tooDeep, .tooLong: throw located(problem)
        }
    }

    mutating func value() throws(CanonicalJSONError) {
        switch reader.peek() {
        case 0x7B: try object()
        case 0x5B: try array()
        default:
            do throws(JSONReader.Problem) { try scalar() } catch { try report(error) }
        }
        // An open container's last comma stands where its bracket will: no text is longer here than at its end.
        if output.count > limitBytes, deferred == nil {
            deferred = CanonicalJSONError(
                kind: .tooLong, path: "", byteOffset: reader.position,
                problem: "the value has more than \(limitBytes) bytes as canonical text")
        }
        if deferred != nil { output.removeAll(keepingCapacity: true) }
    }

    private mutating func scalar() throws(JSONReader.Problem) {
        switch reader.peek() {
        case 0x22:
            output.append(0x22)
            try reader.string(into: &output, escaped: true)
            output.append(0x22)
        case .some(0x2D), .some(0x30...0x39):
            let number = try reader.number()
            try reader.appendCanonical(number, to: &output)
        case 0x74:
            try reader.literal("true")
            output += [0x74, 0x72, 0x75, 0x65]
        case 0x66:
            try reader.literal("false")
            output += [0x66, 0x61, 0x6C, 0x73, 0x65]
        case 0x6E:
            try reader.literal("null")
            output += [0x6E, 0x75, 0x6C, 0x6C]
        default: throw reader.unexpected("a JSON value")
        }
    }

    /// Steps over the container's opening bracket.
    private mutating func open() throws(CanonicalJSONError) {
        guard places.count < depthLimit else {
            throw located(
                reader.problem("the value nests deeper than \(depthLimit) levels", .tooDeep))
        }
        output.append(reader.bytes[reader.position])
        reader.position += 1
    }

    private mutating func array() throws(CanonicalJSONError) {
        try open()
        var index = 0
        if !reader.take(0x5D) {
            places.append(.index(0))
            while true {
                places[places.count - 1] = .index(index)
                try value()
                if reader.take(0x5D) { break }
                guard reader.take(0x2C) else { throw located(reader.unexpected("',' or ']'")) }
                output.append(0x2C)
                index += 1
            }
            places.removeLast()
        }
        output.append(0x5D)
    }

    private mutating func object() throws(CanonicalJSONError) {
        try open()
        let firstMember = members.count
        let firstName = names.count
        let start = output.count
        if !reader.take(0x7D) {
            places.append(.index(0))
            // Most facts have one small object: its members' room is made once.
            if members.isEmpty {
                members.reserveCapacity(8)
                names.reserveCapacity(128)
            }
            repeat {
                try member()
            } while reader.take(0x2C)
            guard reader.take(0x7D) else { throw located(reader.unexpected("',' or '}'")) }
            if deferred == nil { try sort(membersFrom: firstMember, textFrom: start) }
            places.removeLast()
        }
        output.append(0x7D)
        members.removeSubrange(firstMember...)
        names.removeSubrange(firstName...)
    }

    /// Members are written with a comma behind each; `sort` takes the last one away.
    private mutating func member() throws(CanonicalJSONError) {
        let nameStart = names.count
        let textStart = output.count
        do throws(JSONReader.Problem) {
            try reader.string(into: &names, escaped: false)
        } catch {
            try report(error)
        }
        let name = nameStart..<names.count
        places[places.count - 1] = .name(name)
        names.withUnsafeBytes {
            JSONText.appendString(UnsafeRawBufferPointer(rebasing: $0[name]), to: &output)
        }
        guard reader.take(0x3A) else { throw located(reader.unexpected("':'")) }
        output.append(0x3A)
        try value()
        output.append(0x2C)
        if deferred == nil { members.append(Member(name: name, text: textStart..<output.count)) }
    }

    /// Puts the members of the innermost object into the order of their names' UTF-16 code units.
    private mutating func sort(
        membersFrom first: Int, textFrom start: Int
    ) throws(CanonicalJSONError) {
        var duplicate: Range<Int>?
        var sorted = true
        for index in members.indices[(first + 1)...] {
            if compare(members[index - 1].name, members[index].name) >= 0 { sorted = false }
        }
        if !sorted {
            let names = names
            members[first...].sort { Self.compare($0.name, $1.name, in: names) < 0 }
            for index in members.indices[(first + 1)...]
            where compare(members[index - 1].name, members[index].name) == 0 {
                duplicate = members[index].name
                break
            }
            var ordered: [UInt8] = []
            ordered.reserveCapacity(output.count - start)
            for member in members[first...] { ordered += output[member.text] }
            output.replaceSubrange(start..., with: ordered)
        }
        output.removeLast()
        if let duplicate {
            places[places.count - 1] = .name(duplicate)
            try report(reader.problem("the object has a name twice", .duplicateName))
        }
    }

    private func compare(_ left: Range<Int>, _ right: Range<Int>) -> Int {
        Self.compare(left, right, in: names)
    }

    private static func compare(
        _ left: Range<Int>, _ right: Range<Int>, in names: [UInt8]
    ) -> Int {
        names.withUnsafeBytes { names in
            UTF16Order.compare(
                UnsafeRawBufferPointer(rebasing: names[left]),
                UnsafeRawBufferPointer(rebasing: names[right]))
        }
    }
}

/// The order of UTF-16 code units, over UTF-8.
enum UTF16Order {
    /// Below, at or above zero. UTF-8 sorts by code point; UTF-16 differs from that in one place
    /// only: surrogates (lead bytes from F0 up) come before U+E000 to U+FFFF (lead bytes EE and
    /// EF).
    static func compare(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
        let common = min(left.count, right.count)
        var index = 0
        while index < common, left[index] == right[index] { index += 1 }
        guard index < common else { return left.count - right.count }
        let (first, second) = (left[index], right[index])
        if first >= 0xEE, second >= 0xEE, (first >= 0xF0) != (second >= 0xF0) {
            return first >= 0xF0 ? -1 : 1
        }
        return Int(first) - Int(second)
    }
}
