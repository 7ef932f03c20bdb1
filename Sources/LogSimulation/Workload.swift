internal import WriteAheadLog

/// Draws operations for a session: what callers of a log do, in no reasonable order.
struct Workload {
    enum Operation: CaseIterable {
        case appendFew, appendMany, appendTwoBlocks, appendLarge, appendQueued, retry, prepare, appendWithRegister, setRegister
        case createCursor, confirm, deleteCursor, passTime, stepClock, readSome, observeNothingNew
    }

    /// Chances of the operations, in parts of their sum.
    private static let weights: [(Operation, Int)] = [
        (.appendFew, 44), (.appendMany, 5), (.appendTwoBlocks, 2), (.appendLarge, 4), (.appendQueued, 9), (.retry, 14), (.prepare, 8),
        (.appendWithRegister, 6), (.setRegister, 5), (.createCursor, 3), (.confirm, 10),
        (.deleteCursor, 1), (.passTime, 4), (.stepClock, 1), (.readSome, 4),
        (.observeNothingNew, 2),
    ]
    private static let weightSum = weights.reduce(0) { $0 + $1.1 }

    let session: SimulatedSession

    /// Does one drawn operation and checks its answer.
    func step() throws(Violation) {
        var number = session.random.below(Self.weightSum)
        for (operation, weight) in Self.weights {
            if number < weight { return try perform(operation) }
            number -= weight
        }
        preconditionFailure("a number below the sum of weights lies within one")
    }

    func perform(_ operation: Operation) throws(Violation) {
        session.tally.operations += 1
        session.note("\(operation)")
        switch operation {
        case .appendFew: try append(batch(count: session.random.between(1...4), bytes: 0...200))
        case .appendMany: try append(batch(count: session.random.between(10...40), bytes: 0...60))
        case .appendTwoBlocks: try append(twoBlocks())
        case .appendLarge: try append(batch(count: 1, bytes: 200_000...390_000))
        case .appendQueued: try appendQueued()
        case .retry: try append(mixedBatch())
        case .prepare: try prepare()
        case .appendWithRegister:
            try append(batch(count: 2, bytes: 0...100), register: Self.registerName(&session.random))
        case .setRegister: try setRegister()
        case .createCursor: try createCursor()
        case .confirm: try confirm()
        case .deleteCursor: try deleteCursor()
        case .passTime:
            let isLong = session.random.oneIn(3)
            session.clock.advance(
                milliseconds: Int64(session.random.below(isLong ? 400_000 : 5_000)))
            if isLong { session.maintainUntilIdle() }
        case .stepClock:
            session.clock.step(
                wallMilliseconds: Int64(session.random.below(200_000)) - 100_000)
        case .readSome: try readSome()
        case .observeNothingNew: try readHead()
        }
    }

    // MARK: - Batches

    private func record(bytes: ClosedRange<Int>, keyed: Bool) -> ModelRecord {
        ModelRecord(
            payload: session.random.bytes(session.random.between(bytes)),
            key: keyed ? Digest256(bytes: session.random.bytes(32)) : nil,
            content: keyed ? Digest256(bytes: session.random.bytes(32)) : nil)
    }

    private func batch(count: Int, bytes: ClosedRange<Int>) -> SimulatedBatch {
        var batch = SimulatedBatch()
        for _ in 0..<count {
            batch.add(record(bytes: bytes, keyed: !session.random.oneIn(4)), .new)
        }
        return batch
    }

    /// A record that nearly fills a block and a small one in the next: how long such a frame is
    /// decides whether the second one is seen.
    private func twoBlocks() -> SimulatedBatch {
        var batch = SimulatedBatch()
        batch.add(record(bytes: 65_300...65_400, keyed: true), .new)
        batch.add(record(bytes: 150...200, keyed: true), .new)
        return batch
    }

    /// New records among retries with the same and with other content, of older records and of the
    /// batch's own.
    private func mixedBatch() -> SimulatedBatch {
        var batch = SimulatedBatch()
        var seen = Set<Digest256>()
        var byteCount = 0
        for index in 0..<session.random.between(1...8) {
            let fresh = record(bytes: 0...120, keyed: true)
            switch session.random.below(5) {
            case 0, 1:
                guard let offset = heldKeyedOffset() else { break }
                let old = session.model.projectedRecord(offset)
                // All of it would have to fit, had it been new.
                guard byteCount + old.payload.count < 300_000, seen.insert(old.key!).inserted else {
                    break
                }
                byteCount += old.payload.count
                if session.random.oneIn(2) {
                    batch.add(old, .same(as: offset))
                } else {
                    batch.add(
                        ModelRecord(
                            payload: fresh.payload, key: old.key, content: fresh.content),
                        .conflict(with: offset))
                }
                continue
            case 2:
                let originals = batch.items.indices.filter {
                    if case .new = batch.items[$0].relation { true } else { false }
                }
                guard index > 0, !originals.isEmpty else { break }
                let original = session.random.element(originals)
                let first = batch.items[original].record
                if session.random.oneIn(2) {
                    batch.add(first, .duplicate(of: original))
                } else {
                    batch.add(
                        ModelRecord(
                            payload: fresh.payload, key: first.key, content: fresh.content),
                        .conflictWithin(original))
                }
                continue
            default: break
            }
            batch.add(fresh, .new)
        }
        return batch
    }

