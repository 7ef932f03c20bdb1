import Glibc
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: commit and frames")
struct CommitDecisions {
    // MARK: - 1

    @Test("decision 1: everything that is queued for a commit becomes one frame, written and synced once")
    func oneCommitIsOneFrame() throws {
        let still = try StillLog(StillLog.options())
        let calls = CallList()
        let answers = Answers()
        calls.listen(to: still.disk)
        still.log.append(try plainBatch(30, bytes: 9_000)) { answers.take($0) }
        still.log.append(
            try plainBatch(5), registers: [RegisterUpdate(name: "r", expected: nil, value: [7])]
        ) { answers.take($0) }
        #expect(answers.count == 0 && calls.all.isEmpty)
        #expect(still.log.stepCommit())
        #expect(answers.count == 2)
        #expect(calls.all.map(\.operation) == [.write, .synchronise])
        #expect(calls.all.allSatisfy { $0.path == segmentPath(1) })

        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(frames.count == 1)
        let header = frames[0].header
        #expect(header.recordCount == 35 && header.controlCount == 1 && header.sequence == 1)
        // Data and control records lie in one body, each block with its kind.
        #expect(try blocks(of: frames[0]).map(\.header.isControl).filter { $0 }.count == 1)
        #expect(try blocks(of: frames[0]).count == Int(header.blockCount))
    }

    @Test("decision 1: watermarks of frames and manifest count commits, not records")
    func watermarks() throws {
        let still = try StillLog(StillLog.options())
        for _ in 0..<4 { _ = try still.log.append(plainBatch(10)) }
        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(frames.map(\.header.sequence) == [1, 2, 3, 4])
        #expect(frames.map(\.header.durableSequence) == [0, 1, 2, 3])
        #expect(frames.map(\.header.firstOffset) == [0, 10, 20, 30])
        still.log.stepIdle()
        #expect(try still.disk.manifest().states[0].durableSequence == 4)
    }

    @Test("decision 1: after a power cut a caller's batch is there whole or not at all")
    func wholeOrNot() throws {
        let seed = SeededGenerator.seed("wholeOrNot")
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(plainBatch(1))
        let images = Noted<[MemoryDisk]>([])
        let disk = still.disk
        disk.setHook { call in
            guard call.isSegment, call.operation == .synchronise else { return nil }
            var chance = SeededGenerator(seed: seed)
            for _ in 0..<100 {
                let image = disk.afterPowerCut(using: &chance)
                images.change { $0.append(image) }
            }
            return nil
        }
        _ = try still.log.append(
            plainBatch(8), registers: [RegisterUpdate(name: "r", expected: nil, value: [1])])
        disk.setHook(nil)
        var heads: Set<UInt64> = []
        for image in images.value {
            let log = try openLog(image, still.options)
            heads.insert(log.headOffset)
            #expect(log.register("r") == (log.headOffset == 9 ? [1] : nil))
            log.close()
        }
        #expect(heads == [1, 9], "seed \(seed)")
    }

    // MARK: - 2

