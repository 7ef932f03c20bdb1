internal import CPlatform
internal import Glibc

/// What reading every byte of a log found.
package struct LogVerification: Sendable {
    package struct Damage: Hashable, Sendable {
        package var file: String
        package var position: UInt64
        /// The offsets that cannot be read because of it; empty when no record is touched.
        package var offsets: Range<UInt64>
        package var reason: String
    }

    package var segmentCount = 0
    package var commitCount: UInt64 = 0
    package var recordCount: UInt64 = 0
    package var keyCount: UInt64 = 0
    package var firstOffset: UInt64 = 0
    package var headOffset: UInt64 = 0
    /// What stands after the last commit, by the decision table.
    package var row = RecoveryRow.cleanEnd
    package var end = RecoveryDecision.cleanEnd
    package var endFile = ""
    package var endPosition: UInt64 = 0
    package var damage: [Damage] = []
    /// What a crash may leave behind and opening puts right.
    package var notices: [String] = []

    package var isSound: Bool { damage.isEmpty }
}

extension LogInspector {
    /// Reads everything: every checksum, every link, padding and unused space that must be zero.
    /// Damage does not end it; what follows is verified too. Modifies nothing.
    ///
    /// - Throws: when the manifest cannot be used, or a file cannot be opened.
    package func verify() throws(LogError) -> LogVerification {
        let (state, table, slotDamage) = try slots()
        var verifier = LogVerifier(self, table: table, state: state)
        verifier.report.notices = slotDamage.map { "manifest: \($0); its twin was used" }
        let listed = Set(table.segments.map { SegmentHeader.fileName(id: $0.id) })
        for name in names.sorted()
        where SegmentHeader.id(fileName: name) != nil && !listed.contains(name) {
            verifier.report.notices.append("\(name) is not listed: a spare or an unfinished roll")
        }
        try verifier.checkUnusedManifest()
        for number in table.segments.indices { try verifier.verifySegment(number) }
        try verifier.conclude()
        return verifier.report
    }
}

/// Goes through the segments, past damage where a later frame shows the way.
private struct LogVerifier {
    fileprivate struct Chain {
        var sequence: UInt64
        var nextOffset: UInt64
        var previousHeaderCRC: UInt32
        var epoch: UInt64
    }

    private let inspector: LogInspector
    private let table: SegmentTable
    private let slot: LogState
    private let decoder = BlockDecoder()
    private var state: LogState
    private var keys: Set<Digest256> = []
    private var greatestGeneration: UInt64 = 0
    private var lastTimeMilliseconds = Int64.min
    /// Of the segment before, or of the removed ones; nil behind one that has none yet.
    private var previousDigest: Digest256?
    var report = LogVerification()

    init(_ inspector: LogInspector, table: SegmentTable, state: LogState) {
        self.inspector = inspector
        self.table = table
        slot = state
        self.state = state
        previousDigest = table.anchor.digest
        report.segmentCount = table.segments.count
        report.firstOffset = table.segments[0].baseOffset
        report.headOffset = report.firstOffset
    }

    /// The run tables, empty in this format version.
    mutating func checkUnusedManifest() throws(LogError) {
        let bytes: [UInt8]
        do throws(DiskError) { bytes = try inspector.manifest.allBytes() } catch {
            throw .disk(error)
        }
        guard bytes.count == ManifestLayout.fileBytes else {
            return note(
                inspector.manifest.path, UInt64(bytes.count), 0..<0,
                "it has \(bytes.count) bytes and not \(ManifestLayout.fileBytes)")
        }
        for slot in 0..<2 {
            let start = Int(ManifestLayout.tableSlotPosition(slot))
            let unused = start + ManifestLayout.tableSlotBytes - ManifestLayout.runTableBytes
            let area = unused..<unused + ManifestLayout.runTableBytes
            let isZero = bytes.withUnsafeBytes {
                UnsafeRawBufferPointer(rebasing: $0[area]).isAllZero
            }
            if !isZero, let place = bytes[area].firstIndex(where: { $0 != 0 }) {
                note(inspector.manifest.path, UInt64(place), 0..<0, "unused space is not zero")
            }
        }
    }

    /// Verifies one segment; the last one again when it looks damaged, because a running writer may
    /// have been in the middle of a frame.
    mutating func verifySegment(_ number: Int) throws(LogError) {
        let isLast = number == table.segments.count - 1
        let before = self
        for attempt in 1...inspector.attempts {
            try verifyOnce(number, isLast: isLast)
            guard isLast, report.damage.count > before.report.damage.count,
                attempt < inspector.attempts
            else { return }
            self = before
            usleep(LogInspector.pauseMicroseconds)
        }
    }

