internal import Glibc
internal import Synchronization

/// Ctrl-C and its like: a handler may do next to nothing, so it tells a thread that cleans up and
/// ends the program.
enum Interruption {
    private nonisolated(unsafe) static var writeEnd: Int32 = -1
    /// Held by whoever writes files, so that none is written after the cleaning up.
    private static let writing = Mutex(())
    private static let cleanUp = Mutex<(@Sendable () -> Void)?>(nil)

    /// - Parameter body: runs on a thread of its own when a signal comes, before the program ends.
    static func handle(_ body: @escaping @Sendable () -> Void) {
        cleanUp.withLock { $0 = body }
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        writeEnd = ends[1]
        let readEnd = ends[0]
        var thread = pthread_t()
        let argument = UnsafeMutableRawPointer(bitPattern: UInt(readEnd))
        pthread_create(&thread, nil, Interruption.wait, argument)
        pthread_detach(thread)
        for number in [SIGINT, SIGTERM, SIGHUP] where !isLeftOut(number) {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(Interruption.writeEnd, &byte, 1)
            }
        }
        // A reader that has gone away is an error of write(2), not the end without cleaning up.
        signal(SIGPIPE, SIG_IGN)
    }

    /// Whoever started this under nohup wants it to outlive its terminal.
    private static func isLeftOut(_ number: Int32) -> Bool {
        var action = sigaction()
        guard number == SIGHUP, sigaction(number, nil, &action) == 0 else { return false }
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// Runs a step that writes files: a signal waits for its end.
    static func withoutInterruption<Value>(_ body: () throws -> Value) rethrows -> Value {
        try writing.withLock { _ in try body() }
    }

    /// From now on a signal only ends the program.
    static func leaveEverything() { cleanUp.withLock { $0 = nil } }

    private static func end(_ status: Int32) {
        cleanUp.withLock { $0 }?()
        _exit(status)
    }

    private static let wait: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? =
        { argument in
            let descriptor = Int32(UInt(bitPattern: argument))
            var number: UInt8 = 0
            while read(descriptor, &number, 1) < 1 {}
            Interruption.writing.withLock { _ in Interruption.end(128 + Int32(number)) }
            return nil
        }
}
