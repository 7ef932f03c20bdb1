import Glibc
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: errors and space")
struct ErrorAndSpaceDecisions {
    // MARK: - 18

    @Test("decision 18: an error on the active segment or the manifest stops the log for good")
    func poison() throws {
        for operation in [DiskError.Operation.write, .synchronise] {
            for isManifest in [false, true] {
                let still = try StillLog(StillLog.options())
                _ = try still.log.append(oneRecord([1]))
                try still.log.createCursor(Cursor(owner: "o", name: "n"))
                still.disk.setHook { call in
                    call.operation == operation && (isManifest ? call.isManifest : call.isSegment)
                        ? .error(EIO) : nil
                }
                let answer = refusal {
                    if isManifest {
                        try still.log.confirm(owner: "o", name: "n", nextOffset: 1)
                    } else {
                        _ = try still.log.append(oneRecord([2]))
                    }
                }
                guard case .outcomeUnknown(let cause)? = answer else {
                    Issue.record("\(operation) \(isManifest): \(answer as Any)")
                    continue
                }
                // The disk is well again, the log is not: what a failed sync left is unknown.
                still.disk.setHook(nil)
                #expect(refusal { _ = try still.log.append(oneRecord([3])) } == .poisoned(cause))
                #expect(still.log.statistics().poison == cause)
                #expect(try contents(still.log) == [[1]])
            }
        }
    }

    @Test("decision 18: spares, key runs and quarantine copies may fail: it is told, tried again and stops nothing")
    func derivedWork() throws {
        let still = try StillLog(StillLog.options())
        let isBroken = FaultTests.Flag()
        isBroken.set(true)
        let spares = Noted<Set<String>>([])
        still.disk.setHook { call in
            guard isBroken.isSet else { return nil }
            if call.path.contains(".run"), call.operation == .write { return .error(ENOSPC) }
            // A file that is being filled with zeros is a spare.
            if call.isSegment, call.operation == .open, call.path != segmentPath(1) {
                spares.change { $0.insert(call.path) }
            }
            return spares.value.contains(call.path) && call.operation == .write ? .error(ENOSPC) : nil
        }
        _ = still.log.stepPreparer()
        #expect(still.log.statistics().events.spareFailed == 1)
        isBroken.set(false)
        spares.change { $0 = [] }
        try still.append(0..<9)
        isBroken.set(true)
        // Until a checkpoint is due and its run cannot be written.
        for number in 9..<14 {
            _ = try still.log.append(oneRecord(payload(number, bytes: 100_000), key: "k\(number)"))
            _ = still.log.stepMaintainer()
        }
        #expect(still.log.statistics().events.derivedWorkFailed >= 1)
        #expect(still.log.statistics().poison == nil)
        #expect(still.log.statistics().counters.checkpoints == 0)
        isBroken.set(false)
        still.clock.advance(milliseconds: 2_000)
        still.settle()
        #expect(still.log.statistics().counters.checkpoints >= 1)
        #expect(try contents(still.log).count == 14)

        // A copy of what is cut off that cannot be made does not stop the opening.
        let torn = still.disk.copy()
        let last = try framesOnDisk(torn.files[segmentPath(2)]!).last!
        torn.edit(segmentPath(2)) { $0[last.position + 140] ^= 1 }
        torn.setHook { $0.path.contains("/quarantine") ? .error(ENOSPC) : nil }
        let log = try openLog(torn, still.options)
        #expect(log.recovery.decision == .torn && log.headOffset == 13)
        #expect(log.statistics().events.derivedWorkFailed >= 1 && log.statistics().poison == nil)
        log.close()
    }

    @Test("decision 18: the footer's room is kept in the segment, so sealing needs no space")
    func footerRoom() throws {
        let still = try StillLog(StillLog.options())
        for number in 0..<25 {
            _ = try still.log.append(oneRecord(payload(number, bytes: 100_000)))
        }
        let closed = try still.table.segments.dropLast()
        #expect(closed.count == 2)
        let sizes = closed.map { still.disk.files[segmentPath($0.id)]!.count }
        let limit = (1 << 20) - Int(FormatLimits.footerBytes(segmentBytes: 1 << 20))
        for entry in closed {
            #expect(entry.logicalEnd <= UInt64(limit))
            let room = still.disk.files[segmentPath(entry.id)]![limit...]
            #expect(room.allSatisfy { $0 == 0 })
        }
        // Nothing can be made or grow.
        still.disk.setHook { call in
            call.isSegment && call.operation == .write
                && call.position + UInt64(call.byteCount) > 1 << 20 ? .error(ENOSPC) : nil
        }
        still.settle()
        let sealed = try still.table.segments.dropLast()
        #expect(!sealed.contains { !$0.isSealed })
        #expect(sealed.map { still.disk.files[segmentPath($0.id)]!.count } == sizes)
    }

    @Test("decision 18: the fill counts segments, key runs and the room for spares")
    func fillCountsEverything() throws {
        let still = try StillLog(StillLog.options())
        #expect(still.log.statistics().fillBytes == (try StillLog.used(still)))
        try still.append(0..<60)
        #expect(try still.table.runs.count > 2)
        #expect(still.log.statistics().fillBytes == (try StillLog.used(still)))
    }

