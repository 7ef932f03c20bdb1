internal import CPlatform

/// Reads a segment frame by frame from its start and says what stands at the end: the evidence that
/// the decision table judges. The same walk serves opening, verifying and dumping.
struct SegmentScan {
    /// One good frame, as pointers valid until the next is asked for.
    struct Frame {
        var position: UInt64
        var endPosition: UInt64
        var header: FrameHeader
        var body: UnsafeRawBufferPointer
    }

    enum Step {
        case frame(Frame)
        /// No frame follows; the evidence lacks only whether the sequence was proven durable by
        /// something outside this segment.
        case end(End)
    }

    struct End {
        var position: UInt64
        var frameReadFailure: DiskError?
        var reason: String
        var bytes: RecoveryEvidence.Bytes
        /// One past the last non-zero byte.
        var nonZeroEnd: UInt64
        /// The highest sequence that a later frame of this segment proves durable.
        var laterFrameSequence: UInt64?
    }

    let header: SegmentHeader
    /// Where frames may reach: a closed segment's logical end, or the segment's end.
    let limit: UInt64
    private let bytes: UnsafeRawBufferPointer
    private let readFailure: (position: UInt64, error: DiskError)?
    private let provenSequence: UInt64
    private(set) var position: UInt64
    private(set) var sequence: UInt64
    private(set) var nextOffset: UInt64
    private var previousHeaderCRC: UInt32
    private var epoch: UInt64
    /// The highest durable watermark and state generation that any frame carried.
    private(set) var watermark: UInt64
    private(set) var stateGeneration: UInt64 = 0

    /// - Parameters:
    ///   - bytes: the segment from its first byte, as far as it could be read.
    ///   - provenSequence: what something else than these bytes proves durable.
    init(
        header: SegmentHeader, bytes: UnsafeRawBufferPointer, logicalEnd: UInt64?,
        provenSequence: UInt64 = 0, readFailure: (position: UInt64, error: DiskError)? = nil
    ) {
        // A closed segment's commits are: the next segment was begun behind them.
        self.provenSequence = logicalEnd == nil ? provenSequence : .max
        self.header = header
        self.bytes = bytes
        self.readFailure = readFailure
        limit = min(logicalEnd ?? header.frameLimit, UInt64(bytes.count))
        position = header.firstFramePosition
        sequence = header.firstSequence - 1
        nextOffset = header.baseOffset
        previousHeaderCRC = header.crc
        epoch = header.epoch
        watermark = header.firstSequence - 1
    }

    /// The next good frame, or what stands in its place.
    mutating func next() -> Step {
        let verdict = Result { () throws(FormatError) in try frame(at: position) }
        switch verdict {
        case .success(let header):
            if let misfit = misfit(header) { return .end(end(misfit)) }
            if header.sequence > provenSequence, hasTornPadding(header) {
                return .end(end("the padding behind it is torn"))
            }
            let start = Int(position) + FormatLimits.frameHeaderBytes
            let body = UnsafeRawBufferPointer(
                rebasing: bytes[start..<start + Int(header.bodyBytes)])
            let frame = Frame(
                position: position,
                endPosition: FrameAlignment.end(of: header.frameBytes, at: position, self.header),
                header: header, body: body)
            position = frame.endPosition
            sequence = header.lastSequence
            nextOffset = header.endOffset
            previousHeaderCRC = header.headerCRC
            epoch = header.epoch
            watermark = max(watermark, header.durableSequence)
            stateGeneration = max(stateGeneration, header.stateGeneration)
            return .frame(frame)
        case .failure(let error):
            return .end(end("\(error)"))
        }
    }

    private func frame(at position: UInt64) throws(FormatError) -> FrameHeader {
        guard position < limit else { throw .truncated }
        let place = UnsafeRawBufferPointer(rebasing: bytes[Int(position)..<Int(limit)])
        let header = try FrameHeader(
            place, salt: self.header.salt, position: position,
            commitBytesMaximum: Int(self.header.commitBytesMaximum))
        guard header.frameBytes <= place.count else { throw .truncated }
        let body = UnsafeRawBufferPointer(
            rebasing: place[FormatLimits.frameHeaderBytes..<header.frameBytes])
        guard Checksum.of(body) == header.bodyCRC else { throw .checksum }
        return header
    }

