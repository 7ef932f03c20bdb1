import Glibc
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: recovery")
struct RecoveryDecisions {
    /// A log that was killed after so many commits, the newest of which only its frame proves.
    static func killed(_ profile: Profile, commits: Int = 4) throws -> (disk: MemoryDisk, frames: [FrameOnDisk]) {
        let still = try StillLog(StillLog.options(profile))
        for number in 0..<commits { _ = try still.log.append(oneRecord(payload(number))) }
        let image = still.disk.copy()
        return (image, try framesOnDisk(image.files[segmentPath(1)]!))
    }

    static func zero(_ disk: MemoryDisk, _ frame: FrameOnDisk) {
        disk.edit(segmentPath(1)) { bytes in
            for place in frame.position..<frame.end { bytes[place] = 0 }
        }
    }

    static func open(_ disk: MemoryDisk, _ profile: Profile) -> Result<Log, LogError> {
        Result { () throws(LogError) in try openLog(disk, StillLog.options(profile)) }
    }

    // MARK: - 6

    @Test("decision 6: what is proven durable is missed, zeros included; what nothing proves is the end or torn")
    func sixRows() throws {
        // The frame after it proves it.
        var (disk, frames) = try Self.killed(.silStrict)
        Self.zero(disk, frames[2])
        guard case .failure(.corrupt(let place)) = Self.open(disk, .silStrict) else {
            Issue.record("a lost commit was taken for an end")
            return
        }
        #expect(place.position == UInt64(frames[2].position) && place.offset == 2)
        // Nothing proves the newest: zeros are the end, other bytes within one commit are torn.
        (disk, frames) = try Self.killed(.silStrict)
        Self.zero(disk, frames[3])
        var log = try Self.open(disk, .silStrict).get()
        #expect(log.recovery.decision == .cleanEnd && log.headOffset == 3)
        log.close()
        (disk, frames) = try Self.killed(.silStrict)
        disk.edit(segmentPath(1)) { $0[frames[3].position + 140] ^= 1 }
        log = try Self.open(disk, .silStrict).get()
        #expect(log.recovery.decision == .torn && log.headOffset == 3)
        log.close()
        // Beyond one commit no torn write can have left them.
        (disk, frames) = try Self.killed(.silStrict)
        disk.edit(segmentPath(1)) { $0[frames[3].end + 512 * 1024] = 1 }
        guard case .failure(.corrupt) = Self.open(disk, .silStrict) else {
            Issue.record("bytes that no commit explains were cut")
            return
        }
    }

    @Test("decision 6: a read error is never torn, under either profile")
    func readError() throws {
        for profile in Profile.allCases {
            let (disk, frames) = try Self.killed(profile)
            let end = UInt64(frames.last!.end)
            disk.setHook { call in
                call.path == segmentPath(1) && call.operation == .read
                    && call.position + UInt64(call.byteCount) > end && call.position > 0
                    ? .error(EIO) : nil
            }
            let before = disk.files[segmentPath(1)]
            guard case .failure = Self.open(disk, profile) else {
                Issue.record("a read error was passed over")
                continue
            }
            disk.setHook(nil)
            #expect(disk.files[segmentPath(1)] == before)
            let log = try Self.open(disk, profile).get()
            #expect(log.headOffset == 4)
            log.close()
        }
    }

