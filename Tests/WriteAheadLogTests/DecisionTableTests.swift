import Glibc
import Testing

@testable import WriteAheadLog

/// Every row of the decision table, as logic and with an image of a log that shows it.
@Suite("The recovery decision table")
struct DecisionTableTests {
    @Test("every evidence has exactly one meaning, the one in the words of the contract")
    func table() {
        for frame in [true, false] {
            for readFailed in [true, false] {
                for proven in [true, false] {
                    for bytes in RecoveryEvidence.Bytes.allCases {
                        let decided = DecisionTable.decide(
                            RecoveryEvidence(
                                frameVerifiesAndLinks: frame, readFailed: readFailed,
                                provenDurable: proven, bytes: bytes)
                        ).decision
                        let expected: RecoveryDecision =
                            if readFailed { .corrupt } else if frame { .accept }
                            else if proven { .corrupt } else if bytes == .allZero { .cleanEnd }
                            else if bytes == .nonZeroWithinOneCommit { .torn } else { .corrupt }
                        #expect(decided == expected)
                    }
                }
            }
        }
        #expect(Set(DecisionTable.rows.map(\.row)) == Set(RecoveryRow.allCases))
    }

    /// A log of five commits that was killed: nothing but the frames proves the newest.
    static func killed(_ options: LogOptions = smallLog) throws -> (
        disk: MemoryDisk, frames: [Int], end: Int
    ) {
        let disk = MemoryDisk()
        let log = try openLog(disk, options)
        for number in 0..<5 { _ = try log.append(oneRecord(payload(number))) }
        let image = disk.copy()
        log.close()
        let bytes = image.files[segment]!
        var frames: [Int] = []
        for place in stride(from: 4096, to: 65536, by: 8)
        where Array(bytes[place..<place + 4]) == Array("BSFF".utf8) {
            frames.append(place)
        }
        #expect(frames.count == 5)
        let body = bytes.withUnsafeBytes { Int($0.baseAddress!.integer(UInt32.self, at: frames[4] + 12)) }
        let step = options.profile == .silStrict ? 4096 : 8
        return (image, frames, (frames[4] + 128 + body + step - 1) & ~(step - 1))
    }

    /// The profile that passes over nothing.
    static let strict = LogOptions(
        profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)

