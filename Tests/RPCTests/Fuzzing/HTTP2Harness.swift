import NIOCore
import NIOEmbedded

@testable import RPC

/// Any bytes as what a client sends over HTTP/2. Nothing traps, nothing is held when the connection
/// is gone, and what is answered is whole frames.
///
///     1    options: 7 how the bytes are cut, 8 the caller is refused, 16 the node begins to stop,
///          32 a client's first bytes are put in front, 64 the bytes are frames in short form
///     ...  the bytes, or for each frame: type, flags, stream, payload length, payload
enum HTTP2Harness {
    private static let pieceBytes = [1, 2, 3, 9, 16, 64, 200, 1 << 20]
    /// The preface and an empty SETTINGS frame.
    static let greeting =
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
    private static let frameHeaderBytes = 9

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let options = input.byte()
        var bytes = options & 32 != 0 ? greeting : []
        if options & 64 != 0 {
            while !input.isEmpty { bytes += frame(&input) }
        } else {
            bytes += input.all()
        }
        let connection = HarnessConnection(isRefused: options & 8 != 0)
        let limits = HarnessConnection.core.limits.http2
        do {
            try connection.channel.pipeline.syncOperations.addHandler(
                HTTP2ServerHandler(dispatcher: connection.dispatcher, limits: limits))
            try connection.channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { harnessFailure("the pipeline is not built: \(error)") }
        if options & 16 != 0 {
            connection.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
        let output = bytes.withUnsafeBytes {
            connection.exchange($0, pieceBytes: pieceBytes[Int(options & 7)])
        }
        // Longer than any time limit of the connection.
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        connection.finish()
        checkFrames(output)
    }

    private static func frame(_ input: inout HarnessInput) -> [UInt8] {
        let (type, flags, stream) = (input.byte(), input.byte(), input.byte())
        let payload = input.take(Int(input.byte()))
        return [0, 0, UInt8(payload.count), type, flags, 0, 0, 0, stream] + payload
    }

    private static func checkFrames(_ output: [UInt8]) {
        var rest = output[...]
        while !rest.isEmpty {
            guard rest.count >= frameHeaderBytes else { harnessFailure("a frame's header is cut") }
            let length = rest.prefix(3).reduce(0) { $0 << 8 | Int($1) }
            guard rest.count >= frameHeaderBytes + length else { harnessFailure("a frame is cut") }
            rest = rest.dropFirst(frameHeaderBytes + length)
        }
    }
}