    /// Why a frame that verifies does not follow the one before, or nil when it does.
    private func misfit(_ header: FrameHeader) -> String? {
        if header.sequence != sequence + 1 {
            return "sequence \(header.sequence) stands where \(sequence + 1) is expected"
        }
        if header.previousHeaderCRC != previousHeaderCRC {
            return "the frame links to another one than stands before it"
        }
        if header.firstOffset != nextOffset {
            return "offset \(header.firstOffset) stands where \(nextOffset) is expected"
        }
        if header.epoch < epoch { return "epoch \(header.epoch) follows epoch \(epoch)" }
        return nil
    }

    /// Whether the last commit, which verifies, was cut short in its padding. Nobody was told of it:
    /// an acknowledged commit has its zeros. Kept, it would leave bytes behind that must be zero and
    /// are not. Behind any other frame such bytes came later; they are for `verify` to tell.
    private func hasTornPadding(_ header: FrameHeader) -> Bool {
        let start = Int(position) + header.frameBytes
        let end = min(
            Int(FrameAlignment.end(of: header.frameBytes, at: position, self.header)), bytes.count)
        guard start < end,
            bsfg_all_zero(bytes.baseAddress! + start, end - start) == 0
        else { return false }
        return laterFrame(until: UInt64(bytes.count)) == nil
    }

    private func end(_ reason: String) -> End {
        let nonZeroEnd = max(position, UInt64(SegmentScan.nonZeroEnd(bytes, from: position)))
        let within = nonZeroEnd <= position + UInt64(header.commitBytesMaximum)
        return End(
            position: position, frameReadFailure: readFailure?.error, reason: reason,
            bytes: nonZeroEnd == position
                ? .allZero : within ? .nonZeroWithinOneCommit : .nonZeroBeyondOneCommit,
            nonZeroEnd: nonZeroEnd,
            laterFrameSequence: nonZeroEnd == position ? nil : laterFrame(until: nonZeroEnd))
    }

    /// One past the last non-zero byte at or after `start`, or `start`.
    private static func nonZeroEnd(_ bytes: UnsafeRawBufferPointer, from start: UInt64) -> Int {
        let start = min(Int(start), bytes.count)
        var end = bytes.count
        while end > start {
            let chunk = min(4096, end - start)
            if bsfg_all_zero(bytes.baseAddress! + end - chunk, chunk) == 0 { break }
            end -= chunk
        }
        while end > start, bytes[end - 1] == 0 { end -= 1 }
        return end
    }

    /// Looks for any frame after the place in question: its header verifies only where it was
    /// written, in this life of the file.
    private func laterFrame(until end: UInt64) -> UInt64? {
        let step = UInt64(FrameAlignment.bytes(header.profile, header.commitAlignment))
        var place = position + step
        while place + UInt64(FormatLimits.frameHeaderBytes) <= min(end, limit) {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[Int(place)...])
            if rest.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                let later = try? FrameHeader(
                    rest, salt: header.salt, position: place,
                    commitBytesMaximum: Int(header.commitBytesMaximum)),
                later.sequence > sequence
            {
                // It was written after everything before it was durable.
                return later.sequence - 1
            }
            place += step
        }
        return nil
    }
}

/// A whole segment file in memory, as the device holds it.
final class SegmentImage {
    let buffer: UnsafeMutableRawBufferPointer
    private(set) var byteCount = 0
    private(set) var readFailure: (position: UInt64, error: DiskError)?

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: buffer[..<byteCount])
    }

    /// Reads `file` up to `limit` bytes, past the page cache when asked.
    init(_ file: any DiskFile, limit: UInt64, uncached: Bool) throws(DiskError) {
        let size = min(try file.size(), limit)
        let capacity = (Int(size) + 4095) & ~4095
        buffer = .allocate(byteCount: max(capacity, 4096), alignment: 4096)
        let chunk = 1 << 20
        while byteCount < Int(size) {
            let part = UnsafeMutableRawBufferPointer(
                rebasing: buffer[byteCount..<min(byteCount + chunk, capacity)])
            do throws(DiskError) {
                let count =
                    uncached
                    ? try file.readUncached(into: part, at: UInt64(byteCount))
                    : try file.read(into: part, at: UInt64(byteCount))
                if count == 0 { break }
                byteCount += min(count, Int(size) - byteCount)
            } catch {
                readFailure = (UInt64(byteCount), error)
                break
            }
        }
    }

    /// Whether all bytes from `position` on are zero.
    func isZero(from position: Int) -> Bool {
        bsfg_all_zero(bytes.baseAddress! + position, byteCount - position) != 0
    }

    deinit { buffer.deallocate() }
}
