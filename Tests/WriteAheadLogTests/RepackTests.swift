import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Repacking")
struct RepackTests {
    /// A log of small commits, most of which is padding.
    static func sparseLog(_ chance: inout SeededGenerator) throws -> MemoryDisk {
        try RandomLog(
            profile: .silStrict, batchCount: 600, recordsPerBatch: 1...3, payloadBytes: 0..<700
        ).make(&chance)
    }

    static func repacker(
        _ segment: ClosedSegment, id: UInt64 = 99, compression: BlockCompression = .lz4
    ) -> SegmentRepacker {
        SegmentRepacker(
            disk: segment.disk, directory: logPath, source: segment.file, header: segment.header,
            entry: segment.entry, endOffset: segment.endOffset, id: id, salt: 0xABCD_EF01,
            compression: compression)
    }

    /// Repacks every closed segment and lists the new ones in the manifest.
    static func repackAll(_ disk: MemoryDisk, compression: BlockCompression = .lz4) throws -> Int {
        let path = logPath + "/" + ManifestLayout.fileName
        let manifest = ManifestFile(path: path, file: try disk.open(path, .readWrite))
        var table = try manifest.read().tables[0]
        var count = 0
        for number in 0..<table.segments.count - 1 {
            let segment = try ClosedSegment(disk, number)
            // Beyond the ids of spares that stand ready.
            let id = table.nextSegmentID + 100 + UInt64(number)
            let progress = try repacker(segment, id: id, compression: compression).run()
            guard case .repacked(let entry, _) = progress else { continue }
            table.segments[number] = entry
            try disk.remove(segment.path)
            count += 1
        }
        table.nextSegmentID += 100 + UInt64(table.segments.count)
        for _ in 0..<2 {
            table.generation += 1
            try manifest.write(table)
        }
        return count
    }

