/// Records on their way into the log, encoded as they will lie on disk.
///
/// A caller fills it outside every lock: headers and checksums are made here, and the commit path
/// only copies. It can be used again after `removeAll()`. Not thread-safe.
public final class AppendBatch {
    /// Where a record lies in `memory`; key and content digest are in it.
    struct Entry {
        var start: Int
        /// With its header.
        var byteCount: Int
        var isKeyed: Bool
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
        /// Nil for a short block, which joins others in the commit and is summed with them.
        var storedCRC: UInt32?

        init(_ entry: Entry, number: Int) {
            firstEntry = number
            entryCount = 1
            start = entry.start
            byteCount = entry.byteCount
            codec = BlockCodec.none
            storedStart = entry.start
            storedBytes = 0
        }
    }

    private static let summedBytesMinimum = 16 * 1024

    private(set) var memory: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var byteCount = 0
    private var entryStorage: UnsafeMutablePointer<Entry>
    private var entryCapacity: Int
    /// The number of records.
    public private(set) var count = 0
    private var groupStorage: UnsafeMutablePointer<Group>
    private var groupCapacity: Int
    /// Blocks, once it is sealed; 0 before.
    private(set) var groupCount = 0
    private(set) var keyedCount = 0
    /// Of the largest record, without its header.
    private(set) var payloadBytesMaximum = 0
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
        entryCapacity = 4
        entryStorage = .allocate(capacity: entryCapacity)
        groupCapacity = 2
        groupStorage = .allocate(capacity: groupCapacity)
    }

    deinit {
        memory.deallocate()
        entryStorage.deallocate()
        groupStorage.deallocate()
        compressed.deallocate()
    }

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
        if key != nil { keyedCount += 1 }
        payloadBytesMaximum = max(payloadBytesMaximum, payload.count)
        append(Entry(start: byteCount, byteCount: recordBytes, isKeyed: key != nil))
    }

    private func append(_ entry: Entry) {
        if count == entryCapacity {
            entryCapacity *= 2
            let more = UnsafeMutablePointer<Entry>.allocate(capacity: entryCapacity)
            more.update(from: entryStorage, count: count)
            entryStorage.deallocate()
            entryStorage = more
        }
        entryStorage[count] = entry
        count += 1
        byteCount += entry.byteCount
        groupCount = 0
    }

    // MARK: - What is in it

    /// The key of a record, by its number; nil for one without.
    func key(of index: Int) -> Digest256? {
        let entry = entry(index)
        return entry.isKeyed ? Digest256(at: memory + entry.start + RecordFormat.keyPosition) : nil
    }

    /// The content digest of a record with a key.
    func content(of index: Int) -> Digest256 {
        let entry = entry(index)
        precondition(entry.isKeyed, "a record without a key has no content digest")
        return Digest256(at: memory + entry.start + RecordFormat.contentPosition)
    }

    private func entry(_ index: Int) -> Entry {
        precondition(index < count, "the batch has fewer records")
        return entryStorage[index]
    }

    func group(_ index: Int) -> Group {
        precondition(index < groupCount, "the batch has fewer blocks")
        return groupStorage[index]
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
        payloadBytesMaximum = 0
        count = 0
        groupCount = 0
    }

    /// Takes over an encoded record of another batch as it is.
    func copy(_ index: Int, of other: AppendBatch) {
        let entry = other.entry(index)
        reserve(entry.byteCount)
        (memory + byteCount).copyMemory(
            from: other.memory + entry.start, byteCount: entry.byteCount)
        if entry.isKeyed { keyedCount += 1 }
        payloadBytesMaximum = max(payloadBytesMaximum, other.payloadBytesMaximum)
        append(Entry(start: byteCount, byteCount: entry.byteCount, isKeyed: entry.isKeyed))
    }

    /// Divides the records into blocks of at most 64 KiB, compresses those for which it pays and
    /// computes their checksums, before any lock. Nothing happens when that was done already.
    func seal() {
        guard groupCount == 0, count > 0 else { return }
        var group = Group(entryStorage[0], number: 0)
        for index in 1..<count {
            let entry = entryStorage[index]
            if group.byteCount + entry.byteCount <= FormatLimits.blockBytes {
                group.entryCount += 1
                group.byteCount += entry.byteCount
            } else {
                append(group)
                group = Group(entry, number: index)
            }
        }
        append(group)
        if compression == .lz4 { compress() }
        for index in 0..<groupCount
        where groupStorage[index].codec != BlockCodec.none
            || groupStorage[index].byteCount >= AppendBatch.summedBytesMinimum
        {
            groupStorage[index].storedCRC = Checksum.of(storedBytes(of: groupStorage[index]))
        }
    }

    private func append(_ group: Group) {
        if groupCount == groupCapacity {
            groupCapacity *= 2
            let more = UnsafeMutablePointer<Group>.allocate(capacity: groupCapacity)
            more.update(from: groupStorage, count: groupCount)
            groupStorage.deallocate()
            groupStorage = more
        }
        groupStorage[groupCount] = group
        groupStorage[groupCount].storedBytes = group.byteCount
        groupCount += 1
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
        let needed = (0..<groupCount).reduce(0) {
            $0 + LZ4Block.storedBytesMaximum(rawBytes: groupStorage[$1].byteCount)
        }
        if compressed.count < needed {
            compressed.deallocate()
            compressed = .allocate(byteCount: needed, alignment: 16)
        }
        var place = 0
        for index in 0..<groupCount {
            let raw = UnsafeRawBufferPointer(
                start: memory + groupStorage[index].start, count: groupStorage[index].byteCount)
            guard raw.count >= LZ4Block.rawBytesMinimum,
                let count = LZ4Block.compress(raw, into: compressed.baseAddress! + place)
            else { continue }
            groupStorage[index].codec = BlockCodec.lz4
            groupStorage[index].storedStart = place
            groupStorage[index].storedBytes = count
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