    private mutating func verifyOnce(_ number: Int, isLast: Bool) throws(LogError) {
        let entry = table.segments[number]
        let path = inspector.path(entry)
        let endOffset = isLast ? nil : table.segments[number + 1].baseOffset
        let image: SegmentImage
        do throws(LogError) { image = try inspector.image(entry, isLast: isLast) } catch {
            guard case .disk(let failure) = error else { throw error }
            note(path, 0, entry.baseOffset..<(endOffset ?? entry.baseOffset), failure.sentence)
            report.headOffset = endOffset ?? report.headOffset
            return
        }
        let header = self.header(entry, image, path)
        // A repacked segment is as long as it needs to be.
        let isRepacked = entry.flags & SegmentEntry.Flags.repacked != 0
        let byteCount = isRepacked ? header.segmentBytes : table.segmentBytes
        if image.readFailure == nil, UInt64(image.byteCount) != byteCount {
            note(
                path, UInt64(image.byteCount), 0..<0,
                "the file has \(image.byteCount) bytes and not \(byteCount)")
        }
        var chain = Chain(
            sequence: entry.firstSequence - 1, nextOffset: entry.baseOffset,
            previousHeaderCRC: entry.headerCRC, epoch: header.epoch)
        let end = frames(entry, image, header, path, isLast: isLast, endOffset, &chain)
        report.headOffset = endOffset ?? chain.nextOffset
        if isLast {
            report.endFile = SegmentHeader.fileName(id: entry.id)
            report.endPosition = end
        } else {
            if entry.flags & SegmentEntry.Flags.cut == 0 {
                checkZero(image, entry.logicalEnd, header.frameLimit, path)
            }
            previousDigest = checkFooter(entry, image, header, path, endOffset: chain.nextOffset)
        }
    }

    // MARK: - Footers

    /// Verifies the footer and the digest in it. A segment that was found damaged counts as sealed and
    /// has a digest, and no footer unless it was sealed before.
    /// - Returns: the digest from which the next one continues, when there is one.
    private mutating func checkFooter(
        _ entry: SegmentEntry, _ image: SegmentImage, _ header: SegmentHeader, _ path: String,
        endOffset: UInt64
    ) -> Digest256? {
        let isSealed = entry.flags & SegmentEntry.Flags.sealed != 0
        let isDamaged = entry.flags & SegmentEntry.Flags.damaged != 0
        let known = isSealed ? entry.digest : nil
        // A file that ends early was told already.
        guard image.byteCount >= header.segmentBytes else { return known }
        let room = UnsafeRawBufferPointer(
            rebasing: image.bytes[Int(header.frameLimit)..<Int(header.segmentBytes)])
        if room.isAllZero {
            if isSealed, !isDamaged {
                note(path, header.frameLimit, 0..<0, "it is sealed and has no footer")
            }
            return known
        }
        let footer: SegmentFooter
        do throws(FormatError) { footer = try SegmentFooter(room) } catch {
            if isSealed {
                note(path, header.frameLimit, 0..<0, "its footer does not verify (\(error))")
            } else {
                report.notices.append(
                    "\(path) has an unfinished footer (\(error)); it is written again")
            }
            return known
        }
        guard footer.matches(header, entry), footer.endOffset == endOffset else {
            note(path, header.frameLimit, 0..<0, "its footer is not of this segment")
            return known
        }
        let hash = SHA256Stream()
        hash.update(footer.previousDigest)
        hash.update(UnsafeRawBufferPointer(rebasing: image.bytes[..<Int(entry.logicalEnd)]))
        guard hash.finish() == footer.digest, footer.digest == known ?? footer.digest else {
            note(
                path, header.frameLimit, 0..<0,
                "its bytes do not give the digest that it was sealed with")
            return known
        }
        if let previousDigest, previousDigest != footer.previousDigest {
            note(
                path, header.frameLimit, 0..<0,
                "its digest does not continue from that of the segment before")
        }
        return footer.digest
    }

    /// The segment's header, or, when that is damaged, what the manifest knows of it: enough to
    /// verify the frames behind.
    private mutating func header(_ entry: SegmentEntry, _ image: SegmentImage, _ path: String)
        -> SegmentHeader
    {
        var reason = "the segment header is not the one that the manifest names"
        do throws(FormatError) {
            let header = try SegmentHeader(image.bytes)
            if header.matches(entry, table) { return header }
        } catch {
            reason = "the segment header does not verify (\(error))"
        }
        note(path, 0, 0..<0, reason)
        let isRepacked = entry.flags & SegmentEntry.Flags.repacked != 0
        let segmentBytes =
            isRepacked
            ? max(UInt64(image.byteCount), FormatLimits.repackedSegmentBytesMinimum)
            : table.segmentBytes
        return SegmentHeader(
            commitAlignment: table.commitAlignment, identifier: table.identifier, id: entry.id,
            salt: entry.salt, previousID: 0, firstSequence: entry.firstSequence,
            baseOffset: entry.baseOffset, epoch: 1, createdMilliseconds: 0,
            segmentBytes: segmentBytes,
            commitBytesMaximum: UInt32(FormatLimits.commitBytes(segmentBytes: table.segmentBytes)),
            profile: table.profile, crc: entry.headerCRC)
    }

