internal import Facts
internal import FoundationEssentials

/// Reads a Connect error as leniently as responses are read: what cannot be understood leaves the
/// HTTP status to speak.
///
/// The other side may say anything, at any length, again and again; what it says goes into logs, states and onto
/// terminals.
enum ConnectErrorBody {
    private static let codeBytesMaximum = 64
    /// Of a batch that a node refuses, 64 failures with a sentence each. What is longer is not read: each element of a
    /// list takes many times the two bytes that it may have.
    static let bytesMaximum = 256 << 10

    private struct Body: Decodable {
        var code: String?
        var message: String?
        var details: [Detail]?
    }

    private struct Detail: Decodable {
        var type: String?
        var value: String?
    }

    static func failure(_ response: RPCResponse) -> RPCFailure {
        let body = decoded(response)
        let detail = body?.details?.lazy.compactMap(errorDetail).first
        let retryMilliseconds =
            detail.flatMap { $0.retryAfterMs > 0 ? Int($0.retryAfterMs) : nil }
            ?? response.header("retry-after").flatMap(Int.init).map { seconds in
                min(max(seconds, 0), 86_400) * 1000
            }
        return RPCFailure(
            httpStatus: response.status,
            code: body?.code.map { ShownText.line($0, bytes: codeBytesMaximum) }
                ?? ConnectCode.inferred(fromHTTPStatus: response.status).rawValue,
            message: ShownText.lines(
                body?.message ?? plainMessage(response), bytes: ServiceError.messageBytesMaximum),
            detail: detail,
            retryAfterMilliseconds: retryMilliseconds)
    }

    private static func decoded(_ response: RPCResponse) -> Body? {
        guard response.header("content-type")?.hasPrefix("application/json") == true,
            response.body.count <= bytesMaximum
        else { return nil }
        return try? JSONDecoder().decode(Body.self, from: Data(response.body))
    }

    private static func errorDetail(_ detail: Detail) -> Bsfg_V1_ErrorDetail? {
        guard detail.type == "bsfg.v1.ErrorDetail", let value = detail.value else { return nil }
        // Connect leaves base64's padding out.
        let padding = String(repeating: "=", count: (4 - value.utf8.count % 4) % 4)
        guard let bytes = Data(base64Encoded: value + padding) else { return nil }
        guard
            var told = try? WireCodec.decodeResponse(
                Bsfg_V1_ErrorDetail.self, [UInt8](bytes), .proto)
        else { return nil }
        told.field = ShownText.line(told.field)
        told.reason = ShownText.line(told.reason, bytes: codeBytesMaximum)
        return told
    }

    /// The first line of a short text body.
    private static func plainMessage(_ response: RPCResponse) -> String {
        guard response.header("content-type")?.hasPrefix("text/plain") == true else { return "" }
        let line = response.body.prefix(512).prefix { $0 != 0x0A && $0 != 0x0D }
        return String(decoding: line, as: UTF8.self)
    }
}
