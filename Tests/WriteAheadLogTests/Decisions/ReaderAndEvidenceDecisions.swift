import Glibc
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: readers and evidence")
struct ReaderAndEvidenceDecisions {
    // MARK: - 20

    /// A log with several closed and sealed segments, all confirmed, that keeps them until its age
    /// limit; `truncate` lets all go.
    static func confirmed() throws -> StillLog {
        let still = try StillLog(
            StillLog.options(
                .standard,
                RetentionOptions(retentionMilliseconds: 60_000, isTerminal: true)))
        try still.append(0..<45, keyed: false)
        #expect(still.log.firstOffset == 0 && still.log.statistics().segmentCount == 5)
        return still
    }

    static func truncate(_ still: StillLog) { truncate(still.log, still.clock) }

    static func truncate(_ log: Log, _ clock: ManualClock) {
        clock.advance(milliseconds: 61_000)
        while log.stepMaintainer() {}
        while log.stepPreparer() {}
    }

    /// What became of the first segment's file when it was truncated while `body` held it.
    static func fate(_ body: (StillLog, () -> Void) throws -> Void) throws -> [DiskError.Operation] {
        let still = try Self.confirmed()
        // One spare is used up, so that files of removed segments are wanted.
        let calls = CallList()
        try body(still) {
            let spares = still.disk.files.keys.filter { $0.hasSuffix(".segment") }.count
            #expect(spares > 5)
            calls.listen(to: still.disk)
            Self.truncate(still)
            still.disk.setHook(nil)
        }
        return calls.all.filter {
            $0.path == segmentPath(1) && [.rename, .remove, .write].contains($0.operation)
        }.map(\.operation)
    }

    @Test("decision 20: a segment that a reader holds is unlinked under it, never used again, and reads on")
    func pinned() throws {
        let operations = try Self.fate { still, truncate in
            Self.useSpares(still)
            var next: UInt64 = 0
            try still.log.read(from: 0) { record in
                if record.offset == 2 { truncate() }
                #expect(record.offset == next && Array(record.payload) == payload(Int(next), bytes: 100_000))
                next += 1
                return true
            }
            // To the end of the segment that was held; the rest is a gap.
            #expect(next >= 9 && still.log.gap(at: next) != nil)
        }
        #expect(operations == [.remove])
    }

    /// Rolls without preparing, so that the preparer wants files.
    static func useSpares(_ still: StillLog) {
        for number in 45..<64 {
            _ = try! still.log.append(oneRecord(payload(number, bytes: 100_000)))
        }
        while still.log.stepMaintainer() {}
    }

    @Test("decision 20: one that nobody reads is used again, one with another name is not")
    func links() throws {
        let unread = try Self.fate { still, truncate in
            Self.useSpares(still)
            truncate()
        }
        #expect(unread.contains(.write) && unread.last == .rename)
        let linked = try Self.fate { still, truncate in
            Self.useSpares(still)
            still.disk.link(segmentPath(1), to: "/backup/one.segment")
            let kept = still.disk.files["/backup/one.segment"]
            truncate()
            #expect(still.disk.files["/backup/one.segment"] == kept)
        }
        #expect(linked == [.remove])
    }

    @Test("decision 20: another process that looks into the log forces unlinking")
    func otherProcess() throws {
        let operations = try Self.fate { still, truncate in
            Self.useSpares(still)
            let inspector = try LogInspector(directory: logPath, disk: still.disk)
            truncate()
            withExtendedLifetime(inspector) {}
        }
        #expect(operations == [.remove])
    }

    @Test("decision 20: a log that is being written can be listed and verified, and shows what is durable")
    func lookAtALiveLog() throws {
        let still = try Self.confirmed()
        let answers = Answers()
        still.log.append(try oneRecord([1])) { answers.take($0) }
        for _ in 0..<2 {
            let verified = try LogInspector(directory: logPath, disk: still.disk).verify()
            #expect(verified.isSound && verified.headOffset == 45, "\(verified.damage)")
            var count = 0
            _ = try LogInspector(directory: logPath, disk: still.disk).walk { _ in count += 1 }
            #expect(count == 45)
        }
        #expect(answers.count == 0 && still.log.stepCommit())
        #expect(try LogInspector(directory: logPath, disk: still.disk).walk().headOffset == 46)
    }

