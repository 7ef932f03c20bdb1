internal import CNGHTTP2

/// The error codes of RST_STREAM and GOAWAY (RFC 9113, section 7).
struct HTTP2ErrorCode: RawRepresentable, Equatable, Sendable, CustomStringConvertible {
    var rawValue: UInt32

    static let noError = HTTP2ErrorCode(rawValue: 0)
    static let protocolError = HTTP2ErrorCode(rawValue: 1)
    static let internalError = HTTP2ErrorCode(rawValue: 2)
    static let refusedStream = HTTP2ErrorCode(rawValue: 7)
    static let cancel = HTTP2ErrorCode(rawValue: 8)
    static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 11)

    private static let names = [
        "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
        "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
        "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
    ]

    var description: String {
        rawValue < Self.names.count ? Self.names[Int(rawValue)] : "error \(rawValue)"
    }
}

/// The session cannot go on; the connection ends.
struct HTTP2SessionError: Error, CustomStringConvertible {
    /// nghttp2's number.
    var code: Int
    var description: String

    init(_ code: Int) {
        self.code = code
        let text = String(cString: nghttp2_strerror(Int32(clamping: code)))
        self.description = "HTTP/2 session ended: \(text)"
    }

    /// The other side sends more control frames than anyone needs.
    var isFlood: Bool {
        code == Int(NGHTTP2_ERR_FLOODED.rawValue)
            || code == Int(NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue)
    }
}
