import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

/// What the kernel says of one thread; nil when it ended meanwhile.
private func threadName(_ directory: String) -> String? {
    guard let file = fopen(directory + "/comm", "r") else { return nil }
    defer { fclose(file) }
    var line = [UInt8](repeating: 0, count: 16)
    let length = fread(&line, 1, line.count, file)
    return String(decoding: line[..<max(0, length - 1)], as: UTF8.self)
}

/// Names of the threads on which parts of tasks ran.
private final class ThreadNames: Sendable {
    let names = Mutex<[String: Int]>([:])

    func note() {
        let name = threadName("/proc/thread-self") ?? ""
        names.withLock { $0[name, default: 0] += 1 }
    }

    func count(_ name: String) -> Int { names.withLock { $0[name] ?? 0 } }
}

@Suite(.serialized) struct AppendExecutorTests {
    @Test func `Tasks that a commit lets go on share the next one, on the committing thread`() async throws {
        let log = try openLog(MemoryDisk())
        let executor = AppendExecutor(log)
        let threads = ThreadNames()
        let taskCount = 64
        let appendCount = 50
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<taskCount {
                group.addTask(executorPreference: executor) {
                    for number in 0..<appendCount {
                        _ = try await log.append(try oneRecord(payload(task * 1000 + number)))
                        threads.note()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(log.headOffset == UInt64(taskCount * appendCount))
        #expect(threads.count("bsfg-commit") + threads.count("bsfg-tasks") == taskCount * appendCount)
        // All but the first of each task, which may have met a commit that was out.
        #expect(threads.count("bsfg-commit") >= taskCount * (appendCount - 2))
        #expect(log.statistics().counters.commits < UInt64(taskCount * appendCount / 4))
        log.close()
    }

    @Test func `What a task waits for elsewhere goes on beside the log`() async throws {
        let log = try openLog(MemoryDisk())
        let threads = ThreadNames()
        let executor = AppendExecutor(log)
        let task = Task.detached(executorPreference: executor) {
            threads.note()
            _ = try await log.append(try oneRecord(payload(1)))
            try await Task.sleep(for: .milliseconds(50))
            threads.note()
            await Task.yield()
            threads.note()
        }
        try await task.value
        #expect(threads.count("bsfg-tasks") == 3)
        log.close()
    }

    @Test(.timeLimit(.minutes(2))) func `What would wait for a commit on the thread that commits ends the program, and does not hang it`()
        async
    {
        await #expect(processExitsWith: .failure) {
            let log = try openLog(MemoryDisk())
            let executor = AppendExecutor(log)
            try await Task.detached(executorPreference: executor) {
                // The second goes on behind its commit for certain.
                for number in 0..<2 { _ = try await log.append(try oneRecord(payload(number))) }
                func wait() throws { _ = try log.append(try oneRecord(payload(2))) }
                try wait()
            }.value
        }
    }

    @Test func `A closed log answers tasks of its executor, and the thread ends with the last of them`()
        async throws
    {
        let log = try openLog(MemoryDisk())
        func threadCount() throws -> Int {
            let directory = try #require(opendir("/proc/self/task"))
            defer { closedir(directory) }
            var count = 0
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                }
                if threadName("/proc/self/task/" + name) == "bsfg-tasks" { count += 1 }
            }
            return count
        }
        let before = try threadCount()
        var executor: AppendExecutor? = AppendExecutor(log)
        let task = Task.detached(executorPreference: executor!) {
            _ = try await log.append(try oneRecord(payload(1)))
            log.close()
            await #expect(throws: LogError.closed) {
                try await log.append(try oneRecord(payload(2)))
            }
        }
        executor = nil
        try await task.value
        for _ in 0..<5000 where try threadCount() > before { usleep(1000) }
        #expect(try threadCount() <= before)
        #expect(log.headOffset == 1)
    }
}
