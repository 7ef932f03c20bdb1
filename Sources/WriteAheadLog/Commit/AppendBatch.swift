/// Records on their way into the log, encoded as they will lie on disk.
///
/// A caller fills it outside every lock: headers and checksums are made here, and the commit path
/// only copies. It can be used again after `removeAll()`. Not thread-safe.
public final class AppendBatch {
    struct Entry {
        /// Where the record's header begins in `memory`, and its whole length.
        var start: Int
        var byteCount: Int
        var key: Digest256?
        var content: Digest256?

        var payloadBytes: Int { byteCount - RecordFormat.headerBytes(keyed: key != nil) }
    }

    /// Consecutive entries that make one block.
    struct Group {
        var firstEntry: Int
        var entryCount: Int
        var start: Int
        /// Raw, as in `memory`.
        var byteCount: Int
        var codec: UInt8
        /// Where the stored bytes begin: in `memory` with no codec, else in `compressed`.
        var storedStart: Int
        var storedBytes: Int
        var storedCRC: UInt32
    }

    private(set) var memory: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var byteCount = 0
    private(set) var entries: [Entry] = []
    private(set) var groups: [Group] = []
    private(set) var keyedCount = 0
    private let compression: BlockCompression
    /// Blocks for which compression pays; the records stay as they are in `memory`, because another
    /// batch may take over some of them.
    private var compressed = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// - Parameters:
    ///   - capacityBytes: room for records that is made at once; more is made when needed.
    ///   - compression: done by whoever appends the batch, before any lock is taken. A batch of which
    ///     the log holds some records already is stored as it is.
    public init(capacityBytes: Int = 1024, compression: BlockCompression = .none) {
        self.compression = compression
        capacity = max(256, capacityBytes)
        memory = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        memory.deallocate()
        compressed.deallocate()
    }

    /// The number of records.
    public var count: Int { entries.count }

    /// Bytes of records with their headers, before compression and padding.
    public var encodedBytes: Int { byteCount }

    /// Adds one record. A key needs a content digest and the other way round; both are SHA-256
    /// values that the caller computed.
    ///
    /// - Throws: `rejected(.payloadTooLarge)` above 4 MiB. The log refuses smaller ones too when its
    ///   segments are small.
    public func add(
        key: Digest256? = nil, content: Digest256? = nil, payload: UnsafeRawBufferPointer
    ) throws(LogError) {
        guard payload.count <= FormatLimits.recordPayloadBytesMaximum else {
            throw .rejected(
                .payloadTooLarge(
                    bytes: payload.count, maximumBytes: FormatLimits.recordPayloadBytesMaximum))
        }
        let headerBytes = RecordFormat.headerBytes(keyed: key != nil)
        let recordBytes = headerBytes + payload.count
        reserve(recordBytes)
        let start = memory + byteCount
        if payload.count > 0 {
            (start + headerBytes).copyMemory(
                from: payload.baseAddress!, byteCount: payload.count)
        }
        RecordFormat.writeHeader(
            at: start, kind: RecordKind.data, key: key, content: content,
            payloadBytes: payload.count)
        entries.append(
            Entry(start: byteCount, byteCount: recordBytes, key: key, content: content))
        byteCount += recordBytes
        if key != nil { keyedCount += 1 }
        groups.removeAll(keepingCapacity: true)
    }

    /// Adds one record from an array.
    public func add(key: Digest256? = nil, content: Digest256? = nil, payload: [UInt8])
        throws(LogError)
    {
        let result = payload.withUnsafeBytes { bytes in
            Result { () throws(LogError) in
                try add(key: key, content: content, payload: bytes)
            }
        }
        try result.get()
    }

    /// Empties the batch and keeps its memory, for the next one.
    public func removeAll() {
        byteCount = 0
        keyedCount = 0
        entries.removeAll(keepingCapacity: true)
        groups.removeAll(keepingCapacity: true)
    }

    /// Takes over an encoded record of another batch as it is.
    func copy(_ index: Int, of other: AppendBatch) {
        let entry = other.entries[index]
        reserve(entry.byteCount)
        (memory + byteCount).copyMemory(
            from: other.memory + entry.start, byteCount: entry.byteCount)
        entries.append(
            Entry(
                start: byteCount, byteCount: entry.byteCount, key: entry.key,
                content: entry.content))
        byteCount += entry.byteCount
        groups.removeAll(keepingCapacity: true)
    }

    /// Divides the records into blocks of at most 64 KiB, compresses those for which it pays and
    /// computes their checksums, before any lock. Nothing happens when that was done already.
    func seal() {
        guard groups.isEmpty else { return }
        for (index, entry) in entries.enumerated() {
            if let last = groups.last,
                last.byteCount + entry.byteCount <= FormatLimits.blockBytes
            {
                groups[groups.count - 1].entryCount += 1
                groups[groups.count - 1].byteCount += entry.byteCount
            } else {
                groups.append(
                    Group(
                        firstEntry: index, entryCount: 1, start: entry.start,
                        byteCount: entry.byteCount, codec: BlockCodec.none,
                        storedStart: entry.start, storedBytes: 0, storedCRC: 0))
            }
        }
        for index in groups.indices { groups[index].storedBytes = groups[index].byteCount }
        if compression == .lz4 { compress() }
        for index in groups.indices {
            groups[index].storedCRC = Checksum.of(storedBytes(of: groups[index]))
        }
    }

    /// A block as it goes to disk, behind its header.
    func storedBytes(of group: Group) -> UnsafeRawBufferPointer {
        let base =
            group.codec == BlockCodec.none
            ? UnsafeRawPointer(memory) : UnsafeRawPointer(compressed.baseAddress!)
        return UnsafeRawBufferPointer(start: base + group.storedStart, count: group.storedBytes)
    }

    private func compress() {
        // Each block has the room that it may take at most, so the blocks never meet.
        let needed = groups.reduce(0) { $0 + LZ4Block.storedBytesMaximum(rawBytes: $1.byteCount) }
        if compressed.count < needed {
            compressed.deallocate()
            compressed = .allocate(byteCount: needed, alignment: 16)
        }
        var place = 0
        for index in groups.indices {
            let raw = UnsafeRawBufferPointer(
                start: memory + groups[index].start, count: groups[index].byteCount)
            guard raw.count >= LZ4Block.rawBytesMinimum,
                let count = LZ4Block.compress(raw, into: compressed.baseAddress! + place)
            else { continue }
            groups[index].codec = BlockCodec.lz4
            groups[index].storedStart = place
            groups[index].storedBytes = count
            place += count
        }
    }

    private func reserve(_ more: Int) {
        guard byteCount + more > capacity else { return }
        capacity = max(capacity * 2, byteCount + more)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: memory, byteCount: byteCount)
        memory.deallocate()
        memory = larger
    }
}
