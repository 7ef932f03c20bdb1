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
        var byteCount: Int
        var storedCRC: UInt32
    }

    private(set) var memory: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var byteCount = 0
    private(set) var entries: [Entry] = []
    private(set) var groups: [Group] = []
    private(set) var keyedCount = 0

    public init(capacityBytes: Int = 1024) {
        capacity = max(256, capacityBytes)
        memory = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit { memory.deallocate() }

    /// The number of records.
    public var count: Int { entries.count }

    /// Bytes of records with their headers, as they will be stored before padding.
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

    /// Divides the records into blocks of at most 64 KiB and computes their checksums, before any
    /// lock. Nothing happens when that was done already.
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
                        byteCount: entry.byteCount, storedCRC: 0))
            }
        }
        for index in groups.indices {
            groups[index].storedCRC = Checksum.extend(
                0, UnsafeRawPointer(memory + groups[index].start), groups[index].byteCount)
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
