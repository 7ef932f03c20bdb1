internal import FoundationEssentials

/// Reads a Connect error as leniently as responses are read: what cannot be understood leaves the
/// HTTP status to speak.
enum ConnectErrorBody {
    private struct Body: Decodable {
        var code: String?
        var message: String?
        var details: [Detail]?
    }

    private struct Detail: Decodable {
        var type: String?
        var value: String?
        var debug: Debug?
    }

    /// The fields of `ErrorDetail` that a client needs, in either of JSON's spellings.
    private struct Debug: Decodable {
        var reason: String?
        var retryAfterMs: Int?
        var retry_after_ms: Int?
    }

    static func failure(_ response: RPCResponse) -> RPCFailure {
        let body = decoded(response)
        let details = (body?.details ?? []).compactMap { detail -> RPCFailure.Detail? in
            guard let type = detail.type, let value = detail.value.flatMap(base64) else {
                return nil
            }
            return RPCFailure.Detail(type: type, value: value)
        }
        let debug = body?.details?.lazy.compactMap(\.debug).first { $0.reason != nil }
        let retryMilliseconds =
            debug?.retryAfterMs ?? debug?.retry_after_ms
            ?? response.header("retry-after").flatMap(Int.init).map { seconds in
                min(max(seconds, 0), 86_400) * 1000
            }
        return RPCFailure(
            httpStatus: response.status,
            code: body?.code ?? inferredCode(response.status),
            message: body?.message ?? plainMessage(response),
            reason: debug?.reason,
            details: details,
            retryAfterMilliseconds: retryMilliseconds)
    }

    private static func decoded(_ response: RPCResponse) -> Body? {
        guard response.header("content-type")?.hasPrefix("application/json") == true else {
            return nil
        }
        return try? JSONDecoder().decode(Body.self, from: Data(response.body))
    }

    /// The first line of a short text body.
    private static func plainMessage(_ response: RPCResponse) -> String {
        guard response.header("content-type")?.hasPrefix("text/plain") == true else { return "" }
        let line = response.body.prefix(512).prefix { $0 != 0x0A && $0 != 0x0D }
        return String(decoding: line, as: UTF8.self)
    }

    /// Connect leaves the padding out.
    private static func base64(_ text: String) -> [UInt8]? {
        let padding = String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        return Data(base64Encoded: text + padding).map { [UInt8]($0) }
    }

    /// What Connect says a client makes of a status without a Connect body.
    static func inferredCode(_ status: Int) -> String {
        switch status {
        case 400: "internal"
        case 401: "unauthenticated"
        case 403: "permission_denied"
        case 404: "unimplemented"
        case 429, 502, 503, 504: "unavailable"
        default: "unknown"
        }
    }
}
