internal import Glibc

/// Seals a closed segment: reads it back from the device, verifies every frame, block and record
/// while hashing the same bytes, and writes the footer behind them.
///
/// Sealing is derived work. When the disk fails, the step throws and can be tried again for as long as
/// one likes; nothing acknowledged depends on it. It ends in a footer on the device, or with what is
/// damaged. Memory is bounded by the largest frame. Not thread-safe.
final class SegmentSealer {
    enum Progress {
        case more
        /// The footer is on the device; its digest is the segment's.
        case sealed(SegmentFooter)
        /// No footer was written. The digest is that of the bytes as they are.
        case damaged([SegmentDamage], digest: Digest256)
    }

    /// More places than these are told as one.
    private static let damageCountMaximum = 256

    private let file: any DiskFile
    private let path: String
    private let header: SegmentHeader
    private let walker: SegmentWalker
    private let hash: SHA256Stream
    private let keyed: (Digest256, Digest256, UInt64) -> Void
    private var gathering: FooterGathering
    /// Final once `isWalked`.
    private var footer: SegmentFooter
    private var damage: [SegmentDamage] = []
    private var isSizeChecked = false
    /// Walked to the end: the footer's digest is final.
    private var isWalked = false
    /// Bytes of frames' padding, which repacking would win.
    private(set) var paddingBytes: UInt64 = 0

    /// - Parameters:
    ///   - file: open for reading and writing.
    ///   - path: for errors.
    ///   - header: as the segment's first bytes must be.
    ///   - entry: of a closed segment.
    ///   - endOffset: one past its last record: the next segment's base offset.
    ///   - previousDigest: of the segment before; the anchor's for the first one; `Digest256.zero` for
    ///     the first ever.
    ///   - keyed: gets key, content digest and offset of every keyed record that verifies, in order;
    ///     of a damaged segment those that are left.
    init(
        file: any DiskFile, path: String, header: SegmentHeader, entry: SegmentEntry,
        endOffset: UInt64, previousDigest: Digest256,
        keyed: @escaping (_ key: Digest256, _ content: Digest256, _ offset: UInt64) -> Void = {
            _, _, _ in
        }
    ) {
        self.file = file
        self.path = path
        self.header = header
        self.keyed = keyed
        hash = SHA256Stream()
        hash.update(previousDigest)
        walker = SegmentWalker(
            file: file, header: header,
            to: .init(entry, offset: endOffset), isUncached: true, hash: hash)
        gathering = FooterGathering(
            header: header, entry: entry, endOffset: endOffset, previousDigest: previousDigest)
        footer = gathering.footer
    }

    /// Does a bounded part of the work: reads about `maximumBytes` (at least one frame), or writes the
    /// footer. Not called again after it answered something else than `more`.
    ///
    /// - Throws: the disk's error; the next call tries the same again.
    func step(maximumBytes: Int) throws(DiskError) -> Progress {
        if !isWalked {
            try walk(maximumBytes: UInt64(max(1, maximumBytes)))
            if !isWalked || damage.isEmpty { return .more }
        }
        if !damage.isEmpty { return .damaged(damage, digest: footer.digest) }
        try writeFooter()
        return .sealed(footer)
    }

    /// All steps at once.
    func run() throws(DiskError) -> Progress {
        while true {
            let progress = try step(maximumBytes: .max)
            if case .more = progress { continue }
            return progress
        }
    }

    // MARK: - Walk

    private func walk(maximumBytes: UInt64) throws(DiskError) {
        if !isSizeChecked {
            let size = try file.size()
            if size != header.segmentBytes {
                note(
                    SegmentDamage(
                        position: size, offsets: header.baseOffset..<header.baseOffset,
                        reason: "the file has \(size) bytes and not \(header.segmentBytes)"))
            }
            isSizeChecked = true
        }
        let begin = walker.readBytes
        while walker.readBytes - begin < maximumBytes {
            switch try walker.next() {
            case .frame(let frame): take(frame)
            case .damage(let damage): note(damage)
            case .searching: break
            case .end:
                footer = gathering.finish(digest: hash.finish())
                isWalked = true
                return
            }
        }
    }

    private func take(_ frame: SegmentWalker.Frame) {
        let damage = walker.records(of: frame) { (item) throws(FormatError) in
            try gathering.take(item)
            if case .record(let record) = item, let key = record.key, let content = record.content {
                keyed(key, content, record.offset)
            }
        }
        if let damage { note(damage) }
        gathering.take(frame: frame)
        paddingBytes += frame.endPosition - frame.position - UInt64(frame.header.frameBytes)
    }

    private func note(_ found: SegmentDamage) {
        guard damage.count == SegmentSealer.damageCountMaximum else { return damage.append(found) }
        let last = damage.count - 1
        damage[last].offsets =
            damage[last].offsets.lowerBound
            ..< max(damage[last].offsets.upperBound, found.offsets.upperBound)
        damage[last].reason = "this and everything damaged behind it"
    }

    // MARK: - Footer

    /// Writes all of the footer's room, syncs, and believes what the device gives back. A sync that
    /// failed may have dropped the pages, so every attempt begins with the writing.
    private func writeFooter() throws(DiskError) {
        let roomBytes = Int(header.segmentBytes - header.frameLimit)
        try file.write(array: footer.encode(roomBytes: roomBytes), at: header.frameLimit)
        try file.synchronise()
        guard case .footer(let written) = try FooterRoom.read(file, header: header),
            written == footer
        else {
            // The device answered without an error and holds something else.
            throw DiskError(.read, path, code: EIO)
        }
    }
}
