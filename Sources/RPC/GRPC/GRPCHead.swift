internal import Facts

/// The head of a gRPC call, which says the same as a Connect call's in other words.
enum GRPCHead {
    /// Whether the caller speaks gRPC, whatever it wants; such a caller understands gRPC's answers only.
    static func isGRPC(_ head: HTTPRequestHead) -> Bool {
        guard head.version == .http2, let type = head.header("content-type"),
            ConnectHead.usualCodec(type) == nil
        else { return false }
        return mediaType(type) != nil
    }

    /// `application/grpc`, alone or with a format; nil when it is something else (gRPC-Web too).
    private static func mediaType(_ text: String) -> String? {
        let type = ConnectHead.trimmed(text.utf8.prefix { $0 != UInt8(ascii: ";") }).lowercased()
        let base = GRPCAnswer.mediaType
        guard type.utf8.starts(with: base.utf8) else { return nil }
        let rest = type.utf8.dropFirst(base.utf8.count)
        return rest.isEmpty || rest.first == UInt8(ascii: "+") ? type : nil
    }

    static func read(
        _ head: HTTPRequestHead, limits: RPCServerLimits
    ) throws(ServiceError) -> ConnectHead {
        let type = mediaType(head.header("content-type") ?? "") ?? ""
        guard type == GRPCAnswer.mediaType || type == "\(GRPCAnswer.mediaType)+proto" else {
            throw ServiceError(
                .unsupportedMediaType,
                "The Content-Type \(ConnectHead.shown(type)) is not supported; send application/grpc or "
                    + "application/grpc+proto.")
        }
        let length = head.header("content-length").flatMap { Int($0) }
        if let length, length > limits.bodyBytes + GRPCFrame.headerBytes {
            throw ConnectHead.tooLarge(bytes: limits.bodyBytes)
        }
        return ConnectHead(
            framing: .grpc, codec: .proto, coding: try coding(head.header("grpc-encoding")),
            acceptsGzip: head.header("grpc-accept-encoding").map {
                ConnectHead.accepts("gzip", in: $0)
            } ?? false,
            acceptsLZ4: false,
            timeoutMilliseconds: try timeout(head.header("grpc-timeout"), limits),
            contentLength: length)
    }

    private static func coding(_ text: String?) throws(ServiceError) -> ConnectHead.Coding {
        switch text {
        case nil, "", "identity": return .identity
        case "gzip": return .gzip
        case let other?:
            throw ServiceError(
                .unsupportedEncoding,
                "The grpc-encoding \(ConnectHead.shown(other)) is not supported; send identity or gzip.")
        }
    }

    /// One to eight digits and a unit: H, M, S, m, u or n. Fractions of a millisecond count as one.
    static func timeout(_ text: String?, _ limits: RPCServerLimits) throws(ServiceError) -> Int {
        guard let text else { return limits.defaultTimeoutMilliseconds }
        let digits = text.utf8.dropLast()
        let perSecond: Double? =
            switch text.utf8.last {
            case UInt8(ascii: "H"): 1.0 / 3_600
            case UInt8(ascii: "M"): 1.0 / 60
            case UInt8(ascii: "S"): 1
            case UInt8(ascii: "m"): 1e3
            case UInt8(ascii: "u"): 1e6
            case UInt8(ascii: "n"): 1e9
            default: nil
            }
        guard let perSecond, (1...8).contains(digits.count),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let number = Double(String(decoding: Array(digits), as: UTF8.self))
        else {
            throw ServiceError(
                .malformedRequest,
                "grpc-timeout is \(ConnectHead.shown(text)); send 1 to 8 digits and one of H, M, S, m, u, n, "
                    + "or leave it out.")
        }
        let milliseconds = (number / perSecond * 1_000).rounded(.up)
        return min(Int(milliseconds), limits.maximumTimeoutMilliseconds)
    }
}