    @Test("a repacked segment holds the same records in far less, and seals and walks like any")
    func repacks() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("repacks"))
        for compression in [BlockCompression.none, .lz4] {
            let disk = try Self.sparseLog(&chance)
            let segment = try ClosedSegment(disk, 0)
            #expect(SegmentRepacker.canPay(segment.header, segment.entry))
            let before = segment.bytes
            let old = try segment.walk()
            guard case .repacked(let entry, let header) = try Self.repacker(
                segment, compression: compression
            ).run() else {
                Issue.record("it was not repacked")
                return
            }
            #expect(segment.bytes == before)
            let new = try ClosedSegment(disk, entry, endOffset: segment.endOffset)
            #expect(new.header == header)
            #expect(new.bytes.count == Int(header.segmentBytes))
            #expect(header.segmentBytes % 65536 == 0)
            #expect(header.segmentBytes * 2 < segment.header.segmentBytes)
            let walked = try new.walk()
            #expect(walked.damage == [])
            #expect(walked.records == old.records)
            #expect(walked.frames.count < old.frames.count / 50)
            #expect(walked.frames[0].header.sequenceCount > 1)
            #expect(walked.frames.last!.header.lastSequence == segment.entry.lastSequence)
            #expect(entry.leastTimeMilliseconds == old.records.first!.time)
            #expect(entry.greatestTimeMilliseconds == old.records.last!.time)
            #expect(entry.flags == SegmentEntry.Flags.repacked)
            #expect(walked.frames.allSatisfy { $0.header.controlCount == 0 })
            let footer = try new.seal()
            #expect(footer.recordCount == UInt64(old.records.count))
            #expect(footer.leastTimeMilliseconds == entry.leastTimeMilliseconds)
            #expect(!SegmentRepacker.canPay(header, entry), "once is enough")
        }
    }

    @Test("a log with repacked segments opens, reads, answers keys, appends and verifies")
    func throughTheLog() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("throughTheLog"))
        let disk = try Self.sparseLog(&chance)
        let options = LogOptions(profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        func records() throws -> [StoredRecord] {
            var records: [StoredRecord] = []
            _ = try LogInspector(directory: logPath, disk: disk).walk { records.append(StoredRecord($0)) }
            return records
        }
        let before = try records()
        let register = try LogInspector(directory: logPath, disk: disk).walk().registers.map(\.value)
        #expect(try Self.repackAll(disk) >= 2)
        #expect(try records() == before)
        let report = try LogInspector(directory: logPath, disk: disk).verify()
        #expect(report.isSound, "\(report.damage)")
        let log = try openLog(disk, options, environment: .still)
        #expect(try contents(log) == before.map(\.payload))
        #expect([log.register("r")!] == register)
        for record in before.filter({ $0.key != nil }).prefix(50) {
            let batch = AppendBatch()
            try batch.add(key: record.key, content: record.content, payload: record.payload)
            #expect(try log.append(batch).outcomes == [.existing(offset: record.offset)])
        }
        // From the middle of a merged frame, too.
        for offset in stride(from: 0, to: UInt64(before.count), by: 37) {
            var found: StoredRecord?
            try log.read(from: offset) { record in
                found = StoredRecord(record)
                return false
            }
            #expect(found == before[Int(offset)])
        }
        _ = try log.append(try oneRecord(payload(1)))
        log.close()
        #expect(try LogInspector(directory: logPath, disk: disk).verify().isSound)
    }

    @Test("whichever sync of the manifest fails while a dense copy takes its place, the log opens again")
    func failingExchange() throws {
        let options = LogOptions(profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        var chance = SeededGenerator(seed: SeededGenerator.seed("failingExchange"))
        var repackedCount: UInt64 = 0
        for failing in 1...24 {
            let disk = MemoryDisk()
            let log = try openLog(disk, options, environment: .still)
            for number in 0..<300 { _ = try log.append(try oneRecord(payload(number))) }
            let left = Atomic(failing)
            disk.setHook { call in
                guard call.operation == .synchronise, call.isManifest,
                    left.wrappingSubtract(1, ordering: .relaxed).newValue == 0
                else { return nil }
                return .error(EIO)
            }
            while log.stepMaintainer() {}
            repackedCount += log.statistics().counters.segmentsRepacked
            disk.setHook(nil)
            log.close()
            // As a machine that goes on has it, and as one that lost its power.
            for image in [disk.copy(), disk.afterPowerCut(using: &chance)] {
                let again = try openLog(image, options, environment: .still)
                #expect(again.headOffset == 300)
                #expect(try contents(again) == (0..<300).map { payload($0) })
                again.close()
            }
        }
        #expect(repackedCount > 0)
    }

    @Test("a segment with little padding is left alone, and a standard one never asked for")
    func notWorthwhile() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("notWorthwhile"))
        let dense = try RandomLog(profile: .silStrict, payloadBytes: 20_000..<30_000).make(&chance)
        let segment = try ClosedSegment(dense, 0)
        guard case .notWorthwhile = try Self.repacker(segment).run() else {
            Issue.record("it was repacked")
            return
        }
        #expect(dense.files[logPath + "/" + SegmentHeader.fileName(id: 99)] == nil)
        let standard = try RandomLog().make(&chance)
        let other = try ClosedSegment(standard, 0)
        #expect(!SegmentRepacker.canPay(other.header, other.entry))
    }

    @Test("a damaged segment is not repacked")
    func damaged() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("damaged"))
        let disk = try Self.sparseLog(&chance)
        let segment = try ClosedSegment(disk, 0)
        for _ in 0..<30 {
            let copy = disk.copy()
            var other = segment
            other.disk = copy
            other.file = try copy.open(segment.path, .readWrite)
            let bit = Int.random(in: 0..<Int(segment.entry.logicalEnd) * 8, using: &chance)
            copy.edit(segment.path) { $0[bit / 8] ^= 1 << (bit % 8) }
            guard case .damaged = try Self.repacker(other).run() else {
                Issue.record("bit \(bit) was not found")
                continue
            }
            #expect(copy.files[logPath + "/" + SegmentHeader.fileName(id: 99)] == nil)
        }
    }

    @Test("times far apart begin a new block, and epochs are never merged")
    func timesAndEpochs() throws {
        // Frames written by hand: the engine writes neither within a test's life.
        let disk = MemoryDisk()
        var header = SegmentHeader(
            commitAlignment: 4096, identifier: anyIdentifier, id: 1, salt: 5, previousID: 0,
            firstSequence: 10, baseOffset: 100, epoch: 1, createdMilliseconds: 0,
            segmentBytes: 1 << 20, commitBytesMaximum: 1 << 19, profile: .silStrict)
        var bytes = header.encode() + [UInt8](repeating: 0, count: (1 << 20) - 4096)
        var link = header.crc
        var position: UInt64 = 4096
        let steps: [(time: Int64, epoch: UInt64)] = [
            (0, 1), (5, 1), (1 << 32, 1), ((1 << 32) + 7, 1), ((1 << 33) + 8, 1), ((1 << 33) + 9, 3),
            // A clock that went back, as no engine writes it: its times are kept as well.
            ((1 << 33) + 9, 3), ((1 << 40), 4), ((1 << 40) - 1, 4),
        ]
        for (number, step) in steps.enumerated() {
            let commit = StagedCommit()
            let batch = try oneRecord(payload(number, bytes: 200), key: "\(number)")
            batch.seal()
            commit.append(
                block: batch.groups[0], from: batch, firstOffset: 100 + UInt64(number),
                timeMilliseconds: step.time)
            commit.endBody(firstOffset: 101 + UInt64(number), timeMilliseconds: step.time)
            var frame = FrameHeader()
            frame.bodyBytes = UInt32(commit.bodyBytes)
            frame.bodyCRC = Checksum.extend(
                0, UnsafeRawPointer(commit.memory + 128), commit.bodyBytes)
            frame.previousHeaderCRC = link
            frame.epoch = step.epoch
            frame.sequence = 10 + UInt64(number)
            frame.durableSequence = 9 + UInt64(number)
            frame.recordCount = 1
            frame.firstOffset = 100 + UInt64(number)
            frame.stateGeneration = UInt64(number)
            frame.blockCount = 1
            frame.write(at: commit.memory, salt: 5, position: position)
            for index in 0..<128 + commit.bodyBytes {
                bytes[Int(position) + index] = commit.memory.load(fromByteOffset: index, as: UInt8.self)
            }
            link = frame.headerCRC
            position += 4096
        }
        var entry = SegmentEntry(
            id: 1, salt: 5, baseOffset: 100, firstSequence: 10, headerCRC: header.crc)
        entry.lastSequence = 9 + UInt64(steps.count)
        entry.logicalEnd = position
        disk.put(logPath + "/" + SegmentHeader.fileName(id: 1), bytes)
        let segment = try ClosedSegment(disk, entry, endOffset: 100 + UInt64(steps.count))
        guard case .repacked(let new, _) = try Self.repacker(segment).run() else {
            Issue.record("it was not repacked")
            return
        }
        let repacked = try ClosedSegment(disk, new, endOffset: segment.endOffset)
        let (frames, records, damage) = try repacked.walk()
        #expect(damage == [])
        #expect(records == (try segment.walk().records))
        #expect(frames.map(\.header.epoch) == [1, 3, 4])
        #expect(frames.map(\.header.sequence) == [10, 15, 17])
        #expect(frames.map(\.header.sequenceCount) == [5, 2, 2])
        #expect(frames.map(\.header.blockCount) == [3, 1, 2])
        #expect(frames.map(\.header.stateGeneration) == [4, 6, 8])
    }

    @Test("whatever call of the disk fails, repacking throws it, and goes on to the same end")
    func faults() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("faults"))
        let original = try Self.sparseLog(&chance)
        let name = logPath + "/" + SegmentHeader.fileName(id: 99)
        let whole = original.copy()
        _ = try Self.repacker(try ClosedSegment(whole, 0)).run()
        let expected = try #require(whole.files[name])
        var failureCount = 0
        for fault in [MemoryDisk.Fault.error(EIO), .half(EIO), .afterwards(ENOSPC)] {
            var number = 0
            while true {
                let disk = original.copy()
                let segment = try ClosedSegment(disk, 0)
                let repacker = Self.repacker(segment)
                let failing = disk.callCount + 1 + number
                disk.setHook { $0.number == failing ? fault : nil }
                var failures = 0
                var isDone = false
                for _ in 0..<3 where !isDone {
                    do {
                        if case .repacked = try repacker.run() { isDone = true }
                    } catch { failures += 1 }
                }
                #expect(isDone)
                #expect(disk.files[name] == expected)
                if failures == 0 { break }
                failureCount += 1
                number += 1
            }
        }
        print("repacking: \(failureCount) faults injected")
        #expect(failureCount >= 30)
    }

    @Test("a file that has the id already is not touched")
    func foreignFile() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("foreignFile"))
        let disk = try Self.sparseLog(&chance)
        let name = logPath + "/" + SegmentHeader.fileName(id: 99)
        disk.put(name, [1, 2, 3])
        let repacker = Self.repacker(try ClosedSegment(disk, 0))
        for _ in 0..<3 { #expect(throws: DiskError.self) { try repacker.run() } }
        repacker.discard()
        #expect(disk.files[name] == [1, 2, 3])
    }

    @Test("small steps end as one does, and a discarded one leaves no file")
    func steps() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("steps"))
        let disk = try Self.sparseLog(&chance)
        let segment = try ClosedSegment(disk, 0)
        let name = logPath + "/" + SegmentHeader.fileName(id: 99)
        let repacker = Self.repacker(segment)
        guard case .repacked = try repacker.run() else {
            Issue.record("it was not repacked")
            return
        }
        let whole = disk.files[name]
        repacker.discard()
        #expect(disk.files[name] == nil)
        let other = Self.repacker(segment)
        var stepCount = 0
        stepping: while true {
            stepCount += 1
            switch try other.step(maximumBytes: 1) {
            case .more: continue
            case .repacked: break stepping
            default:
                Issue.record("it was not repacked")
                break stepping
            }
        }
        #expect(stepCount > 8)
        #expect(disk.files[name] == whole)
    }
}
