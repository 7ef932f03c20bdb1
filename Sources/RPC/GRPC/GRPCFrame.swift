internal import Facts

/// The one length-prefixed message of a unary gRPC body: a flag, the length in four bytes (big endian), the
/// message.
enum GRPCFrame {
    static let headerBytes = 5

    /// Takes the prefix off.
    /// - Returns: the message, and whether it is compressed with the call's coding.
    static func unwrap(
        _ body: [UInt8], coding: ConnectHead.Coding
    ) throws(ServiceError) -> (message: [UInt8], isCompressed: Bool) {
        guard body.count >= headerBytes else {
            throw ServiceError(
                .malformedRequest,
                "The body has \(body.count) bytes and a gRPC message has a prefix of five; send one message.")
        }
        guard body[0] <= 1 else {
            throw ServiceError(
                .malformedRequest, "The flag of the gRPC message is \(body[0]); send 0 or 1.")
        }
        let length = body[1..<headerBytes].reduce(0) { $0 << 8 | Int($1) }
        guard length == body.count - headerBytes else {
            throw ServiceError(
                .malformedRequest,
                "The gRPC message says it has \(length) bytes and \(body.count - headerBytes) follow; "
                    + "every call takes exactly one message.")
        }
        let isCompressed = body[0] == 1
        if isCompressed, coding == .identity {
            throw ServiceError(
                .malformedRequest,
                "The gRPC message is compressed and grpc-encoding does not say how; send grpc-encoding: gzip.")
        }
        return (Array(body[headerBytes...]), isCompressed)
    }

    static func wrap(_ message: [UInt8], isCompressed: Bool) -> [UInt8] {
        var framed: [UInt8] = []
        framed.reserveCapacity(headerBytes + message.count)
        framed.append(isCompressed ? 1 : 0)
        withUnsafeBytes(of: UInt32(message.count).bigEndian) { framed += $0 }
        framed += message
        return framed
    }
}