    @Test("a commit that is torn in its padding only is whole, and the log goes on in a new segment")
    func tornPadding() throws {
        let options = LogOptions(profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        let disk = MemoryDisk()
        let log = try openLog(disk, options)
        for number in 0..<5 { _ = try log.append(oneRecord(payload(number))) }
        let killed = disk.copy()
        log.close()
        // The fifth commit is the block from 20,480 on; its records take less than a sector.
        killed.edit(Self.segment) { $0[20480 + 2000] = 7 }
        #expect(try LogInspector(directory: logPath, disk: killed.copy()).walk().headOffset == 5)
        let opened = try openLog(killed, options)
        #expect(opened.recovery.decision == .torn)
        #expect(opened.headOffset == 5)
        _ = try opened.append(oneRecord(payload(5)))
        opened.close()
        let cut = try ClosedSegment(killed, 0)
        guard case .sealed = try cut.sealer().run() else {
            Issue.record("a cut segment is not sealed")
            return
        }
        #expect(try LogInspector(directory: logPath, disk: killed).verify().isSound)
        // In the middle it is damage that costs nothing; so it is at the end of a closed log.
        for place in [20480 + 2000, 8192 + 2000] {
            let closed = disk.copy()
            closed.edit(Self.segment) { $0[place] = 7 }
            let report = try LogInspector(directory: logPath, disk: closed).verify()
            #expect(report.damage.map(\.position) == [UInt64(place)])
            #expect(report.headOffset == 5)
            let again = try openLog(closed, options)
            #expect(again.headOffset == 5)
            again.close()
        }
    }

    static let segment = logPath + "/" + SegmentHeader.fileName(id: 1)

    func corruption(_ disk: MemoryDisk, _ options: LogOptions = smallLog) -> Corruption? {
        let opened = Result { () throws(LogError) in try openLog(disk, options) }
        switch opened {
        case .success(let log): log.close()
        case .failure(.corrupt(let place)): return place
        case .failure(let error): Issue.record("\(error)")
        }
        return nil
    }

    @Test("A and D: good frames are accepted, zeros after them are the end")
    func clean() throws {
        let (disk, _, end) = try Self.killed()
        let log = try openLog(disk)
        #expect(log.recovery.frameCount == 5 && log.recovery.row == .cleanEnd)
        #expect(log.recovery.endPosition == UInt64(end))
        #expect(try contents(log) == (0..<5).map { payload($0) })
        log.close()
    }

    @Test("B: a read error is damage, never a torn tail")
    func readError() throws {
        let (disk, _, _) = try Self.killed()
        disk.setHook { call in
            call.isSegment && call.operation == .read && call.position >= 4096 ? .error(EIO) : nil
        }
        let place = try #require(corruption(disk))
        #expect(place.reason.hasPrefix("row B") && place.offset == 0)
        // Without its header nothing can be said of it.
        disk.setHook { call in call.isSegment && call.operation == .read ? .error(EIO) : nil }
        let opened = Result { () throws(LogError) in try openLog(disk) }
        guard case .failure(.disk(let error)) = opened else {
            Issue.record("opened without a header")
            return
        }
        #expect(error.operation == .read)
        // Behind the first MiB the frames are read and the error stands at the end.
        let large = MemoryDisk()
        let options = LogOptions(capacityBytes: 64 << 20, segmentBytes: 2 << 20)
        let log = try openLog(large, options)
        _ = try log.append(oneRecord(payload(1)))
        let image = large.copy()
        log.close()
        image.setHook { call in
            call.isSegment && call.operation == .read && call.position >= 1 << 20 ? .error(EIO) : nil
        }
        let end = try #require(corruption(image, options))
        #expect(end.reason.hasPrefix("row B") && end.offset == 1)
    }

    @Test("C: a commit that something proves durable is missed, whatever stands in its place")
    func proven() throws {
        for zeroed in [true, false] {
            let (disk, frames, end) = try Self.killed(Self.strict)
            // The frame after it proves it.
            disk.edit(Self.segment) { bytes in
                if zeroed {
                    for place in frames[3]..<frames[4] { bytes[place] = 0 }
                } else {
                    bytes[frames[3] + 130] ^= 1
                }
            }
            let place = try #require(corruption(disk, Self.strict))
            #expect(place.reason.hasPrefix("row C") && place.position == UInt64(frames[3]))
            #expect(place.offset == 3)

            // Closed cleanly, the state slot proves the last one.
            let (second, _, _) = try Self.killed(Self.strict)
            try openLog(second, Self.strict).close()
            second.edit(Self.segment) { bytes in
                if zeroed {
                    for place in frames[4]..<end { bytes[place] = 0 }
                } else {
                    bytes[frames[4] + 20] ^= 0x80
                }
            }
            let last = try #require(corruption(second, Self.strict))
            #expect(last.reason.hasPrefix("row C") && last.offset == 4)
        }
    }

    @Test("C, standard: what is missed is passed over, as an exact gap, copied and durable")
    func provenStandard() throws {
        let (disk, frames, _) = try Self.killed()
        disk.edit(Self.segment) { $0[frames[3] + 130] ^= 1 }
        let damaged = disk.files[Self.segment]!
        for _ in 0..<2 {
            let log = try openLog(disk)
            #expect(log.headOffset == 5)
            #expect(log.gap(at: 3)?.offsets == 3..<4 && log.gap(at: 3)?.reasons == .corrupt)
            var offsets: [UInt64] = []
            try log.read(from: 0) { record in
                offsets.append(record.offset)
                return true
            }
            try log.read(from: 4) { record in
                offsets.append(record.offset)
                return true
            }
            #expect(offsets == [0, 1, 2, 4])
            log.close()
        }
        let copy = disk.files.first { $0.key.contains("/quarantine/") }
        #expect(copy?.value == Array(damaged[frames[3]..<frames[4]]))
    }

    @Test("E: a torn newest commit is cut by a roll, said to be torn or damaged, and the log goes on")
    func torn() throws {
        for cut in [1, 100, 130, 200] {
            let (disk, frames, end) = try Self.killed()
            disk.edit(Self.segment) { bytes in
                for place in min(frames[4] + cut, end - 1)..<end { bytes[place] = 0 }
                bytes[frames[4] + cut - 1] ^= 0x55
            }
            let damaged = disk.files[Self.segment]!
            var log = try openLog(disk)
            #expect(log.recovery.row == .tornTail)
            #expect(log.recovery.decision.rawValue == "torn or damaged")
            #expect(log.recovery.cutBytes > 0 && log.recovery.endPosition == UInt64(frames[4]))
            #expect(log.headOffset == 4)
            #expect(try log.append(oneRecord(payload(4))).outcomes == [.appended(offset: 4)])
            log.close()
            // What was cut is still in its file, for a person to look at.
            let limit = (1 << 20) - Int(FormatLimits.footerBytes(segmentBytes: 1 << 20))
            #expect(disk.files[Self.segment]!.prefix(limit) == damaged.prefix(limit))
            log = try openLog(disk)
            #expect(log.recovery.row == .cleanEnd && log.recovery.cutBytes == 0)
            #expect(try contents(log) == (0..<5).map { payload($0) })
            log.close()
            let report = try LogInspector(directory: logPath, disk: disk).verify()
            #expect(report.isSound, "\(report.damage)")
        }
    }

    @Test("F: damage that more than one commit would have to explain refuses opening")
    func beyondOneCommit() throws {
        let (disk, _, end) = try Self.killed(Self.strict)
        let commit = FormatLimits.commitBytes(segmentBytes: 1 << 20)
        disk.edit(Self.segment) { $0[end + commit] = 1 }
        let place = try #require(corruption(disk, Self.strict))
        #expect(place.reason.hasPrefix("row F") && place.position == UInt64(end))
        // One byte less is what one commit can explain.
        disk.edit(Self.segment) { bytes in
            bytes[end + commit] = 0
            bytes[end + commit - 1] = 1
        }
        let log = try openLog(disk, Self.strict)
        #expect(log.recovery.row == .tornTail && log.headOffset == 5)
        log.close()
    }

    @Test("F, standard: the log goes on in a new epoch, since nothing tells what was lost")
    func beyondOneCommitStandard() throws {
        let (disk, _, end) = try Self.killed()
        disk.edit(Self.segment) { $0[end + FormatLimits.commitBytes(segmentBytes: 1 << 20)] = 1 }
        let log = try openLog(disk)
        #expect(log.headOffset == 5 && log.epochs.count == 2)
        #expect(log.epochs.last?.firstOffset == 5 && log.epochs.last?.reason == "damaged end")
        #expect(try log.append(oneRecord(payload(5))).outcomes == [.appended(offset: 5)])
        #expect(try contents(log) == (0..<6).map { payload($0) })
        log.close()
    }

    @Test("a segment file that was cut short is damage, not an end")
    func shortFile() throws {
        let (disk, frames, _) = try Self.killed()
        disk.edit(Self.segment) { $0.removeLast($0.count - frames[4]) }
        let place = try #require(corruption(disk))
        #expect(place.position == UInt64(frames[4]))
        let report = try LogInspector(directory: logPath, disk: disk).verify()
        #expect(!report.isSound)
    }

    @Test("a commit that was torn is not found again behind the next ones")
    func tornTwice() throws {
        var (disk, _, end) = try Self.killed()
        for life in 0..<4 {
            disk.edit(Self.segment) { bytes in
                if life == 0 { bytes[end - 9] ^= 1 }
            }
            let log = try openLog(disk)
            #expect(log.headOffset == UInt64(4 + life))
            _ = try log.append(oneRecord(payload(100 + life)))
            let image = disk.copy()
            log.close()
            disk = image
        }
    }
}
