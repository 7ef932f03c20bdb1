/// Builds the frames of a repacked segment: the records of many commits in frames as large as a commit
/// may be, with blocks of up to 64 KiB and the append times as they were.
///
/// A commit's records stay in one frame, and commits of two epochs never share one; control records
/// are left out. Each finished frame, padding included, is given to `write`. Not thread-safe.
final class DenseFrames {
    /// A commit that does not fit a frame when its records are not compressed as they were.
    struct CommitTooLarge: Error {}

    private let header: SegmentHeader
    private let compression: BlockCompression
    private let write: (UnsafeRawBufferPointer, UInt64) throws(DiskError) -> Void
    private let decoder = BlockDecoder()
    private let frameBytesMaximum: Int

    /// Where the next frame goes, and what it links to.
    private(set) var position: UInt64
    private var previousHeaderCRC: UInt32

    /// The frame that is being filled; nil between frames.
    private var frame: FrameHeader?
    /// Room for its header, then its body.
    private var memory: UnsafeMutableRawBufferPointer
    private var bodyBytes = 0
    /// The block that is being filled, as raw records.
    private var records: UnsafeMutableRawBufferPointer
    private var recordBytes = 0
    private var recordCount = 0
    private var firstOffset: UInt64 = 0
    private var baseTimeMilliseconds: Int64 = 0

    /// - Parameters:
    ///   - header: of the segment that the frames will be in.
    ///   - frameBytesMaximum: of a frame, header and body.
    init(
        header: SegmentHeader, frameBytesMaximum: Int, compression: BlockCompression,
        write: @escaping (_ frame: UnsafeRawBufferPointer, _ position: UInt64) throws(DiskError)
            -> Void
    ) {
        self.header = header
        self.compression = compression
        self.write = write
        self.frameBytesMaximum = frameBytesMaximum
        position = header.firstFramePosition
        previousHeaderCRC = header.crc
        let alignment = FrameAlignment.bytes(header.profile, header.commitAlignment)
        memory = .allocate(byteCount: frameBytesMaximum + alignment, alignment: 4096)
        records = .allocate(byteCount: FormatLimits.blockBytes, alignment: 16)
    }

    deinit {
        memory.deallocate()
        records.deallocate()
    }

    /// Takes over the records of a frame that was verified.
    func append(_ source: SegmentWalker.Frame) throws {
        let rawBytes = try rawBytes(of: source)
        if let frame, !(joins(frame, source.header) && hasRoom(for: rawBytes)) { try finish() }
        guard hasRoom(for: rawBytes) else { throw CommitTooLarge() }
        var frame = self.frame ?? begin(source.header)
        frame.sequenceCount = UInt32(source.header.lastSequence - frame.sequence + 1)
        frame.recordCount += source.header.recordCount
        frame.stateGeneration = max(frame.stateGeneration, source.header.stateGeneration)
        self.frame = frame
        var blocks = BlockIterator(body: source.body)
        while let (block, bytes) = try blocks.next() {
            guard !block.isControl else { continue }
            try append(block, try decoder.records(of: block, in: bytes))
        }
    }

    /// Whether one frame can stand for both.
    private func joins(_ frame: FrameHeader, _ next: FrameHeader) -> Bool {
        frame.epoch == next.epoch && next.lastSequence - frame.sequence < UInt64(UInt32.max)
    }

    private func begin(_ source: FrameHeader) -> FrameHeader {
        var frame = FrameHeader()
        frame.epoch = source.epoch
        frame.sequence = source.sequence
        frame.durableSequence = source.durableSequence
        frame.firstOffset = source.firstOffset
        return frame
    }

    // MARK: - Room

    /// What a commit's records take at most: each of its blocks may begin one, and two neighbours
    /// together hold more than 64 KiB.
    private func rawBytes(of source: SegmentWalker.Frame) throws(FormatError) -> Int {
        var bytes = 0
        var blockCount = 0
        var blocks = BlockIterator(body: source.body)
        while let (block, _) = try blocks.next() {
            guard !block.isControl else { continue }
            bytes += Int(block.rawBytes)
            blockCount += 1
        }
        blockCount += 2 * bytes / FormatLimits.blockBytes + 1
        return bytes + blockCount * FormatLimits.blockHeaderBytes
    }