    @Test("decision 6: a recycled segment is zero on the disk before it becomes a spare")
    func recycled() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        let disk = still.disk
        let seen = Noted((count: 0, wasZero: true))
        disk.setHook { call in
            guard call.operation == .rename, call.isSegment else { return nil }
            let durable = disk.afterWorstPowerCut().files[call.path]!
            seen.change {
                $0.count += 1
                $0.wasZero = $0.wasZero && durable.allSatisfy { $0 == 0 }
            }
            return nil
        }
        try still.append(0..<300, keyed: false)
        #expect(still.log.statistics().counters.segmentsRemoved > 10)
        #expect(seen.value.count > 5 && seen.value.wasZero)
    }

    // MARK: - 7

    @Test("decision 7: a damaged newest commit is told as torn or damaged until the manifest records it, and is damage from then on")
    func honestLimit() throws {
        for profile in Profile.allCases {
            let still = try StillLog(StillLog.options(profile))
            for number in 0..<4 { _ = try still.log.append(oneRecord(payload(number))) }
            let before = still.disk.copy()
            still.log.stepIdle()
            let after = still.disk.copy()
            let place = try framesOnDisk(before.files[segmentPath(1)]!)[3].position + 140
            for disk in [before, after] { disk.edit(segmentPath(1)) { $0[place] ^= 1 } }

            let log = try Self.open(before, profile).get()
            #expect(log.recovery.decision.rawValue == "torn or damaged")
            #expect(log.headOffset == 3 && log.recovery.losses.isEmpty)
            log.close()
            switch (profile, Self.open(after, profile)) {
            case (.silStrict, .failure(.corrupt(let corruption))): #expect(corruption.offset == 3)
            case (.standard, .success(let log)):
                #expect(log.recovery.losses == [3..<4] && log.headOffset == 4)
                #expect(log.gap(at: 3)?.reasons == .corrupt)
                log.close()
            case (_, let opened): Issue.record("\(profile): \(opened)")
            }
        }
    }

    @Test("decision 7: a log that rests has its newest commit recorded within two seconds")
    func recordedAtRest() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        _ = try log.append(oneRecord([1]))
        var recorded: UInt64 = 0
        for _ in 0..<40 where recorded == 0 {
            usleep(50_000)
            recorded = try disk.manifest().states.first?.durableSequence ?? 0
        }
        #expect(recorded == 1)
        log.close()
    }

    // MARK: - 8

    @Test("decision 8: a roll is the segment's header synced, the manifest that names it synced, then the first commit")
    func rollOrder() throws {
        let still = try StillLog(StillLog.options())
        still.settle()
        let calls = CallList()
        calls.listen(to: still.disk)
        while still.log.statistics().counters.rolls == 0 {
            calls.removeAll()
            _ = try still.log.append(plainBatch(1, bytes: 200_000))
        }
        let tableStart = ManifestLayout.tableSlotPosition(0)
        let steps: [(String, (MemoryDisk.Call) -> Bool)] = [
            ("header", { $0.path == segmentPath(2) && $0.operation == .write && $0.position == 0 }),
            ("header synced", { $0.path == segmentPath(2) && $0.operation == .synchronise }),
            ("table", { $0.isManifest && $0.operation == .write && $0.position >= tableStart }),
            ("table synced", { $0.isManifest && $0.operation == .synchronise }),
            ("commit", { $0.path == segmentPath(2) && $0.operation == .write && $0.position > 0 }),
            ("commit synced", { $0.path == segmentPath(2) && $0.operation == .synchronise }),
        ]
        var rest = calls.all[...]
        for (name, matches) in steps {
            guard let place = rest.firstIndex(where: matches) else {
                Issue.record("\(name) is not where it belongs")
                return
            }
            // No frame before the manifest names its segment.
            if name != "commit" { #expect(!rest[..<place].contains(where: steps[4].1), "\(name)") }
            rest = rest[(place + 1)...]
        }
        #expect(rest.isEmpty)
    }

    @Test("decision 8: before a segment is unlinked or used again no slot names it any more")
    func bothSlots() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        let disk = still.disk
        let seen = Noted((count: 0, named: 0, slots: 0))
        disk.setHook { call in
            // The first write into a file that is used again is zeros.
            guard call.isSegment,
                call.operation == .remove
                    || call.operation == .write && call.position == 0
                        && disk.files[call.path]!.starts(with: Array("BSFG".utf8))
            else { return nil }
            let id = SegmentHeader.id(fileName: String(call.path.split(separator: "/").last!))!
            let tables = (try? disk.afterWorstPowerCut().manifest().tables) ?? []
            seen.change {
                $0.count += 1
                $0.slots += tables.count
                $0.named += tables.filter { $0.segments.contains { $0.id == id } }.count
            }
            return nil
        }
        try still.append(0..<260, keyed: false)
        disk.setHook(nil)
        #expect(seen.value.count > 5)
        #expect(seen.value.named == 0 && seen.value.slots == 2 * seen.value.count)
    }

    @Test("decision 8: of unlisted files an old one goes, an empty one is a spare, and one with newer commits refuses opening")
    func unlisted() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        try still.append(0..<20, keyed: false)
        let old = still.disk.files[segmentPath(1)]!
        var beforeRoll = still.disk.copy()
        var number = 20
        let rolls = still.log.statistics().counters.rolls
        while still.log.statistics().counters.rolls == rolls {
            beforeRoll = still.disk.copy()
            _ = try still.log.append(oneRecord(payload(number, bytes: 100_000)))
            number += 1
        }
        // The manifest from before the roll beside the segment with the first commit after it.
        let newest = try still.table.segments.last!
        beforeRoll.put(segmentPath(newest.id), still.disk.files[segmentPath(newest.id)]!)
        guard case .failure(.corrupt(let place)) = Self.open(beforeRoll, .standard) else {
            Issue.record("commits that the manifest does not know were passed over")
            return
        }
        #expect(place.file == segmentPath(newest.id))

        still.settle()
        try still.append(number..<260, keyed: false)
        let killed = try still.afterKill()
        #expect(killed.disk.files[segmentPath(1)] == nil)
        killed.log.close()
        killed.disk.put(segmentPath(1), old)
        // A header without a frame: a roll that was not finished.
        var header = try old.withUnsafeBytes { try SegmentHeader($0) }
        header.id = try still.table.nextSegmentID + 50
        killed.disk.put(
            segmentPath(header.id), header.encode() + [UInt8](repeating: 0, count: 1 << 20 - 4096))
        try killed.reopen()
        killed.settle()
        #expect(killed.disk.files[segmentPath(1)] == nil)
        #expect(killed.log.recovery.keptFiles == [])
        let listed = try Set(killed.table.segments.map(\.id))
        for (path, bytes) in killed.disk.files where path.hasSuffix(".segment") {
            let id = SegmentHeader.id(fileName: String(path.split(separator: "/").last!))!
            #expect(listed.contains(id) || bytes.allSatisfy { $0 == 0 }, "\(path)")
        }
    }

    @Test("decision 8: opening reads manifest, header and tail past the page cache")
    func pastThePageCache() throws {
        let (image, _) = try Self.killed(.standard)
        let disk = CacheWatch(image)
        let log = try Log.open(
            directory: logPath, options: StillLog.options(), disk: disk,
            environment: ManualClock().environment)
        for path in [manifestPath, segmentPath(1)] {
            #expect(disk.uncached.value.contains(path))
            #expect(!disk.cached.value.contains(path), "\(path)")
        }
        log.close()
    }

    // MARK: - 9

    @Test("decision 9: checkpoints bound what opening reads, however long the log is")
    func checkpointsBoundTheScan() throws {
        let still = try StillLog(StillLog.options())
        try still.append(0..<100)
        let image = still.disk.copy()
        let calls = CallList()
        calls.listen(to: image)
        let log = try openLog(image, still.options, environment: still.clock.environment)
        defer { log.close() }
        let read = calls.all.filter { $0.operation == .read && $0.isSegment }
        #expect(read.reduce(0) { $0 + $1.byteCount } < 4 << 20)
        #expect(Set(read.map(\.path)).count <= 4)
        #expect(log.recovery.recordCount < 25 && log.headOffset == 100)
        // Every key is answered all the same.
        for number in 0..<100 {
            #expect(try log.lookUp(digest("key k\(number)"))?.offset == UInt64(number))
        }
    }

    @Test("decision 9: at most 32 MiB are written beyond the last durable checkpoint")
    func appendsWaitForTheCheckpoint() throws {
        let still = try StillLog(
            LogOptions(capacityBytes: 256 << 20, segmentBytes: 4 << 20))
        let isBroken = FaultTests.Flag()
        isBroken.set(true)
        still.disk.setHook { call in
            isBroken.isSet && call.path.hasSuffix(".run") && call.operation == .write
                ? .error(EIO) : nil
        }
        let batch = try plainBatch(1, bytes: 1_000_000)
        var written = 0
        var answer: LogError?
        while written < 60, answer == nil {
            answer = refusal { _ = try still.log.append(batch) }
            if answer == nil { written += 1 }
            still.settle()
        }
        #expect(answer == .rejected(.noSpace) && (30...42).contains(written))
        isBroken.set(false)
        still.clock.advance(milliseconds: 2_000)
        still.settle()
        #expect(still.log.statistics().counters.checkpoints > 0)
        _ = try still.log.append(batch)
    }

    @Test("decision 9: many small keyed records make a checkpoint due before their bytes do")
    func keysMakeACheckpointDue() throws {
        let still = try StillLog(
            LogOptions(capacityBytes: 256 << 20, segmentBytes: 16 << 20))
        let batch = AppendBatch(capacityBytes: 128 << 10)
        func append(_ numbers: Range<UInt64>) throws {
            batch.removeAll()
            for number in numbers {
                let entry = keyEntry(number)
                try batch.add(key: entry.key, content: entry.content, payload: [1])
            }
            _ = try still.log.append(batch)
            still.settle()
        }
        let keyCount = UInt64(Upkeep.checkpointKeyCount)
        for number in 0..<keyCount / 1000 {
            #expect(still.log.statistics().counters.checkpoints == 0)
            try append(number * 1000..<number * 1000 + 1000)
        }
        #expect(still.log.statistics().counters.checkpoints == 1)
        try append(keyCount..<keyCount + 1)
        #expect(still.log.statistics().counters.checkpoints == 1)
        #expect(try still.log.lookUp(keyEntry(7).key)?.offset == 7)
    }

    @Test("decision 9: opening leaves keys, fences and filters of the runs unread")
    func lazyFilters() throws {
        let still = try StillLog(StillLog.options())
        try still.append(0..<40)
        let image = still.disk.copy()
        let runs = try still.table.runs
        #expect(runs.count >= 2)
        let calls = CallList()
        calls.listen(to: image)
        let log = try openLog(image, still.options, environment: still.clock.environment)
        defer { log.close() }
        var isOpened = 0
        for run in runs {
            let path = logPath + "/" + KeyRunLayout.fileName(id: run.id)
            let header = try image.files[path]!.withUnsafeBytes {
                try KeyRunHeader(UnsafeRawBufferPointer(rebasing: $0[..<4096]))
            }
            let sections = header.position(.data, 0)..<header.attachmentPosition
            for call in calls.all where call.path == path && call.operation == .read {
                isOpened += 1
                let bytes = call.position..<call.position + UInt64(call.byteCount)
                #expect(!bytes.overlaps(sections), "\(path) \(bytes)")
            }
        }
        #expect(isOpened >= runs.count)
        #expect(try log.lookUp(digest("key k3"))?.offset == 3)
    }
}