    @Test("decision 20: segments that go while another process looks are truncated for it, never corrupt")
    func truncatedWhileLooking() throws {
        let still = try Self.confirmed()
        Self.useSpares(still)
        let isDone = FaultTests.Flag()
        let inspector = try LogInspector(directory: logPath, disk: still.disk)
        let (log, clock) = (still.log, still.clock)
        still.disk.setHook { call in
            // When the table is read already and the first segment is not.
            if call.path == segmentPath(1), call.operation == .open, !isDone.isSet {
                isDone.set(true)
                Self.truncate(log, clock)
            }
            return nil
        }
        var offsets: [UInt64] = []
        let information = try inspector.walk { offsets.append($0.offset) }
        still.disk.setHook(nil)
        #expect(isDone.isSet && still.log.firstOffset > 9)
        #expect(offsets.first == information.firstOffset && information.firstOffset > 0)
        #expect(offsets == Array(information.firstOffset..<still.log.headOffset))
    }

    // MARK: - 21

    @Test("decision 21: an anchor that was kept elsewhere is held against the chain, before and after truncation")
    func keptAnchor() throws {
        let still = try Self.confirmed()
        let kept = try still.table.segments.prefix(3).map {
            ChainHead(segmentID: $0.id, digest: $0.digest)
        }
        func damage(_ anchor: ChainHead) throws -> Int {
            try LogInspector(directory: logPath, disk: still.disk.copy()).verify(anchor: anchor)
                .damage.count
        }
        for anchor in kept {
            #expect(try damage(anchor) == 0)
            #expect(try damage(ChainHead(segmentID: anchor.segmentID, digest: digest("other"))) == 1)
        }
        #expect(try damage(ChainHead(segmentID: 999, digest: kept[0].digest)) == 1)
        // What went last is what the log's own anchor speaks for.
        Self.truncate(still)
        let own = try still.table.anchor
        #expect(own.segmentID > kept[2].segmentID)
        #expect(try damage(ChainHead(segmentID: own.segmentID, digest: own.digest)) == 0)
        #expect(try damage(ChainHead(segmentID: own.segmentID, digest: kept[0].digest)) == 1)
    }

