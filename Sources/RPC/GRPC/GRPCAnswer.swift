internal import Facts
internal import SwiftProtobuf

/// A reply as gRPC carries it: always status 200, the outcome in the trailers. An error has no body, so that its
/// trailers are its only head.
struct GRPCAnswer {
    var headers: [(name: String, value: String)]
    /// Framed; nil: the trailers stand in the head.
    var body: [UInt8]?
    var trailers: [(name: String, value: String)]

    static let mediaType = "application/grpc"

    static func message(_ bytes: [UInt8], coding: String?) -> GRPCAnswer {
        var headers = [(name: "content-type", value: mediaType)]
        if let coding { headers.append(("grpc-encoding", coding)) }
        return GRPCAnswer(
            headers: headers, body: GRPCFrame.wrap(bytes, isCompressed: coding != nil),
            trailers: [("grpc-status", "0")])
    }

    static func failure(_ error: ServiceError) -> GRPCAnswer {
        GRPCAnswer(
            headers: [("content-type", mediaType)], body: nil,
            trailers: [
                ("grpc-status", String(error.code.grpcStatus)),
                ("grpc-message", percentEncoded(ShownText.bounded(error.message, bytes: messageBytesMaximum))),
                ("grpc-status-details-bin", details(error)),
            ])
    }

    /// Bytes that a header cannot hold, and the percent sign, as %XX.
    static func percentEncoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
                encoded.append(byte)
            } else {
                encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    /// Clients refuse trailers of more than 8 KiB together: a message stands in them twice, once with up to three
    /// bytes for one, and the failures of a large batch are left to their counts.
    private static let messageBytesMaximum = 1 << 10
    private static let detailBytesMaximum = 2 << 10
    private static let fieldBytesMaximum = 512

    /// A `google.rpc.Status` with our detail, in base64.
    private static func details(_ error: ServiceError) -> String {
        var detail = error.detail
        detail.field = ShownText.bounded(detail.field, bytes: fieldBytesMaximum)
        var bytes: [UInt8] = (try? detail.serializedBytes()) ?? []
        if bytes.count > detailBytesMaximum {
            detail.failures = []
            bytes = (try? detail.serializedBytes()) ?? []
        }
        var any: [UInt8] = []
        append(1, Array("type.googleapis.com/bsfg.v1.ErrorDetail".utf8), to: &any)
        append(2, bytes, to: &any)
        var status: [UInt8] = [1 << 3, UInt8(error.code.grpcStatus)]
        append(2, Array(ShownText.bounded(error.message, bytes: messageBytesMaximum).utf8), to: &status)
        append(3, any, to: &status)
        var text: [UInt8] = []
        status.withUnsafeBytes { Base64.encode($0, padded: false, into: &text) }
        return String(decoding: text, as: UTF8.self)
    }

    /// A length-delimited protobuf field.
    private static func append(_ field: UInt8, _ content: [UInt8], to bytes: inout [UInt8]) {
        bytes.append(field << 3 | 2)
        var length = content.count
        while length > 0x7f {
            bytes.append(UInt8(length & 0x7f) | 0x80)
            length >>= 7
        }
        bytes.append(UInt8(length))
        bytes += content
    }
}
