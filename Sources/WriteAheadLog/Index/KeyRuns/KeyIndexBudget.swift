/// The memory that filters and fences of all logs of a process may take.
///
/// A log's share is what its keys are of all keys. Within it the newest runs have 20 bits a key, then
/// 10; the filters of the oldest stay on disk when even 10 do not fit. Thread-safe.
public final class KeyIndexBudget: Sendable {
    /// 256 MiB.
    public static let defaultBytes = 256 << 20
    /// What logs use that are not given another one.
    public static let shared = KeyIndexBudget()

    /// What all logs that share it may hold together, in bytes.
    public let maximumBytes: Int

    private struct State {
        var heldBytes = 0
        /// Of these what belongs to runs that are being written.
        var writtenBytes = 0
        var keyCount = 0
    }

    private let state = Guarded(State())

    /// - Precondition: `maximumBytes` is not negative; 0 keeps everything on disk.
    public init(maximumBytes: Int = KeyIndexBudget.defaultBytes) {
        precondition(maximumBytes >= 0, "a budget is not negative")
        self.maximumBytes = maximumBytes
    }

    /// Bytes of filters and fences in memory now.
    public var heldBytes: Int { state.withLock { $0.heldBytes } }

    /// Keys in the open runs of all logs.
    public var keyCount: Int { state.withLock { $0.keyCount } }

    /// What a log with so many of the keys may hold.
    func shareBytes(ofKeys count: Int) -> Int {
        let (keyCount, writtenBytes) = state.withLock { ($0.keyCount, $0.writtenBytes) }
        let all = max(keyCount, count, 1)
        return Int(Double(max(maximumBytes - writtenBytes, 0)) * Double(count) / Double(all))
    }

    /// Takes bytes if they fit once `replacedBytes`, held still, are given back. So for the moment
    /// in which a filter is exchanged more is held than the budget.
    func reserve(_ byteCount: Int, replacing replacedBytes: Int = 0) -> Bool {
        state.withLock { state in
            guard state.heldBytes - replacedBytes + byteCount <= maximumBytes else { return false }
            state.heldBytes += byteCount
            return true
        }
    }

    /// Takes bytes for a run that has to be written whether there is room or not: what its log has in memory
    /// of others makes way with the next `adjusted`.
    func beginWriting(_ byteCount: Int) {
        state.withLock { state in
            state.heldBytes += byteCount
            state.writtenBytes += byteCount
        }
    }

    /// - Parameter isKept: whether they are to stay, for the run's lookups.
    /// - Returns: whether they do: they give way when more is held than the budget.
    @discardableResult
    func endWriting(_ byteCount: Int, isKept: Bool) -> Bool {
        state.withLock { state in
            state.writtenBytes -= byteCount
            if isKept, state.heldBytes <= maximumBytes { return true }
            state.heldBytes -= byteCount
            return false
        }
    }

    func release(_ byteCount: Int) { state.withLock { $0.heldBytes -= byteCount } }

    func add(keys count: Int) { state.withLock { $0.keyCount += count } }

    func remove(keys count: Int) { state.withLock { $0.keyCount -= count } }
}
