import Foundation
import Synchronization
import Testing

@testable import RPC

/// `RPCClient` whose certificates and trust are replaced while it works.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ClientRenewalTests {
    private final class Ending: Sendable {
        let isDue = Mutex(false)
    }

    private func connect(
        _ server: HTTP2TestServer, verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal? = { _ in nil }
    ) throws -> RPCClient {
        try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: server.port),
            tls: HTTP2TestCertificates.shared.client(), verifier: verifier)
    }

    @Test("gateway decision 40: calls move to a new connection before the old one ends")
    func callsMoveBeforeTheOldOneEnds() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        let ending = Ending()
        try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<64 {
                group.addTask {
                    var count = 0
                    while !ending.isDue.withLock({ $0 }) {
                        let body = Array("call \(number) \(count)".utf8)
                        let answer = try await client.call("/t/Late", body)
                        #expect(answer == body)
                        count += 1
                    }
                    return count
                }
            }
            for round in 1...20 {
                try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in nil }
                // A connection more for each; none is given up before.
                try await eventually { server.log.counts.connections == round + 1 }
                _ = try await client.call("/t/Echo", [2])
            }
            ending.isDue.withLock { $0 = true }
            for try await count in group { #expect(count > 0) }
        }
        #expect(server.log.counts.abandoned == 0)
        await client.close()
        await server.stop()
    }

    @Test("gateway decision 40: a server that is refused now loses the connection it has")
    func aRefusedServerLosesItsConnection() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        async let waiting = Result { try await client.call("/t/Never", [1]) }
        try await eventually { server.log.counts.begun == 2 }
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in
            ServiceRefusal(reason: "revoked", sentence: "it was revoked")
        }
        guard case .failure(let error as RPCClientError) = await waiting else {
            Issue.record("a call to a refused server was answered")
            return
        }
        #expect(error.transportKind == .identity && error.description.contains("it was revoked"))
        await client.close()
        await server.stop()
    }

    private static let refusal = ServiceRefusal(reason: "revoked", sentence: "it was revoked")

    private func expectRefused(_ result: Result<[UInt8], any Error>) {
        guard case .failure(let error as RPCClientError) = result else {
            Issue.record("a call to a refused server was answered")
            return
        }
        #expect(error.transportKind == .identity, "\(error)")
    }

    /// Holds what asks it until it is opened.
    private final class Gate: Sendable {
        private struct State {
            var isOpen = false
            var asked = 0
        }
        private let state = Mutex(State())

        var asked: Int { state.withLock { $0.asked } }
        func open() { state.withLock { $0.isOpen = true } }

        func pass() async {
            state.withLock { $0.asked += 1 }
            while !state.withLock({ $0.isOpen }) { try? await Task.sleep(for: .milliseconds(10)) }
        }
    }

    @Test("gateway decision 40: a connection that is being made when trust changes takes no calls")
    func aConnectionBeingMadeTakesNoCalls() async throws {
        let server = try await HTTP2TestServer.start()
        let gate = Gate()
        let client = try connect(server) { _ in
            await gate.pass()
            return nil
        }
        async let answer = Result { try await client.call("/t/Echo", [1]) }
        try await eventually { gate.asked == 1 }
        // The verifier before passes the server, but only after it is none any more.
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in Self.refusal }
        gate.open()
        expectRefused(await answer)
        #expect(server.log.counts.begun == 0)
        await client.close()
        await server.stop()
    }

    @Test("gateway decision 40: a refused server loses the connections that only finish their calls, too")
    func aRefusedServerLosesRetiredConnections() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        async let long = Result { try await client.call("/t/Never", [1]) }
        try await eventually { server.log.counts.begun == 2 }
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in nil }
        try await eventually { server.log.counts.connections == 2 }
        // Time for the new connection to be ready, of which nothing is seen here.
        try await Task.sleep(for: .milliseconds(1_500))
        _ = try await client.call("/t/Echo", [2])
        #expect(server.log.counts.abandoned == 0, "the long call goes on where it was")
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in Self.refusal }
        expectRefused(await long)
        await client.close()
        await server.stop()
    }

    @Test("gateway decision 40: what is to take a connection's place is made anew when trust changes again")
    func aReplacementIsMadeAnew() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        // The connection is refused at once; what is to take its place is held at its check.
        let gate = Gate()
        let first = Ending()
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in
            let isFirst = first.isDue.withLock { isDue in
                defer { isDue = true }
                return !isDue
            }
            if isFirst { return Self.refusal }
            await gate.pass()
            return nil
        }
        try await eventually { gate.asked == 1 }
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in Self.refusal }
        gate.open()
        expectRefused(await Result { try await client.call("/t/Echo", [2]) })
        #expect(server.log.counts.begun == 1)
        await client.close()
        await server.stop()
    }

    @Test("gateway decision 40: calls wait for the check of a connection that was made in another trust")
    func callsWaitForTheCheck() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        let gate = Gate()
        try client.renew(tls: HTTP2TestCertificates.shared.client()) { _ in
            await gate.pass()
            return nil
        }
        // The connection that there is and the one that is made.
        try await eventually { gate.asked == 2 }
        async let answer = client.call("/t/Echo", [2])
        try await Task.sleep(for: .milliseconds(300))
        #expect(server.log.counts.begun == 1)
        gate.open()
        #expect(try await answer == [2])
        await client.close()
        await server.stop()
    }

    @Test("gateway decision 40: where no new connection comes about, the old one goes on")
    func theOldOneGoesOn() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try connect(server)
        _ = try await client.call("/t/Echo", [1])
        // The new connection's server is of a CA that is not trusted now; the old one's passes.
        try client.renew(tls: HTTP2TestCertificates.shared.client(trusting: "other-ca")) { _ in nil }
        try await eventually { server.log.counts.connections == 2 }
        for _ in 0..<10 {
            let answer = try await client.call("/t/Echo", [3])
            #expect(answer == [3])
        }
        await client.close()
        await server.stop()
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
