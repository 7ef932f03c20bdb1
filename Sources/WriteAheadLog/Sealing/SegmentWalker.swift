internal import CPlatform

/// A place in a segment where bytes are not what they were, and what it costs.
package struct SegmentDamage: Hashable, Sendable {
    package var position: UInt64
    /// The offsets that cannot be read because of it; empty when no record is touched.
    package var offsets: Range<UInt64>
    package var reason: String
}

/// Reads a segment frame by frame with bounded memory, whatever its length, and goes on behind
/// damage where a later frame shows the way.
///
/// Sealing, repacking, rebuilding key runs and verifying are this walk with different visitors. The
/// file is read front to back, each byte once. Not thread-safe.
final class SegmentWalker {
    /// Where the walk begins, and what the frame there must follow.
    struct Start {
        var position: UInt64
        /// The last sequence before it.
        var sequence: UInt64
        var nextOffset: UInt64
        var previousHeaderCRC: UInt32
        var epoch: UInt64

        init(
            position: UInt64, sequence: UInt64, nextOffset: UInt64, previousHeaderCRC: UInt32,
            epoch: UInt64
        ) {
            self.position = position
            self.sequence = sequence
            self.nextOffset = nextOffset
            self.previousHeaderCRC = previousHeaderCRC
            self.epoch = epoch
        }

        /// The segment's first frame.
        init(_ header: SegmentHeader) {
            position = header.firstFramePosition
            sequence = header.firstSequence - 1
            nextOffset = header.baseOffset
            previousHeaderCRC = header.crc
            epoch = header.epoch
        }
    }

    /// Where it ends, as far as that is known.
    struct End {
        /// Where frames end: a closed segment's logical end.
        var position: UInt64
        var lastSequence: UInt64?
        /// One past the last record.
        var offset: UInt64?
        /// A torn tail was cut off: the last frame's padding may be anything.
        var isCut: Bool

        init(
            position: UInt64, lastSequence: UInt64? = nil, offset: UInt64? = nil,
            isCut: Bool = false
        ) {
            self.position = position
            self.lastSequence = lastSequence
            self.offset = offset
            self.isCut = isCut
        }

        /// Of a closed segment.
        init(_ entry: SegmentEntry, offset: UInt64) {
            self.init(
                position: entry.logicalEnd, lastSequence: entry.lastSequence, offset: offset,
                isCut: entry.flags & SegmentEntry.Flags.cut != 0)
        }
    }

    /// One good frame; its body is valid until the next step.
    struct Frame {
        var position: UInt64
        var endPosition: UInt64
        var header: FrameHeader
        var body: UnsafeRawBufferPointer
    }

    enum Step {
        case frame(Frame)
        case damage(SegmentDamage)
        /// A stretch of a longer search for the next good frame was done; there is nothing to tell.
        case searching
        case end
    }

    /// How much of a search is one step.
    private static let searchBytes: UInt64 = 256 * 1024

    let header: SegmentHeader
    private let end: End
    private let window: SegmentWindow
    private let decoder = BlockDecoder()
    private var chain: Start
    private var isPrefixChecked: Bool
    private var isConcluded = false
    /// A frame that verifies and whose padding does not is told before its padding.
    private var pendingDamage: SegmentDamage?
    private var search: (place: UInt64, reason: String)?

    /// - Parameters:
    ///   - start: nil for the whole segment, its header and the zeros behind it included.
    ///   - hash: with `start` nil, takes all bytes of the file up to the end.
    init(
        file: any DiskFile, header: SegmentHeader, from start: Start? = nil, to end: End,
        isUncached: Bool, hash: SHA256Stream? = nil
    ) {
        precondition(start == nil || hash == nil, "a digest takes a segment from its first byte")
        self.header = header
        // A logical end that leaves the frames' room comes from damage, and is found out as such.
        self.end = End(
            position: min(end.position, header.frameLimit), lastSequence: end.lastSequence,
            offset: end.offset, isCut: end.isCut)
        chain = start ?? Start(header)
        isPrefixChecked = start != nil
        window = SegmentWindow(
            file, from: start?.position ?? 0, to: self.end.position, isUncached: isUncached,
            hash: hash)
    }