    /// A keyed record that the log still holds.
    private func heldKeyedOffset() -> Int? {
        guard let log = session.log else { return nil }
        let first = Int(log.firstOffset)
        let count = session.model.projectedCount
        guard count > first else { return nil }
        for _ in 0..<6 {
            let offset =
                session.random.oneIn(2)
                ? count - 1 - session.random.below(min(8, count - first))
                : first + session.random.below(count - first)
            if session.model.projectedRecord(offset).key != nil { return offset }
        }
        return nil
    }

    // MARK: - Appends

    private static func registerName(_ random: inout SimulationRandom) -> String {
        random.element(SimulatedSession.registerNames)
    }

    /// An update that names the value that stands, and the small state after it.
    private func update(_ name: String) -> (RegisterUpdate, LogModel.SmallState) {
        var small = session.model.projectedSmall
        let value = session.random.bytes(session.random.between(1...64))
        let update = RegisterUpdate(name: name, expected: small.registers[name], value: value)
        small.registers[name] = value
        return (update, small)
    }

    private func append(_ batch: SimulatedBatch, register: String? = nil) throws(Violation) {
        let encoded = batch.encode()
        let (outcomes, written) = batch.predict(session.model)
        let change = register.map { update($0) }
        let transaction = LogModel.Transaction(
            records: written, small: change?.1 ?? session.model.projectedSmall)
        try session.perform(written.isEmpty && change == nil ? nil : transaction) {
            (log) throws(LogError) in
            let receipt = try log.append(encoded, registers: change.map { [$0.0] } ?? [])
            return Self.difference(Array(receipt.outcomes), outcomes)
        }
    }

    /// Several callers that do not wait for each other: their batches queue and share a commit, and
    /// some retry what is only queued.
    private func appendQueued() throws(Violation) {
        guard let log = session.log else { return }
        let answers = QueuedAnswers(session)
        let small = session.model.projectedSmall
        for _ in 0..<session.random.between(2...5) {
            let batch = session.random.oneIn(2) ? mixedBatch() : self.batch(count: 2, bytes: 0...99)
            let (outcomes, written) = batch.predict(session.model)
            let number = written.isEmpty
                ? nil
                : session.model.submit(LogModel.Transaction(records: written, small: small))
            log.append(batch.encode()) { result in
                answers.take(result, transaction: number, expected: outcomes)
            }
            answers.submittedCount += 1
        }
        while log.stepCommit() {}
        try answers.judge()
    }

    private static func difference(_ answered: [AppendOutcome], _ expected: [AppendOutcome])
        -> String?
    {
        answered == expected ? nil : "answered \(answered) where \(expected) is right"
    }

    private func prepare() throws(Violation) {
        let batch = mixedBatch()
        let encoded = batch.encode()
        var dispositions: [Int: SimulatedBatch.Disposition] = [:]
        for (index, item) in batch.items.enumerated() where session.random.oneIn(3) {
            switch item.relation {
            case .conflict, .conflictWithin:
                dispositions[index] =
                    session.random.oneIn(2)
                    ? .replace(record(bytes: 0...100, keyed: false)) : .skip
            default: dispositions[index] = .skip
            }
        }
        let isDropped = session.random.oneIn(6)
        let (outcomes, written) = batch.predict(session.model, dispositions: dispositions)
        let transaction = LogModel.Transaction(
            records: written, small: session.model.projectedSmall)
        try session.perform(written.isEmpty || isDropped ? nil : transaction) {
            (log) throws(LogError) in
            let prepared = try log.prepare(encoded)
            if isDropped { return nil }
            for (index, disposition) in dispositions.sorted(by: { $0.key < $1.key }) {
                switch disposition {
                case .asPrepared: break
                case .skip: prepared.skip(index)
                case .replace(let record): try prepared.replace(index, with: record.payload)
                }
            }
            return Self.difference(Array(try log.commit(prepared).outcomes), outcomes)
        }
    }

    // MARK: - State

