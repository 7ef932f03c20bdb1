import CPlatform
import Testing

@testable import WriteAheadLog

@Suite("The format's codecs")
struct FormatTests {
    @Test("CRC-32C gives the published values, by hardware and by table, in any pieces")
    func checksum() {
        func crc(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { Checksum.of($0) } }
        #expect(crc([]) == 0)
        #expect(crc(Array("123456789".utf8)) == 0xE306_9283)
        // RFC 3720, B.4.
        #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(crc([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(crc(Array(0..<32)) == 0x46DD_794E)
        #expect(crc(Array((0..<32).reversed())) == 0x113F_DB5C)
        var chance = SeededGenerator(seed: SeededGenerator.seed("checksum"))
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0..<5000, using: &chance)).map { _ in
                UInt8.random(in: 0...255, using: &chance)
            }
            let cut = Int.random(in: 0...bytes.count, using: &chance)
            bytes.withUnsafeBytes { buffer in
                guard let start = buffer.baseAddress else { return }
                let whole = Checksum.extend(0, start, buffer.count)
                #expect(whole == bsfg_crc32c_portable(0, start, buffer.count))
                let first = Checksum.extend(0, start, cut)
                #expect(whole == Checksum.extend(first, start + cut, buffer.count - cut))
            }
        }
    }

    @Test("headers, tables and states come back as they were written")
    func roundTrips() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("roundTrips"))
        for _ in 0..<200 {
            var header = anyHeader(&chance)
            let bytes = header.encode()
            #expect(try bytes.withUnsafeBytes { try SegmentHeader($0) } == header)
            let table = anyTable(&chance)
            #expect(try table.encode().withUnsafeBytes { try SegmentTable($0) } == table)
            let state = anyState(&chance)
            #expect(try state.encode().withUnsafeBytes { try LogState($0) } == state)
        }
    }

    @Test("the fullest state fits its slot")
    func fullState() throws {
        var state = LogState(identifier: anyIdentifier, createdMilliseconds: 1)
        for number in 2...FormatLimits.epochCountMaximum {
            state.epochs.append(
                EpochEntry(
                    epoch: UInt64(number), firstOffset: 0, beganMilliseconds: 0,
                    reason: String(repeating: "r", count: FormatLimits.epochReasonBytesMaximum)))
        }
        state.losses = try LossTable(
            (0..<UInt64(FormatLimits.lossCountMaximum)).map {
                .init(first: 4 * $0, last: 4 * $0 + 1, timeMilliseconds: 2, reasons: 3)
            })
        for number in 0..<FormatLimits.registerCountMaximum {
            state.registers.append(
                .init(
                    revision: 1,
                    name: .init(
                        repeating: UInt8(number), count: FormatLimits.registerNameBytesMaximum),
                    value: .init(repeating: 1, count: FormatLimits.registerValueBytesMaximum)))
        }
        for number in 0..<FormatLimits.cursorCountMaximum {
            var cursor = Cursor(owner: "o\(number)", name: "n")
            let bytes = StateChange.cursor(.init(revision: 1, cursor: cursor)).encodePayload().count
            cursor.initialisation = String(
                repeating: "i", count: FormatLimits.cursorBytesMaximum - bytes)
            state.cursors.append(.init(revision: 1, cursor: cursor))
        }
        let bytes = state.encode()
        #expect(bytes.count <= FormatLimits.stateSlotBytes)
        #expect(try bytes.withUnsafeBytes { try LogState($0) } == state)
    }

    @Test("a flipped bit or a cut in a header, table or state is never taken for another value")
    func damage() {
        var chance = SeededGenerator(seed: SeededGenerator.seed("damage"))
        var header = anyHeader(&chance)
        refused(header.encode(), everyBitOf: 0..<256) { (bytes) throws(FormatError) in
            _ = try SegmentHeader(bytes)
        }
        var table = anyTable(&chance)
        table.segments = Array(table.segments.prefix(2))
        let size = SegmentTable.headerBytes + table.segments.count * SegmentEntry.byteCount
        refused(table.encode(), everyBitOf: 0..<256) { (bytes) throws(FormatError) in
            _ = try SegmentTable(bytes)
        }
        refused(table.encode(), everyBitOf: 4096..<size) { (bytes) throws(FormatError) in
            _ = try SegmentTable(bytes)
        }
        let state = anyState(&chance).encode()
        refused(state, everyBitOf: 0..<state.count) { (bytes) throws(FormatError) in
            _ = try LogState(bytes)
        }
    }

    @Test("records and blocks verify only as they were written")
    func records() throws {
        let batch = AppendBatch()
        try batch.add(key: digest("k"), content: digest("c"), payload: payload(1, bytes: 50))
        try batch.add(payload: [])
        batch.seal()
        let commit = StagedCommit()
        commit.append(block: batch.groups[0], from: batch, firstOffset: 7, timeMilliseconds: 99)
        commit.endBody(firstOffset: 9, timeMilliseconds: 99)
        let body = [UInt8](
            UnsafeRawBufferPointer(
                start: commit.memory + FormatLimits.frameHeaderBytes, count: commit.bodyBytes))
        var frame = FrameHeader()
        frame.firstOffset = 7
        frame.recordCount = 2
        frame.blockCount = 1
        frame.epoch = 3
        try body.withUnsafeBytes { bytes in
            var seen: [String] = []
            try FrameBody.walk(frame, bytes) { item in
                guard case .record(let record) = item else { return }
                seen.append("\(record.offset) \(record.payload.count) \(record.key != nil)")
                precondition(record.appendTimeMilliseconds == 99 && record.epoch == 3)
            }
            #expect(seen == ["7 50 true", "8 0 false"])
        }
        refused(body, everyBitOf: 0..<body.count) { (bytes) throws(FormatError) in
            try FrameBody.walk(frame, bytes) { _ in }
        }
    }

    @Test("a frame header verifies at its place, in this life of the file, and nowhere else")
    func frameHeader() throws {
        var header = FrameHeader()
        header.epoch = 1
        header.sequence = 5
        header.durableSequence = 4
        header.bodyBytes = 100
        var bytes = [UInt8](repeating: 0, count: 228)
        bytes.withUnsafeMutableBytes {
            header.write(at: $0.baseAddress!, salt: 42, position: 8192)
        }
        let read = { (salt: UInt64, position: UInt64) throws in
            try bytes.withUnsafeBytes {
                try FrameHeader($0, salt: salt, position: position, commitBytesMaximum: 1000)
            }
        }
        #expect(try read(42, 8192) == header)
        #expect(throws: FormatError.checksum) { try read(43, 8192) }
        #expect(throws: FormatError.checksum) { try read(42, 8200) }
        refused(bytes, everyBitOf: 0..<128) { (bytes) throws(FormatError) in
            _ = try FrameHeader(bytes, salt: 42, position: 8192, commitBytesMaximum: 1000)
        }
    }

    /// Each bit flipped and each end cut off must throw.
    private func refused(
        _ bytes: [UInt8], everyBitOf range: Range<Int>,
        _ read: (UnsafeRawBufferPointer) throws(FormatError) -> Void
    ) {
        var bytes = bytes
        var accepted: [Int] = []
        for bit in range.lowerBound * 8..<range.upperBound * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8)
            if bytes.withUnsafeBytes({ (try? read($0)) != nil }) { accepted.append(bit) }
            bytes[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(accepted.isEmpty, "accepted with these bits flipped")
        for count in stride(from: 0, to: min(range.upperBound, 200), by: 3) {
            _ = bytes[..<count].withUnsafeBytes { bytes in
                #expect(throws: FormatError.self) { try read(bytes) }
            }
        }
    }
}

