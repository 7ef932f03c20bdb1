internal import Facts
internal import NIOCore

/// What the head of a unary call says, checked: Connect's, or gRPC's (`GRPCHead`).
struct ConnectHead {
    /// How message and outcome are put into request and answer.
    enum Framing {
        case connect
        case grpc
    }

    enum Coding {
        case identity
        case gzip
    }

    var framing = Framing.connect
    var codec: RPCCodec
    var coding: Coding
    var acceptsGzip: Bool
    /// Another node's; what becomes of it is the service's to say.
    var acceptsLZ4: Bool
    var timeoutMilliseconds: Int
    /// As announced; nil when the body is chunked or HTTP/2 did not say.
    var contentLength: Int?

    static func tooLarge(bytes: Int) -> ServiceError {
        ServiceError(
            .tooLarge,
            "The body is larger than \(bytes) bytes; send less, or several calls.")
    }

    /// The codec of a media type spelled as nearly all clients spell it.
    static func usualCodec(_ mediaType: String) -> RPCCodec? {
        switch mediaType {
        case "application/proto": .proto
        case "application/json": .json
        default: nil
        }
    }

    fileprivate static func codec(_ mediaType: String?) throws(ServiceError) -> RPCCodec {
        guard let mediaType else {
            throw ServiceError(
                .unsupportedMediaType,
                "The request has no Content-Type; send application/json or application/proto.")
        }
        if let codec = usualCodec(mediaType) { return codec }
        // Parameters (charset and the like) say nothing that JSON or protobuf leave open.
        switch trimmed(mediaType.utf8.prefix { $0 != UInt8(ascii: ";") }).lowercased() {
        case "application/json": return .json
        case "application/proto": return .proto
        case "application/x-www-form-urlencoded":
            throw ServiceError(
                .unsupportedMediaType,
                "The Content-Type is a form's, which is what `curl --data` sends; use "
                    + "`curl --json` or send application/json or application/proto.")
        default:
            throw ServiceError(
                .unsupportedMediaType,
                "The Content-Type \(shown(mediaType)) is not supported; send application/json or "
                    + "application/proto.")
        }
    }

    fileprivate static func coding(_ text: String?) throws(ServiceError) -> Coding {
        guard let text else { return .identity }
        switch trimmed(text.utf8[...]).lowercased() {
        case "", "identity": return .identity
        case "gzip": return .gzip
        default:
            throw ServiceError(
                .unsupportedEncoding,
                "The Content-Encoding \(shown(text)) is not supported; send identity or gzip.")
        }
    }

    fileprivate static func timeout(
        _ text: String?, _ limits: RPCServerLimits
    ) throws(ServiceError) -> Int {
        guard let text else { return limits.defaultTimeoutMilliseconds }
        let digits = text.utf8
        guard (1...10).contains(digits.count),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let milliseconds = Int(text)
        else {
            throw ServiceError(
                .malformedRequest,
                "Connect-Timeout-Ms is \(shown(text)); send 1 to 10 digits, or leave it out.")
        }
        return min(milliseconds, limits.maximumTimeoutMilliseconds)
    }

    static func accepts(_ coding: String, in text: String) -> Bool {
        if text == coding { return true }
        for part in text.utf8.split(separator: UInt8(ascii: ",")) {
            let pieces = part.split(separator: UInt8(ascii: ";"))
            guard let name = pieces.first, trimmed(name).lowercased() == coding else { continue }
            // A weight of zero is the one way to say no.
            return !pieces.dropFirst().contains { piece in
                let weight = trimmed(piece)
                return weight.hasPrefix("q=0") && !weight.utf8.contains {
                    (UInt8(ascii: "1")...UInt8(ascii: "9")).contains($0)
                }
            }
        }
        return false
    }

    static func trimmed(_ text: Substring.UTF8View) -> String {
        var text = text
        while let first = text.first, first == 0x20 || first == 0x09 { text.removeFirst() }
        while let last = text.last, last == 0x20 || last == 0x09 { text.removeLast() }
        return String(decoding: text, as: UTF8.self)
    }

    /// A caller's text in an answer: quoted, and never long.
    static func shown(_ text: String) -> String {
        if text.utf8.count <= 64 { return "`\(text)`" }
        return "`\(String(decoding: text.utf8.prefix(64), as: UTF8.self))…`"
    }
}

extension ConnectHead {
    /// Reads the headers in the order in which a client wants to hear about them: what it can never
    /// send before what it sent wrongly this time.
    init(_ head: HTTPRequestHead, limits: RPCServerLimits) throws(ServiceError) {
        var mediaType: String?
        var codingText: String?
        var accepted: String?
        var version: String?
        var timeout: String?
        var length: String?
        for (name, value) in head.headers {
            switch name {
            case "content-type": mediaType = mediaType ?? value
            case "content-encoding": codingText = codingText.map { $0 + "," + value } ?? value
            case "accept-encoding": accepted = accepted.map { $0 + "," + value } ?? value
            case "connect-protocol-version": version = version ?? value
            case "connect-timeout-ms": timeout = timeout ?? value
            case "content-length": length = length ?? value
            default: break
            }
        }
        codec = try Self.codec(mediaType)
        if let version, version != "1" {
            throw ServiceError(
                .malformedRequest,
                "Connect-Protocol-Version is \(Self.shown(version)); leave it out or send 1.")
        }
        coding = try Self.coding(codingText)
        timeoutMilliseconds = try Self.timeout(timeout, limits)
        acceptsGzip = accepted.map { Self.accepts("gzip", in: $0) } ?? false
        acceptsLZ4 = accepted.map { Self.accepts(LZ4Coding.name, in: $0) } ?? false
        contentLength = length.flatMap { Int($0) }
        if let contentLength, contentLength > limits.bodyBytes {
            throw Self.tooLarge(bytes: limits.bodyBytes)
        }
    }
}
