import Synchronization
import Testing

@testable import WriteAheadLog

/// A log without threads: every commit and every piece of maintenance is a call of the test.
final class StillLog {
    let disk: MemoryDisk
    let clock: ManualClock
    let options: LogOptions
    private(set) var log: Log

    init(
        _ options: LogOptions, disk: MemoryDisk = MemoryDisk(), clock: ManualClock = ManualClock()
    ) throws {
        self.disk = disk
        self.clock = clock
        self.options = options
        log = try Log.open(
            directory: logPath, options: options, disk: disk, environment: clock.environment)
    }

    deinit { log.close() }

    func reopen(_ options: LogOptions? = nil) throws {
        log.close()
        log = try Log.open(
            directory: logPath, options: options ?? self.options, disk: disk,
            environment: clock.environment)
    }

    /// As after a kill: nothing that is in memory is written any more.
    func afterKill(_ options: LogOptions? = nil) throws -> StillLog {
        try StillLog(options ?? self.options, disk: disk.copy(), clock: clock)
    }

    func settle() { while log.stepMaintainer() || log.stepPreparer() {} }

    /// Fills segments with records of 100 KiB.
    func append(_ numbers: Range<Int>, keyed: Bool = true) throws {
        for number in numbers {
            _ = try log.append(
                try oneRecord(
                    payload(number, bytes: 100_000), key: keyed ? "k\(number)" : nil))
            settle()
        }
    }
}

final class ManualClock: Sendable {
    let milliseconds = Atomic<Int64>(1_700_000_000_000)
    let isSynchronised = Atomic(true)
    private let seed = Atomic<UInt64>(1)

    func advance(milliseconds more: Int64) {
        milliseconds.wrappingAdd(more, ordering: .relaxed)
    }

    var environment: LogEnvironment {
        LogEnvironment(
            wallMilliseconds: { [self] in milliseconds.load(ordering: .relaxed) },
            monotonicNanoseconds: { [self] in
                (milliseconds.load(ordering: .relaxed) - 1_600_000_000_000) * 1_000_000
            },
            random: { [self] in
                var chance = SeededGenerator(seed: seed.wrappingAdd(1, ordering: .relaxed).newValue)
                return chance.next()
            },
            isClockSynchronised: { [self] in isSynchronised.load(ordering: .relaxed) },
            threads: false)
    }
}

@Suite("A log's life: filled, confirmed, reclaimed, refused")
struct LifecycleTests {
    /// 16 segments of 1 MiB.
    static func options(
        _ policy: LogPolicy = .standard(StandardPolicy()),
        _ retention: RetentionOptions = RetentionOptions()
    ) -> LogOptions {
        LogOptions(
            policy: policy, capacityBytes: 16 << 20, segmentBytes: 1 << 20, retention: retention)
    }

    static func fill(_ still: StillLog) throws -> (count: Int, refusal: LogError) {
        for number in 0... {
            do throws(LogError) {
                _ = try still.log.append(
                    try! oneRecord(payload(number, bytes: 100_000), key: "k\(number)"))
            } catch { return (number, error) }
            still.settle()
        }
        fatalError("not reached")
    }

    @Test("full: refused with fill and hint, nothing is lost; confirmed: taken again, the same log")
    func rejectAndResume() throws {
        let still = try StillLog(Self.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, refusal) = try Self.fill(still)
        guard case .rejected(.full(let fill, let hint)) = refusal else {
            Issue.record("\(refusal)")
            return
        }
        #expect(fill >= 0.8 && fill < 0.9)
        #expect((50...60_000).contains(hint))
        #expect(still.log.headOffset == UInt64(count))
        #expect(try contents(still.log).count == count)
        // What is there already is still answered.
        let again = try still.log.append(try oneRecord(payload(3, bytes: 100_000), key: "k3"))
        #expect(again.outcomes == [.existing(offset: 3)])
        try still.log.confirm(owner: "o", name: "n", nextOffset: UInt64(count / 2))
        still.settle()
        #expect(still.log.firstOffset > 0)
        #expect(still.log.firstOffset <= UInt64(count / 2))
        _ = try still.log.append(try oneRecord([1], key: "new"))
        #expect(still.log.gap(at: 0)?.reasons == .reclaimed)
        #expect(throws: LogError.self) { try still.log.read(from: 0) { _ in true } }
        let report = try LogInspector(directory: logPath, disk: still.disk).walk()
        #expect(report.firstOffset == still.log.firstOffset)
    }

