import Foundation
import Synchronization
import Testing

@testable import Buffers

/// How many were in at once.
private final class Gauge: Sendable {
    private let counts = Mutex((now: 0, most: 0))

    var most: Int { counts.withLock { $0.most } }

    func enter() {
        counts.withLock { counts in
            counts.now += 1
            counts.most = max(counts.most, counts.now)
        }
    }

    func leave() { counts.withLock { $0.now -= 1 } }
}

@Suite struct BlockingPoolTests {
    @Test func `runs as many at once as it has threads`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 3)
        let gauge = Gauge()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    try? await pool.run { () throws(BufferError) in
                        gauge.enter()
                        // However late the other threads come.
                        for _ in 0..<60_000 where gauge.most < 3 { usleep(1_000) }
                        usleep(1_000)
                        gauge.leave()
                    }
                }
            }
        }
        pool.stop()
        #expect(gauge.most == 3)
    }

    @Test func `refuses what is beyond its queue`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 1, queueMaximum: 2)
        let gate = DispatchSemaphore(value: 0)
        let began = DispatchSemaphore(value: 0)
        let ran = Mutex(0)
        #expect(
            pool.submit {
                began.signal()
                gate.wait()
            })
        await withCheckedContinuation { continuation in
            Thread {
                began.wait()
                continuation.resume()
            }.start()
        }
        #expect(pool.submit { ran.withLock { $0 += 1 } })
        #expect(pool.submit { ran.withLock { $0 += 1 } })
        #expect(!pool.submit { ran.withLock { $0 += 1 } })
        await #expect(throws: BufferError.self) {
            try await pool.run { () throws(BufferError) in }
        }
        gate.signal()
        // What was taken is finished before the pool ends; nothing is taken afterwards.
        pool.stop()
        #expect(ran.withLock { $0 } == 2)
        #expect(!pool.submit {})
    }

    @Test func `gives results and errors to the task that waits`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 1)
        let value = try await pool.run { () throws(BufferError) -> Int in 42 }
        #expect(value == 42)
        var caught: BufferError?
        do {
            try await pool.run { () throws(BufferError) -> Void in
                throw BufferError(.positionMoved, "moved")
            }
        } catch {
            caught = error
        }
        #expect(caught?.kind == .positionMoved && caught?.sentence == "moved")
        pool.stop()
    }
}
