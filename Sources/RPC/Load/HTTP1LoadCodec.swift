/// HTTP/1.1 for a load: one call at a time on a connection. It knows what servers answer that are measured:
/// a status line, fields, and a body of a known length.
struct HTTP1LoadCodec: LoadCodec {
    static let protocolName = "http/1.1"
    static let concurrentCalls = 1
    static let headBytesMaximum = 32 << 10

    /// Everything of a request before the number of its body's bytes.
    private let head: [UInt8]
    private let bodyBytesMaximum: Int
    private var output: [UInt8] = []
    private var sent: UInt32 = 0
    private var bytes: [UInt8] = []
    private var answerHead: (status: Int, headers: [(name: String, value: String)])?
    private var bodyCount = 0

    init(authority: String, procedure: String, bodyBytesMaximum: Int) {
        head = Array(
            ("POST \(procedure) HTTP/1.1\r\nhost: \(authority)\r\n"
                + "content-type: \(RPCCodec.proto.mediaType)\r\nconnect-protocol-version: 1\r\n"
                + "user-agent: bsfg\r\ncontent-length: ").utf8)
        self.bodyBytesMaximum = bodyBytesMaximum
    }

    mutating func send(_ body: [UInt8]) -> UInt32 {
        output += head
        output += Array("\(body.count)\r\n\r\n".utf8)
        output += body
        sent += 1
        return sent
    }

    mutating func takeOutput() -> [UInt8] {
        defer { output = [] }
        return output
    }

    mutating func receive(_ more: some Collection<UInt8>) { bytes.append(contentsOf: more) }

    mutating func next() throws(LoadProblem) -> (number: UInt32, response: RPCResponse)? {
        if answerHead == nil, try !readHead() { return nil }
        guard let answerHead, bytes.count >= bodyCount else { return nil }
        let response = RPCResponse(
            status: answerHead.status, headers: answerHead.headers,
            body: Array(bytes.prefix(bodyCount)))
        bytes.removeFirst(bodyCount)
        self.answerHead = nil
        return (sent, response)
    }

    private mutating func readHead() throws(LoadProblem) -> Bool {
        guard let end = Self.headEnd(bytes) else {
            if bytes.count > Self.headBytesMaximum {
                throw LoadProblem(sentence: "a head larger than \(Self.headBytesMaximum) bytes")
            }
            return false
        }
        var lines = bytes[..<end].split(separator: 0x0A).map { line in
            String(decoding: line.last == 0x0D ? line.dropLast() : line, as: UTF8.self)
        }
        guard !lines.isEmpty else { throw LoadProblem(sentence: "an empty head") }
        let words = lines.removeFirst().split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].utf8.elementsEqual("HTTP/1.1".utf8),
            let status = Int(words[1]), (200...599).contains(status)
        else { throw LoadProblem(sentence: "no HTTP/1.1 status line") }
        var headers: [(name: String, value: String)] = []
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else {
                throw LoadProblem(sentence: "a field without a colon")
            }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            headers.append((line[..<colon].lowercased(), String(value)))
        }
        guard
            let length = headers.first(where: { $0.name.utf8.elementsEqual("content-length".utf8) }),
            let count = Int(length.value), (0...bodyBytesMaximum).contains(count)
        else { throw LoadProblem(sentence: "an answer without a length that we take") }
        answerHead = (status, headers)
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
