import NIOCore
import NIOEmbedded

@testable import RPC

/// One call given to the dispatcher as a connection's handler does, and the answer that it makes.
final class CallExchange: HTTPExchange {
    enum Answered {
        case connect(status: Int, headers: [(name: String, value: String)], body: [UInt8])
        case grpc(GRPCAnswer)
    }

    let eventLoop: any EventLoop
    private(set) var answered: Answered?

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// Sends a call whose body comes in pieces, until it is answered. The connection is over afterwards.
    /// - Returns: nil for a call that nobody answered: the harness's service never does that.
    static func call(
        _ head: HTTPRequestHead, body: [UInt8], pieceBytes: Int, isRefused: Bool
    ) -> Answered? {
        let connection = HarnessConnection(isRefused: isRefused)
        let exchange = CallExchange(connection.channel.eventLoop)
        let sink = connection.dispatcher.begin(head, exchange)
        var rest = body[...]
        while exchange.answered == nil, !rest.isEmpty {
            sink.receive(ByteBuffer(bytes: rest.prefix(pieceBytes)))
            rest = rest.dropFirst(pieceBytes)
        }
        if exchange.answered == nil { sink.end() }
        while HarnessConnection.service.answer() { connection.channel.embeddedEventLoop.run() }
        connection.finish()
        return exchange.answered
    }

    func respond(
        status: Int, headers: [(name: String, value: String)], body: ByteBuffer, _ share: BodyShare?
    ) {
        take(.connect(status: status, headers: headers, body: Array(body.readableBytesView)))
    }

    func respond(_ answer: GRPCAnswer, date: String, _ share: BodyShare?) { take(.grpc(answer)) }

    private func take(_ answer: Answered) {
        guard answered == nil else { harnessFailure("a call is answered twice") }
        answered = answer
    }

    func begin(
        status: Int, headers: [(name: String, value: String)], contentLength: UInt64, isWhole: Bool
    ) { harnessFailure("a call is answered as a stream") }

    func send(_ piece: ByteBuffer, isLast: Bool, _ share: BodyShare?) {
        harnessFailure("a call is answered in pieces")
    }

    func abort() { harnessFailure("a call's answer is cut") }

    func consumed(_ count: Int) {}

    func sendContinue() {}
}