let anyIdentifier = LogIdentifier(bytes: Array(0..<16))

func anyHeader(_ chance: inout SeededGenerator) -> SegmentHeader {
    SegmentHeader(
        commitAlignment: 1 << UInt32.random(in: 9...16, using: &chance),
        identifier: anyIdentifier, id: .random(in: 1...99, using: &chance),
        salt: counter(&chance), previousID: counter(&chance),
        firstSequence: 1 + counter(&chance), baseOffset: counter(&chance),
        epoch: 1 + counter(&chance),
        createdMilliseconds: .random(in: .min...(.max), using: &chance), segmentBytes: 1 << 20,
        commitBytesMaximum: 1 << 19,
        profile: Bool.random(using: &chance) ? .standard : .silStrict)
}

func anyTable(_ chance: inout SeededGenerator) -> SegmentTable {
    var table = SegmentTable(
        identifier: anyIdentifier, profile: .silStrict, commitAlignment: 4096,
        capacityBytes: counter(&chance), segmentBytes: 1 << 20)
    table.generation = counter(&chance)
    table.segments = (0..<Int.random(in: 1...20, using: &chance)).map { _ in
        SegmentEntry(
            id: counter(&chance), salt: counter(&chance), baseOffset: counter(&chance),
            firstSequence: counter(&chance), lastSequence: counter(&chance),
            logicalEnd: counter(&chance), leastTimeMilliseconds: 1, greatestTimeMilliseconds: 2,
            flags: 8, headerCRC: 9)
    }
    return table
}

/// A number that some log can count to.
func counter(_ chance: inout SeededGenerator) -> UInt64 { chance.next() >> 3 }

func anyState(_ chance: inout SeededGenerator) -> LogState {
    var state = LogState(identifier: anyIdentifier, createdMilliseconds: 5)
    state.generation = chance.next()
    state.revision = chance.next()
    state.durableSequence = chance.next()
    state.losses = try! LossTable([.init(first: 1, last: 2, timeMilliseconds: 3, reasons: 4)])
    state.headOffset = chance.next()
    state.retentionMilliseconds = chance.next()
    for number in 0..<Int.random(in: 0...3, using: &chance) {
        state.registers.append(
            .init(revision: chance.next(), name: Array("r\(number)".utf8), value: [1, 2, 3]))
        var cursor = Cursor(owner: "ö\(number)", name: "n", nextOffset: chance.next())
        if Bool.random(using: &chance) {
            cursor.digest = digest("d")
            cursor.digestOffset = chance.next()
        }
        if Bool.random(using: &chance) { cursor.receiver = anyIdentifier }
        state.cursors.append(.init(revision: chance.next(), cursor: cursor))
    }
    return state
}
