import Facts
import Logging
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@testable import Gateway

/// Connections that tell what becomes of them: `connect 1`, `call 1 head 3`, `answer 1`, `close 1`.
private final class Connections: Sendable {
    private struct State {
        var events: [String] = []
        var count = 0
        var isHeld = false
        var held: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    var events: [String] { state.withLock { $0.events } }

    /// Calls wait until they are let go, also those whose connection is closed.
    func hold() { state.withLock { $0.isHeld = true } }

    func letGo() {
        let held = state.withLock { state in
            state.isHeld = false
            defer { state.held = [] }
            return state.held
        }
        for continuation in held { continuation.resume() }
    }

    private func note(_ event: String) { state.withLock { $0.events.append(event) } }

    func connect() -> PeerConnection {
        let number = state.withLock { state in
            state.count += 1
            state.events.append("connect \(state.count)")
            return state.count
        }
        return PeerConnection(
            call: { [self] (_, body, _) async throws(RPCClientError) in
                let request = try? Bsfg_V1_NotifyAvailableRequest(serializedBytes: body)
                note("call \(number) head \(request?.headOffset ?? 0)")
                await withCheckedContinuation { continuation in
                    let isHeld = state.withLock { state in
                        if state.isHeld { state.held.append(continuation) }
                        return state.isHeld
                    }
                    if !isHeld { continuation.resume() }
                }
                note(Task.isCancelled ? "cancelled \(number)" : "answer \(number)")
                return []
            },
            close: { [self] in note("close \(number)") })
    }
}

@Suite("Notices to peers")
struct NoticeSenderTests {
    private static let peers = """
        peers:
          - {id: plant-a, identity: plant-a-bsfg, endpoint: "127.0.0.1:1", authorized: true, streams: [facts.operational], notify: true}

        """

    private func with(
        _ body: (ServicesBench, NoticeSender, Connections) async throws -> Void
    ) async throws {
        let bench = try ServicesBench(peers: Self.peers)
        let sender = NoticeSender(
            logs: bench.logs, gates: bench.gates,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let connections = Connections()
        do {
            try await body(bench, sender, connections)
        } catch {
            connections.letGo()
            await sender.stop()
            await bench.close()
            throw error
        }
        connections.letGo()
        await sender.stop()
        await bench.close()
    }

    private func apply(
        _ bench: ServicesBench, _ sender: NoticeSender, _ connections: Connections,
        changed: Set<String> = []
    ) async {
        await sender.apply(bench.configuration, changedPeers: changed) { (_, _) in
            connections.connect()
        }
    }

    @Test("gateway decision 40: a notice under way ends on the old connection, beside the new one")
    func makeBeforeBreak() async throws {
        try await with { bench, sender, connections in
            await apply(bench, sender, connections)
            connections.hold()
            try await bench.append(0..<1)
            try await eventually("told") { connections.events.contains("call 1 head 1") }
            async let applied: Void = apply(bench, sender, connections, changed: ["plant-a"])
            try await eventually("the new connection") { connections.events.contains("connect 2") }
            #expect(!connections.events.contains("close 1"))
            connections.letGo()
            await applied
            #expect(
                connections.events
                    == ["connect 1", "call 1 head 1", "connect 2", "answer 1", "close 1"])
            try await bench.append(1..<2)
            try await eventually("told anew") { connections.events.contains("answer 2") }
            #expect(connections.events.last { $0.hasPrefix("call") } == "call 2 head 2")
        }
    }

    @Test("gateway decision 40: a notice that hangs holds no reload: its connection ends in a second")
    func grace() async throws {
        try await with { bench, sender, connections in
            await apply(bench, sender, connections)
            connections.hold()
            try await bench.append(0..<1)
            try await eventually("told") { connections.events.contains("call 1 head 1") }
            async let applied: Void = apply(bench, sender, connections, changed: ["plant-a"])
            try await eventually("the old connection closed") {
                connections.events.contains("close 1")
            }
            #expect(!connections.events.contains("answer 1"))
            connections.letGo()
            await applied
        }
    }

    @Test("Of a reload that is not about it a peer notices nothing")
    func unchanged() async throws {
        try await with { bench, sender, connections in
            await apply(bench, sender, connections)
            for _ in 0..<3 { await apply(bench, sender, connections, changed: ["plant-b"]) }
            try await bench.append(0..<1)
            try await eventually("told") { connections.events.contains("answer 1") }
            #expect(connections.events == ["connect 1", "call 1 head 1", "answer 1"])
        }
    }

    @Test("What a peer was not told yet it is told over the new connection")
    func carriedOver() async throws {
        try await with { bench, sender, connections in
            await apply(bench, sender, connections)
            connections.hold()
            try await bench.append(0..<1)
            try await eventually("told") { connections.events.contains("call 1 head 1") }
            // News that comes while a notice is under way waits for its end.
            try await bench.append(1..<4)
            async let applied: Void = apply(bench, sender, connections, changed: ["plant-a"])
            try await eventually("the rest") { connections.events.contains("call 2 head 4") }
            connections.letGo()
            await applied
            #expect(connections.events.filter { $0.hasPrefix("call") } == ["call 1 head 1", "call 2 head 4"])
        }
    }

    @Test("A peer that is not to be told any more is told nothing")
    func removed() async throws {
        try await with { bench, sender, connections in
            await apply(bench, sender, connections)
            var without = bench.configuration
            without.peers[0].isNotified = false
            await sender.apply(without, changedPeers: ["plant-a"]) { (_, _) in connections.connect() }
            try await bench.append(0..<1)
            #expect(connections.events == ["connect 1", "close 1"])
        }
    }
}
