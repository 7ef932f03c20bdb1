import Testing

@testable import WriteAheadLog

@Suite("Compression")
struct CompressionTests {
    /// A block as it lies in a frame, and the frame's header.
    static func block(
        _ payloads: [[UInt8]], _ compression: BlockCompression = .lz4
    ) throws -> (frame: FrameHeader, body: [UInt8], groups: [AppendBatch.Group]) {
        let batch = AppendBatch(compression: compression)
        for payload in payloads { try batch.add(payload: payload) }
        batch.seal()
        let commit = StagedCommit()
        var offset: UInt64 = 7
        for group in batch.groups {
            commit.append(block: group, from: batch, firstOffset: offset, timeMilliseconds: 99)
            offset += UInt64(group.entryCount)
        }
        commit.endBody(firstOffset: offset, timeMilliseconds: 99)
        var frame = FrameHeader()
        frame.firstOffset = 7
        frame.recordCount = UInt32(payloads.count)
        frame.blockCount = UInt32(batch.groups.count)
        frame.epoch = 1
        let body = [UInt8](
            UnsafeRawBufferPointer(
                start: commit.memory + FormatLimits.frameHeaderBytes, count: commit.bodyBytes))
        return (frame, body, batch.groups)
    }

    static func payloads(_ frame: FrameHeader, _ body: [UInt8]) throws(FormatError) -> [[UInt8]] {
        let result = body.withUnsafeBytes { bytes in
            Result { () throws(FormatError) in
                var payloads: [[UInt8]] = []
                try FrameBody.walk(frame, bytes) { item in
                    if case .record(let record) = item { payloads.append(Array(record.payload)) }
                }
                return payloads
            }
        }
        return try result.get()
    }

