import Glibc
import Testing

@testable import WriteAheadLog

@Suite("Sealing")
struct SealingTests {
    @Test("SHA-256 gives the published values, in any pieces, from a stream that is used again")
    func digestVectors() {
        let hash = SHA256Stream()
        func digest(_ bytes: [UInt8]) -> String {
            bytes.withUnsafeBytes { hash.update($0) }
            return hash.finish().hexadecimal
        }
        // FIPS 180-4 examples.
        #expect(
            digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            digest(Array("abc".utf8))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            digest(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        #expect(digest(million) == expected)
        var chance = SeededGenerator(seed: SeededGenerator.seed("digestVectors"))
        var start = 0
        while start < million.count {
            let end = min(million.count, start + Int.random(in: 0...70_000, using: &chance))
            million[start..<end].withUnsafeBytes { hash.update($0) }
            start = end
        }
        #expect(hash.finish().hexadecimal == expected)
    }

    @Test("a sealed segment's footer says what is in it, and its digest is that of its bytes")
    func seals() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("seals"))
        for profile in Profile.allCases {
            let disk = try RandomLog(profile: profile).make(&chance)
            var previous = Digest256.zero
            var segmentCount = 0
            while let segment = try? ClosedSegment(disk, segmentCount) {
                segmentCount += 1
                let before = segment.bytes
                var keys: [String] = []
                let sealer = segment.sealer(after: previous) {
                    keys.append("\($0.hexadecimal) \($1.hexadecimal) \($2)")
                }
                let progress = try sealer.run()
                guard case .sealed(let footer) = progress else {
                    Issue.record("\(progress)")
                    return
                }
                let hash = SHA256Stream()
                hash.update(previous)
                before[..<Int(segment.entry.logicalEnd)].withUnsafeBytes { hash.update($0) }
                #expect(footer.digest == hash.finish())
                #expect(footer.previousDigest == previous)
                previous = footer.digest

                let (frames, records, damage) = try segment.walk()
                #expect(damage == [])
                #expect(footer.matches(segment.header, segment.entry))
                #expect(footer.frameCount == UInt64(frames.count))
                #expect(footer.recordCount == UInt64(records.count))
                #expect(footer.endOffset == segment.endOffset)
                #expect(footer.keyedRecordCount == UInt64(records.count { $0.key != nil }))
                #expect(
                    footer.controlRecordCount
                        == frames.reduce(0) { $0 + UInt64($1.header.controlCount) })
                #expect(footer.leastTimeMilliseconds == records.first?.time)
                #expect(footer.greatestTimeMilliseconds == records.last?.time)
                #expect(
                    sealer.paddingBytes
                        == frames.reduce(0) {
                            $0 + $1.endPosition - $1.position - UInt64($1.header.frameBytes)
                        })
                #expect(
                    keys
                        == records.compactMap { record in
                            record.key.map {
                                "\($0.hexadecimal) \(record.content!.hexadecimal) \(record.offset)"
                            }
                        })
                // Only the footer's room has changed, and what is read from it is the same.
                let after = segment.bytes
                #expect(after.count == before.count)
                let limit = Int(segment.header.frameLimit)
                #expect(after[..<limit] == before[..<limit])
                guard case .footer(let read) = try FooterRoom.read(
                    segment.file, header: segment.header)
                else {
                    Issue.record("no footer is read")
                    return
                }
                #expect(read == footer)
                lookups(footer, frames, records)
                #expect(try segment.seal(after: footer.previousDigest) == footer)
            }
            #expect(segmentCount >= 2)
            #expect(try LogInspector(directory: logPath, disk: disk).verify().isSound)
        }
    }

    /// Every record is found from the place that the footer gives for its offset and its time.
    private func lookups(
        _ footer: SegmentFooter, _ frames: [SegmentWalker.Frame], _ records: [StoredRecord]
    ) {
        for (before, after) in zip(footer.points, footer.points.dropFirst()) {
            #expect(after.position - before.position >= SegmentIndex.pointSpacingBytes)
        }
        let longest = frames.map { $0.endPosition - $0.position }.max()!
        for record in records {
            let home = frames.first { $0.header.endOffset > record.offset }!.position
            let position = footer.position(ofOffset: record.offset) ?? frames[0].position
            #expect(position <= home)
            #expect(home - position < SegmentIndex.pointSpacingBytes + longest)
            let first = records.first { $0.time >= record.time }!
            let firstHome = frames.first { $0.header.endOffset > first.offset }!.position
            #expect(footer.position(ofTime: record.time) ?? 0 <= firstHome)
        }
        #expect(footer.position(ofTime: .min) == nil)
        #expect(footer.position(ofTime: .max) == footer.points.last?.position)
    }

    @Test("small steps end as one does, and read no more than asked for and a chunk")
    func steps() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("steps"))
        let disk = try RandomLog().make(&chance)
        let segment = try ClosedSegment(disk, 0)
        let whole = try segment.seal()
        let sealer = segment.sealer()
        var stepCount = 0
        while true {
            stepCount += 1
            switch try sealer.step(maximumBytes: 64 << 10) {
            case .more: continue
            case .sealed(let footer): #expect(footer == whole)
            case .damaged(let damage, _): Issue.record("\(damage)")
            }
            break
        }
        #expect(stepCount >= 4)
    }

    @Test("a walk goes on from any frame with the chain's values there")
    func walksFromAnywhere() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("walksFromAnywhere"))
        let disk = try RandomLog(profile: .silStrict).make(&chance)
        let segment = try ClosedSegment(disk, 1)
        let walker = SegmentWalker(
            file: segment.file, header: segment.header,
            to: .init(position: segment.entry.logicalEnd), isUncached: true)
        let all = try segment.walk().records
        while case .frame(let frame) = try walker.next() {
            let place = walker.place
            let (_, records, damage) = try segment.walk(from: place)
            #expect(damage == [])
            #expect(records == all.filter { $0.offset >= frame.header.endOffset })
            var wrong = place
            wrong.previousHeaderCRC ^= 1
            if frame.endPosition < segment.entry.logicalEnd {
                #expect(try segment.walk(from: wrong).damage.first?.position == place.position)
            }
        }
        #expect(walker.nextOffset == segment.endOffset)
    }

    @Test("a frame of the largest size is sealed, in memory of one frame")
    func largestFrames() throws {
        let disk = MemoryDisk()
        let log = try openLog(
            disk, LogOptions(capacityBytes: 256 << 20, segmentBytes: 16 << 20), environment: .still)
        for number in 0..<6 {
            let batch = AppendBatch()
            try batch.add(payload: payload(number, bytes: FormatLimits.recordPayloadBytesMaximum))
            try batch.add(payload: payload(number, bytes: 3 << 20))
            _ = try log.append(batch)
        }
        log.close()
        let footer = try ClosedSegment(disk, 0).seal()
        #expect(footer.frameCount == 2)
        #expect(footer.recordCount == 4)
    }

    @Test("on a real disk, past the page cache, it ends the same")
    func realDisk() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("realDisk"))
        let memory = try RepackTests.sparseLog(&chance)
        let segment = try ClosedSegment(memory, 0)
        let directory = TemporaryDirectory()
        let path = directory.path + "/" + SegmentHeader.fileName(id: segment.entry.id)
        let file = try LinuxDisk().open(path, .create)
        try file.write(array: segment.bytes, at: 0)
        let repacker = SegmentRepacker(
            disk: LinuxDisk(), directory: directory.path, source: file, header: segment.header,
            entry: segment.entry, endOffset: segment.endOffset, id: 99, salt: 7, compression: .lz4)
        guard case .repacked(let entry, let header) = try repacker.run() else {
            Issue.record("it was not repacked")
            return
        }
        let newPath = directory.path + "/" + SegmentHeader.fileName(id: 99)
        for (path, header, entry) in [
            (path, segment.header, segment.entry), (newPath, header, entry),
        ] {
            let file = try LinuxDisk().open(path, .readWrite)
            let sealer = SegmentSealer(
                file: file, path: path, header: header, entry: entry,
                endOffset: segment.endOffset, previousDigest: .zero)
            guard case .sealed(let footer) = try sealer.run() else {
                Issue.record("\(path) was not sealed")
                continue
            }
            #expect(footer.endOffset == segment.endOffset)
            if header == segment.header { #expect(try segment.seal() == footer) }
            try LinuxDisk().remove(path)
        }
    }

    @Test("a segment without a commit is sealed")
    func withoutCommits() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk, environment: .still)
        for number in 0..<20 { _ = try log.append(try oneRecord(payload(number, bytes: 60_000))) }
        log.close()
        var segment = try ClosedSegment(disk, 0)
        // As a torn first commit leaves it: closed before anything was good.
        segment.entry.logicalEnd = segment.header.firstFramePosition
        segment.entry.lastSequence = segment.header.firstSequence - 1
        segment.endOffset = segment.header.baseOffset
        let footer = try segment.seal(after: digest("before"))
        #expect(footer.frameCount == 0)
        #expect(footer.points == [])
        #expect(footer.leastTimeMilliseconds == 0)
    }

    @Test("points thin out before they would leave the footer's room")
    func thinning() {
        var points = SparsePoints(countMaximum: 10)
        let spacing = SegmentIndex.pointSpacingBytes
        for number in 0..<UInt64(1000) {
            points.append(.init(offset: number, position: number * spacing, greatestTimeMilliseconds: 1))
            #expect(points.points.count <= 10)
        }
        #expect(points.points.count >= 5)
        #expect(points.points.first?.offset == 0)
        let gaps = zip(points.points, points.points.dropFirst()).map { $1.position - $0.position }
        #expect(Set(gaps).count == 1)
        // At the spacing of the format every length of segment has the room.
        for shift in 20...32 {
            let bytes = UInt64(1) << shift
            #expect(
                SegmentFooter.pointCountMaximum(segmentBytes: bytes)
                    > Int(bytes / SegmentIndex.pointSpacingBytes))
        }
    }

    // MARK: - Footer bytes

    private static func anyFooter(_ chance: inout SeededGenerator, points: Int = 9) -> SegmentFooter {
        let base = UInt64.random(in: 0..<1 << 60, using: &chance)
        let first = UInt64.random(in: 1..<1 << 60, using: &chance)
        var footer = SegmentFooter(
            identifier: anyIdentifier, segmentID: chance.next(), salt: chance.next(),
            baseOffset: base, endOffset: base + 1000, firstSequence: first,
            lastSequence: first + 99, logicalEnd: 900_000, frameCount: 100, recordCount: 1000,
            keyedRecordCount: 7, controlRecordCount: 3, leastTimeMilliseconds: 10,
            greatestTimeMilliseconds: 5000, previousDigest: digest("before"),
            digest: digest("this"))
        for number in 0..<points {
            footer.points.append(
                .init(
                    offset: base + UInt64(number) * 10, position: 4096 + UInt64(number) * 32768,
                    greatestTimeMilliseconds: 10 + Int64(number)))
        }
        return footer
    }

    private static let roomBytes = Int(FormatLimits.footerBytes(segmentBytes: 1 << 20))

    @Test("a footer comes back as it was written")
    func footerRoundTrip() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("footerRoundTrip"))
        for _ in 0..<100 {
            let footer = Self.anyFooter(&chance, points: .random(in: 0...27, using: &chance))
            let bytes = footer.encode(roomBytes: Self.roomBytes)
            #expect(try bytes.withUnsafeBytes { try SegmentFooter($0) } == footer)
        }
    }

    @Test("every flipped bit of a footer's room is found, and every cut")
    func footerBitFlips() {
        var chance = SeededGenerator(seed: SeededGenerator.seed("footerBitFlips"))
        var bytes = Self.anyFooter(&chance).encode(roomBytes: Self.roomBytes)
        var accepted: [Int] = []
        for bit in 0..<bytes.count * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8)
            if bytes.withUnsafeBytes({ (try? SegmentFooter($0)) != nil }) { accepted.append(bit) }
            bytes[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(accepted == [])
        for count in 0..<256 + 9 * 24 {
            _ = bytes[..<count].withUnsafeBytes { bytes in
                #expect(throws: FormatError.self) { try SegmentFooter(bytes) }
            }
        }
    }

    @Test("a footer with a good checksum and nonsense in it is refused and never traps")
    func footerNonsense() {
        var chance = SeededGenerator(seed: SeededGenerator.seed("footerNonsense"))
        var refusedCount = 0
        for _ in 0..<20_000 {
            var bytes = Self.anyFooter(&chance).encode(roomBytes: Self.roomBytes)
            let place = 8 * Int.random(in: 1..<59, using: &chance)
            let word = [0, 1, UInt64.max, UInt64(Int64.max), 1 << 62, chance.next()]
                .randomElement(using: &chance)!
            bytes.withUnsafeMutableBytes { buffer in
                let start = buffer.baseAddress!
                start.set(word, at: place)
                let count = min(Int(UnsafeRawPointer(start).integer(UInt32.self, at: 12)), 180)
                let byteCount = SegmentFooter.headerBytes + count * SegmentFooter.pointBytes
                start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), byteCount - 8), at: 4)
            }
            if bytes.withUnsafeBytes({ (try? SegmentFooter($0)) == nil }) { refusedCount += 1 }
        }
        #expect(refusedCount > 5000)
    }

    // MARK: - Damage

    @Test("a flipped bit anywhere in a segment is found, told with its offsets, and not sealed")
    func damage() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("damage"))
        for profile in Profile.allCases {
            let original = try RandomLog(profile: profile, batchCount: 120).make(&chance)
            let clean = try ClosedSegment(original, 0)
            let all = try clean.walk().records
            for _ in 0..<60 {
                let disk = original.copy()
                var segment = clean
                segment.disk = disk
                segment.file = try disk.open(segment.path, .readWrite)
                let bit = Int.random(in: 0..<Int(segment.entry.logicalEnd) * 8, using: &chance)
                disk.edit(segment.path) { $0[bit / 8] ^= 1 << (bit % 8) }
                let before = segment.bytes
                var keyedOffsets: [UInt64] = []
                let progress = try segment.sealer { keyedOffsets.append($2) }.run()
                guard case .damaged(let damage, let digest) = progress else {
                    Issue.record("bit \(bit) was not found")
                    continue
                }
                let hash = SHA256Stream()
                hash.update(.zero)
                before[..<Int(segment.entry.logicalEnd)].withUnsafeBytes { hash.update($0) }
                #expect(digest == hash.finish())
                #expect(segment.bytes == before)
                #expect(damage.contains { $0.position <= UInt64(bit / 8) })
                // What is not named is read as it was; nothing is both.
                let lost = damage.flatMap { Array($0.offsets) }
                let records = try segment.walk().records.filter { !lost.contains($0.offset) }
                #expect(records == all.filter { !lost.contains($0.offset) })
                #expect(Set(records.map(\.offset) + lost).count == all.count)
                let named = keyedOffsets.filter { !lost.contains($0) }
                #expect(named == records.filter { $0.key != nil }.map(\.offset))
            }
        }
    }

    @Test("several damaged places are all told, and a file cut short is damage and no trap")
    func severalPlaces() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("severalPlaces"))
        let disk = try RandomLog(batchCount: 600, payloadBytes: 100..<5000).make(&chance)
        let segment = try ClosedSegment(disk, 0)
        let (frames, _, _) = try segment.walk()
        let wrong = [3, 9, 10, frames.count - 1]
        disk.edit(segment.path) { bytes in
            for number in wrong { bytes[Int(frames[number].position) + 150] ^= 4 }
        }
        guard case .damaged(let damage, _) = try segment.sealer().run() else {
            Issue.record("not found")
            return
        }
        #expect(
            damage.map(\.position) == wrong.map { frames[$0].position },
            "neighbours are told one by one")
        #expect(
            damage.map(\.offsets)
                == wrong.map { frames[$0].header.firstOffset..<frames[$0].header.endOffset })
        for _ in 0..<50 {
            let cut = disk.copy()
            cut.edit(segment.path) {
                $0.removeLast(Int.random(in: 1...$0.count, using: &chance))
            }
            var shorter = segment
            shorter.disk = cut
            shorter.file = try cut.open(segment.path, .readWrite)
            guard case .damaged(let damage, _) = try shorter.sealer().run() else {
                Issue.record("a cut was not found")
                continue
            }
            #expect(damage.first?.reason.contains("bytes and not") == true)
        }
    }

    @Test("random bytes in place of a segment never trap")
    func nonsense() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("nonsense"))
        let disk = try RandomLog(batchCount: 60).make(&chance)
        let segment = try ClosedSegment(disk, 0)
        for round in 0..<30 {
            let copy = disk.copy()
            copy.edit(segment.path) { bytes in
                let start = Int.random(in: 0..<bytes.count, using: &chance)
                let end = min(bytes.count, start + Int.random(in: 1..<200_000, using: &chance))
                for place in start..<end { bytes[place] = UInt8(truncatingIfNeeded: chance.next()) }
            }
            var other = segment
            other.file = try copy.open(segment.path, .readWrite)
            if round % 2 == 0 {
                // And an entry that promises what is not there.
                other.entry.logicalEnd = chance.next() >> UInt64.random(in: 0..<60, using: &chance)
                other.entry.lastSequence = chance.next()
            }
            _ = try other.sealer().run()
        }
    }

    // MARK: - Faults

    @Test("whatever call of the disk fails, sealing throws it, and the next attempt ends the same")
    func faults() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("faults"))
        let original = try RandomLog(batchCount: 100).make(&chance)
        let whole = try ClosedSegment(original.copy(), 0).seal()
        var failureCount = 0
        for fault in [MemoryDisk.Fault.error(EIO), .half(EIO), .afterwards(ENOSPC)] {
            var number = 0
            while true {
                let disk = original.copy()
                let segment = try ClosedSegment(disk, 0)
                let sealer = segment.sealer()
                let failing = disk.callCount + 1 + number
                disk.setHook { $0.number == failing ? fault : nil }
                var failures = 0
                var sealed: SegmentFooter?
                for _ in 0..<3 where sealed == nil {
                    do {
                        if case .sealed(let footer) = try sealer.run() { sealed = footer }
                    } catch { failures += 1 }
                }
                #expect(sealed == whole)
                if failures == 0 { break }
                #expect(failures == 1)
                failureCount += 1
                number += 1
            }
        }
        print("sealing: \(failureCount) faults injected")
        #expect(failureCount >= 15)
    }

    @Test("a device that answers well and holds something else is found by reading back")
    func lyingDevice() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("lyingDevice"))
        let disk = try RandomLog(batchCount: 60).make(&chance)
        let segment = try ClosedSegment(disk, 0)
        let limit = Int(segment.header.frameLimit)
        disk.setHook { call in
            if call.operation == .read, call.position + UInt64(call.byteCount) > UInt64(limit) {
                disk.edit(call.path) { $0[limit + 200] = 1 }
            }
            return nil
        }
        #expect(throws: DiskError.self) { try segment.sealer().run() }
    }

    @Test("a power cut while the footer is written leaves none, or a whole one, or one written again")
    func powerCuts() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("powerCuts"))
        let original = try RandomLog(profile: .silStrict, batchCount: 100).make(&chance)
        let whole = try ClosedSegment(original.copy(), 0).seal()
        for round in 0..<40 {
            let disk = original.copy()
            let segment = try ClosedSegment(disk, 0)
            // The sync fails: what was written is anywhere.
            disk.setHook { $0.operation == .synchronise ? .error(EIO) : nil }
            #expect(throws: DiskError.self) { try segment.sealer().run() }
            let after = disk.afterPowerCut(using: &chance, garbage: round % 2 == 0)
            #expect(try LogInspector(directory: logPath, disk: after).walk().headOffset > 0)
            #expect(try ClosedSegment(after, 0).seal() == whole)
            #expect(try LogInspector(directory: logPath, disk: after).verify().isSound)
        }
    }
}
