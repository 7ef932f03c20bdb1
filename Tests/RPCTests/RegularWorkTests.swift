import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import RPC

@Suite struct RegularWorkTests {
    private final class Submissions: Sendable {
        let count = Mutex(0)
        let hasRoom = Mutex(true)
    }

    @Test func `what there was no room for is tried again soon, and then goes on in its period`() async throws {
        let loop = NIOAsyncTestingEventLoop()
        let submissions = Submissions()
        let work = RegularWork(on: loop, every: .hours(1), retryAfter: .seconds(1)) {
            submissions.count.withLock { $0 += 1 }
            return submissions.hasRoom.withLock { $0 }
        }
        func count(after time: TimeAmount) async -> Int {
            await loop.advanceTime(by: time)
            return submissions.count.withLock { $0 }
        }
        work.start()
        #expect(await count(after: .minutes(59)) == 0)
        #expect(await count(after: .minutes(1)) == 1)
        submissions.hasRoom.withLock { $0 = false }
        #expect(await count(after: .hours(1)) == 2)
        #expect(await count(after: .seconds(1)) == 3)
        submissions.hasRoom.withLock { $0 = true }
        #expect(await count(after: .seconds(1)) == 4)
        #expect(await count(after: .minutes(59)) == 4)
        #expect(await count(after: .minutes(1)) == 5)
        work.cancel()
        #expect(await count(after: .hours(3)) == 5)
        await loop.shutdownGracefully()
    }
}
