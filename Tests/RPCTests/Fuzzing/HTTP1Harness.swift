import NIOCore
import NIOEmbedded
import NIOHTTP1

@testable import RPC

/// Any bytes as what a client sends over HTTP/1.1. Nothing traps, nothing is held when the connection
/// is gone, what is answered is HTTP, and it does not depend on how the bytes were cut.
///
///     1    options: 7 how the bytes are cut, 8 the caller is refused, 16 the node begins to stop
///     ...  the bytes
enum HTTP1Harness {
    private static let pieceBytes = [1, 2, 3, 7, 16, 64, 200, 1000]

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let options = input.byte()
        input.all().withUnsafeBytes { bytes in
            let whole = answers(bytes, options, pieceBytes: max(1, bytes.count))
            // Two bodies of unlike pace may be refused at unlike places; so may a stop.
            guard options & 24 == 0 else { return }
            let pieces = answers(bytes, options, pieceBytes: pieceBytes[Int(options & 7)])
            // Of two faults in one head the decoder meets that first which its piece shows first.
            guard whole == pieces || withoutRefusedHead(whole) == withoutRefusedHead(pieces) else {
                harnessFailure("answers depend on how the request was cut: \(whole) \(pieces)")
            }
        }
    }

    private static func answers(
        _ bytes: UnsafeRawBufferPointer, _ options: UInt8, pieceBytes: Int
    ) -> [String] {
        let connection = HarnessConnection(isRefused: options & 8 != 0)
        let limits = HarnessConnection.core.limits
        let handler = HTTP1ServerHandler(
            dispatcher: connection.dispatcher, mailbox: connection.mailbox, limits: limits)
        do {
            let pipeline = connection.channel.pipeline.syncOperations
            try pipeline.addHandlers(HTTP1ServerHandler.decoder(limits), handler)
            try connection.channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        } catch { harnessFailure("the pipeline is not built: \(error)") }
        if options & 16 != 0 {
            connection.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
        let output = connection.exchange(bytes, pieceBytes: pieceBytes) { handler.bytesArrived() }
        connection.finish()
        return lines(output)
    }

    /// What came before a head was refused for its form or its size, and that one was.
    private static func withoutRefusedHead(_ lines: [String]) -> [String] {
        guard let last = lines.lastIndex(where: { $0.hasPrefix("HTTP/1.1 ") }),
            lines[last].hasPrefix("HTTP/1.1 400 ") || lines[last].hasPrefix("HTTP/1.1 431 "),
            lines[last...].contains("connection: close")
        else { return lines }
        return Array(lines[..<last]) + ["refused head"]
    }

    /// The answers' lines without their dates; the first is that of a status.
    private static func lines(_ output: [UInt8]) -> [String] {
        let text = String(decoding: output, as: UTF8.self)
        guard output.isEmpty || text.hasPrefix("HTTP/1.1 ") else {
            harnessFailure("an answer is not HTTP/1.1")
        }
        return text.split(separator: "\r\n").map(String.init).filter { !$0.hasPrefix("date: ") }
    }
}