    @Test("decision 18: a merge of key runs waits while the file system is below its reserve")
    func mergesWait() throws {
        let still = try StillLog(
            StillLog.options(.standard, RetentionOptions(freeSpaceReserveBytes: 1 << 20)))
        // Checkpoints without merges.
        for number in 0..<100 {
            _ = try still.log.append(oneRecord(payload(number, bytes: 100_000), key: "k\(number)"))
            let checkpoints = still.log.statistics().counters.checkpoints
            while still.log.statistics().counters.checkpoints == checkpoints,
                try still.table.runs.count < 8, number % 11 == 10, still.log.stepMaintainer()
            {}
        }
        #expect(try still.table.runs.count == 8)
        #expect(still.log.statistics().counters.runsMerged == 0)
        still.disk.free = 1_000
        still.clock.advance(milliseconds: 1_500)
        still.settle()
        #expect(still.log.statistics().events.lowSpace == 1)
        #expect(still.log.statistics().counters.runsMerged == 0)
        #expect(try still.table.runs.count >= 8)
        still.disk.free = 1 << 30
        still.clock.advance(milliseconds: 1_500)
        still.settle()
        #expect(still.log.statistics().counters.runsMerged >= 8)
        for number in 0..<100 {
            #expect(try still.log.lookUp(digest("key k\(number)"))?.offset == UInt64(number))
        }
    }

    // MARK: - 19

    @Test("decision 19: a segment is a sixty-fourth of the capacity within 16 and 256 MiB, and a log has room for eight")
    func segmentSizes() throws {
        for (capacity, segment) in [
            (1 << 30, 16 << 20), (2 << 30, 32 << 20), (10 << 30, 160 << 20), (1 << 40, 256 << 20),
            (128 << 20, 16 << 20),
        ] as [(UInt64, UInt64)] {
            #expect(try LogOptions(capacityBytes: capacity).validate() == segment)
        }
        func refused(_ capacity: UInt64, _ segment: UInt64?) -> Bool {
            let answer = refusal {
                _ = try openLog(
                    MemoryDisk(), LogOptions(capacityBytes: capacity, segmentBytes: segment))
            }
            guard case .rejected(.invalidOptions(let sentence))? = answer else { return false }
            return !sentence.isEmpty
        }
        #expect(refused(8 << 20 - 1, 1 << 20))
        #expect(refused(127 << 20, nil))
        #expect(refused(64 << 20, 512 << 10))
        #expect(!refused(8 << 20, 1 << 20))
    }

    @Test("decision 19: making a log zeroes one segment and the manifest; spares come later, in small writes")
    func creation() throws {
        let disk = MemoryDisk()
        let largest = Noted(0)
        disk.setHook { call in
            if call.isSegment, call.operation == .write {
                largest.change { $0 = max($0, call.byteCount) }
            }
            return nil
        }
        let still = try StillLog(StillLog.options(), disk: disk)
        func segments() -> [Int] {
            disk.files.filter { $0.key.hasSuffix(".segment") }.map(\.value.count)
        }
        #expect(segments() == [1 << 20])
        #expect(disk.files[manifestPath]!.count == ManifestLayout.fileBytes)
        still.settle()
        #expect(segments() == [1 << 20, 1 << 20, 1 << 20])
        #expect(largest.value <= 256 * 1024)
    }

    @Test("decision 19: free space is asked for every second while records come in; below the reserve they are refused")
    func freeSpace() throws {
        let still = try StillLog(
            StillLog.options(.standard, RetentionOptions(freeSpaceReserveBytes: 64 << 20)))
        let asked = Noted(0)
        still.disk.setHook { call in
            if call.operation == .freeSpace { asked.change { $0 += 1 } }
            return nil
        }
        for _ in 0..<5 {
            _ = try still.log.append(oneRecord([1]))
            still.clock.advance(milliseconds: 1_000)
            still.settle()
        }
        #expect(asked.value == 5)
        // A log at rest asks for nothing.
        still.clock.advance(milliseconds: 60_000)
        still.settle()
        #expect(asked.value == 5)
        still.disk.free = 64 << 20 - 1
        _ = try still.log.append(oneRecord([1]))
        still.clock.advance(milliseconds: 1_000)
        still.settle()
        #expect(
            refusal { _ = try still.log.append(oneRecord([1])) }
                == .rejected(.lowSpace(freeBytes: 64 << 20 - 1)))
        // Cursors need none.
        try still.log.createCursor(Cursor(owner: "o", name: "n", nextOffset: 6))
        still.disk.free = 79 << 20
        still.clock.advance(milliseconds: 1_000)
        still.settle()
        #expect(refusal { _ = try still.log.append(oneRecord([1])) } != nil)
        still.disk.free = 80 << 20
        still.clock.advance(milliseconds: 1_000)
        still.settle()
        _ = try still.log.append(oneRecord([1]))
        #expect(still.log.headOffset == 7)
    }
}
