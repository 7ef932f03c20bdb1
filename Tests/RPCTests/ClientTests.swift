import Facts
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Testing

@testable import RPC

/// `RPCClient` against `HTTP2ServerHandler` over TLS on loopback.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ClientTests {
    @Test func manyCallsShareOneConnection() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<64 {
                group.addTask {
                    for round in 0..<20 {
                        let body = Array("call \(number) \(round)".utf8)
                        let answer = try await client.call("/t/Echo", body)
                        #expect(answer == body)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(server.log.counts.begun == 64 * 20)
        #expect(server.log.counts.ended == 64 * 20)
        #expect(server.log.counts.abandoned == 0)
        #expect(server.log.counts.connections == 1)
        await client.close()
        await server.stop()
    }

    /// The kernel's own word for the sockets of this process that lead to a port.
    private func userTimeouts(toPort port: Int) -> [Int] {
        (0..<Int32(4_096)).compactMap { descriptor in
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let status = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) }
            }
            guard status == 0, address.sin_family == AF_INET, Int(address.sin_port.bigEndian) == port else {
                return nil
            }
            var milliseconds: CUnsignedInt = 0
            var size = socklen_t(MemoryLayout<CUnsignedInt>.size)
            guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &milliseconds, &size) == 0 else {
                return nil
            }
            return Int(milliseconds)
        }
    }

    @Test("gateway decision 42: a connection to a peer has TCP_USER_TIMEOUT, 20 s or what is configured",
        arguments: [nil, 7_000])
    func theKernelGivesUpOnWhatIsNotAcknowledged(_ configured: Int?) async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client { settings in
            if let configured { settings.userTimeoutMilliseconds = configured }
        }
        #expect(try await client.call("/t/Echo", [1]) == [1])
        #expect(userTimeouts(toPort: server.port) == [configured ?? 20_000])
        await client.close()
        await server.stop()
    }

    @Test func moreCallsThanStreamsAllowedWaitTheirTurn() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for number in 0..<400 {
                group.addTask { try await client.call("/t/Late", [UInt8(number % 256)]) }
            }
            var answers = 0
            for try await answer in group { answers += answer.count }
            #expect(answers == 400)
        }
        await client.close()
        await server.stop()
    }

    @Test func bigBodiesBothWays() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let body = (0..<(6 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<3 {
                group.addTask { try await client.call("/t/Echo", body) == body }
            }
            for try await isEqual in group { #expect(isEqual) }
        }
        #expect(server.log.counts.receivedBytes == 3 * body.count)
        await client.close()
        await server.stop()
    }

    @Test func requestCarriesConnectHeaders() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        _ = try await client.call("/t/Echo", [1], codec: .json, timeoutMilliseconds: 60_000)
        let headers = server.log.counts.lastHeaders
        func value(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        #expect(value("content-type") == "application/json")
        #expect(value("connect-protocol-version") == "1")
        #expect(value("content-length") == "1")
        #expect(value("host") == "127.0.0.1:\(server.port)")
        let timeout = try #require(Int(value("connect-timeout-ms") ?? ""))
        // What the connection took is gone of it.
        #expect((1...60_000).contains(timeout))
        await client.close()
        await server.stop()
    }

    @Test func timeoutEndsTheCallAndTheConnectionGoesOn() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        // The deadline is to end the call, not the making of the connection before it.
        #expect(try await client.call("/t/Echo", [1]) == [1])
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Never", [1], timeoutMilliseconds: 3000)
        }
        #expect(error?.transportKind == .timeout)
        #expect(await server.log.waits { $0.abandoned == 1 })
        #expect(try await client.call("/t/Echo", [2]) == [2])
        #expect(server.log.counts.connections == 1)
        await client.close()
        await server.stop()
    }

    @Test func cancelledTaskResetsItsStream() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let task = Task { try await client.call("/t/Never", [1]) }
        #expect(await server.log.waits { $0.ended == 1 })
        task.cancel()
        let error = await #expect(throws: RPCClientError.self) { try await task.value }
        #expect(error?.transportKind == .cancelled)
        #expect(await server.log.waits { $0.abandoned == 1 })
        await client.close()
        await server.stop()
    }

    @Test func abandonedUploadsLeaveTheConnectionsWindowWhole() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let body = [UInt8](repeating: 3, count: 4 << 20)
        for delay in 0..<20 {
            let task = Task { try await client.call("/t/Never", body) }
            try await Task.sleep(for: .milliseconds(delay))
            task.cancel()
            _ = try? await task.value
        }
        #expect(try await client.call("/t/Echo", body) == body)
        #expect(server.log.counts.connections == 1)
        #expect(await server.log.waits { $0.abandoned == $0.begun - 1 })
        await client.close()
        await server.stop()
    }

    /// The server refuses the first stream unseen and answers the second.
    private final class RefusingHandler: ChannelInboundHandler, HTTP2SessionDelegate {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let log: HTTP2TestLog
        private let refusals: Int
        private var session: HTTP2Session!

        init(_ log: HTTP2TestLog, refusals: Int) {
            self.log = log
            self.refusals = refusals
        }

        func channelActive(context: ChannelHandlerContext) {
            session = HTTP2Session(.server, limits: HTTP2Limits(), delegate: self)
        }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            try? session.receive(unwrapInboundIn(data))
            while let bytes = try? session.nextOutput() {
                context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            }
        }
        func headReceived(_ stream: HTTP2Stream) {
            log.change { $0.begun += 1 }
            if log.counts.begun <= refusals { return session.reset(stream, .refusedStream) }
            session.respond(
                stream, status: 200, headers: [("content-type", "application/proto")],
                body: ByteBuffer(bytes: [8]))
        }
        func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {}
        func endReceived(_ stream: HTTP2Stream) {}
        func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {}
        func answeredEarly(_ stream: HTTP2Stream) {}
        func settingsReceived() {}
        func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) {}
        func pingAcknowledged() {}
    }

    /// It also waits for the client's preface, as other servers than ours do.
    @Test(arguments: [0, 1, 2]) func refusedStreamIsSentAgainOnce(refusals: Int) async throws {
        let tls = try HTTP2TestCertificates.shared.serverContext()
        let log = HTTP2TestLog()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLServerHandler(context: tls),
                        RefusingHandler(log, refusals: refusals))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let client = try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: listener.localAddress!.port!),
            tls: HTTP2TestCertificates.shared.client(), verifier: { _ in nil })
        if refusals < 2 {
            #expect(try await client.call("/t/Once", [1]) == [8])
        } else {
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/t/Once", [1])
            }
            #expect(error?.transportKind == .closed)
        }
        #expect(log.counts.begun == min(refusals + 1, 2))
        await client.close()
        try await listener.close()
    }

    @Test func lostConnectionFailsWhatIsOutstandingAndTheNextCallConnectsAgain() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let outstanding = (0..<8).map { _ in Task { try await client.call("/t/Never", [1]) } }
        #expect(await server.log.waits { $0.ended == 8 })
        for connection in server.connections.all { try await connection.close() }
        for task in outstanding {
            let error = await #expect(throws: RPCClientError.self) { try await task.value }
            #expect(error?.transportKind == .closed)
        }
        #expect(await server.log.waits { $0.abandoned == 8 })
        #expect(try await client.call("/t/Echo", [3]) == [3])
        #expect(server.log.counts.connections == 2)
        await client.close()
        await server.stop()
    }

    /// What becomes of a connection that only finished its calls says nothing of the one that is being made.
    @Test func theEndOfAnOldConnectionLeavesTheNewOneAlone() async throws {
        let server = try await HTTP2TestServer.start()
        let verified = Mutex(0)
        let (gate, open) = AsyncStream<Void>.makeStream()
        let client = try server.client(verifier: { _ in
            let isSecond = verified.withLock { count in
                count += 1
                return count == 2
            }
            if isSecond { for await _ in gate {} }
            return nil
        })
        let old = Task { try await client.call("/t/Never", [1]) }
        #expect(await server.log.waits { $0.ended == 1 })
        let first = try #require(server.connections.all.first)
        first.eventLoop.execute {
            first.pipeline.fireUserInboundEventTriggered(ConnectionShutdown())
        }
        // Until the goodbye has come calls are still made on the old one.
        let next = Task {
            var answer: [UInt8] = []
            repeat {
                answer = try await client.call("/t/Echo", [4])
            } while verified.withLock { $0 } < 2
            return answer
        }
        #expect(await server.log.waits { _ in verified.withLock { $0 } == 2 })
        try await first.close()
        let error = await #expect(throws: RPCClientError.self) { try await old.value }
        #expect(error?.transportKind == .closed)
        open.finish()
        #expect(try await next.value == [4])
        #expect(server.log.counts.connections == 2)
        await client.close()
        await server.stop()
    }

    @Test func shutdownAnswersWhatIsOpenAndTheNextCallGoesElsewhere() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let late = Task { try await client.call("/t/Late", [9]) }
        #expect(await server.log.waits { $0.ended == 1 })
        let first = try #require(server.connections.all.first)
        first.eventLoop.execute {
            first.pipeline.fireUserInboundEventTriggered(ConnectionShutdown())
        }
        #expect(try await late.value == [9])
        try await first.closeFuture.get()
        // The close may reach the client a moment after the server has done it; a call that went into
        // the closed connection by then fails, and the one after it must not.
        var answer = try? await client.call("/t/Echo", [4])
        if answer == nil { answer = try await client.call("/t/Echo", [4]) }
        #expect(answer == [4])
        #expect(server.log.counts.connections == 2)
        #expect(server.log.counts.abandoned == 0)
        await client.close()
        await server.stop()
    }

    @Test func refusalBeforeTheBodyIsReadAndTyped() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let body = [UInt8](repeating: 1, count: 4 << 20)
        for _ in 0..<20 {
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/t/RefuseEarly", body)
            }
            let failure = try #require(error?.failure)
            #expect(failure.httpStatus == 403)
            #expect(failure.code == "permission_denied")
            #expect(failure.message == "no")
            #expect(failure.reason == "identity_not_authorised")
            #expect(failure.retryAfterMilliseconds == 1500)
            #expect(failure.serviceError?.reason == .identityNotAuthorised)
        }
        // Nothing of the bodies reached the sink, and the connection's window is whole again.
        #expect(server.log.counts.receivedBytes == 0)
        #expect(try await client.call("/t/Echo", body) == body)
        #expect(server.log.counts.connections == 1)
        await client.close()
        await server.stop()
    }

    @Test func statusWithoutConnectBodyIsInferred() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Nowhere", [])
        }
        #expect(error?.failure?.httpStatus == 404)
        #expect(error?.failure?.code == "unimplemented")
        #expect(error?.failure?.message == "no such path")
        await client.close()
        await server.stop()
    }

    @Test func answerIsTakenUpToTheLimitAndNoFurther() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client { $0.responseBytes = 100_000 }
        #expect(try await client.get("/size/100000").body.count == 100_000)
        let error = await #expect(throws: RPCClientError.self) {
            try await client.get("/size/100001")
        }
        #expect(error?.transportKind == .malformed)
        // What was sent in vain does not eat up the connection's window.
        for _ in 0..<40 { _ = try? await client.get("/size/1000000") }
        #expect(try await client.get("/size/100000").body.count == 100_000)
        #expect(server.log.counts.connections == 1)
        await client.close()
        await server.stop()
    }

    @Test func aCallTakesNoMoreThanItSays() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client { $0.acceptsGzip = true }
        let limit = RPCClient.smallAnswerBytes
        let body = [UInt8](repeating: 0x1A, count: limit)
        // As it comes, and inflated from next to nothing.
        for procedure in ["/t/Echo", "/t/Gzip"] {
            #expect(try await client.call(procedure, body, answerBytesMaximum: limit) == body)
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call(procedure, body + [0], answerBytesMaximum: limit)
            }
            #expect(error?.transportKind == .malformed)
            #expect(try await client.call(procedure, body + [0]).count == limit + 1)
        }
        await client.close()
        await server.stop()
    }

    @Test func gzipIsTakenOnlyWhereItWasAskedFor() async throws {
        let server = try await HTTP2TestServer.start()
        let plain = try server.client()
        let lz4 = try server.client {
            $0.acceptsGzip = true
            $0.acceptsLZ4 = true
        }
        for client in [plain, lz4] {
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/t/Gzip", [1, 2, 3])
            }
            #expect(error?.transportKind == .malformed)
            #expect(error?.description.contains("did not ask") == true)
            await client.close()
        }
        await server.stop()
    }

    @Test func anErrorIsNoLongerThanAnErrorIs() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        let body = [UInt8](repeating: 0x20, count: ConnectErrorBody.bytesMaximum)
        let told = await #expect(throws: RPCClientError.self) { try await client.call("/t/Refusal", body) }
        #expect(told?.failure?.httpStatus == 403)
        let error = await #expect(throws: RPCClientError.self) { try await client.call("/t/Refusal", body + [0x20]) }
        #expect(error?.transportKind == .malformed)
        await client.close()
        await server.stop()
    }

    @Test func gzipAnswerIsInflatedUpToTheLimit() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client {
            $0.acceptsGzip = true
            $0.responseBytes = 200_000
        }
        let body = [UInt8](repeating: 5, count: 200_000)
        #expect(try await client.call("/t/Gzip", body) == body)
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Gzip", body + [5])
        }
        #expect(error?.transportKind == .malformed)
        await client.close()
        await server.stop()
    }

    @Test func closedClientRefusesCalls() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client()
        #expect(try await client.call("/t/Echo", [1]) == [1])
        await client.close()
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Echo", [1])
        }
        #expect(error?.transportKind == .closed)
        await server.stop()
    }

    @Test func silentConnectionIsFoundByPing() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client { $0.pingIntervalMilliseconds = 1500 }
        // Pings that are answered keep an idle connection.
        #expect(try await client.call("/t/Echo", [1]) == [1])
        try await Task.sleep(for: .milliseconds(5000))
        #expect(try await client.call("/t/Echo", [1]) == [1])
        #expect(server.log.counts.connections == 1)
        // A server that reads nothing any more is given up.
        let connection = try #require(server.connections.all.first)
        try await connection.setOption(.autoRead, value: false).get()
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Echo", [1], timeoutMilliseconds: 120_000)
        }
        // And not by the end of the call's own time.
        #expect(error?.transportKind == .closed)
        #expect(error?.description.contains("PING") == true)
        await client.close()
        await server.stop()
    }
}
