import Buffers
import Facts
import Replication
import Synchronization
import Testing

func submission(_ number: Int, zone: String = "plant-a", value: Int? = nil) -> FactSubmission {
    var fact = FactSubmission()
    fact.messageID = "reading-\(number)"
    fact.fromZone = zone
    fact.toZone = "enterprise"
    fact.producedAtUnixMilliseconds = 1_388_534_400_000
    fact.subject = "asset:la-haute-borne/R80711"
    fact.predicate = "reading_recorded"
    fact.body = .objectJSON(Array(#"{"P_avg":\#(value ?? number)}"#.utf8))
    return fact
}

func encoded(_ number: Int, zone: String = "plant-a", value: Int? = nil) throws -> EncodedFact {
    try FactEncoder().encode(submission(number, zone: zone, value: value))
}

/// Decides at which step of a run something goes wrong, once.
final class Plan: Sendable {
    private let steps = Mutex(0)
    private let at: Int
    private let hit = Mutex(false)

    init(at step: Int = -1) { at = step }

    var isHit: Bool { hit.withLock { $0 } }

    /// True for the step that fails.
    func next() -> Bool {
        let number = steps.withLock { count in
            defer { count += 1 }
            return count
        }
        if number == at { hit.withLock { $0 = true } }
        return number == at
    }
}

/// How the chosen step goes wrong.
enum Fault: CaseIterable {
    /// It is not done, and the caller hears so.
    case refusedBefore
    /// It is done, and the answer is lost.
    case lostAfter
}

/// A source in memory: pages of a store buffer, with the checks that the gateway makes.
final class SourceDouble: PullSource {
    let store = MemoryBuffer(identifier: source) { 1_700_000_000_000 }
    let plan: Plan
    let fault: Fault
    /// Facts in a page.
    let pageCount: Int
    private let failure: PullFailure
    private let isReachable = Mutex(true)
    /// Refuses this many calls for their history, whatever it is.
    private let refusals = Mutex(0)
    private let change = Mutex<(@Sendable (inout [UInt8]) -> Void)?>(nil)

    init(
        _ count: Int, pageCount: Int = 3, plan: Plan = Plan(), fault: Fault = .refusedBefore,
        failure: PullFailure = .unavailable("cut"), zone: String = "plant-a"
    ) throws {
        self.plan = plan
        self.fault = fault
        self.failure = failure
        self.pageCount = pageCount
        try append(0..<count, zone: zone)
    }

    func append(_ numbers: Range<Int>, zone: String = "plant-a") throws {
        let facts = try numbers.map { number in
            let fact = try encoded(number, zone: zone)
            return KeyedFact(
                key: fact.key, contentDigest: fact.contentDigest, storedRecord: fact.storedRecord)
        }
        store.append(facts) { _ in }
    }

    func setReachable(_ value: Bool) { isReachable.withLock { $0 = value } }
    func refuseHistory(_ count: Int) { refusals.withLock { $0 = count } }
    func changePages(_ body: (@Sendable (inout [UInt8]) -> Void)?) {
        change.withLock { $0 = body }
    }

    var cursor: TrackedCursor? { store.cursor(owner: "enterprise", name: "c") }

    func open(position: SourcePosition?, receiver: SourcePosition) async throws(PullFailure)
        -> SourcePosition
    {
        try await step { () throws(PullFailure) in
            if let cursor = self.cursor {
                guard cursor.receiverUUID == receiver.logUUID else {
                    throw .refused(.consumerBound, "another receiver")
                }
                if let position { try self.check(position, cursor) }
                return SourcePosition(
                    logUUID: source, epoch: 1,
                    nextOffset: position?.nextOffset ?? cursor.nextOffset)
            }
            try? self.store.create(
                TrackedCursor(
                    owner: "enterprise", name: "c", nextOffset: 0,
                    receiverUUID: receiver.logUUID, receiverEpoch: 1))
            return SourcePosition(logUUID: source, epoch: 1, nextOffset: 0)
        }
    }

    let waitMilliseconds = 20

    func fetch(from offset: UInt64, position: SourcePosition, receiver: SourcePosition)
        async throws(PullFailure) -> [UInt8]
    {
        try await step { () throws(PullFailure) in
            try self.check(position, self.cursor!)
            if offset == self.store.headOffset {
                // A long poll; also ends when it is cancelled.
                try? await Task.sleep(for: .milliseconds(waitMilliseconds))
            }
            var page = self.page(from: offset)
            self.change.withLock { $0?(&page) }
            return page
        }
    }

    func page(from offset: UInt64) -> [UInt8] {
        var writer = PageWriter(originLogUUID: source)
        var next = offset
        _ = try? store.read(from: offset, maximumCount: pageCount, maximumBytes: .max) { record in
            try? writer.append(
                PageWriter.Record(
                    offset: record.offset,
                    appendedAtUnixMilliseconds: record.appendedMilliseconds, epoch: 1,
                    contentDigest: record.contentDigest, payload: record.payload))
            next = record.offset + 1
            return true
        }
        return writer.finish(
            nextOffset: next, headOffset: store.headOffset, firstOffset: 0, confirmedOffset: nil,
            source: SourcePosition(logUUID: source, epoch: 1, nextOffset: store.headOffset).wire)
    }

    func confirm(position: SourcePosition, receiver: SourcePosition) async throws(PullFailure)
        -> UInt64
    {
        try await step { () throws(PullFailure) in
            let cursor = self.cursor!
            try self.check(position, cursor)
            guard position.nextOffset > cursor.nextOffset else { return cursor.nextOffset }
            let moved = try? self.store.confirm(
                owner: "enterprise", name: "c", cursor.nextOffset...(position.nextOffset - 1),
                digest: (position.digest!, position.digestOffset!))
            return moved!.nextOffset
        }
    }

    private func check(_ position: SourcePosition, _ cursor: TrackedCursor) throws(PullFailure) {
        let isRefused = refusals.withLock { count in
            guard count > 0 else { return false }
            count -= 1
            return true
        }
        let store = store
        let mismatch = Result { () throws(BufferError) in
            try HistoryCheck.mismatch(
                position: position, identifier: store.identifier, epoch: 1,
                head: store.headOffset, cursor: cursor,
                recordDigest: { (offset) throws(BufferError) in
                    try store.recordDigest(at: offset)
                })
        }
        if isRefused { throw .refused(.historyMismatch, "overtaken") }
        if case .success(let sentence?) = mismatch { throw .refused(.historyMismatch, sentence) }
    }

    private func step<Value>(
        _ body: () async throws(PullFailure) -> Value
    ) async throws(PullFailure) -> Value {
        guard isReachable.withLock({ $0 }) else { throw .unavailable("not reachable") }
        let fails = plan.next()
        if fails, fault == .refusedBefore { throw failure }
        let value = try await body()
        if fails { throw failure }
        return value
    }
}

/// A forward buffer whose commits can go wrong, be slow, or be limited.
final class ReceiverDouble: ForwardBuffer {
    let memory = MemoryBuffer(identifier: [UInt8](repeating: 4, count: 16)) { 1_700_000_000_000 }
    let plan: Plan
    let fault: Fault
    private let recordsMaximum: Int
    /// Runs before each commit is made.
    private let hold: @Sendable () -> Void
    private let full = Mutex((isFull: false, refusedCount: 0))

    init(
        plan: Plan = Plan(), fault: Fault = .refusedBefore, recordsMaximum: Int = .max,
        hold: @escaping @Sendable () -> Void = {}
    ) {
        self.plan = plan
        self.fault = fault
        self.recordsMaximum = recordsMaximum
        self.hold = hold
    }

    var identifier: [UInt8] { memory.identifier }
    var epoch: UInt64 { 1 }
    var firstOffset: UInt64 { 0 }
    var headOffset: UInt64 { memory.headOffset }
    var fill: Double { 0 }
    var position: SourcePosition? { memory.position }
    var refusedCount: Int { full.withLock { $0.refusedCount } }

    func setFull(_ value: Bool) { full.withLock { $0.isFull = value } }

    func begin(at position: SourcePosition) throws(BufferError) {
        try step { () throws(BufferError) in try self.memory.begin(at: position) }
    }

    func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition,
        replacing: (([ForwardConflict]) throws(BufferError) -> [[UInt8]])?
    ) throws(BufferError) -> PutReceipt {
        let isFull = full.withLock { full in
            if full.isFull { full.refusedCount += 1 }
            return full.isFull
        }
        if isFull { throw BufferError(.full, "no room", retryAfterMilliseconds: 1) }
        guard records.count <= recordsMaximum else {
            throw BufferError(.batchTooLarge, "too many")
        }
        hold()
        return try step { () throws(BufferError) in
            try self.memory.putIfAbsent(records, from: from, to: to, replacing: replacing)
        }
    }

    private func step<Value>(
        _ body: () throws(BufferError) -> Value
    ) throws(BufferError) -> Value {
        let fails = plan.next()
        if fails, fault == .refusedBefore { throw BufferError(.busy, "not now") }
        let value = try body()
        if fails { throw BufferError(.busy, "the answer was lost") }
        return value
    }

    func get(_ key: Digest) throws(BufferError) -> UInt64? { try memory.get(key) }

    func content(of key: Digest) throws(BufferError) -> (offset: UInt64, content: Digest)? {
        try memory.content(of: key)
    }

    var halt: ForwardHalt? { memory.halt }
    func setHalt(_ halt: ForwardHalt?) throws(BufferError) { try memory.setHalt(halt) }
    func putLate(_ record: ForwardRecord) throws(BufferError) -> PutOutcome {
        try memory.putLate(record)
    }

    func putRefusal(_ record: ForwardRecord, from: SourcePosition, to: SourcePosition)
        throws(BufferError)
    {
        try memory.putRefusal(record, from: from, to: to)
    }

    func accept(_ position: SourcePosition, from: SourcePosition) throws(BufferError) {
        try memory.accept(position, from: from)
    }

    func gaps(in offsets: Range<UInt64>) -> [BufferGap] { memory.gaps(in: offsets) }

    func read(
        from offset: UInt64, maximumCount: Int, maximumBytes: Int,
        _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) -> UInt64 {
        try memory.read(
            from: offset, maximumCount: maximumCount, maximumBytes: maximumBytes, visit)
    }

    func offset(atOrAfterMilliseconds time: Int64) throws(BufferError) -> UInt64 {
        try memory.offset(atOrAfterMilliseconds: time)
    }

    func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        memory.observeHead(handler)
    }

    func removeObserver(_ number: UInt64) { memory.removeObserver(number) }
}

