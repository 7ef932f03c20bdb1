/// Cuts the answers of one HTTP/1.1 connection from its bytes, without I/O. It knows what servers answer
/// that are measured: a status line, fields, and a body of a known length.
struct HTTP1AnswerReader {
    struct Malformed: Error, Equatable {
        let sentence: String
    }

    static let headBytesMaximum = 32 << 10

    private let bodyBytesMaximum: Int
    private var bytes: [UInt8] = []
    private var head: (status: Int, headers: [(name: String, value: String)])?
    private var bodyCount = 0

    init(bodyBytesMaximum: Int) { self.bodyBytesMaximum = bodyBytesMaximum }

    mutating func receive(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    /// The next whole answer; nil when there is none yet.
    mutating func next() throws(Malformed) -> RPCResponse? {
        if head == nil, try !readHead() { return nil }
        guard let head, bytes.count >= bodyCount else { return nil }
        let response = RPCResponse(
            status: head.status, headers: head.headers, body: Array(bytes.prefix(bodyCount)))
        bytes.removeFirst(bodyCount)
        self.head = nil
        return response
    }

    private mutating func readHead() throws(Malformed) -> Bool {
        guard let end = Self.headEnd(bytes) else {
            if bytes.count > Self.headBytesMaximum {
                throw Malformed(sentence: "a head larger than \(Self.headBytesMaximum) bytes")
            }
            return false
        }
        var lines = bytes[..<end].split(separator: 0x0A).map { line in
            String(decoding: line.last == 0x0D ? line.dropLast() : line, as: UTF8.self)
        }
        guard !lines.isEmpty else { throw Malformed(sentence: "an empty head") }
        let words = lines.removeFirst().split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0] == "HTTP/1.1", let status = Int(words[1]),
            (200...599).contains(status)
        else { throw Malformed(sentence: "no HTTP/1.1 status line") }
        var headers: [(name: String, value: String)] = []
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else {
                throw Malformed(sentence: "a field without a colon")
            }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            headers.append((line[..<colon].lowercased(), String(value)))
        }
        guard let length = headers.first(where: { $0.name == "content-length" })?.value,
            let count = Int(length), (0...bodyBytesMaximum).contains(count)
        else { throw Malformed(sentence: "an answer without a length that we take") }
        head = (status, headers)
        bodyCount = count
        bytes.removeFirst(end + 4)
        return true
    }

    /// Where the head's empty line begins.
    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4)
        where bytes[index] == 0x0D && bytes[index + 1] == 0x0A && bytes[index + 2] == 0x0D
            && bytes[index + 3] == 0x0A
        {
            return index
        }
        return nil
    }
}
