import Facts
import Logging
import NIOCore
import NIOEmbedded
import Synchronization

@testable import RPC

/// A node's service that answers with the body it was sent: at once, by refusing, or late, by
/// procedure.
final class HarnessService: RPCService {
    static let echo = "/bsfg.v1.BoundaryService/AppendFact"
    static let refuse = "/bsfg.v1.BoundaryService/FetchFacts"
    static let late = "/bsfg.v1.BoundaryService/ConfirmReceipt"

    let procedures: Set<String> = [echo, refuse, late]
    private let waiting = Mutex<[@Sendable () -> Void]>([])

    func admit(procedure: String, caller: Caller) -> ServiceError? { nil }

    func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void) {
        switch request.procedure {
        case Self.echo: respond(.message(request.body))
        case Self.refuse: respond(.failure(ServiceError(.unknownStream)))
        default: waiting.withLock { $0.append { respond(.message(request.body)) } }
        }
    }

    func timedOut(procedure: String) -> ServiceError { ServiceError(.deadlineExceeded) }

    func health(caller: Caller) -> [UInt8] { Array("{}".utf8) }

    /// Gives the late answers; false when there were none.
    func answer() -> Bool {
        let answers = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for answer in answers { answer() }
        return !answers.isEmpty
    }
}

private struct NoVerifier: CallerVerifier {
    let generation: UInt64 = 1

    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal> {
        .failure(CallerRefusal(ServiceError(.identityNotAuthorised)))
    }
}

/// A connection in memory whose caller is known, and the server's core behind it.
final class HarnessConnection {
    let channel = EmbeddedChannel()
    let mailbox: EventLoopMailbox
    let dispatcher: RequestDispatcher

    static let service = HarnessService()
    static let core: ServerCore = {
        var limits = RPCServerLimits()
        limits.bodyBytes = 64 << 10
        limits.discardBytes = 64 << 10
        limits.headBytes = 2 << 10
        limits.fieldBytes = 1 << 10
        limits.fields = 16
        // Nothing is handed to other threads: an input always does the same.
        limits.codingQueue = -2
        return ServerCore(
            limits: limits, service: service, verifier: NoVerifier(),
            logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() })
    }()

    init(isRefused: Bool) {
        let caller = Caller(kind: .administrator(userID: 1), identity: "uid:1")
        let holder = Admission.Holder(isAdministrator: false)
        mailbox = EventLoopMailbox(channel.eventLoop)
        let pipeline = channel.pipeline
        dispatcher = RequestDispatcher(
            core: Self.core, mailbox: mailbox,
            party: isRefused
                ? .refused(ServiceError(.identityNotAuthorised))
                : .known(caller, holder, generation: 1),
            address: "",
            closeGracefully: {
                pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
            })
    }

    /// Sends `input` in pieces and returns all that was answered.
    /// - Parameter arrived: called before each piece.
    func exchange(
        _ input: UnsafeRawBufferPointer, pieceBytes: Int, arrived: () -> Void = {}
    ) -> [UInt8] {
        var rest = input
        while !rest.isEmpty, channel.isActive {
            arrived()
            // What the pipeline throws it has dealt with before.
            _ = try? channel.writeInbound(ByteBuffer(bytes: rest.prefix(pieceBytes)))
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(pieceBytes))
            channel.embeddedEventLoop.run()
        }
        while Self.service.answer() { channel.embeddedEventLoop.run() }
        return output()
    }

    /// Closes; then nothing may be held by anyone.
    func finish() {
        _ = try? channel.finish(acceptAlreadyClosed: true)
        while Self.service.answer() {}
        guard dispatcher.openRequests == 0, Self.core.admission.requestsInFlight == 0,
            Self.core.admission.bodyBytesHeld == 0
        else { harnessFailure("a closed connection still holds a request or the room for one") }
    }

    private func output() -> [UInt8] {
        var bytes: [UInt8] = []
        while let part = try? channel.readOutbound(as: ByteBuffer.self) {
            bytes += part.readableBytesView
        }
        return bytes
    }
}