    @Test("decision 21: each digest is SHA-256 of the one before and the segment's bytes, on from the anchor after truncation")
    func chain() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        var digests: [UInt64: Digest256] = [:]
        for round in 0..<26 {
            try still.append(round * 10..<round * 10 + 10, keyed: false)
            let table = try still.table
            var previous = table.anchor.digest
            if table.anchor.segmentID != 0 {
                #expect(digests[table.anchor.segmentID] == table.anchor.digest)
            }
            for entry in table.segments where entry.isSealed {
                let hash = SHA256Stream()
                hash.update(previous)
                still.disk.files[segmentPath(entry.id)]!.withUnsafeBytes {
                    hash.update(UnsafeRawBufferPointer(rebasing: $0[..<Int(entry.logicalEnd)]))
                }
                #expect(hash.finish() == entry.digest)
                digests[entry.id] = entry.digest
                previous = entry.digest
            }
        }
        #expect(try still.table.anchor.segmentID != 0 && digests.count > 15)
        #expect(try LogInspector(directory: logPath, disk: still.disk).verify().isSound)
    }

    @Test("decision 21: padding and unused space are zero, and a byte that is not is found with its place")
    func unusedIsZero() throws {
        let still = try StillLog(StillLog.options(.silStrict))
        for number in 0..<5 { _ = try still.log.append(oneRecord(payload(number))) }
        for number in 5..<16 { _ = try still.log.append(oneRecord(payload(number, bytes: 100_000))) }
        while still.log.stepMaintainer() {}
        still.log.stepIdle()
        let table = try still.table
        let path = segmentPath(table.segments[0].id)
        let bytes = still.disk.files[path]!
        let frames = try framesOnDisk(bytes)
        let padding = frames[1].position + frames[1].header.frameBytes + 8
        let unused = Int(table.segments[0].logicalEnd) + 512
        #expect(padding < frames[1].end)
        let manifestGap = Int(ManifestLayout.tableSlotPosition(1)) + SegmentTable.headerBytes + 3000 * 128
        for (file, place) in [(path, padding), (path, unused), (manifestPath, manifestGap)] {
            let copy = still.disk.copy()
            #expect(copy.files[file]![place] == 0)
            copy.edit(file) { $0[place] = 9 }
            let report = try LogInspector(directory: logPath, disk: copy).verify()
            #expect(
                report.damage.contains {
                    $0.file == file && (place - 512...place).contains(Int($0.position))
                },
                "\(file) \(place): \(report.damage)")
        }
        #expect(try LogInspector(directory: logPath, disk: still.disk.copy()).verify().isSound)
    }

    @Test("decision 21: opening does not wait for sealing, which comes later from what is read back")
    func sealingInBackground() throws {
        let still = try StillLog(StillLog.options())
        for number in 0..<40 {
            _ = try still.log.append(oneRecord(payload(number, bytes: 100_000)))
        }
        let killed = still.disk.copy()
        let calls = CallList()
        calls.listen(to: killed)
        let log = try openLog(killed, still.options, environment: still.clock.environment)
        let closed = try killed.manifest().tables[0].segments.dropLast()
        #expect(closed.count >= 3 && closed.allSatisfy { !$0.isSealed })
        #expect(!calls.all.contains { $0.isSegment && $0.operation == .write })
        calls.removeAll()
        while log.stepMaintainer() {}
        #expect(try killed.manifest().tables[0].segments.dropLast().allSatisfy(\.isSealed))
        for entry in closed {
            let read = calls.all.filter { $0.path == segmentPath(entry.id) && $0.operation == .read }
            #expect(read.reduce(0) { $0 + $1.byteCount } >= Int(entry.logicalEnd))
        }
        log.close()
    }

    // MARK: - 25

    @Test("decision 25: the checksum's lanes agree with the plain one at every length and cut")
    func checksumLanes() {
        var chance = SeededGenerator(seed: SeededGenerator.seed("checksumLanes"))
        let bytes = (0..<40_000).map { _ in UInt8.random(in: 0...255, using: &chance) }
        /// Bit by bit, as the polynomial says.
        func plain(_ bytes: ArraySlice<UInt8>) -> UInt32 {
            var crc: UInt32 = ~0
            for byte in bytes {
                crc ^= UInt32(byte)
                for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
            }
            return ~crc
        }
        var lengths = Array(0..<70)
        // Around the sizes at which three lanes could begin and end.
        for size in [192, 256, 768, 1024, 3072, 4096, 8192, 12_288, 24_576] {
            lengths += [size - 1, size, size + 1]
        }
        for length in lengths {
            let start = Int.random(in: 0..<9, using: &chance)
            let part = bytes[start..<start + length]
            let whole = part.withUnsafeBytes { Checksum.of($0) }
            #expect(whole == plain(part), "\(length) bytes")
            let cut = Int.random(in: 0...length, using: &chance)
            let combined = part.withUnsafeBytes { buffer -> UInt32 in
                guard let base = buffer.baseAddress else { return 0 }
                return Checksum.extend(Checksum.extend(0, base, cut), base + cut, length - cut)
            }
            #expect(combined == whole)
        }
    }

    @Test("decision 25: a block's checksum goes on from the one that its caller computed")
    func combinedChecksum() throws {
        let still = try StillLog(StillLog.options())
        let batch = try plainBatch(20, bytes: 1500)
        batch.seal()
        let stored = try #require(batch.groups[0].storedCRC)
        _ = try still.log.append(batch)
        let frame = try framesOnDisk(still.disk.files[segmentPath(1)]!)[0]
        let (_, bytes) = try blocks(of: frame)[0]
        bytes.withUnsafeBytes { buffer in
            let start = buffer.baseAddress!
            #expect(Checksum.extend(0, start + 32, buffer.count - 32) == stored)
            #expect(start.integer(UInt32.self, at: 0) == Checksum.extend(stored, start + 4, 28))
        }
        #expect(frame.body.withUnsafeBytes { Checksum.of($0) } == frame.header.bodyCRC)
    }

    @Test(
        "decision 25: hashing keeps no memory, and a stream that is used again gives the same digests",
        .enabled(if: ReaderAndEvidenceDecisions.allocatedBytes() != nil, "malloc cannot be asked here"))
    func hashing() throws {
        let stream = SHA256Stream()
        let text = Array("abc".utf8)
        func hash() -> Digest256 {
            text.withUnsafeBytes { stream.update($0) }
            return stream.finish()
        }
        let first = hash()
        #expect(
            first.hexadecimal == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        // Other tests of the process allocate and free meanwhile: the middle of many rounds counts.
        var isSame = true
        var growth: [Int] = []
        for _ in 0..<21 {
            let before = try #require(Self.allocatedBytes())
            for _ in 0..<10_000 { isSame = hash() == first && isSame }
            growth.append(try #require(Self.allocatedBytes()) - before)
        }
        #expect(isSame)
        // A context alone has more than a hundred bytes.
        #expect(growth.sorted()[10] < 10_000 * 100)
    }

    /// What malloc has given out, in bytes; nil where it cannot be asked.
    static func allocatedBytes() -> Int? {
        // The C header is in no module. The function returns ten sizes in memory that its caller
        // gives, by its address in the first argument; this form of the call says the same.
        typealias Function = @convention(c) (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer
        #if arch(x86_64)
            guard let symbol = dlsym(nil, "mallinfo2") else { return nil }
            return withUnsafeTemporaryAllocation(byteCount: 10 * 8, alignment: 8) { memory in
                _ = unsafeBitCast(symbol, to: Function.self)(memory.baseAddress!)
                return memory.load(fromByteOffset: 7 * 8, as: Int.self)
            }
        #else
            return nil
        #endif
    }
}
