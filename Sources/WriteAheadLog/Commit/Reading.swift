/// What readers ask of the log: where an offset lies, and when there is more.
extension LogEngine {
    /// A segment that a reader may read until it gives it back.
    struct Place {
        var index: SegmentIndex
        /// Where the next declared gap begins.
        var gapOffset: UInt64
    }

    var firstOffset: UInt64 { segments[0].entry.baseOffset }

    /// What a reader needs to read from `offset`, or nil when the offset is at the head. O(log
    /// segments).
    ///
    /// - Throws: `gap` when the log no longer has it; `offsetOutOfRange` above the head.
    func place(of offset: UInt64) throws(LogError) -> Place? {
        monitor.lock()
        defer { monitor.unlock() }
        guard offset <= headOffset else {
            throw .offsetOutOfRange(offset: offset, first: firstOffset, head: headOffset)
        }
        if let gap = gap(at: offset) { throw .gap(gap) }
        guard offset < headOffset else { return nil }
        let number = number(ofSegmentWith: offset)
        let index = segments[number]
        pins[index.entry.id, default: 0] += 1
        return Place(index: index, gapOffset: pipeline.state.losses.start(atOrAfter: offset))
    }

    /// The segment after which no record is older than `time`; nil when all are.
    func place(atOrAfterMilliseconds time: Int64) -> Place? {
        monitor.lock()
        defer { monitor.unlock() }
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].entry.greatestTimeMilliseconds < time {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low < segments.count, segments[low].endOffset > segments[low].entry.baseOffset else {
            return nil
        }
        pins[segments[low].entry.id, default: 0] += 1
        return Place(index: segments[low], gapOffset: .max)
    }

    func giveBack(_ place: Place) {
        monitor.withLock {
            let id = place.index.entry.id
            pins[id]! -= 1
            if pins[id] == 0 { pins.removeValue(forKey: id) }
        }
    }

    /// Whether the log still has the segment of a place.
    func holds(_ place: Place) -> Bool {
        monitor.withLock { segments.contains { $0.entry.id == place.index.entry.id } }
    }

    private func number(ofSegmentWith offset: UInt64) -> Int {
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].entry.baseOffset <= offset { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    /// What is missing at `offset`: up to the next record that the log holds, or its head. With the
    /// lock.
    func gap(at offset: UInt64) -> Gap? {
        pipeline.state.losses.gap(at: offset, firstOffset: firstOffset)
    }

    /// Sleeps until the head is beyond `offset`; false when the time was over first.
    func waitForRecords(at offset: UInt64, timeoutMilliseconds: Int) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        let deadline =
            environment.monotonicNanoseconds()
            + Int64(min(max(0, timeoutMilliseconds), 1 << 40)) * 1_000_000
        headWaiters += 1
        defer { headWaiters -= 1 }
        while headOffset <= offset, !isClosed, environment.threads {
            if !monitor.wait(headMoved, untilNanoseconds: deadline) { break }
        }
        return headOffset > offset
    }

    func observe(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        monitor.withLock {
            defer { nextObserver += 1 }
            observers[nextObserver] = handler
            return nextObserver
        }
    }

    func removeObserver(_ number: UInt64) {
        monitor.withLock { _ = observers.removeValue(forKey: number) }
    }

    /// Where a durable key stands, and its content digest.
    func lookUp(_ key: Digest256) throws(LogError) -> KeyTable.Entry? {
        monitor.lock()
        if let entry = pipeline.keys.durable(key) {
            monitor.unlock()
            return entry
        }
        let runs = runs
        monitor.unlock()
        guard !runs.isEmpty else { return nil }
        let answer = runs.lookUp([key])[0]
        monitor.withLock { noteDamage(runs) }
        switch answer {
        case .absent: return nil
        case .found(let offset, let content): return KeyTable.Entry(offset: offset, content: content)
        case .retryLater: throw .rejected(.indexRebuilding)
        }
    }
}