    private func hasRoom(for bytes: Int) -> Bool {
        let pending = recordCount == 0 ? 0 : FormatLimits.blockHeaderBytes + recordBytes
        return FormatLimits.frameHeaderBytes + bodyBytes + pending + bytes <= frameBytesMaximum
    }

    // MARK: - Blocks

    private func append(_ block: BlockHeader, _ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        var rest = bytes
        for number in 0..<UInt64(block.recordCount) {
            let record = try RecordView(rest)
            append(
                UnsafeRawBufferPointer(rebasing: rest[..<record.byteCount]),
                offset: block.firstOffset + number,
                time: block.baseTimeMilliseconds + Int64(record.timeDeltaMilliseconds))
            rest = UnsafeRawBufferPointer(rebasing: rest[record.byteCount...])
        }
    }

    private func append(_ record: UnsafeRawBufferPointer, offset: UInt64, time: Int64) {
        let hasRoom = recordBytes + record.count <= FormatLimits.blockBytes
        let isInReach = (0...Int64(UInt32.max)).contains(time - baseTimeMilliseconds)
        if recordCount > 0, !(hasRoom && isInReach) { finishBlock() }
        if recordCount == 0 {
            firstOffset = offset
            baseTimeMilliseconds = time
        }
        if records.count < record.count {
            // A record above 64 KiB is a block of its own, so nothing else is in the buffer.
            precondition(recordCount == 0, "a large record begins a block")
            records.deallocate()
            records = .allocate(byteCount: record.count, alignment: 16)
        }
        let place = records.baseAddress! + recordBytes
        place.copyMemory(from: record.baseAddress!, byteCount: record.count)
        let delta = UInt32(time - baseTimeMilliseconds)
        if delta != record.baseAddress!.integer(UInt32.self, at: 12) {
            // The record's CRC covers its time; it was verified a moment ago, and what is made here
            // is held against the original when it was written.
            place.set(delta, at: 12)
            place.set(Checksum.extend(0, UnsafeRawPointer(place + 4), record.count - 4), at: 0)
        }
        recordBytes += record.count
        recordCount += 1
    }

    private func finishBlock() {
        guard recordCount > 0 else { return }
        let raw = UnsafeRawBufferPointer(rebasing: records[..<recordBytes])
        let place = memory.baseAddress! + FormatLimits.frameHeaderBytes + bodyBytes
        let target = place + FormatLimits.blockHeaderBytes
        var codec = BlockCodec.none
        var storedBytes = raw.count
        if compression == .lz4, let count = LZ4Block.compress(raw, into: target) {
            codec = BlockCodec.lz4
            storedBytes = count
        } else {
            target.copyMemory(from: raw.baseAddress!, byteCount: raw.count)
        }
        BlockHeader(
            codec: codec, recordCount: recordCount, bytes: raw.count, storedBytes: storedBytes,
            firstOffset: firstOffset, baseTimeMilliseconds: baseTimeMilliseconds
        ).write(
            at: place, storedCRC: Checksum.extend(0, UnsafeRawPointer(target), storedBytes))
        bodyBytes += FormatLimits.blockHeaderBytes + storedBytes
        frame!.blockCount += 1
        recordBytes = 0
        recordCount = 0
    }

    // MARK: - Frames

    /// Writes the frame that is being filled, if there is one.
    func finish() throws(DiskError) {
        finishBlock()
        guard var frame else { return }
        let start = memory.baseAddress!
        let body = UnsafeRawPointer(start + FormatLimits.frameHeaderBytes)
        frame.bodyBytes = UInt32(bodyBytes)
        frame.bodyCRC = Checksum.extend(0, body, bodyBytes)
        frame.previousHeaderCRC = previousHeaderCRC
        frame.write(at: start, salt: header.salt, position: position)
        let end = FrameAlignment.end(of: frame.frameBytes, at: position, header)
        let byteCount = Int(end - position)
        (start + frame.frameBytes).initializeMemory(
            as: UInt8.self, repeating: 0, count: byteCount - frame.frameBytes)
        try write(UnsafeRawBufferPointer(start: start, count: byteCount), position)
        position = end
        previousHeaderCRC = frame.headerCRC
        self.frame = nil
        bodyBytes = 0
    }
}
