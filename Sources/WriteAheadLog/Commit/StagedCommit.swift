/// The frame that is being filled: its body lies in one buffer behind room for the header, so that
/// a commit is one write. Two of them alternate.
///
/// Guarded by the log's lock while it is staged; owned by the committing thread once taken.
final class StagedCommit: @unchecked Sendable {
    private(set) var memory: UnsafeMutableRawPointer
    private(set) var capacity: Int
    var bodyBytes = 0
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

    var isEmpty: Bool { blockCount == 0 && changes.isEmpty && group.answers.isEmpty }

    /// The place for the next bytes of the body; grows the buffer, which only happens until it has
    /// the size that the load needs.
    func grow(by byteCount: Int) -> UnsafeMutableRawPointer {
        let needed = FormatLimits.frameHeaderBytes + bodyBytes + byteCount
        if needed > capacity {
            capacity = max(capacity * 2, (needed + 4095) & ~4095)
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 4096)
            larger.copyMemory(
                from: memory, byteCount: FormatLimits.frameHeaderBytes + bodyBytes)
            memory.deallocate()
            memory = larger
        }
        defer { bodyBytes += byteCount }
        return memory + FormatLimits.frameHeaderBytes + bodyBytes
    }

    /// Appends one block of records that were encoded, compressed and summed before.
    func append(
        block group: AppendBatch.Group, from batch: AppendBatch, firstOffset: UInt64,
        timeMilliseconds: Int64
    ) {
        let stored = batch.storedBytes(of: group)
        let place = grow(by: FormatLimits.blockHeaderBytes + stored.count)
        BlockHeader(
            codec: group.codec, recordCount: group.entryCount, bytes: group.byteCount,
            storedBytes: stored.count, firstOffset: firstOffset,
            baseTimeMilliseconds: timeMilliseconds
        ).write(at: place, storedCRC: group.storedCRC)
        (place + FormatLimits.blockHeaderBytes).copyMemory(
            from: stored.baseAddress!, byteCount: stored.count)
        blockCount += 1
    }

    /// Appends the block of control records: the changes that ride in this commit.
    func appendControlBlock(firstOffset: UInt64, timeMilliseconds: Int64) {
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
        blockCount += 1
    }

    /// - Parameter group: of those who wait for the next commit that is staged here.
    func reset(_ next: CommitGroup) {
        bodyBytes = 0
        recordCount = 0
        blockCount = 0
        callerCount = 0
        changes.removeAll(keepingCapacity: true)
        keyCount = 0
        group = next
    }
}