    /// Bytes read so far, to pace by.
    var readBytes: UInt64 { window.readBytes }
    var position: UInt64 { chain.position }
    var sequence: UInt64 { chain.sequence }
    var nextOffset: UInt64 { chain.nextOffset }
    /// The chain values with which a walk can go on from here.
    var place: Start { chain }

    /// What comes next. When reading fails nothing has changed: the step can be tried again.
    func next() throws(DiskError) -> Step {
        if !isPrefixChecked {
            let damage = try checkPrefix()
            isPrefixChecked = true
            if let damage { return .damage(damage) }
        }
        if let damage = pendingDamage {
            pendingDamage = nil
            return .damage(damage)
        }
        if search != nil { return try continueSearch() }
        guard chain.position < end.position else { return conclude() }
        switch try frame() {
        case .success(let frame):
            let paddingStart = frame.position + UInt64(frame.header.frameBytes)
            let padding = UnsafeRawBufferPointer(
                start: frame.body.baseAddress! + frame.body.count,
                count: Int(frame.endPosition - paddingStart))
            let isTorn = end.isCut && frame.endPosition == end.position
            if !isTorn, !padding.isAllZero {
                let place = padding.firstIndex { $0 != 0 } ?? 0
                pendingDamage = SegmentDamage(
                    position: paddingStart + UInt64(place), offsets: chain.nextOffset..<chain.nextOffset,
                    reason: "padding that must be zero is not")
            }
            chain = Start(
                position: frame.endPosition, sequence: frame.header.lastSequence,
                nextOffset: frame.header.endOffset, previousHeaderCRC: frame.header.headerCRC,
                epoch: frame.header.epoch)
            return .frame(frame)
        case .failure(let error):
            search = (chain.position, "a commit does not verify (\(error))")
            return .searching
        }
    }

    /// Gives what is in a frame to `visit`, each record proven by its block's checksum and its own.
    /// - Returns: the damage when something in it does not verify, after what was before it was given.
    func records(
        of frame: Frame, _ visit: (FrameBody.Item) throws(FormatError) -> Void
    ) -> SegmentDamage? {
        do throws(FormatError) {
            try FrameBody.walk(frame.header, frame.body, decoder, visit)
            return nil
        } catch {
            return SegmentDamage(
                position: frame.position, offsets: frame.header.firstOffset..<frame.header.endOffset,
                reason: "a block or record does not verify (\(error))")
        }
    }

    // MARK: - Frames

    private func frame() throws(DiskError) -> Result<Frame, FormatError> {
        let position = chain.position
        let room = end.position - position
        guard room >= UInt64(FormatLimits.frameHeaderBytes),
            let head = try window.bytes(position, FormatLimits.frameHeaderBytes)
        else { return .failure(.truncated) }
        let header: FrameHeader
        do throws(FormatError) {
            header = try FrameHeader(
                head, salt: self.header.salt, position: position,
                commitBytesMaximum: Int(self.header.commitBytesMaximum))
        } catch { return .failure(error) }
        guard follows(header) else {
            return .failure(.invalid("it does not follow the commit before it"))
        }
        let frameEnd = FrameAlignment.end(of: header.frameBytes, at: position, self.header)
        guard frameEnd <= end.position,
            let bytes = try window.bytes(position, Int(frameEnd - position))
        else { return .failure(.truncated) }
        let body = UnsafeRawBufferPointer(
            rebasing: bytes[FormatLimits.frameHeaderBytes..<header.frameBytes])
        guard Checksum.of(body) == header.bodyCRC else { return .failure(.checksum) }
        return .success(
            Frame(position: position, endPosition: frameEnd, header: header, body: body))
    }

    private func follows(_ frame: FrameHeader) -> Bool {
        frame.sequence == chain.sequence + 1 && frame.firstOffset == chain.nextOffset
            && frame.previousHeaderCRC == chain.previousHeaderCRC && frame.epoch >= chain.epoch
            && isWithinEnd(frame)
    }

