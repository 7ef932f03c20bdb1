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
        /// Bytes in the last good frame's padding that are not zero. The frame is whole and stays; the
        /// padding was being written when the power went.
        var tornPadding: Range<UInt64>?
        /// The next frame after the place whose header verifies, if there is one.
        var laterFrame: (position: UInt64, header: FrameHeader)?

        /// The highest sequence that the later frame proves durable: it was written after
        /// everything before it was.
        var laterFrameSequence: UInt64? { laterFrame.map { $0.header.sequence - 1 } }
    }

    /// From where it reads, and what stood before.
    struct Start {
        var position: UInt64
        var sequence: UInt64
        var nextOffset: UInt64
        var previousHeaderCRC: UInt32
        var epoch: UInt64

        /// A segment's first frame.
        init(_ header: SegmentHeader) {
            position = header.firstFramePosition
            sequence = header.firstSequence - 1
            nextOffset = header.baseOffset
            previousHeaderCRC = header.crc
            epoch = header.epoch
        }

        init(_ checkpoint: Checkpoint) {
            position = checkpoint.position
            sequence = checkpoint.sequence
            nextOffset = checkpoint.nextOffset
            previousHeaderCRC = checkpoint.previousHeaderCRC
            epoch = checkpoint.epoch
        }
    }

    let header: SegmentHeader
    /// Where frames may reach: a closed segment's logical end, or the segment's end.
    let limit: UInt64
    private let bytes: UnsafeRawBufferPointer
    /// The file position of the first of `bytes`.
    private let origin: UInt64
    private let readFailure: (position: UInt64, error: DiskError)?
    private(set) var position: UInt64
    private(set) var sequence: UInt64
    private(set) var nextOffset: UInt64
    private var previousHeaderCRC: UInt32
    private var epoch: UInt64
    /// The highest durable watermark and state generation that any frame carried.
    private(set) var watermark: UInt64
    private(set) var stateGeneration: UInt64 = 0
    /// Of the frame before.
    private var padding: Range<UInt64> = 0..<0

    /// - Parameter bytes: the segment from `origin` on, as far as it could be read.
    init(
        header: SegmentHeader, bytes: UnsafeRawBufferPointer, origin: UInt64 = 0,
        start: Start? = nil, logicalEnd: UInt64?,
        readFailure: (position: UInt64, error: DiskError)? = nil
    ) {
        let start = start ?? Start(header)
        self.header = header
        self.bytes = bytes
        self.origin = origin
        self.readFailure = readFailure
        limit = min(logicalEnd ?? header.frameLimit, origin + UInt64(bytes.count))
        position = start.position
        sequence = start.sequence
        nextOffset = start.nextOffset
        previousHeaderCRC = start.previousHeaderCRC
        epoch = start.epoch
        watermark = header.firstSequence - 1
    }

    init(header: SegmentHeader, image: SegmentImage, start: Start? = nil, logicalEnd: UInt64?) {
        self.init(
            header: header, bytes: image.bytes, origin: image.origin, start: start,
            logicalEnd: logicalEnd, readFailure: image.readFailure)
    }

    /// Goes on at a frame behind damage, as if everything before it were there.
    mutating func resume(at later: (position: UInt64, header: FrameHeader)) {
        position = later.position
        sequence = later.header.sequence - 1
        nextOffset = later.header.firstOffset
        previousHeaderCRC = later.header.previousHeaderCRC
        epoch = later.header.epoch
    }

    /// The next good frame, or what stands in its place.
    mutating func next() -> Step {
        let verdict = Result { () throws(FormatError) in try frame(at: position) }
        switch verdict {
        case .success(let header):
            if let misfit = misfit(header) { return .end(end(misfit)) }
            let start = Int(position - origin) + FormatLimits.frameHeaderBytes
            let body = UnsafeRawBufferPointer(
                rebasing: bytes[start..<start + Int(header.bodyBytes)])
            let frame = Frame(
                position: position,
                endPosition: FrameAlignment.end(of: header.frameBytes, at: position, self.header),
                header: header, body: body)
            padding = position + UInt64(header.frameBytes)..<frame.endPosition
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
        guard position >= origin, position < limit else { throw .truncated }
        let place = UnsafeRawBufferPointer(
            rebasing: bytes[Int(position - origin)..<Int(limit - origin)])
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

    private func end(_ reason: String) -> End {
        let nonZeroEnd = max(position, self.nonZeroEnd(from: position))
        let within = nonZeroEnd <= position + UInt64(header.commitBytesMaximum)
        return End(
            position: position, frameReadFailure: readFailure?.error, reason: reason,
            bytes: nonZeroEnd == position
                ? .allZero : within ? .nonZeroWithinOneCommit : .nonZeroBeyondOneCommit,
            nonZeroEnd: nonZeroEnd, tornPadding: tornPadding,
            laterFrame: nonZeroEnd == position ? nil : laterFrame(until: nonZeroEnd))
    }

    private var tornPadding: Range<UInt64>? {
        guard padding.lowerBound >= origin else { return nil }
        let end = min(Int(padding.upperBound - origin), bytes.count)
        let start = Int(padding.lowerBound - origin)
        guard start < end,
            bsfg_all_zero(bytes.baseAddress! + start, end - start) == 0
        else { return nil }
        return padding
    }

    /// One past the last non-zero byte at or after `start`, or `start`.
    private func nonZeroEnd(from start: UInt64) -> UInt64 {
        let start = min(Int(max(start, origin) - origin), bytes.count)
        var end = bytes.count
        while end > start {
            let chunk = min(4096, end - start)
            if bsfg_all_zero(bytes.baseAddress! + end - chunk, chunk) == 0 { break }
            end -= chunk
        }
        while end > start, bytes[end - 1] == 0 { end -= 1 }
        return origin + UInt64(end)
    }

    /// Looks for any frame after the place in question: its header verifies only where it was
    /// written, in this life of the file.
    private func laterFrame(until end: UInt64) -> (position: UInt64, header: FrameHeader)? {
        let step = UInt64(FrameAlignment.bytes(header.profile, header.commitAlignment))
        var place = position + step
        while place + UInt64(FormatLimits.frameHeaderBytes) <= min(end, limit) {
            let rest = UnsafeRawBufferPointer(
                rebasing: bytes[Int(place - origin)..<Int(limit - origin)])
            if rest.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                let later = try? FrameHeader(
                    rest, salt: header.salt, position: place,
                    commitBytesMaximum: Int(header.commitBytesMaximum)),
                later.sequence > sequence
            {
                return (place, later)
            }
            place += step
        }
        return nil
    }
}

/// Bytes of a segment file in memory, as the device holds them.
final class SegmentImage {
    let buffer: UnsafeMutableRawBufferPointer
    /// The file position of the first byte.
    let origin: UInt64
    private(set) var byteCount = 0
    private(set) var readFailure: (position: UInt64, error: DiskError)?

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: buffer[..<byteCount])
    }

    /// What became of one piece of the file.
    private final class Piece: @unchecked Sendable {
        let part: UnsafeMutableRawBufferPointer
        let position: UInt64
        private(set) var byteCount = 0
        private(set) var failure: DiskError?

        init(_ part: UnsafeMutableRawBufferPointer, at position: UInt64) {
            self.part = part
            self.position = position
        }

        func read(_ file: any DiskFile, uncached: Bool) {
            do throws(DiskError) {
                while byteCount < part.count {
                    let rest = UnsafeMutableRawBufferPointer(rebasing: part[byteCount...])
                    let place = position + UInt64(byteCount)
                    let count =
                        uncached
                        ? try file.readUncached(into: rest, at: place)
                        : try file.read(into: rest, at: place)
                    byteCount += count
                    // The file ends here: what was read last may end inside a page.
                    if count == 0 || byteCount % 4096 != 0 { return }
                }
            } catch { failure = error }
        }
    }

    private static let pieceBytes = 1 << 20

    /// Reads `file` from `start`, a multiple of 4,096, up to `limit`, past the page cache when asked.
    ///
    /// - Parameter readerCount: threads that read, the caller's among them: a disk serves several
    ///   reads at once.
    init(
        _ file: any DiskFile, from start: UInt64 = 0, limit: UInt64, uncached: Bool,
        readerCount: Int = 1
    ) throws(DiskError) {
        precondition(start % 4096 == 0, "an image begins at a page")
        let size = Int(max(start, min(try file.size(), limit)) - start)
        origin = start
        let capacity = (size + 4095) & ~4095
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(capacity, 4096), alignment: 4096)
        self.buffer = buffer
        let pieces = stride(from: 0, to: capacity, by: SegmentImage.pieceBytes).map {
            Piece(
                UnsafeMutableRawBufferPointer(
                    rebasing: buffer[$0..<min($0 + SegmentImage.pieceBytes, capacity)]),
                at: start + UInt64($0))
        }
        if readerCount > 1, pieces.count > readerCount {
            let threads = (1..<readerCount).map { number in
                EngineThread(name: "bsfg-read") {
                    for place in stride(from: number, to: pieces.count, by: readerCount) {
                        pieces[place].read(file, uncached: uncached)
                    }
                }
            }
            for place in stride(from: 0, to: pieces.count, by: readerCount) {
                pieces[place].read(file, uncached: uncached)
            }
            for thread in threads { thread.join() }
        } else {
            for piece in pieces {
                piece.read(file, uncached: uncached)
                if piece.failure != nil || piece.byteCount < piece.part.count { break }
            }
        }
        for piece in pieces {
            byteCount += min(piece.byteCount, size - byteCount)
            if let failure = piece.failure {
                readFailure = (piece.position + UInt64(piece.byteCount), failure)
            }
            if piece.failure != nil || piece.byteCount < piece.part.count { break }
        }
    }

    /// Whether all bytes from `position` of the image on are zero.
    func isZero(from position: Int) -> Bool {
        bsfg_all_zero(bytes.baseAddress! + position, byteCount - position) != 0
    }

    deinit { buffer.deallocate() }
}
