internal import Glibc

/// Rewrites a closed segment of a `silStrict` log densely into a new file, when the padding of its
/// small commits takes more than half of it.
///
/// Offsets, sequences, epochs and append times stay; one frame stands for many commits. Control records
/// are left out: every change that a closed segment holds is in the state slot that was written
/// before the next segment was begun. The old file is not touched. The new one is read back and
/// compared with the old one, and it and its name are durable, before it is offered; the caller lists
/// it in the manifest and seals it, or calls `discard`.
///
/// Three walks: to learn the length (it is in the header that the first frame links to), to write, to
/// compare. Derived work: a step that throws can be tried again. Not thread-safe.
final class SegmentRepacker {
    enum Progress {
        case more
        /// The new segment stands, synced; not sealed yet.
        case repacked(SegmentEntry, SegmentHeader)
        /// Padding is not above half, or the new file would be no shorter.
        case notWorthwhile
        /// It is left as it is.
        case damaged(SegmentDamage)
    }

    private enum Phase {
        case measure
        case write
        case compare
        case finished(Progress)
    }

    private let disk: any Disk
    private let directory: String
    private let source: any DiskFile
    private let header: SegmentHeader
    private let entry: SegmentEntry
    private let endOffset: UInt64
    private let compression: BlockCompression
    private let path: String
    private var phase = Phase.measure
    private var walker: SegmentWalker!
    private var frames: DenseFrames!
    private let content = SHA256Stream()
    private var paddingBytes: UInt64 = 0
    private var leastTimeMilliseconds: Int64 = 0
    private var greatestTimeMilliseconds: Int64 = 0

    /// Known after the first walk.
    private var target: SegmentHeader
    private var logicalEnd: UInt64 = 0
    private var contentDigest: Digest256?

    private var file: (any DiskFile)?
    private var isCreated = false

    /// Whether a segment can have so much padding, by the numbers in the manifest alone.
    static func canPay(_ header: SegmentHeader, _ entry: SegmentEntry) -> Bool {
        let done = SegmentEntry.Flags.repacked | SegmentEntry.Flags.damaged
        guard header.profile == .silStrict, entry.flags & done == 0,
            entry.lastSequence >= entry.firstSequence
        else { return false }
        let frameCount = entry.lastSequence - entry.firstSequence + 1
        let (most, overflow) = frameCount.multipliedReportingOverflow(
            by: UInt64(header.commitAlignment))
        return overflow || most > entry.logicalEnd / 2
    }

    /// - Parameters:
    ///   - source: the closed segment, open for reading.
    ///   - endOffset: one past its last record.
    ///   - id: of the new segment: one that no file has.
    ///   - salt: random, new.
    init(
        disk: any Disk, directory: String, source: any DiskFile, header: SegmentHeader,
        entry: SegmentEntry, endOffset: UInt64, id: UInt64, salt: UInt64,
        compression: BlockCompression
    ) {
        self.disk = disk
        self.directory = directory
        self.source = source
        self.header = header
        self.entry = entry
        self.endOffset = endOffset
        self.compression = compression
        path = directory + "/" + SegmentHeader.fileName(id: id)
        target = header
        target.id = id
        target.salt = salt
        begin(.measure)
    }

    /// Does a bounded part of the work: reads about `maximumBytes`, at least one frame. Not called
    /// again after it answered something else than `more`.
    ///
    /// - Throws: the disk's error; the file that was being written is removed, as far as the disk lets
    ///   it, and the next call begins it anew.
    func step(maximumBytes: Int) throws(DiskError) -> Progress {
        do throws(DiskError) {
            switch phase {
            case .measure, .write:
                if try pack(maximumBytes: UInt64(max(1, maximumBytes))) {
                    if case .measure = phase { conclude() } else { try finishFile() }
                }
            case .compare:
                if try compare(maximumBytes: UInt64(max(1, maximumBytes))) { try offer() }
            case .finished: preconditionFailure("a finished repacker has no more steps")
            }
        } catch {
            if case .measure = phase { throw error }
            discard()
            begin(.write)
            throw error
        }
        if case .finished(let progress) = phase { return progress }
        return .more
    }

    /// All steps at once.
    func run() throws(DiskError) -> Progress {
        while true {
            let progress = try step(maximumBytes: .max)
            if case .more = progress { continue }
            return progress
        }
    }

    /// Removes what was written. What cannot be removed is a file that no manifest names.
    func discard() {
        file = nil
        if isCreated { try? disk.remove(path) }
    }

    private func walk(
        _ file: any DiskFile, _ header: SegmentHeader, to logicalEnd: UInt64
    ) -> SegmentWalker {
        SegmentWalker(
            file: file, header: header,
            to: .init(
                position: logicalEnd, lastSequence: entry.lastSequence, offset: endOffset,
                isCut: header == self.header && entry.flags & SegmentEntry.Flags.cut != 0),
            isUncached: true)
    }

    /// Begins a walk over the old segment.
    private func begin(_ next: Phase) {
        phase = next
        walker = walk(source, header, to: entry.logicalEnd)
        frames = DenseFrames(
            header: target, frameBytesMaximum: Int(header.commitBytesMaximum),
            compression: compression
        ) { [unowned self] (bytes, position) throws(DiskError) in
            if case .write = phase { try write(bytes, at: position) }
        }
        paddingBytes = 0
        _ = content.finish()
    }

