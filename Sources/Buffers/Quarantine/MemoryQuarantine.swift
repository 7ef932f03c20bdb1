internal import Synchronization

/// A quarantine in memory: the double of the one in a log, held to the same conformance suite.
package final class MemoryQuarantine: Quarantine {
    private struct State {
        var facts: [QuarantinedFact] = []
        var size: QuarantineSize
    }

    private let state: Mutex<State>

    package init(capacityBytes: UInt64 = 1 << 20) {
        state = Mutex(State(size: QuarantineSize(capacityBytes: capacityBytes)))
    }

    package var size: QuarantineSize { state.withLock { $0.size } }

    @discardableResult
    package func put(_ facts: [QuarantinedFact]) throws(BufferError) -> [QuarantinedFact] {
        try state.withLock { state -> Result<[QuarantinedFact], BufferError> in
            var known = Set(state.facts.map(\.identifier))
            let new = facts.filter { known.insert($0.identifier).inserted }
            let bytes = new.reduce(0) { $0 + MemoryQuarantine.bytes($1) }
            do throws(BufferError) {
                try state.size.checkRoom(count: new.count, bytes: bytes)
            } catch {
                return .failure(error)
            }
            state.facts += new
            state.size.count += new.count
            state.size.bytes += bytes
            return .success(new)
        }.get()
    }

    package func fact(_ identifier: QuarantineIdentifier) throws(BufferError) -> QuarantinedFact? {
        state.withLock { $0.facts.first { $0.identifier == identifier } }
    }

    package func visit(_ visit: (QuarantinedFact) -> Bool) throws(BufferError) {
        for fact in state.withLock({ $0.facts }) where !visit(fact) { return }
    }

    package func remove(_ identifier: QuarantineIdentifier) throws(BufferError) -> Bool {
        state.withLock { state in
            guard let index = state.facts.firstIndex(where: { $0.identifier == identifier }) else {
                return false
            }
            let fact = state.facts.remove(at: index)
            state.size.count -= 1
            state.size.bytes -= MemoryQuarantine.bytes(fact)
            return true
        }
    }

    private static func bytes(_ fact: QuarantinedFact) -> UInt64 {
        UInt64(QuarantineRecord.fact(fact).encode().count)
    }
}