    @Test("decision 2: a frame's header verifies in its life of the file and at its place only")
    func seededHeader() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(plainBatch(3))
        let bytes = still.disk.files[segmentPath(1)]!
        let frame = try framesOnDisk(bytes)[0]
        let header = try bytes.withUnsafeBytes { try SegmentHeader($0) }
        func read(salt: UInt64, position: UInt64) -> FrameHeader? {
            bytes.withUnsafeBytes { buffer in
                try? FrameHeader(
                    UnsafeRawBufferPointer(rebasing: buffer[frame.position...]), salt: salt,
                    position: position, commitBytesMaximum: Int(header.commitBytesMaximum))
            }
        }
        let place = UInt64(frame.position)
        #expect(read(salt: header.salt, position: place) == frame.header)
        #expect(read(salt: header.salt ^ 1, position: place) == nil)
        #expect(read(salt: header.salt, position: place + 8) == nil)
    }

    @Test("decision 2: each frame links to the header before it, and one that does not is no commit")
    func links() throws {
        let still = try StillLog(StillLog.options(.silStrict))
        for number in 0..<4 { _ = try still.log.append(oneRecord(payload(number))) }
        let killed = still.disk.copy()
        let bytes = killed.files[segmentPath(1)]!
        let segment = try bytes.withUnsafeBytes { try SegmentHeader($0) }
        let frames = try framesOnDisk(bytes)
        #expect(
            frames.map(\.header.previousHeaderCRC)
                == [segment.crc] + frames.dropLast().map(\.header.headerCRC))
        // The second one again with another link and a checksum that holds.
        killed.edit(segmentPath(1)) { bytes in
            var header = frames[1].header
            header.previousHeaderCRC ^= 1
            bytes.withUnsafeMutableBytes {
                header.write(
                    at: $0.baseAddress! + frames[1].position, salt: segment.salt,
                    position: UInt64(frames[1].position))
            }
        }
        let opened = Result { () throws(LogError) in try openLog(killed, still.options) }
        guard case .failure(.corrupt(let place)) = opened else {
            Issue.record("a frame without its link was taken")
            return
        }
        #expect(place.position == UInt64(frames[1].position) && place.offset == 1)
    }

    @Test("decision 2: a segment's header says what its frames are read by; unknown compatible bits are ignored, incompatible ones refuse")
    func segmentHeader() throws {
        let disk = MemoryDisk(blocks: (512, 16384))
        let still = try StillLog(StillLog.options(.silStrict), disk: disk)
        _ = try still.log.append(plainBatch(1))
        let bytes = disk.files[segmentPath(1)]!
        let header = try bytes.withUnsafeBytes { try SegmentHeader($0) }
        #expect(header.commitAlignment == 16384 && header.profile == .silStrict)
        #expect(header.epoch == 1 && header.commitBytesMaximum == 512 * 1024)
        #expect(try framesOnDisk(bytes)[0].position == 16384)
        func parse(featuresAt place: Int) throws -> SegmentHeader {
            var changed = Array(bytes[..<4096])
            changed[place] = 0x80
            return try changed.withUnsafeMutableBytes { buffer in
                let start = buffer.baseAddress!
                start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), 4088), at: 4)
                return try SegmentHeader(UnsafeRawBufferPointer(buffer))
            }
        }
        var compatible = try parse(featuresAt: 16)
        compatible.crc = header.crc
        #expect(compatible == header)
        #expect(throws: FormatError.unsupported(0x80)) { try parse(featuresAt: 32) }
    }

    // MARK: - 3

    @Test("decision 3: a body is blocks of at most 64 KiB, a larger record is one alone, and readers begin at blocks' frames")
    func blocksOfABody() throws {
        let still = try StillLog(StillLog.options())
        let batch = try plainBatch(10, bytes: 20_000)
        try batch.add(payload: payload(10, bytes: 150_000))
        for number in 11..<14 { try batch.add(payload: payload(number)) }
        still.clock.advance(milliseconds: 123)
        _ = try still.log.append(batch)
        let frame = try framesOnDisk(still.disk.files[segmentPath(1)]!)[0]
        var next: UInt64 = 0
        for (header, bytes) in try blocks(of: frame) {
            #expect(header.rawBytes <= 64 * 1024 || header.recordCount == 1)
            #expect(header.firstOffset == next)
            #expect(header.baseTimeMilliseconds == 1_700_000_000_123)
            next += UInt64(header.recordCount)
            var rest = Array(bytes[32...])
            for _ in 0..<header.recordCount {
                let (byteCount, delta, headerBytes) = try rest.withUnsafeBytes { raw in
                    let view = try RecordView(raw)
                    return (view.byteCount, view.timeDeltaMilliseconds, view.byteCount - view.payload.count)
                }
                // Unkeyed: no digest; the batch has one time.
                #expect(headerBytes == 16 && delta == 0)
                rest.removeFirst(byteCount)
            }
            #expect(rest.isEmpty)
        }
        #expect(next == 14 && frame.header.blockCount == 6)
    }

    @Test("decision 3: a record's checksum covers kind, lengths, key, digest and payload")
    func recordChecksum() throws {
        let batch = try keyedRecord("k", content: "c", bytes: 40)
        let bytes = Array(UnsafeRawBufferPointer(start: batch.memory, count: batch.byteCount))
        #expect(bytes.count == 80 + 40)
        #expect(throws: Never.self) { try bytes.withUnsafeBytes { _ = try RecordView($0) } }
        for place in bytes.indices {
            var changed = bytes
            changed[place] ^= 0x10
            #expect(throws: FormatError.self, "byte \(place)") {
                try changed.withUnsafeBytes { _ = try RecordView($0) }
            }
        }
    }

    @Test("decision 3: a caller compresses before admission, the commit as it is told")
    func callerCompresses() throws {
        var options = StillLog.options()
        options.compression = .lz4
        let still = try StillLog(options)
        let answers = Answers()
        let compressed = still.log.makeBatch()
        try compressed.add(payload: [UInt8](repeating: 1, count: 30_000))
        still.log.append(compressed) { answers.take($0) }
        // Nothing was committed yet, and the bytes stand as they will be written.
        #expect(compressed.groups.map(\.codec) == [BlockCodec.lz4])
        #expect(compressed.groups[0].storedBytes < 1_000)
        #expect(still.log.stepCommit())
        // One that its caller left as it is stays so: the committer never compresses.
        let plain = AppendBatch()
        try plain.add(payload: [UInt8](repeating: 1, count: 30_000))
        still.log.append(plain) { answers.take($0) }
        #expect(still.log.stepCommit())
        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(try frames.map { try blocks(of: $0)[0].header.codec } == [1, 0])
        #expect(answers.count == 2)
    }

    @Test("decision 3: a record has at most 4 MiB, a commit at most half a segment")
    func limits() throws {
        let batch = AppendBatch()
        #expect(
            throws: LogError.rejected(
                .payloadTooLarge(bytes: 4 << 20 + 1, maximumBytes: 4 << 20))
        ) { try batch.add(payload: [UInt8](repeating: 0, count: 4 << 20 + 1)) }
        let still = try StillLog(StillLog.options())
        var accepted = 0
        var refused = 600_000
        // The largest record that the log takes, found by halving.
        while refused - accepted > 1 {
            let middle = (accepted + refused) / 2
            let isTaken = refusal { _ = try still.log.prepare(oneRecord(payload(1, bytes: middle))) } == nil
            if isTaken { accepted = middle } else { refused = middle }
        }
        _ = try still.log.append(oneRecord(payload(1, bytes: accepted)))
        let frame = try framesOnDisk(still.disk.files[segmentPath(1)]!)[0]
        #expect(frame.end - frame.position <= 512 * 1024)
        #expect(accepted > 380_000)
        #expect(FormatLimits.commitBytes(segmentBytes: 1 << 32) == 8 << 20)
    }

    // MARK: - 4

    @Test("decision 4: a blocking append with no commit in flight commits on its own thread, the others on the committer's")
    func whoCommits() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        #expect(eventually { spareIsReady(disk) })
        let threads = Noted<[pthread_t]>([])
        disk.setHook { call in
            if call.path == segmentPath(1), call.operation == .synchronise {
                threads.change { $0.append(pthread_self()) }
            }
            return nil
        }
        _ = try log.append(oneRecord([1]))
        #expect(threads.value == [pthread_self()])
        let answers = Answers()
        log.append(try oneRecord([2])) { answers.take($0) }
        #expect(eventually { answers.count == 1 })
        #expect(threads.value.count == 2 && threads.value[1] != pthread_self())
        log.close()
    }

    @Test("decision 4: one commit is out at a time, however many append")
    func depthOne() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        #expect(eventually { spareIsReady(disk) })
        let running = Noted((now: 0, most: 0, syncs: 0))
        disk.setHook { call in
            guard call.path == segmentPath(1), call.operation == .synchronise else { return nil }
            running.change {
                $0.now += 1
                $0.syncs += 1
                $0.most = max($0.most, $0.now)
            }
            usleep(2_000)
            running.change { $0.now -= 1 }
            return nil
        }
        let calls = (0..<8).map { writer in
            BlockingCall {
                var last: AppendReceipt?
                for number in 0..<10 { last = try log.append(oneRecord(payload(writer * 100 + number))) }
                return last!
            }
        }
        #expect(eventually { calls.allSatisfy { $0.result != nil } })
        #expect(log.headOffset == 80)
        #expect(running.value.most == 1)
        // Those who queued meanwhile shared commits.
        #expect(running.value.syncs < 80)
        #expect(running.value.syncs == Int(log.statistics().counters.commits))
        log.close()
    }

    @Test("decision 4: completions run before the next batch is taken, so that their appends join it")
    func completionsFirst() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        let answers = Answers()
        let isQueued = FaultTests.Flag()
        still.disk.setHook { call in
            if call.isSegment, call.operation == .synchronise, !isQueued.isSet {
                isQueued.set(true)
                // Another caller, while the first commit is out.
                log.append(try! oneRecord([2])) { answers.take($0) }
            }
            return nil
        }
        log.append(try oneRecord([1])) { result in
            answers.take(result)
            log.append(try! oneRecord([3])) { answers.take($0) }
        }
        #expect(log.stepCommit())
        #expect(answers.count == 1)
        #expect(log.stepCommit())
        #expect(answers.count == 3)
        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(frames.map(\.header.recordCount) == [1, 2])
    }

    // MARK: - 5

    @Test("decision 5: silStrict never writes into a block with acknowledged bytes; standard packs")
    func profileDifference() throws {
        for profile in Profile.allCases {
            let still = try StillLog(StillLog.options(profile))
            still.settle()
            let blocks = Noted((acknowledged: Set<UInt64>(), rewritten: 0))
            still.disk.setHook { call in
                guard call.path == segmentPath(1), call.operation == .write else { return nil }
                let touched = Set(
                    call.position / 4096...(call.position + UInt64(call.byteCount) - 1) / 4096)
                blocks.change {
                    $0.rewritten += $0.acknowledged.intersection(touched).count
                    $0.acknowledged.formUnion(touched)
                }
                return nil
            }
            for number in 0..<30 {
                _ = try still.log.append(oneRecord(payload(number, bytes: number * 211)))
            }
            #expect(profile == .silStrict ? blocks.value.rewritten == 0 : blocks.value.rewritten > 10)
        }
    }

    @Test("decision 5: under silStrict a power cut may leave garbage in any unsynced piece; nothing acknowledged is touched")
    func garbage() throws {
        let seed = SeededGenerator.seed("garbage")
        let still = try StillLog(StillLog.options(.silStrict))
        let disk = still.disk
        let acknowledged = Noted(0)
        let images = Noted<[(disk: MemoryDisk, acknowledged: Int)]>([])
        disk.setHook { call in
            guard call.isSegment, call.operation == .synchronise else { return nil }
            var chance = SeededGenerator(seed: seed &+ UInt64(call.number))
            for _ in 0..<4 {
                let image = disk.afterPowerCut(using: &chance, garbage: true)
                let count = acknowledged.value
                images.change { $0.append((image, count)) }
            }
            return nil
        }
        for number in 0..<12 {
            _ = try still.log.append(oneRecord(payload(number, bytes: 3_000)))
            acknowledged.change { $0 += 1 }
        }
        disk.setHook(nil)
        var torn = 0
        for (image, count) in images.value {
            let log = try openLog(image, still.options)
            if log.recovery.decision == .torn { torn += 1 }
            let found = try contents(log)
            #expect(found.count == count || found.count == count + 1, "seed \(seed)")
            #expect(found == (0..<found.count).map { payload($0, bytes: 3_000) })
            log.close()
        }
        #expect(torn > 5)
    }
}