    /// Whether a frame's numbers can be those of this segment; then they can be counted on from.
    private func isWithinEnd(_ frame: FrameHeader) -> Bool {
        let sequenceEnd = min(end.lastSequence ?? .max, FormatLimits.counterMaximum)
        let offsetEnd = min(end.offset ?? .max, FormatLimits.counterMaximum)
        return frame.sequence <= sequenceEnd && frame.firstOffset <= offsetEnd
            && frame.lastSequence <= sequenceEnd && frame.endOffset <= offsetEnd
    }

    // MARK: - Behind damage

    /// Looks for the next frame whose header verifies at its place: it was written there, in this
    /// life of the file.
    private func continueSearch() throws(DiskError) -> Step {
        let step = UInt64(FrameAlignment.bytes(header.profile, header.commitAlignment))
        let pause = search!.place + SegmentWalker.searchBytes
        var place = search!.place + step
        while place + UInt64(FormatLimits.frameHeaderBytes) <= end.position {
            guard place < pause else {
                search!.place = place - step
                return .searching
            }
            guard let head = try window.bytes(place, FormatLimits.frameHeaderBytes) else { break }
            if head.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                let later = try? FrameHeader(
                    head, salt: header.salt, position: place,
                    commitBytesMaximum: Int(header.commitBytesMaximum)),
                later.sequence > chain.sequence, later.firstOffset >= chain.nextOffset,
                isWithinEnd(later)
            {
                return resume(at: place, later)
            }
            place += step
        }
        // The rest is read to be hashed, as it is; a file that ends early has no rest.
        _ = try window.bytes(end.position, 0)
        let damage = SegmentDamage(
            position: chain.position,
            offsets: chain.nextOffset..<max(chain.nextOffset, end.offset ?? chain.nextOffset),
            reason: search!.reason)
        search = nil
        isConcluded = true
        chain.position = end.position
        chain.sequence = end.lastSequence ?? chain.sequence
        chain.nextOffset = damage.offsets.upperBound
        return .damage(damage)
    }

    /// Goes on at the frame that was found, as if everything before it were there.
    private func resume(at position: UInt64, _ later: FrameHeader) -> Step {
        let damage = SegmentDamage(
            position: chain.position, offsets: chain.nextOffset..<later.firstOffset,
            reason: search!.reason)
        search = nil
        chain = Start(
            position: position, sequence: later.sequence - 1, nextOffset: later.firstOffset,
            previousHeaderCRC: later.previousHeaderCRC, epoch: later.epoch)
        return .damage(damage)
    }

    // MARK: - Ends

    /// The header is the one that is expected, and zeros follow to the first frame.
    private func checkPrefix() throws(DiskError) -> SegmentDamage? {
        let nothing = header.baseOffset..<header.baseOffset
        let byteCount = Int(min(header.firstFramePosition, end.position))
        guard byteCount >= FormatLimits.segmentHeaderBytes,
            let bytes = try window.bytes(0, byteCount)
        else {
            return SegmentDamage(
                position: 0, offsets: nothing, reason: "the segment ends within its header")
        }
        guard let found = try? SegmentHeader(bytes), found == header else {
            return SegmentDamage(
                position: 0, offsets: nothing, reason: "the segment header does not verify")
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[FormatLimits.segmentHeaderBytes...])
        guard rest.isAllZero else {
            return SegmentDamage(
                position: UInt64(FormatLimits.segmentHeaderBytes), offsets: nothing,
                reason: "bytes behind the segment header that must be zero are not")
        }
        return nil
    }

    private func conclude() -> Step {
        guard !isConcluded else { return .end }
        isConcluded = true
        guard chain.sequence == end.lastSequence ?? chain.sequence,
            chain.nextOffset == end.offset ?? chain.nextOffset
        else {
            return .damage(
                SegmentDamage(
                    position: chain.position,
                    offsets: chain.nextOffset..<max(
                        chain.nextOffset, end.offset ?? chain.nextOffset),
                    reason: "its commits do not end where the manifest says"))
        }
        return .end
    }
}
