/// One durable record, valid inside the closure that it is given to.
public struct LogRecord {
    /// Its place in the log.
    public let offset: UInt64
    /// When it was appended here, milliseconds since 1970; never less than the record's before it.
    public let appendTimeMilliseconds: Int64
    /// The epoch of the log in which it was appended.
    public let epoch: UInt64
    /// As it was given, nil for a record without one.
    public let key: Digest256?
    /// The digest of its content as it was given, nil without a key.
    public let content: Digest256?
    /// CRC-32C of the record as stored, header fields, key, digest and payload; just verified.
    public let crc: UInt32
    /// Its bytes, their checksum verified; valid inside the closure only.
    public let payload: UnsafeRawBufferPointer
}

/// Reads durable frames of one segment from a position on, verifying every checksum on the way.
struct FrameReader {
    private static let chunkBytes = 128 * 1024

    let index: SegmentIndex
    let path: String
    let file: any DiskFile
    private var buffer: UnsafeMutableRawBufferPointer
    /// The file positions that the buffer holds.
    private var held: Range<UInt64> = 0..<0

    private let profile: Profile
    private let decoder = BlockDecoder()

    init(index: SegmentIndex, path: String, file: any DiskFile, profile: Profile) {
        self.index = index
        self.profile = profile
        self.path = path
        self.file = file
        buffer = .allocate(byteCount: FrameReader.chunkBytes, alignment: 4096)
    }

    func close() { buffer.deallocate() }

    /// Calls `visit` with records from `offset` up to `end` exclusive until it answers false or the
    /// segment ends. In a segment that is known to be damaged it finds its way behind the damage, but
    /// passes over no record that is asked for: that is an error, unless a gap was declared there.
    ///
    /// - Parameters:
    ///   - start: a position at or before the frame of the first record.
    ///   - end: where a declared gap begins: what stands there is not read.
    ///   - passesOverDamage: all damage is declared, and who asks does not miss its records.
    /// - Returns: false when `visit` did.
    mutating func read(
        from offset: UInt64, startingAt start: UInt64, until end: UInt64,
        passesOverDamage: Bool = false, _ visit: (LogRecord) -> Bool
    ) throws(LogError) -> Bool {
        var position = start
        var next = offset
        var passed: LogError?
        while position < index.endPosition {
            let frame: FrameHeader
            do throws(LogError) { frame = try self.frame(at: position) } catch {
                guard index.isDamaged, let later = try laterFrame(after: position) else {
                    throw error
                }
                position = later
                passed = error
                continue
            }
            if let passed, !passesOverDamage, min(frame.firstOffset, end) > next { throw passed }
            passed = nil
            guard frame.firstOffset < end else { return true }
            let body = try bytes(
                position + UInt64(FormatLimits.frameHeaderBytes), Int(frame.bodyBytes), position)
            if frame.endOffset > offset {
                let more = Result { () throws(FormatError) in
                    try FrameReader.visit(frame, body, decoder, from: offset, until: end, visit)
                }
                switch more {
                case .success(true): break
                case .success(false): return false
                case .failure(let error): throw corruption(position, frame.firstOffset, "\(error)")
                }
            }
            guard frame.endOffset < end else { return true }
            next = max(next, frame.endOffset)
            position = FrameAlignment.end(
                of: frame.frameBytes, at: position, profile, index.commitAlignment)
        }
        guard passesOverDamage || next >= min(index.endOffset, end) else {
            throw corruption(index.endPosition, next, "its records end before the next segment's begin")
        }
        return true
    }

    /// The next position behind damage at which a frame's header verifies.
    private mutating func laterFrame(after position: UInt64) throws(LogError) -> UInt64? {
        let step = UInt64(FrameAlignment.bytes(profile, index.commitAlignment))
        var place = position + step
        while place + UInt64(FormatLimits.frameHeaderBytes) <= index.endPosition {
            let bytes = try bytes(place, FormatLimits.frameHeaderBytes, place)
            if bytes.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                (try? FrameHeader(
                    bytes, salt: index.entry.salt, position: place,
                    commitBytesMaximum: index.commitBytesMaximum)) != nil
            {
                return place
            }
            place += step
        }
        return nil
    }

    private mutating func frame(at position: UInt64) throws(LogError) -> FrameHeader {
        let bytes = try bytes(position, FormatLimits.frameHeaderBytes, position)
        do throws(FormatError) {
            return try FrameHeader(
                bytes, salt: index.entry.salt, position: position,
                commitBytesMaximum: index.commitBytesMaximum)
        } catch {
            throw corruption(position, index.entry.baseOffset, "a frame header: \(error)")
        }
    }

    private static func visit(
        _ frame: FrameHeader, _ body: UnsafeRawBufferPointer, _ decoder: BlockDecoder,
        from offset: UInt64, until end: UInt64, _ visit: (LogRecord) -> Bool
    ) throws(FormatError) -> Bool {
        var blocks = BlockIterator(body: body)
        while let (block, bytes) = try blocks.next() {
            if block.isControl || block.firstOffset + UInt64(block.recordCount) <= offset {
                continue
            }
            guard block.firstOffset < end else { return true }
            var rest = try decoder.records(of: block, in: bytes)
            for number in 0..<UInt64(block.recordCount) {
                let record = try RecordView(rest)
                rest = UnsafeRawBufferPointer(rebasing: rest[record.byteCount...])
                guard block.firstOffset + number >= offset else { continue }
                let more = visit(
                    LogRecord(
                        offset: block.firstOffset + number,
                        appendTimeMilliseconds: block.baseTimeMilliseconds
                            + Int64(record.timeDeltaMilliseconds),
                        epoch: frame.epoch, key: record.key, content: record.content,
                        crc: record.crc, payload: record.payload))
                guard more else { return false }
            }
        }
        return true
    }

    /// Bytes of the file, read ahead by chunks.
    private mutating func bytes(_ position: UInt64, _ count: Int, _ framePosition: UInt64)
        throws(LogError) -> UnsafeRawBufferPointer
    {
        if !(held.contains(position) && position + UInt64(count) <= held.upperBound) {
            if count > buffer.count {
                buffer.deallocate()
                buffer = .allocate(byteCount: (count + 4095) & ~4095, alignment: 4096)
            }
            let wanted = min(UInt64(buffer.count), index.endPosition - position)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(wanted)])
            let read = Result { () throws(DiskError) in try file.read(into: part, at: position) }
            switch read {
            case .success(let done): held = position..<position + UInt64(done)
            case .failure(let error): throw .disk(error)
            }
            guard held.upperBound >= position + UInt64(count) else {
                throw corruption(framePosition, index.entry.baseOffset, "the file ends early")
            }
        }
        let start = Int(position - held.lowerBound)
        return UnsafeRawBufferPointer(rebasing: buffer[start..<start + count])
    }

    private func corruption(_ position: UInt64, _ offset: UInt64, _ reason: String) -> LogError {
        .corrupt(Corruption(file: path, position: position, offset: offset, reason: reason))
    }
}
