import Facts
import Logging
import RPC
import Synchronization
import Testing

@testable import Buffers
@testable import Gateway

@Suite(.timeLimit(.minutes(15))) struct ArtifactPrefetchTests {
    private static let log = [UInt8](repeating: 1, count: 16)

    private static func name(_ key: String) -> ArtifactName {
        ArtifactName(zone: "plant-a", bucket: "batch-files", key: key)!
    }

    // MARK: - When

    @Test func `what is missing is asked for less and less often`() {
        var plan = PrefetchPlan()
        func begins(_ name: ArtifactName, _ peer: String, _ now: Int64) -> Bool {
            plan.begin(name, peer: peer, now: now)
        }
        func ends(_ name: ArtifactName, _ outcome: PrefetchPlan.Outcome, _ now: Int64) -> Int {
            plan.end(name, peer: "p", outcome, now: now)
        }
        let name = Self.name("a")
        var now: Int64 = 0
        var waits: [Int64] = []
        for failure in 1...12 {
            #expect(begins(name, "p", now))
            #expect(!begins(name, "p", now))
            #expect(ends(name, .missing, now) == failure)
            let began = now
            while !begins(name, "p", now) { now += 500 }
            waits.append(now - began)
            _ = ends(name, .unavailable(retryAfterMilliseconds: 0), now)
            now += 20_000
        }
        #expect(waits.prefix(4) == [1_000, 2_000, 4_000, 8_000])
        #expect(waits.max() == PrefetchPlan.backoffMaximumMilliseconds)
        #expect(ends(name, .stored, now) == 0)
        #expect(begins(name, "p", now))
    }

    @Test func `few at a time from each peer`() {
        var plan = PrefetchPlan()
        func begins(_ name: ArtifactName, _ peer: String, _ now: Int64) -> Bool {
            plan.begin(name, peer: peer, now: now)
        }
        func ends(_ name: ArtifactName, _ outcome: PrefetchPlan.Outcome, _ now: Int64) -> Int {
            plan.end(name, peer: "p", outcome, now: now)
        }
        let names = (0..<4).map { Self.name("\($0)") }
        #expect(begins(names[0], "p", 0) && begins(names[1], "p", 0))
        #expect(!begins(names[2], "p", 0))
        #expect(begins(names[3], "q", 0))
        _ = ends(names[0], .notGranted, 0)
        #expect(plan.isRefused(names[0]) && begins(names[2], "p", 0))
        #expect(!begins(names[0], "p", PrefetchPlan.refusedMilliseconds - 1))
    }

    // MARK: - What

    /// A peer that holds bytes and can break off.
    private final class Peer: ArtifactSource {
        struct State: Sendable {
            var bytes: [String: [UInt8]] = [:]
            var refusal: ErrorReason?
            /// The next answers end after so many bytes.
            var breaksAfter: [Int] = []
            var asked: [[String: String]] = []
        }

        let state = Mutex(State())

        func read(
            _ path: String, _ headers: [(name: String, value: String)],
            _ download: @escaping RPCDownload
        ) async throws(RPCClientError) -> RPCResponse {
            let (found, refusal, breaksAfter) = state.withLock { state in
                state.asked.append(
                    Dictionary(headers.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 }))
                return (
                    state.bytes[path], state.refusal,
                    state.breaksAfter.isEmpty ? nil : state.breaksAfter.removeFirst()
                )
            }
            guard let found, refusal == nil else {
                let error = ServiceError(refusal ?? .artifactNotFound)
                return RPCResponse(
                    status: error.httpStatus, headers: [("content-type", "application/json")],
                    body: error.connectBody)
            }
            let range = headers.first { $0.name == "range" }?.value
            let from = range.flatMap { Int($0.dropFirst(6).dropLast()) } ?? 0
            let head = RPCResponse(status: range == nil ? 200 : 206, headers: [], body: [])
            let end = min(found.count, from + (breaksAfter ?? .max - from))
            for start in stride(from: from, to: end, by: 1_000) {
                try await download(head, Array(found[start..<min(end, start + 1_000)]))
            }
            if breaksAfter != nil { throw .transport(kind: .closed, sentence: "cut") }
            return head
        }
    }

    private struct Bench {
        let store = MemoryArtifactStore()
        let pool = BlockingPool(name: "test-prefetch", threadCount: 1)
        let peer = Peer()
        let prefetch: ArtifactPrefetch

        init() {
            let clock = Clock()
            self.clock = clock
            prefetch = ArtifactPrefetch(
                store, pool, peers: [ArtifactPrefetchTests.log: "plant-a"],
                sources: ["plant-a": peer], now: { clock.value.withLock { $0 } },
                Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }

        final class Clock: Sendable { let value = Mutex<Int64>(0) }
        let clock: Clock

        func refer(to key: String, _ bytes: [UInt8], at offset: UInt64) throws {
            try store.record(
                [
                    ArtifactUse(
                        name: ArtifactPrefetchTests.name(key),
                        content: ArtifactContent(
                            digest: SHA256.hash(bytes), size: UInt64(bytes.count),
                            mediaType: "text/plain", fileName: "name"), offset: offset)
                ], log: ArtifactPrefetchTests.log, upTo: offset + 1, isReceived: true)
        }

        func until(_ condition: () async -> Bool) async throws {
            for _ in 0..<6_000 {
                if await condition() { return }
                clock.value.withLock { $0 += 1_000 }
                try await Task.sleep(for: .milliseconds(10))
            }
            Issue.record("did not happen in time")
        }

        func end() async {
            await prefetch.stop()
            pool.stop()
        }
    }

    @Test("gateway decision 24: what received facts refer to is fetched from the peer that delivered them")
    func fetches() async throws {
        let bench = Bench()
        let bytes = [UInt8](repeating: 5, count: 10_000)
        try bench.refer(to: "a", bytes, at: 0)
        #expect(await bench.prefetch.awaited(log: Self.log) == [Self.name("a")])
        await bench.prefetch.start()
        // Missing at first, then there.
        try await bench.until { await bench.prefetch.state(Self.name("a")).word == "missing" }
        #expect(await bench.prefetch.awaited(log: Self.log) == [Self.name("a")])
        bench.peer.state.withLock { $0.bytes[ArtifactPath.path(Self.name("a"))] = bytes }
        try await bench.until { bench.store.find(Self.name("a")) != nil }
        #expect(bench.store.find(Self.name("a"))?.content.fileName == "name")
        #expect(await bench.prefetch.awaited(log: Self.log).isEmpty)
        await bench.end()
    }

    @Test("gateway decision 24: what a confirmation waits for stays the same when later facts refer to it too")
    func awaitedOnce() async throws {
        let bench = Bench()
        try bench.refer(to: "a", [1], at: 5)
        let awaited = await bench.prefetch.awaited(log: Self.log)
        try bench.refer(to: "a", [1], at: 150)
        try bench.refer(to: "b", [2], at: 151)
        #expect(awaited == [Self.name("a")])
        #expect(await bench.prefetch.stillAwaited(awaited) == awaited)
        bench.peer.state.withLock { $0.bytes[ArtifactPath.path(Self.name("a"))] = [1] }
        await bench.prefetch.start()
        try await bench.until { await bench.prefetch.stillAwaited(awaited).isEmpty }
        await bench.end()
    }

    @Test func `a fetch that broke off goes on where it was`() async throws {
        let bench = Bench()
        let bytes = (0..<10_000).map { UInt8($0 % 251) }
        bench.peer.state.withLock {
            $0.bytes[ArtifactPath.path(Self.name("a"))] = bytes
            $0.breaksAfter = [3_500, 4_000]
        }
        try bench.refer(to: "a", bytes, at: 0)
        await bench.prefetch.start()
        try await bench.until { bench.store.find(Self.name("a")) != nil }
        let asked = bench.peer.state.withLock { $0.asked }
        #expect(asked.map { $0["range"] } == [nil, "bytes=3500-", "bytes=7500-"])
        #expect(asked[1]["if-range"] == DigestField.tag(SHA256.hash(bytes)))
        #expect(bench.store.usage.reservedBytes == 0)
        await bench.end()
    }

    @Test func `other bytes than the fact says are not kept`() async throws {
        let bench = Bench()
        let bytes = [UInt8](repeating: 5, count: 10_000)
        bench.peer.state.withLock {
            $0.bytes[ArtifactPath.path(Self.name("a"))] = [UInt8](repeating: 6, count: 10_000)
        }
        try bench.refer(to: "a", bytes, at: 0)
        await bench.prefetch.start()
        try await bench.until { await bench.prefetch.state(Self.name("a")).word == "missing" }
        #expect(bench.store.find(Self.name("a")) == nil && bench.store.usage.bytes == 0)
        await bench.end()
    }

    @Test func `what is not granted is not waited for`() async throws {
        let bench = Bench()
        bench.peer.state.withLock { state in
            state.bytes[ArtifactPath.path(Self.name("a"))] = [1]
            state.refusal = .bucketNotGranted
        }
        try bench.refer(to: "a", [1], at: 3)
        #expect(await bench.prefetch.awaited(log: Self.log) == [Self.name("a")])
        await bench.prefetch.start()
        try await bench.until { await bench.prefetch.stillAwaited([Self.name("a")]).isEmpty }
        #expect(await bench.prefetch.awaited(log: Self.log).isEmpty)
        #expect(await bench.prefetch.state(Self.name("a")).word == "not_granted")
        await bench.end()
    }

    @Test func `what all came of and did not end is fetched again and not from its end on`() async throws {
        let bench = Bench()
        let bytes = (0..<4_000).map { UInt8($0 % 251) }
        bench.peer.state.withLock {
            $0.bytes[ArtifactPath.path(Self.name("a"))] = bytes
            $0.breaksAfter = [4_000]
        }
        try bench.refer(to: "a", bytes, at: 0)
        await bench.prefetch.start()
        try await bench.until { bench.store.find(Self.name("a")) != nil }
        #expect(bench.peer.state.withLock { $0.asked }.map { $0["range"] } == [nil, nil])
        #expect(bench.store.usage.reservedBytes == 0)
        await bench.end()
    }

    @Test func `many names that nobody gives us keep no other from being fetched`() async throws {
        let bench = Bench()
        for number in 0..<1_100 { try bench.refer(to: "absent-\(number)", [1], at: UInt64(number)) }
        bench.peer.state.withLock { $0.bytes[ArtifactPath.path(Self.name("there"))] = [2] }
        try bench.refer(to: "there", [2], at: 1_100)
        #expect(await bench.prefetch.awaited(log: Self.log).count == 1_101)
        await bench.prefetch.start()
        try await bench.until { bench.store.find(Self.name("there")) != nil }
        await bench.end()
    }
}