/// How pages of a stream get into a receiver.
func materialisation(
    _ receiver: any ForwardBuffer, _ quarantine: any Quarantine = MemoryQuarantine(),
    origin: String = "plant-a", keyedBy: PageIntake.KeyRule = .identifier, halts: Bool = false,
    quarantined: @escaping @Sendable ([QuarantinedFact]) -> Void = { _ in },
    reached: @escaping @Sendable (PullStep) -> Void = { _ in },
    altered: @escaping @Sendable ([RedeliveredEntry]) -> Void = { _ in }
) -> PageMaterialisation {
    PageMaterialisation(
        buffer: receiver, quarantine: quarantine, stream: "facts", origin: origin,
        keyedBy: keyedBy, halts: halts, now: { 1_700_000_000_000 },
        quarantined: quarantined, reached: reached, altered: altered)
}

/// The messages of a buffer, in order.
func messages(_ buffer: any ReadableBuffer) throws -> [[UInt8]] {
    var messages: [[UInt8]] = []
    _ = try buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
        if let stored = try? StoredRecord(record.payload) {
            messages.append(Array(record.payload[stored.itemRange]))
        }
        return true
    }
    return messages
}

/// Looks again until it is so, for at most twenty seconds.
func eventually(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation,
    _ isSo: () async -> Bool
) async throws {
    for _ in 0..<12_000 {
        if await isSo() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("it never came to be: \(what)", sourceLocation: sourceLocation)
}