/// A disk that remembers which files were read through the page cache, and which past it.
private final class CacheWatch: Disk {
    let cached = Noted<Set<String>>([])
    let uncached = Noted<Set<String>>([])
    private let inner: MemoryDisk

    init(_ inner: MemoryDisk) { self.inner = inner }

    func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
        File(path, try inner.open(path, mode), self)
    }

    func createDirectory(_ path: String) throws(DiskError) { try inner.createDirectory(path) }
    func list(_ path: String) throws(DiskError) -> [String] { try inner.list(path) }
    func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)? {
        try inner.lock(path, exclusive: exclusive)
    }
    func remove(_ path: String) throws(DiskError) { try inner.remove(path) }
    func rename(_ path: String, to newPath: String) throws(DiskError) {
        try inner.rename(path, to: newPath)
    }
    func synchroniseDirectory(_ path: String) throws(DiskError) {
        try inner.synchroniseDirectory(path)
    }
    func freeBytes(_ path: String) throws(DiskError) -> UInt64 { try inner.freeBytes(path) }
    func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) {
        inner.blockBytes(path)
    }

    private final class File: DiskFile {
        let path: String
        let inner: any DiskFile
        let watch: CacheWatch

        init(_ path: String, _ inner: any DiskFile, _ watch: CacheWatch) {
            self.path = path
            self.inner = inner
            self.watch = watch
        }

        func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
            throws(DiskError) -> Int
        {
            watch.cached.change { $0.insert(path) }
            return try inner.read(into: buffer, at: position)
        }

        func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
            throws(DiskError) -> Int
        {
            watch.uncached.change { $0.insert(path) }
            return try inner.readUncached(into: buffer, at: position)
        }

        func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
            try inner.write(bytes, at: position)
        }
        func synchronise() throws(DiskError) { try inner.synchronise() }
        func size() throws(DiskError) -> UInt64 { try inner.size() }
        func linkCount() throws(DiskError) -> Int { try inner.linkCount() }
    }
}
