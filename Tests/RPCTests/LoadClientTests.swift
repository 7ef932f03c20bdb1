import Facts
import NIOCore
import Synchronization
import Testing

@testable import RPC

/// `LoadClient` against the test server over TLS on loopback.
@Suite(.serialized, .timeLimit(.minutes(15))) struct LoadClientTests {
    /// Sends so many calls and keeps their answers.
    private final class Calls: LoadDriver {
        private struct State {
            var sent = 0
            var answers: [Int: [UInt8]] = [:]
            var failures: [RPCClientError] = []
            var mostInFlight = 0
        }

        private let state = Mutex(State())
        private let count: Int
        private let pauseNanoseconds: UInt64
        private let body: @Sendable (Int) -> [UInt8]

        init(_ count: Int, pauseNanoseconds: UInt64 = 0, _ body: @escaping @Sendable (Int) -> [UInt8]) {
            self.count = count
            self.pauseNanoseconds = pauseNanoseconds
            self.body = body
        }

        var answers: [Int: [UInt8]] { state.withLock { $0.answers } }
        var failures: [RPCClientError] { state.withLock { $0.failures } }
        var mostInFlight: Int { state.withLock { $0.mostInFlight } }
        private let began = NIODeadline.now().uptimeNanoseconds

        func next(nowNanoseconds now: UInt64) -> LoadStep {
            state.withLock { state in
                guard state.sent < count, state.failures.count < 10 else { return .finished }
                let time = began + UInt64(state.sent) * pauseNanoseconds
                guard time <= now else { return .wait(untilNanoseconds: time) }
                state.sent += 1
                let inFlight = state.sent - state.answers.count - state.failures.count
                state.mostInFlight = max(state.mostInFlight, inFlight)
                return .send(number: state.sent - 1, body: body(state.sent - 1))
            }
        }

        func answered(
            number: Int, _ result: Result<[UInt8], RPCClientError>, nowNanoseconds: UInt64
        ) {
            state.withLock { state in
                switch result {
                case .success(let body): state.answers[number] = body
                case .failure(let error): state.failures.append(error)
                }
            }
        }
    }

    private func client(
        _ server: HTTP2TestServer, _ procedure: String = "/t/Echo", connections: Int = 1,
        inFlight: Int = 64
    ) throws -> LoadClient {
        try LoadClient(
            server.configuration(), tls: HTTP2TestCertificates.shared.client(),
            shape: LoadShape(version: .http2, connections: connections, inFlight: inFlight),
            procedure: procedure, verifier: { _ in nil })
    }

    @Test func `Every call gets its own answer, over one connection and several`() async throws {
        for connections in [1, 3] {
            let server = try await HTTP2TestServer.start()
            let client = try client(server, connections: connections, inFlight: 50)
            try await client.connect()
            let calls = Calls(2_000) { Array("call \($0)".utf8) }
            await client.run(calls)
            #expect(calls.answers.count == 2_000)
            #expect(calls.answers.allSatisfy { $0.value == Array("call \($0.key)".utf8) })
            #expect(calls.failures.isEmpty)
            #expect(calls.mostInFlight == 50)
            await client.close()
            await server.stop()
        }
    }

    @Test func `Bodies larger than the server's windows go out as they are opened`() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try client(server, inFlight: 4)
        try await client.connect()
        let calls = Calls(8) { number in
            (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number) }
        }
        await client.run(calls)
        #expect(calls.failures.isEmpty)
        #expect(calls.answers.count == 8)
        #expect(
            calls.answers.allSatisfy { number, body in
                body.count == 1 << 20 && body[5] == UInt8(truncatingIfNeeded: 155 + number)
            })
        await client.close()
        await server.stop()
    }

    @Test func `Calls wait for their time, and one client runs several loads`() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try client(server)
        try await client.connect()
        for _ in 0..<2 {
            let began = NIODeadline.now()
            let calls = Calls(20, pauseNanoseconds: 10_000_000) { [UInt8($0)] }
            await client.run(calls)
            #expect(calls.answers.count == 20)
            #expect(NIODeadline.now() - began >= .milliseconds(190))
        }
        await client.close()
        await server.stop()
    }

    @Test func `An answer that is not 200 is a failure with the server's word`() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try client(server, "/t/RefuseEarly", inFlight: 1)
        try await client.connect()
        let calls = Calls(1) { _ in [1] }
        await client.run(calls)
        #expect(calls.answers.isEmpty)
        #expect(calls.failures.count == 1)
        #expect(calls.failures.first?.failure != nil)
        await client.close()
        await server.stop()
    }

    @Test func `A connection that is lost fails its calls and ends the load`() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try client(server, "/t/Never", inFlight: 3)
        try await client.connect()
        let calls = Calls(10) { _ in [1] }
        let run = Task { await client.run(calls) }
        while calls.mostInFlight < 3 { try await Task.sleep(for: .milliseconds(5)) }
        await server.stop()
        await run.value
        #expect(calls.failures.count == 3)
        await client.close()
    }

    @Test func `A server that is not who it should be gets no call`() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try LoadClient(
            server.configuration(), tls: HTTP2TestCertificates.shared.client(),
            shape: LoadShape(version: .http2, connections: 1, inFlight: 1), procedure: "/t/Echo",
            verifier: { _ in ServiceRefusal(reason: "server_identity", sentence: "it is another") })
        do throws(RPCClientError) {
            try await client.connect()
            Issue.record("it connected")
        } catch {
            #expect(error.transportKind == .identity)
        }
        #expect(server.log.counts.begun == 0)
        await client.close()
        await server.stop()
    }
}
