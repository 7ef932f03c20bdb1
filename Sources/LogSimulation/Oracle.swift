internal import Glibc
internal import WriteAheadLog

/// A promise that was not kept, in a sentence.
package struct Violation: Error, Sendable {
    package var sentence: String

    init(_ sentence: String) { self.sentence = sentence }
}

/// Judges an opened log by what was submitted to it and what it acknowledged.
///
/// Acknowledged records are there; what is there is a prefix of what was submitted; bytes are
/// identical, offsets dense; keys stand where they were given; cursors and registers are those of
/// the same prefix; nothing is there that nobody submitted.
struct Oracle {
    enum Depth {
        /// Every record that the log still holds.
        case everything
        /// The newest ones and some others.
        case sample
    }

    static let owner = "simulation"
    private static let sampleRecords = 24

    /// Finds out how many of the pending transactions survived.
    static func survivors(_ log: Log, _ model: LogModel) throws(Violation) -> Int {
        let head = Int(log.headOffset)
        let small = smallState(log)
        for count in stride(from: model.pending.count, through: 0, by: -1) {
            let outcome = model.outcome(count)
            if outcome.recordCount == head, outcome.small == small { return count }
        }
        if head < model.records.count {
            throw Violation("\(model.records.count - head) acknowledged records are lost: the "
                + "head is \(head), acknowledged were \(model.records.count)")
        }
        if head > model.projectedCount {
            throw Violation("the head is \(head), but only \(model.projectedCount) were submitted")
        }
        throw Violation(
            "\(head) records stand with a state that never stood with them: \(small), acknowledged "
                + "\(model.records.count) with \(model.small), pending "
                + "\(model.pending.map { ($0.records.count, $0.small) })")
    }

    static func smallState(_ log: Log) -> LogModel.SmallState {
        var small = LogModel.SmallState()
        for cursor in log.cursors() {
            small.cursors[cursor.name] = LogModel.ModelCursor(
                nextOffset: cursor.nextOffset, required: cursor.required)
        }
        for name in SimulatedSession.registerNames {
            small.registers[name] = log.register(name)
        }
        return small
    }

    /// Judges a log whose pending transactions are resolved.
    static func judge(
        _ log: Log, _ model: LogModel, _ depth: Depth, using random: inout SimulationRandom,
        tally: inout SimulationTally
    ) throws(Violation) {
        precondition(model.pending.isEmpty, "judged is what is known")
        let first = Int(log.firstOffset)
        try judgeRemoval(log, model)
        guard Int(log.headOffset) == model.records.count else {
            throw Violation("the head is \(log.headOffset), not \(model.records.count)")
        }
        guard smallState(log) == model.small else {
            throw Violation("cursors and registers are \(smallState(log)), not \(model.small)")
        }
        for cursor in log.cursors() where cursor.nextOffset > log.headOffset {
            throw Violation("cursor \(cursor.name) is beyond the head")
        }
        for range in ranges(first..<model.records.count, depth, &random) {
            try read(log, model, range, tally: &tally)
        }
        try lookUp(log, model, first..<model.records.count, &random, tally: &tally)
    }

    /// What is no longer there was confirmed, or is declared lost and the profile allows that.
    private static func judgeRemoval(_ log: Log, _ model: LogModel) throws(Violation) {
        let first = log.firstOffset
        let gaps = log.gaps(in: first..<max(first, log.headOffset))
        guard gaps.isEmpty else {
            throw Violation(
                "\(gaps.map { ($0.offsets, $0.reasons.names) }) are declared lost and still there: "
                    + "the log holds \(first) up to \(log.headOffset)")
        }
        guard first > model.removableOffset else { return }
        var offset = model.removableOffset
        while offset < first {
            guard log.profile == .standard, let gap = log.gap(at: offset),
                !gap.reasons.isDisjoint(with: [.dropped, .expired])
            else {
                throw Violation(
                    "the log begins at \(first), but only those below \(offset) were confirmed or "
                        + "declared lost")
            }
            offset = gap.offsets.upperBound
        }
    }

