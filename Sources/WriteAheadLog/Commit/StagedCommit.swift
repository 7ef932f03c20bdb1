/// The frame that is being filled: its body lies in one buffer behind room for the header, so that
/// a commit is one write. Two of them alternate.
///
/// Guarded by the log's lock while it is staged; owned by the committing thread once taken.
final class StagedCommit: @unchecked Sendable {
    private(set) var memory: UnsafeMutableRawPointer
    private(set) var capacity: Int
    /// Where the frame begins in `memory`: as far behind a block boundary as its place in the file is,
    /// so that whole blocks can be written from here.
    private(set) var frameStart = 0
    var bodyBytes = 0
    /// Of the frame's body so far.
    private(set) var bodyCRC: UInt32 = 0
    /// The block of control records that is still to come, with its header.
    var controlBlockBytes = 0
    var recordCount = 0
    var blockCount = 0
    var firstOffset: UInt64 = 0
    var lastTimeMilliseconds: Int64 = 0
    var changes: [StateChange] = []
    /// Keys among its records.
    var keyCount = 0
    var group = CommitGroup()
    /// Callers whose records are in it: how many wakes its end costs.
    var callerCount = 0

    init() {
        capacity = 64 * 1024
        memory = .allocate(byteCount: capacity, alignment: 4096)
    }

    deinit { memory.deallocate() }

    var isEmpty: Bool { recordCount == 0 && changes.isEmpty && group.answers.isEmpty }

    /// The frame: room for its header, then the body.
    var frame: UnsafeMutableRawPointer { memory + frameStart }

    /// Moves the frame to another place in the memory. Free of cost while it is empty.
    func place(at start: Int) {
        guard start != frameStart else { return }
        let used = FormatLimits.frameHeaderBytes + bodyBytes
        reserve(start + used)
        if bodyBytes > 0 { (memory + start).copyMemory(from: frame, byteCount: used) }
        frameStart = start
    }

    /// The place for the next bytes of the body.
    private func grow(by byteCount: Int) -> UnsafeMutableRawPointer {
        let end = frameStart + FormatLimits.frameHeaderBytes + bodyBytes
        reserve(end + byteCount)
        bodyBytes += byteCount
        return memory + end
    }

    /// Makes the bytes behind the body zero, up to a place in the memory.
    func pad(to end: Int) {
        let used = frameStart + FormatLimits.frameHeaderBytes + bodyBytes
        reserve(end)
        (memory + used).initializeMemory(as: UInt8.self, repeating: 0, count: end - used)
    }