    // MARK: - Frames

    /// - Returns: where the last frame ends.
    private mutating func frames(
        _ entry: SegmentEntry, _ image: SegmentImage, _ header: SegmentHeader, _ path: String,
        isLast: Bool, _ endOffset: UInt64?, _ chain: inout Chain
    ) -> UInt64 {
        let limit = isLast ? header.frameLimit : entry.logicalEnd
        var position = header.firstFramePosition
        checkZero(image, UInt64(FormatLimits.segmentHeaderBytes), position, path)
        var watermark = max(slot.durableSequence, entry.firstSequence - 1)
        let isCut = entry.flags & SegmentEntry.Flags.cut != 0
        while position < limit {
            let verdict = Result { () throws(FormatError) in
                try frame(at: position, limit, image, header, chain)
            }
            switch verdict {
            case .success(let frame):
                take(frame, image, at: position, path)
                watermark = max(watermark, frame.durableSequence)
                chain.advance(frame)
                let frameEnd = FrameAlignment.end(of: frame.frameBytes, at: position, header)
                // A cut leaves the last commit's padding behind as the power left it.
                if !(isCut && frameEnd == limit) {
                    checkZero(image, position + UInt64(frame.frameBytes), frameEnd, path)
                }
                position = frameEnd
            case .failure(let error):
                let later = laterFrame(after: position, limit, image, header, chain.sequence)
                if isLast, later == nil {
                    end(error, position, image, header, path, chain, watermark)
                    return position
                }
                let reach = later?.frame.firstOffset ?? endOffset ?? chain.nextOffset
                note(
                    path, position, chain.nextOffset..<max(chain.nextOffset, reach),
                    "a commit does not verify (\(error))")
                guard let later else { return position }
                // Goes on at the frame that was found, as if everything before it were there.
                chain = Chain(
                    sequence: later.frame.sequence - 1, nextOffset: later.frame.firstOffset,
                    previousHeaderCRC: later.frame.previousHeaderCRC, epoch: later.frame.epoch)
                position = later.position
            }
        }
        if isLast {
            checkZero(image, position, UInt64(image.byteCount), path)
        } else if position != entry.logicalEnd || chain.sequence != entry.lastSequence {
            note(path, position, 0..<0, "its commits do not end where the manifest says")
        }
        return position
    }

    private func frame(
        at position: UInt64, _ limit: UInt64, _ image: SegmentImage, _ header: SegmentHeader,
        _ chain: Chain
    ) throws(FormatError) -> FrameHeader {
        let limit = min(limit, UInt64(image.byteCount))
        guard position < limit else { throw .truncated }
        let place = UnsafeRawBufferPointer(rebasing: image.bytes[Int(position)..<Int(limit)])
        let frame = try FrameHeader(
            place, salt: header.salt, position: position,
            commitBytesMaximum: Int(header.commitBytesMaximum))
        guard frame.frameBytes <= place.count else { throw .truncated }
        let body = UnsafeRawBufferPointer(
            rebasing: place[FormatLimits.frameHeaderBytes..<frame.frameBytes])
        guard Checksum.of(body) == frame.bodyCRC else { throw .checksum }
        guard frame.sequence == chain.sequence + 1, frame.firstOffset == chain.nextOffset,
            frame.previousHeaderCRC == chain.previousHeaderCRC, frame.epoch >= chain.epoch
        else { throw .invalid("it does not follow the commit before it") }
        return frame
    }

    private mutating func take(
        _ frame: FrameHeader, _ image: SegmentImage, at position: UInt64, _ path: String
    ) {
        let start = Int(position) + FormatLimits.frameHeaderBytes
        let body = UnsafeRawBufferPointer(
            rebasing: image.bytes[start..<start + Int(frame.bodyBytes)])
        report.commitCount += 1
        report.recordCount += UInt64(frame.recordCount)
        greatestGeneration = max(greatestGeneration, frame.stateGeneration)
        do throws(FormatError) {
            try FrameBody.walk(frame, body, decoder) { (item) throws(FormatError) in
                switch item {
                case .record(let record):
                    guard record.appendTimeMilliseconds >= lastTimeMilliseconds else {
                        throw .invalid("an append time is before the one of the record before")
                    }
                    lastTimeMilliseconds = record.appendTimeMilliseconds
                    guard let key = record.key else { return }
                    guard keys.insert(key).inserted else {
                        throw .invalid("a key stands in the log twice")
                    }
                    report.keyCount += 1
                case .change(let change): state.apply(change)
                case .other: break
                }
            }
        } catch {
            note(path, position, frame.firstOffset..<frame.endOffset, "\(error)")
        }
    }