    private static func ranges(
        _ all: Range<Int>, _ depth: Depth, _ random: inout SimulationRandom
    ) -> [Range<Int>] {
        if case .everything = depth { return [all] }
        let newest = max(all.lowerBound, all.upperBound - sampleRecords)..<all.upperBound
        guard newest.lowerBound > all.lowerBound else { return [newest] }
        let start = all.lowerBound + random.below(newest.lowerBound - all.lowerBound)
        return [start..<min(start + 4, newest.lowerBound), newest]
    }

    static func read(
        _ log: Log, _ model: LogModel, _ range: Range<Int>, tally: inout SimulationTally
    ) throws(Violation) {
        var expected = range.lowerBound
        var time = Int64.min
        var wrong: String?
        do throws(LogError) {
            _ = try log.read(from: UInt64(range.lowerBound), maximumCount: max(1, range.count)) {
                record in
                wrong = mismatch(record, model, expected, &time)
                expected += 1
                return wrong == nil
            }
        } catch {
            throw Violation("offset \(expected) cannot be read: \(error.sentence)")
        }
        if let wrong { throw Violation(wrong) }
        guard expected >= range.upperBound else {
            throw Violation("reading ended at \(expected) before \(range.upperBound)")
        }
        tally.recordsChecked += range.count
    }

    /// What is wrong with a record that was read, nil when nothing is.
    static func mismatch(
        _ record: LogRecord, _ model: LogModel, _ expected: Int, _ time: inout Int64
    ) -> String? {
        guard record.offset == UInt64(expected) else {
            return "offset \(record.offset) came where \(expected) is next"
        }
        guard expected < model.records.count else { return "offset \(expected) is a phantom" }
        let submitted = model.records[expected]
        guard record.key == submitted.key, record.content == submitted.content else {
            return "offset \(expected) has the key of another record"
        }
        let isSame = submitted.payload.withUnsafeBytes { bytes in
            bytes.count == record.payload.count
                && (bytes.count == 0
                    || memcmp(bytes.baseAddress!, record.payload.baseAddress!, bytes.count) == 0)
        }
        guard isSame else { return "offset \(expected) has other bytes than were submitted" }
        guard record.appendTimeMilliseconds >= time else {
            return "offset \(expected) is older than the record before it"
        }
        time = record.appendTimeMilliseconds
        return nil
    }

    private static func lookUp(
        _ log: Log, _ model: LogModel, _ held: Range<Int>, _ random: inout SimulationRandom,
        tally: inout SimulationTally
    ) throws(Violation) {
        guard !held.isEmpty else { return }
        for attempt in 0..<8 {
            let offset =
                attempt < 4 ? max(held.lowerBound, held.upperBound - 1 - attempt)
                : held.lowerBound + random.below(held.count)
            let record = model.records[offset]
            guard let key = record.key else { continue }
            let found = try place(log, key)
            guard let found, found.offset == UInt64(offset), found.content == record.content else {
                throw Violation(
                    "the key of offset \(offset) is at "
                        + (found.map { "\($0.offset)" } ?? "no place"))
            }
            tally.keysChecked += 1
        }
    }

    private static func place(_ log: Log, _ key: Digest256) throws(Violation) -> (
        offset: UInt64, content: Digest256
    )? {
        do throws(LogError) { return try log.lookUp(key) } catch {
            throw Violation("a key cannot be looked up: \(error.sentence)")
        }
    }

    /// Keys of records that are not there lead nowhere.
    static func findNoPhantomKeys(_ log: Log, _ missing: [ModelRecord]) throws(Violation) {
        for record in missing.prefix(8) {
            if let key = record.key, let found = try place(log, key) {
                throw Violation(
                    "the key of a record that is not there leads to offset \(found.offset)")
            }
        }
    }
}