    @Test("a reader that was declared and has not come is owed everything, also after a restart")
    func awaitedReader() throws {
        let late = AwaitedReader(owner: "o", name: "late")
        let options = Self.options(
            .standard(StandardPolicy()),
            RetentionOptions(retentionMilliseconds: 0, awaitedReaders: [late]))
        let still = try StillLog(options)
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, _) = try Self.fill(still)
        try still.log.confirm(owner: "o", name: "n", nextOffset: UInt64(count))
        still.clock.advance(milliseconds: 10)
        still.settle()
        #expect(still.log.firstOffset == 0)
        let killed = try still.afterKill()
        killed.settle()
        #expect(killed.log.firstOffset == 0)
        try killed.log.createCursor(Cursor(owner: "o", name: "late"))
        killed.settle()
        #expect(killed.log.firstOffset == 0)
        try killed.log.confirm(owner: "o", name: "late", nextOffset: UInt64(count))
        killed.settle()
        #expect(killed.log.firstOffset > 0)
        _ = try killed.log.append(try oneRecord([1], key: "new"))
    }

    @Test("nobody waits for a reader that is declared no more")
    func awaitedNoMore() throws {
        let late = AwaitedReader(owner: "o", name: "late")
        var retention = RetentionOptions(retentionMilliseconds: 0, awaitedReaders: [late])
        let still = try StillLog(Self.options(.standard(StandardPolicy()), retention))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, _) = try Self.fill(still)
        try still.log.confirm(owner: "o", name: "n", nextOffset: UInt64(count))
        still.settle()
        #expect(still.log.firstOffset == 0)
        retention.awaitedReaders = []
        try still.log.changeRetention(retention, policy: .standard(StandardPolicy()))
        still.clock.advance(milliseconds: 10)
        still.settle()
        #expect(still.log.firstOffset > 0)
    }

    @Test("a log that is full when it is opened takes records again once they are confirmed")
    func fullWhenOpened() throws {
        let still = try StillLog(Self.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        still.clock.isSynchronised.store(false, ordering: .relaxed)
        _ = try Self.fill(still)
        still.clock.advance(milliseconds: 400)
        // Retention's clock was stored less often than segments were closed.
        let killed = try still.afterKill()
        try killed.log.confirm(owner: "o", name: "n", nextOffset: killed.log.headOffset)
        killed.settle()
        still.clock.advance(milliseconds: 2)
        killed.settle()
        _ = try killed.log.append(try oneRecord([1], key: "new"))
    }

    @Test("time alone removes what is past its age, with threads and without another cause")
    func timeAlone() throws {
        let disk = MemoryDisk()
        let log = try openLog(
            disk,
            LogOptions(
                capacityBytes: 64 << 20, segmentBytes: 1 << 20,
                retention: RetentionOptions(retentionMilliseconds: 300, isTerminal: true)))
        for number in 0..<30 { _ = try log.append(oneRecord(payload(number, bytes: 100_000))) }
        #expect(eventually { log.firstOffset > 15 })
        log.close()
    }

    /// Simulated seeds 91181386051, 91181386109, 91181386879, 91181386900, 91181386967, 91181387522: a cut
    /// came between the manifest without such a segment and the removal of its file.
    @Test("a segment whose first commit was cut and that was removed is no lost data", arguments: Profile.allCases)
    func removedCutSegment(_ profile: Profile) throws {
        let clock = ManualClock()
        let disk = MemoryDisk()
        let options = LogOptions(
            profile: profile, capacityBytes: 16 << 20, segmentBytes: 1 << 20,
            retention: RetentionOptions(retentionMilliseconds: 1000, isTerminal: true))
        let first = try StillLog(options, disk: disk, clock: clock)
        _ = try first.log.append(try oneRecord(payload(0, bytes: 5000)))
        // The newest commit's header reached the disk and its body did not.
        let torn = disk.copy()
        let path = logPath + "/" + SegmentHeader.fileName(id: 1)
        torn.edit(path) { $0[9000 - 1] ^= 1 }
        let still = try StillLog(options, disk: torn, clock: clock)
        #expect(still.log.recovery.row == .tornTail)
        #expect(still.log.headOffset == 0)
        let removed = try #require(torn.files[path])
        _ = try still.log.append(try oneRecord(payload(1)))
        // An age is looked at once a second, and a removal takes its steps one after the other.
        for _ in 0..<4 {
            clock.advance(milliseconds: 2000)
            still.settle()
        }
        let after = torn.copy()
        #expect(still.log.statistics().segmentCount == 1)
        after.put(path, removed)
        let next = try StillLog(options, disk: after, clock: clock)
        #expect(try contents(next.log) == [payload(1)])
    }

    @Test("what a crash left behind the end of a state slot is gone once the log was opened")
    func slotsAreCleared() throws {
        let still = try StillLog(Self.options())
        _ = try still.log.append(try oneRecord(payload(0)))
        for slot in 0..<2 {
            let disk = still.disk.copy()
            disk.edit(logPath + "/manifest") {
                $0[Int(ManifestLayout.stateSlotPosition(slot)) + 60_000] = 7
            }
            let next = try StillLog(Self.options(), disk: disk, clock: still.clock)
            let report = try LogInspector(directory: logPath, disk: disk.copy()).verify()
            #expect(report.isSound, "\(report.damage)")
            #expect(try contents(next.log) == [payload(0)])
        }
    }

    @Test("dropOldest leaves one exact gap and goes on; the gap survives a kill")
    func dropOldest() throws {
        let still = try StillLog(
            Self.options(.standard(StandardPolicy(whenFull: .dropOldest))))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        try still.append(0..<300)
        #expect(still.log.headOffset == 300)
        let first = still.log.firstOffset
        #expect(first > 100)
        for log in [still, try still.afterKill()].map(\.log) {
            let gap = try #require(log.gap(at: 0))
            #expect(gap.offsets == 0..<first)
            #expect(gap.reasons == .dropped)
            var next = first
            try log.read(from: first) { record in
                #expect(record.offset == next)
                next += 1
                return true
            }
            #expect(next == 300)
            #expect(throws: LogError.gap(gap)) { try log.read(from: 0) { _ in true } }
        }
    }

    @Test("keys are remembered as long as their records, across checkpoints, kills and truncation")
    func keysInRuns() throws {
        let still = try StillLog(Self.options(.standard(StandardPolicy(whenFull: .dropOldest))))
        try still.append(0..<200)
        #expect(still.log.statistics().counters.checkpoints > 5)
        for life in [still, try still.afterKill()] {
            life.settle()
            let first = Int(life.log.firstOffset)
            for number in 0..<200 {
                let found = try life.log.lookUp(digest("key k\(number)"))?.offset
                #expect(found == (number < first ? nil : UInt64(number)), "key \(number)")
            }
            let conflict = try life.log.append(try oneRecord([9], key: "k150"))
            #expect(
                conflict.outcomes
                    == [.conflict(offset: 150, stored: contentDigest(payload(150, bytes: 100_000)))])
        }
    }

    @Test("opening reads from the checkpoint, and what came after it")
    func openingFromCheckpoint() throws {
        let still = try StillLog(Self.options())
        try still.append(0..<90)
        let killed = try still.afterKill()
        #expect(killed.log.recovery.recordCount < 25)
        #expect(killed.log.headOffset == 90)
        #expect(try contents(killed.log).count == 90)
        #expect(try killed.log.offset(atOrAfterMilliseconds: 0) == 0)
    }
}

/// As `oneRecord` computes it.
private func contentDigest(_ payload: [UInt8]) -> Digest256 {
    digest("content \(payload.count) \(payload.withUnsafeBytes { Checksum.of($0) })")
}