    private func setRegister() throws(Violation) {
        let (right, small) = update(Self.registerName(&session.random))
        if session.random.oneIn(4) {
            var wrong = right
            wrong.expected = session.random.bytes(65)
            return try session.perform(
                nil, mayBeRejected: { $0 == .registerMismatch(name: wrong.name) }
            ) { (log) throws(LogError) in
                try log.setRegisters([wrong])
                return "register \(wrong.name) was set though it held another value"
            }
        }
        try session.perform(LogModel.Transaction(records: [], small: small)) {
            (log) throws(LogError) in
            try log.setRegisters([right])
            return nil
        }
    }

    private func createCursor() throws(Violation) {
        let small = session.model.projectedSmall
        let names = ["north", "south", "east", "west"].filter { small.cursors[$0] == nil }
        guard !names.isEmpty else { return }
        try createCursor(named: session.random.element(names))
    }

    private func createCursor(named name: String) throws(Violation) {
        guard let log = session.log else { return }
        var small = session.model.projectedSmall
        let head = Int(log.headOffset)
        let cursor = Cursor(
            owner: Oracle.owner, name: name,
            nextOffset: UInt64(head - session.random.below(min(head, 10) + 1)),
            required: log.profile == .silStrict || name != "west")
        small.cursors[name] = LogModel.ModelCursor(
            nextOffset: cursor.nextOffset, required: cursor.required)
        try session.perform(LogModel.Transaction(records: [], small: small)) {
            (log) throws(LogError) in
            try log.createCursor(cursor)
            return nil
        }
    }

    private func confirm() throws(Violation) {
        let small = session.model.projectedSmall
        guard !small.cursors.isEmpty, let log = session.log else { return try createCursor() }
        let name = session.random.element(small.cursors.keys.sorted())
        let head = log.headOffset
        let stands = small.cursors[name]!.nextOffset
        // Once in a while backwards: nothing may move.
        let wanted =
            session.random.oneIn(5)
            ? UInt64(session.random.below(Int(stands) + 1))
            : head - UInt64(session.random.below(min(Int(head - min(stands, head)), 40) + 1))
        try confirm(name, wanted: wanted)
    }

    private func confirm(_ name: String, wanted: UInt64) throws(Violation) {
        var small = session.model.projectedSmall
        let stands = small.cursors[name]!.nextOffset
        let target = max(wanted, stands)
        small.cursors[name]!.nextOffset = target
        let transaction = LogModel.Transaction(records: [], small: small)
        try session.perform(target > stands ? transaction : nil) { (log) throws(LogError) in
            let cursor = try log.confirm(owner: Oracle.owner, name: name, nextOffset: wanted)
            return cursor.nextOffset == target
                ? nil : "confirming \(wanted) answered \(cursor.nextOffset), not \(target)"
        }
    }

    /// Every cursor moves to the head; there is one afterwards.
    func confirmAll() throws(Violation) {
        if session.model.projectedSmall.cursors.values.allSatisfy({ !$0.required }) {
            try createCursor(named: "north")
        }
        let head = UInt64(session.model.projectedCount)
        for (name, cursor) in session.model.projectedSmall.cursors.sorted(by: { $0.key < $1.key })
        where cursor.nextOffset < head {
            try confirm(name, wanted: head)
        }
    }

    private func deleteCursor() throws(Violation) {
        var small = session.model.projectedSmall
        guard small.cursors.count > 1 else { return }
        let name = session.random.element(small.cursors.keys.sorted())
        small.cursors[name] = nil
        try session.perform(LogModel.Transaction(records: [], small: small)) {
            (log) throws(LogError) in
            try log.deleteCursor(owner: Oracle.owner, name: name)
            return nil
        }
    }

    // MARK: - Reads

    private func readSome() throws(Violation) {
        guard let log = session.log, !session.isFaulty else { return }
        let first = Int(log.firstOffset)
        let count = session.model.records.count
        guard count > first else { return }
        let start = first + session.random.below(count - first)
        try Oracle.read(
            log, session.model, start..<min(count, start + 20), tally: &session.tally)
    }

    /// At the head there is nothing, and beyond it nothing can be asked for.
    private func readHead() throws(Violation) {
        guard let log = session.log, !session.isPoisoned else { return }
        let head = log.headOffset
        let read = Result { () throws(LogError) in
            try log.read(from: head) { _ in false }
        }
        guard case .success(head) = read else { throw Violation("reading at the head gave \(read)") }
        let beyond = Result { () throws(LogError) in
            try log.read(from: head + 1) { _ in false }
        }
        guard case .failure(.offsetOutOfRange) = beyond else {
            throw Violation("reading beyond the head gave \(beyond)")
        }
    }
}
