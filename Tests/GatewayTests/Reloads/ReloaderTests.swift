import Buffers
import Facts
import Foundation
import RPC
import Synchronization
import Testing

@testable import Gateway

/// A reload puts all in force or nothing, whatever fails and whenever.
@Suite struct ReloaderTests {
    private final class Flag: Sendable {
        private let state = Mutex(false)
        var isRaised: Bool { state.withLock { $0 } }
        func raise() { state.withLock { $0 = true } }
    }

    private static let moved = ReloadBench.peers.replacing("127.0.0.1:1", with: "127.0.0.1:2")

    private func endpoint(_ bench: ReloadBench) -> HostPort? {
        bench.parts.pulls.pulls(peer: "plant-a", stream: "", origin: "").first?.peer.endpoint
    }

    @Test func `a disk that takes no more after the files were read leaves no half of a reload`() async throws {
        let bench = try await ReloadBench(diskThreads: 1)
        try bench.write("peers.yaml", Self.moved)
        let occupied = DispatchSemaphore(value: 0)
        #expect(bench.pool.submit { occupied.wait() })
        let stopped = Flag()
        let reload = Task { () -> Bool in
            do {
                _ = try await bench.reloader.reload(by: "test")
                return true
            } catch {
                return false
            }
        }
        try await eventually("a reload that begins") { bench.heard.begun.withLock { $0 } == 1 }
        // The reading waits for the thread by then; what is submitted after it is refused.
        try await Task.sleep(for: .milliseconds(300))
        Thread.detachNewThread {
            bench.pool.stop()
            stopped.raise()
        }
        try await eventually("a pool that takes nothing") { !bench.pool.submit {} }
        occupied.signal()
        let isReloaded = await reload.value
        try await eventually("the end of the pool") { stopped.isRaised }
        let port = isReloaded ? 2 : 1
        #expect(bench.live.current.peer(id: "plant-a")?.endpoint?.port == port)
        #expect(endpoint(bench)?.port == port)
        #expect(bench.parts.verifier.generation == (isReloaded ? 2 : 1))
        await bench.close()
    }

    @Test func `a connection that a reload could not make is made by the next one`() async throws {
        let bench = try await ReloadBench()
        // Enough to find out that it can be made, and then none.
        for (connections, isRefused, inForce, pulled) in [
            (0, true, 1, 1), (1, true, 2, 1), (Int.max, false, 2, 2),
        ] {
            try bench.write("peers.yaml", Self.moved)
            bench.heard.connections.withLock { $0 = connections }
            var message: String?
            do throws(ServiceError) {
                _ = try await bench.reloader.reload(by: "test")
            } catch {
                message = error.message
            }
            #expect((message != nil) == isRefused)
            // Whoever asked is told the truth of what is in force.
            #expect((message?.contains("is in force") == true) == (isRefused && inForce == 2))
            #expect(bench.live.current.peer(id: "plant-a")?.endpoint?.port == inForce)
            #expect(endpoint(bench)?.port == pulled)
        }
        await bench.close()
    }

    @Test func `logs that a refused reload opened are followed by the next one`() async throws {
        let bench = try await ReloadBench()
        let streams = ["facts.early", "facts.late"].map {
            "  - {name: \($0), capacity: 16MiB, segment: 1MiB}\n"
        }.joined()
        try bench.write(
            "bsfg.yaml", ReloadBench.main.replacing("clients:", with: "\(streams)clients:"))
        // Where the second log is to be stands something else.
        let place = "\(bench.directory)/data/store/facts.late"
        try Data("a file".utf8).write(to: URL(fileURLWithPath: place))
        await #expect(throws: ServiceError.self) { try await bench.reloader.reload(by: "test") }
        #expect(bench.live.generation == 1 && bench.heard.opened.withLock { $0 } == [])
        try FileManager.default.removeItem(atPath: place)
        _ = try await bench.reloader.reload(by: "test")
        #expect(bench.heard.opened.withLock { $0 } == ["facts.early", "facts.late"])
        _ = try await bench.reloader.reload(by: "test")
        #expect(bench.heard.opened.withLock { $0 }.count == 2, "each is told once")
        await bench.close()
    }

    @Test("gateway decision 40: at no moment of a reload do trust and grants belong to two configurations")
    func trustAndGrantsBelongTogether() async throws {
        let bench = try await ReloadBench()
        let (isOver, isTorn, isFinished) = (Flag(), Flag(), Flag())
        let (live, verifier) = (bench.live, bench.parts.verifier)
        // The generations rise together, by one with each reload.
        Thread.detachNewThread {
            while !isOver.isRaised {
                let trust = verifier.generation
                if live.generation < trust { isTorn.raise() }
                let grants = live.generation
                if verifier.generation < grants { isTorn.raise() }
            }
            isFinished.raise()
        }
        for _ in 0..<40 { _ = try await bench.reloader.reload(by: "test") }
        isOver.raise()
        try await eventually("the end") { isFinished.isRaised }
        #expect(!isTorn.isRaised)
        #expect(verifier.generation == 41 && live.generation == 41)
        await bench.close()
    }

    @Test func `certificates that change while the disk is busy are in force once it is not`() async throws {
        let bench = try await ReloadBench(diskThreads: 1, diskQueue: 1)
        let occupied = DispatchSemaphore(value: 0)
        let isOccupied = Flag()
        // One on the thread, one in the queue: whatever comes is refused.
        #expect(
            bench.pool.submit {
                isOccupied.raise()
                occupied.wait()
            })
        try await eventually("a thread that is taken") { isOccupied.isRaised }
        #expect(bench.pool.submit { occupied.wait() })
        bench.parts.certificateWatch.start()
        // Some looks at the files.
        try await Task.sleep(for: .milliseconds(2_500))
        try bench.issue()
        #expect(bench.parts.verifier.generation == 1)
        for _ in 0..<2 { occupied.signal() }
        try await eventually("the new pair") { bench.parts.verifier.generation == 2 }
        await bench.close()
    }
}