    /// Only grows until it has the size that the load needs.
    private func reserve(_ needed: Int) {
        guard needed > capacity else { return }
        capacity = max(capacity * 2, (needed + 4095) & ~4095)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 4096)
        larger.copyMemory(
            from: memory,
            byteCount: frameStart + (bodyBytes > 0 ? FormatLimits.frameHeaderBytes + bodyBytes : 0))
        memory.deallocate()
        memory = larger
    }

    /// The block at the end of the body that takes more records: many callers with one record each make
    /// one block, whose header and checksum are written once.
    private struct OpenBlock {
        /// Of its header, counted from the body's first byte.
        var start: Int
        var recordCount = 0
        var firstOffset: UInt64
        var timeMilliseconds: Int64
    }

    private var openBlock: OpenBlock?

    /// Appends one block of records that were encoded, compressed and summed before; a short one that
    /// is not compressed joins the records before it.
    func append(
        block group: AppendBatch.Group, from batch: AppendBatch, firstOffset: UInt64,
        timeMilliseconds: Int64
    ) {
        let stored = batch.storedBytes(of: group)
        guard let storedCRC = group.storedCRC else {
            return join(
                stored, recordCount: group.entryCount, firstOffset: firstOffset,
                timeMilliseconds: timeMilliseconds)
        }
        closeBlock()
        let place = grow(by: FormatLimits.blockHeaderBytes + stored.count)
        BlockHeader(
            codec: group.codec, recordCount: group.entryCount, bytes: group.byteCount,
            storedBytes: stored.count, firstOffset: firstOffset,
            baseTimeMilliseconds: timeMilliseconds
        ).write(at: place, storedCRC: storedCRC)
        (place + FormatLimits.blockHeaderBytes).copyMemory(
            from: stored.baseAddress!, byteCount: stored.count)
        blockAppended(at: place, storedBytes: stored.count, storedCRC: storedCRC)
    }

    private func join(
        _ records: UnsafeRawBufferPointer, recordCount: Int, firstOffset: UInt64,
        timeMilliseconds: Int64
    ) {
        if let block = openBlock {
            let bytes = bodyBytes - block.start - FormatLimits.blockHeaderBytes
            if block.timeMilliseconds != timeMilliseconds
                || bytes + records.count > FormatLimits.blockBytes
                || block.recordCount + recordCount > Int(UInt16.max)
            {
                closeBlock()
            }
        }
        if openBlock == nil {
            openBlock = OpenBlock(
                start: bodyBytes, firstOffset: firstOffset, timeMilliseconds: timeMilliseconds)
            _ = grow(by: FormatLimits.blockHeaderBytes)
        }
        grow(by: records.count).copyMemory(
            from: records.baseAddress!, byteCount: records.count)
        openBlock!.recordCount += recordCount
    }

    /// Writes the header of the block that took records until now. Before the frame is written.
    func closeBlock() {
        guard let block = openBlock else { return }
        openBlock = nil
        let place = frame + FormatLimits.frameHeaderBytes + block.start
        let storedBytes = bodyBytes - block.start - FormatLimits.blockHeaderBytes
        let storedCRC = Checksum.extend(
            0, UnsafeRawPointer(place + FormatLimits.blockHeaderBytes), storedBytes)
        BlockHeader(
            recordCount: block.recordCount, bytes: storedBytes, firstOffset: block.firstOffset,
            baseTimeMilliseconds: block.timeMilliseconds
        ).write(at: place, storedCRC: storedCRC)
        blockAppended(at: place, storedBytes: storedBytes, storedCRC: storedCRC)
    }

    /// A short block is read once more; of a long one the known CRC is joined.
    private static let joinedBytesMinimum = 16 * 1024

    private func blockAppended(
        at place: UnsafeMutableRawPointer, storedBytes: Int, storedCRC: UInt32
    ) {
        blockCount += 1
        let start = UnsafeRawPointer(place)
        guard storedBytes >= StagedCommit.joinedBytesMinimum else {
            bodyCRC = Checksum.extend(bodyCRC, start, FormatLimits.blockHeaderBytes + storedBytes)
            return
        }
        bodyCRC = Checksum.joined(
            Checksum.extend(bodyCRC, start, FormatLimits.blockHeaderBytes), storedCRC, storedBytes)
    }

    /// Ends the body: with a block of control records when changes ride in this commit.
    func endBody(firstOffset: UInt64, timeMilliseconds: Int64) {
        closeBlock()
        guard !changes.isEmpty else { return }
        let payloads = changes.map { $0.encodePayload() }
        let byteCount = payloads.reduce(0) { $0 + FormatLimits.recordHeaderBytes + $1.count }
        precondition(byteCount <= FormatLimits.controlBytesMaximum, "control records fit their room")
        let place = grow(by: FormatLimits.blockHeaderBytes + byteCount)
        var record = place + FormatLimits.blockHeaderBytes
        for (change, payload) in zip(changes, payloads) {
            payload.withUnsafeBytes {
                (record + FormatLimits.recordHeaderBytes).copyMemory(
                    from: $0.baseAddress!, byteCount: $0.count)
            }
            RecordFormat.writeHeader(
                at: record, kind: change.kind, key: nil, content: nil, payloadBytes: payload.count)
            record += FormatLimits.recordHeaderBytes + payload.count
        }
        let stored = Checksum.extend(
            0, UnsafeRawPointer(place + FormatLimits.blockHeaderBytes), byteCount)
        BlockHeader(
            flags: BlockFlags.control, recordCount: changes.count, bytes: byteCount,
            firstOffset: firstOffset, baseTimeMilliseconds: timeMilliseconds
        ).write(at: place, storedCRC: stored)
        blockAppended(at: place, storedBytes: byteCount, storedCRC: stored)
    }

    /// - Parameter group: of those who wait for the next commit that is staged here.
    func reset(_ next: CommitGroup) {
        frameStart = 0
        bodyBytes = 0
        bodyCRC = 0
        openBlock = nil
        controlBlockBytes = 0
        recordCount = 0
        blockCount = 0
        callerCount = 0
        changes.removeAll(keepingCapacity: true)
        keyCount = 0
        group = next
    }
}