    private func laterFrame(
        after position: UInt64, _ limit: UInt64, _ image: SegmentImage, _ header: SegmentHeader,
        _ sequence: UInt64
    ) -> (position: UInt64, frame: FrameHeader)? {
        let step = UInt64(FrameAlignment.bytes(header.profile, header.commitAlignment))
        let limit = min(limit, UInt64(image.byteCount))
        var place = position + step
        while place + UInt64(FormatLimits.frameHeaderBytes) <= limit {
            let rest = UnsafeRawBufferPointer(rebasing: image.bytes[Int(place)..<Int(limit)])
            if rest.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                let frame = try? FrameHeader(
                    rest, salt: header.salt, position: place,
                    commitBytesMaximum: Int(header.commitBytesMaximum)),
                frame.sequence > sequence
            {
                return (place, frame)
            }
            place += step
        }
        return nil
    }

    /// Judges by the decision table what stands after the last frame.
    private mutating func end(
        _ error: FormatError, _ position: UInt64, _ image: SegmentImage, _ header: SegmentHeader,
        _ path: String, _ chain: Chain, _ watermark: UInt64
    ) {
        let nonZeroEnd = image.nonZeroEnd(from: position)
        let bytes: RecoveryEvidence.Bytes =
            nonZeroEnd <= position
            ? .allZero
            : nonZeroEnd <= position + UInt64(header.commitBytesMaximum)
                ? .nonZeroWithinOneCommit : .nonZeroBeyondOneCommit
        let (row, decision) = DecisionTable.decide(
            RecoveryEvidence(
                frameVerifiesAndLinks: false, readFailed: image.readFailure != nil,
                provenDurable: chain.sequence + 1 <= watermark, bytes: bytes))
        report.row = row
        report.end = decision
        if decision == .corrupt {
            let reason = image.readFailure?.error.sentence ?? "\(error)"
            note(
                path, position, chain.nextOffset..<chain.nextOffset + 1,
                "row \(row.rawValue): a commit does not verify (\(reason))")
        } else if decision == .torn {
            report.notices.append(
                "\(path) ends at byte \(position) with \(nonZeroEnd - position) bytes of a commit "
                    + "that is torn, damaged or being written")
        }
    }

    // MARK: - Conclusions

    mutating func conclude() throws(LogError) {
        if greatestGeneration > slot.generation,
            try inspector.slots().state.generation < greatestGeneration
        {
            note(
                inspector.manifest.path, 0, 0..<0,
                "the state slot of generation \(greatestGeneration) is lost")
        }
        for cursor in state.cursors.map(\.cursor) where cursor.nextOffset > report.headOffset {
            note(
                inspector.manifest.path, 0, 0..<0,
                "cursor \(cursor.name) of \(cursor.owner) stands at \(cursor.nextOffset), beyond "
                    + "the head \(report.headOffset)")
        }
    }

    private mutating func checkZero(
        _ image: SegmentImage, _ start: UInt64, _ end: UInt64, _ path: String
    ) {
        let start = min(Int(start), image.byteCount)
        let end = min(Int(end), image.byteCount)
        guard start < end, bsfg_all_zero(image.bytes.baseAddress! + start, end - start) == 0,
            let place = image.bytes[start..<end].firstIndex(where: { $0 != 0 })
        else { return }
        note(path, UInt64(place), 0..<0, "bytes that must be zero are not")
    }

    private mutating func note(
        _ file: String, _ position: UInt64, _ offsets: Range<UInt64>, _ reason: String
    ) {
        report.damage.append(
            LogVerification.Damage(
                file: file, position: position, offsets: offsets, reason: reason))
    }
}

extension LogVerifier.Chain {
    fileprivate mutating func advance(_ frame: FrameHeader) {
        sequence = frame.lastSequence
        nextOffset = frame.endOffset
        previousHeaderCRC = frame.headerCRC
        epoch = frame.epoch
    }
}

extension SegmentImage {
    /// One past the last non-zero byte at or after `start`, or `start`.
    fileprivate func nonZeroEnd(from start: UInt64) -> UInt64 {
        let start = min(Int(start), byteCount)
        var end = byteCount
        while end > start {
            let chunk = min(4096, end - start)
            if bsfg_all_zero(bytes.baseAddress! + end - chunk, chunk) == 0 { break }
            end -= chunk
        }
        while end > start, bytes[end - 1] == 0 { end -= 1 }
        return UInt64(end)
    }
}