    // MARK: - Pack

    /// - Returns: whether the walk is at its end.
    private func pack(maximumBytes: UInt64) throws(DiskError) -> Bool {
        let begin = walker.readBytes
        while walker.readBytes - begin < maximumBytes {
            switch try walker.next() {
            case .frame(let frame):
                if let damage = take(frame) {
                    phase = .finished(.damaged(damage))
                    return false
                }
                do {
                    try frames.append(frame)
                } catch let error as DiskError {
                    throw error
                } catch {
                    // It was verified: only its size is in the way.
                    phase = .finished(.notWorthwhile)
                    return false
                }
                paddingBytes += frame.endPosition - frame.position - UInt64(frame.header.frameBytes)
            case .damage(let damage):
                phase = .finished(.damaged(damage))
                return false
            case .searching: break
            case .end:
                try frames.finish()
                return true
            }
        }
        return false
    }

    /// Takes a frame's records into the digest of the content.
    private func take(_ frame: SegmentWalker.Frame) -> SegmentDamage? {
        walker.records(of: frame) { item in
            guard case .record(let record) = item else { return }
            if record.offset == header.baseOffset {
                leastTimeMilliseconds = record.appendTimeMilliseconds
            }
            greatestTimeMilliseconds = record.appendTimeMilliseconds
            var numbers = (
                record.offset, record.appendTimeMilliseconds, record.epoch,
                UInt64(record.payload.count), UInt64(record.key == nil ? 0 : 1)
            )
            withUnsafeBytes(of: &numbers) { content.update($0) }
            if let key = record.key, let digest = record.content {
                content.update(key)
                content.update(digest)
            }
            content.update(record.payload)
        }
    }

    /// The first walk is over: the new segment's length is known.
    private func conclude() {
        contentDigest = content.finish()
        logicalEnd = frames.position
        var segmentBytes = FormatLimits.repackedSegmentBytesMinimum
        while segmentBytes - FormatLimits.footerBytes(segmentBytes: segmentBytes) < logicalEnd {
            segmentBytes += FormatLimits.repackedSegmentBytesMinimum
        }
        guard paddingBytes > entry.logicalEnd / 2, segmentBytes < header.segmentBytes else {
            phase = .finished(.notWorthwhile)
            return
        }
        target.segmentBytes = segmentBytes
        target.commitBytesMaximum = UInt32(min(UInt64(header.commitBytesMaximum), segmentBytes))
        // Sets the CRC that the first frame links to.
        _ = target.encode()
        begin(.write)
    }

    // MARK: - Write

    private func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
        let file = try newFile()
        try file.write(bytes, at: position)
    }

    /// The new file, made with its header when it is first needed.
    private func newFile() throws(DiskError) -> any DiskFile {
        if let file { return file }
        // One of an attempt before, which could not be removed then.
        if isCreated { try? disk.remove(path) }
        let created: any DiskFile
        do throws(DiskError) { created = try disk.open(path, .create) } catch {
            // Whatever else went wrong, the file may be there now. One that was there is not ours.
            if error.code != EEXIST { isCreated = true }
            throw error
        }
        isCreated = true
        file = created
        var bytes = target.encode()
        bytes += [UInt8](repeating: 0, count: Int(target.firstFramePosition) - bytes.count)
        try created.write(array: bytes, at: 0)
        return created
    }

    /// Zeros to the end, and everything durable.
    private func finishFile() throws(DiskError) {
        let file = try newFile()
        let zeros = [UInt8](repeating: 0, count: ZeroFill.chunkBytes)
        var position = logicalEnd
        while position < target.segmentBytes {
            let count = Int(min(UInt64(zeros.count), target.segmentBytes - position))
            try file.write(array: count == zeros.count ? zeros : Array(zeros[..<count]), at: position)
            position += UInt64(count)
        }
        try file.synchronise()
        try disk.synchroniseDirectory(directory)
        phase = .compare
        walker = walk(file, target, to: logicalEnd)
        _ = content.finish()
    }

    // MARK: - Compare

    /// - Returns: whether the walk over the new segment is at its end.
    private func compare(maximumBytes: UInt64) throws(DiskError) -> Bool {
        let begin = walker.readBytes
        while walker.readBytes - begin < maximumBytes {
            switch try walker.next() {
            case .frame(let frame):
                if take(frame) != nil { throw mismatch }
            case .damage: throw mismatch
            case .searching: break
            case .end: return true
            }
        }
        return false
    }

    private func offer() throws(DiskError) {
        guard content.finish() == contentDigest else { throw mismatch }
        var new = entry
        new.id = target.id
        new.salt = target.salt
        new.headerCRC = target.crc
        new.fileBytes = target.segmentBytes
        new.digest = .zero
        new.logicalEnd = logicalEnd
        new.leastTimeMilliseconds = leastTimeMilliseconds
        new.greatestTimeMilliseconds = greatestTimeMilliseconds
        new.flags = SegmentEntry.Flags.repacked
        phase = .finished(.repacked(new, target))
    }

    /// The device answered without an error and holds something else than was written.
    private var mismatch: DiskError { DiskError(.read, path, code: EIO) }
}