    @Test("records come back from compressed blocks as they were, whatever they are")
    func roundTrips() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("roundTrips"))
        var compressedCount = 0
        var plainCount = 0
        for _ in 0..<150 {
            let payloads = (0..<Int.random(in: 1...20, using: &chance)).map { _ in
                randomPayload(.random(in: 0..<20_000, using: &chance), &chance)
            }
            let (frame, body, groups) = try Self.block(payloads)
            #expect(try Self.payloads(frame, body) == payloads)
            for group in groups {
                if group.codec == BlockCodec.lz4 { compressedCount += 1 } else { plainCount += 1 }
                #expect(group.storedBytes <= group.byteCount)
            }
        }
        #expect(compressedCount > 0)
        #expect(plainCount > 0)
    }

    @Test("a block is compressed from 4 KiB on, and only when a tenth is won")
    func whenItPays() throws {
        let small = try Self.block([payload(1, bytes: 4096 - FormatLimits.recordHeaderBytes - 1)])
        #expect(small.groups[0].codec == BlockCodec.none)
        let enough = try Self.block([payload(1, bytes: 4096 - FormatLimits.recordHeaderBytes)])
        #expect(enough.groups[0].codec == BlockCodec.lz4)
        let asked = try Self.block([payload(1, bytes: 30_000)], .none)
        #expect(asked.groups[0].codec == BlockCodec.none)
        // Random bytes with a run that wins a little less, and a little more, than a tenth.
        var chance = SeededGenerator(seed: 1)
        let noise = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
        for (zeros, codec) in [(1800, BlockCodec.none), (2800, BlockCodec.lz4)] {
            var bytes = noise
            for index in 0..<zeros { bytes[index] = 0 }
            let (_, _, groups) = try Self.block([bytes])
            #expect(groups[0].codec == codec)
            if codec == BlockCodec.lz4 {
                #expect(groups[0].storedBytes * 10 <= groups[0].byteCount * 9)
            }
        }
    }

    @Test("a record above 64 KiB, up to the largest, is compressed as a block of its own")
    func largeRecords() throws {
        for bytes in [70_000, 1 << 20, FormatLimits.recordPayloadBytesMaximum] {
            let payloads = [payload(1, bytes: 10), payload(2, bytes: bytes), payload(3, bytes: 9000)]
            let (frame, body, groups) = try Self.block(payloads)
            #expect(groups.count == 3)
            #expect(groups[1].codec == BlockCodec.lz4)
            #expect(try Self.payloads(frame, body) == payloads)
        }
    }

    @Test("a flipped bit or a cut in a compressed block is found before it is decompressed")
    func bitFlips() throws {
        var (frame, body, groups) = try Self.block([payload(1, bytes: 3000), payload(2, bytes: 3000)])
        #expect(groups[0].codec == BlockCodec.lz4)
        var accepted: [Int] = []
        for bit in 0..<body.count * 8 {
            body[bit / 8] ^= 1 << (bit % 8)
            if (try? Self.payloads(frame, body)) != nil { accepted.append(bit) }
            body[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(accepted == [])
        for count in 1..<body.count {
            #expect(throws: FormatError.self) { try Self.payloads(frame, Array(body[..<count])) }
        }
        frame.recordCount = 1
        #expect(throws: FormatError.self) { try Self.payloads(frame, body) }
    }

    /// A block with any stored bytes and lengths, and a checksum that holds.
    private func forged(stored: [UInt8], rawBytes: Int, recordCount: Int) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: FormatLimits.blockHeaderBytes) + stored
        block.withUnsafeMutableBytes { buffer in
            let start = buffer.baseAddress!
            let crc = Checksum.extend(
                0, UnsafeRawPointer(start + FormatLimits.blockHeaderBytes), stored.count)
            BlockHeader(
                codec: BlockCodec.lz4, recordCount: recordCount, bytes: rawBytes,
                storedBytes: stored.count, firstOffset: 7, baseTimeMilliseconds: 99
            ).write(at: start, storedCRC: crc)
        }
        return block
    }

    @Test("bombs, wrong lengths and garbage with good checksums are refused and never trap")
    func forgeries() throws {
        let (good, body, groups) = try Self.block([payload(1, bytes: 8000)])
        let stored = Array(body[FormatLimits.blockHeaderBytes...])
        let raw = groups[0].byteCount
        #expect(try Self.payloads(good, forged(stored: stored, rawBytes: raw, recordCount: 1)).count == 1)
        var refusals: [FormatError] = []
        func refused(_ block: [UInt8]) {
            do throws(FormatError) {
                _ = try Self.payloads(good, block)
                Issue.record("taken")
            } catch { refusals.append(error) }
        }
        // A bomb: 4 GiB, and a little more than a record or a block may have.
        refused(forged(stored: stored, rawBytes: Int(UInt32.max), recordCount: 1))
        refused(forged(stored: stored, rawBytes: (4 << 20) + 65536, recordCount: 1))
        refused(forged(stored: stored, rawBytes: (64 << 10) + 1, recordCount: 2))
        // Wrong raw lengths; trailing garbage; a cut; nothing.
        for rawBytes in [raw - 1, raw + 1, raw * 2, stored.count, stored.count + 1] {
            refused(forged(stored: stored, rawBytes: rawBytes, recordCount: 1))
        }
        refused(forged(stored: stored + [0], rawBytes: raw, recordCount: 1))
        refused(forged(stored: stored + [1, 2, 3, 4, 5], rawBytes: raw, recordCount: 1))
        refused(forged(stored: Array(stored.dropLast()), rawBytes: raw, recordCount: 1))
        refused(forged(stored: [], rawBytes: raw, recordCount: 1))
        #expect(!refusals.contains(.checksum))
        // Anything at all: an LZ4 block that was never one.
        var chance = SeededGenerator(seed: SeededGenerator.seed("forgeries"))
        for _ in 0..<3000 {
            var bytes = stored
            for _ in 0..<Int.random(in: 1...20, using: &chance) {
                bytes[Int.random(in: 0..<bytes.count, using: &chance)] = UInt8.random(
                    in: 0...255, using: &chance)
            }
            guard bytes != stored else { continue }
            let block = forged(
                stored: bytes, rawBytes: Int.random(in: 0..<70_000, using: &chance), recordCount: 1)
            refused(block)
        }
    }

    @Test("a log of compressed and plain batches reads, reopens and verifies the same")
    func throughTheLog() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("throughTheLog"))
        for profile in Profile.allCases {
            let disk = MemoryDisk()
            let options = LogOptions(
                profile: profile, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
            var expected: [[UInt8]] = []
            let log = try openLog(disk, options)
            for _ in 0..<150 {
                let batch = AppendBatch(compression: .lz4)
                for _ in 0..<Int.random(in: 1...5, using: &chance) {
                    let payload = randomPayload(.random(in: 0..<30_000, using: &chance), &chance)
                    try batch.add(payload: payload)
                    expected.append(payload)
                }
                _ = try log.append(batch)
            }
            #expect(try contents(log) == expected)
            // A read that begins inside a compressed block.
            for offset in stride(from: 0, to: UInt64(expected.count), by: 13) {
                var first: [UInt8]?
                try log.read(from: offset) { record in
                    first = Array(record.payload)
                    return false
                }
                #expect(first == expected[Int(offset)])
            }
            log.close()
            let again = try openLog(disk, options)
            #expect(try contents(again) == expected)
            again.close()
            let report = try LogInspector(directory: logPath, disk: disk).verify()
            #expect(report.isSound, "\(report.damage)")
            #expect(report.recordCount == UInt64(expected.count))
        }
    }

    @Test("what is new of a compressed batch is stored when the log holds the rest")
    func mixedBatches() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("mixedBatches"))
        let disk = MemoryDisk()
        let log = try openLog(disk)
        var stored: [String: [UInt8]] = [:]
        var order: [[UInt8]] = []
        for number in 0..<200 {
            let batch = AppendBatch(compression: .lz4)
            var names: [String] = []
            var payloads: [[UInt8]] = []
            for _ in 0..<Int.random(in: 1...8, using: &chance) {
                let name = "\(Int.random(in: 0..<400, using: &chance))"
                guard !names.contains(name) else { continue }
                let payload = stored[name] ?? payload(number, bytes: .random(in: 0..<4000, using: &chance))
                names.append(name)
                payloads.append(payload)
                try batch.add(key: digest(name), content: digest("c" + name), payload: payload)
            }
            let outcomes = try log.append(batch).outcomes
            for (index, name) in names.enumerated() {
                if let payload = stored[name] {
                    guard case .existing(let offset) = outcomes[index] else {
                        Issue.record("\(name) was there")
                        continue
                    }
                    #expect(order[Int(offset)] == payload)
                } else {
                    #expect(outcomes[index] == .appended(offset: UInt64(order.count)))
                    stored[name] = payloads[index]
                    order.append(payloads[index])
                }
            }
        }
        #expect(try contents(log) == order)
        log.close()
        #expect(try LogInspector(directory: logPath, disk: disk).verify().isSound)
    }

    @Test("a batch that is used again, larger and smaller, compresses what is in it now")
    func batchUsedAgain() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("batchUsedAgain"))
        let disk = MemoryDisk()
        let log = try openLog(disk)
        let batch = AppendBatch(compression: .lz4)
        var expected: [[UInt8]] = []
        for _ in 0..<60 {
            batch.removeAll()
            for _ in 0..<Int.random(in: 1...10, using: &chance) {
                let payload = randomPayload(.random(in: 0..<15_000, using: &chance), &chance)
                try batch.add(payload: payload)
                expected.append(payload)
            }
            _ = try log.append(batch)
        }
        #expect(try contents(log) == expected)
        log.close()
    }
}
