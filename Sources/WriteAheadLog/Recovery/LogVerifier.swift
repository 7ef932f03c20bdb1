extension LogInspector {
    /// Reads everything: every checksum, every link, counts, the digests of sealed segments and their
    /// chain, footers, key runs in all copies, padding and unused space that must be zero. Damage does
    /// not end it; what follows is verified too. Modifies nothing, and works beside a running writer.
    ///
    /// Memory is bounded by the largest commit, the largest key run's filter and, when `deep`, a few
    /// megabytes for each key run.
    ///
    /// - Parameters:
    ///   - deep: also compares the keys in the key runs with those of the records.
    ///   - anchor: a digest of the chain that was kept elsewhere.
    /// - Throws: when the manifest cannot be used.
    package func verify(deep: Bool = false, anchor: ChainHead? = nil) throws(LogError)
        -> LogVerification
    {
        let (state, table, _) = try slots()
        let verifier = LogVerifier(self, table: table, state: state, deep: deep)
        try verifier.verifyManifest()
        for number in table.segments.indices { try verifier.verifySegment(number) }
        try verifier.verifyUnlistedFiles()
        try verifier.verifyRuns()
        try verifier.conclude(anchor)
        return verifier.report
    }
}

/// Goes through a log's files, past damage where a later frame shows the way.
///
/// Not thread-safe.
final class LogVerifier {
    let inspector: LogInspector
    let table: SegmentTable
    let slot: LogState
    /// The slot and the changes in later frames.
    private var state: LogState
    var keys: KeyVerification
    private var greatestGeneration: UInt64 = 0
    private var lastTimeMilliseconds = Int64.min
    private var isCheckpointFound = false
    /// What the next segment's digest must continue from; nil behind one that has none yet.
    private var chainDigest: Digest256?
    /// Nothing was found so far that breaks the chain.
    private var isChainWhole = true
    /// Records that could not be read, declared or not: their keys say nothing.
    private(set) var unreadable: [Range<UInt64>] = []
    var report = LogVerification()

    init(_ inspector: LogInspector, table: SegmentTable, state: LogState, deep: Bool) {
        self.inspector = inspector
        self.table = table
        slot = state
        self.state = state
        keys = KeyVerification(table, deep: deep)
        report.segmentCount = table.segments.count
        report.firstOffset = table.segments[0].baseOffset
        report.headOffset = report.firstOffset
        chainDigest = table.anchor.digest
    }

    // MARK: - Segments

    func verifySegment(_ number: Int) throws(LogError) {
        let entry = table.segments[number]
        let path = inspector.path(entry)
        let isLast = number == table.segments.count - 1
        let endOffset = isLast ? nil : table.segments[number + 1].baseOffset
        let reading: SegmentReading
        switch Result(catching: { () throws(DiskError) in
            try self.inspector.reading(self.table, number)
        }) {
        case .success(let opened): reading = opened
        case .failure(let error):
            report.headOffset = endOffset ?? max(report.headOffset, slot.headOffset)
            isChainWhole = false
            chainDigest = entry.isSealed ? entry.digest : nil
            guard try inspector.isListed(entry) else {
                notice(path, 0, "it was removed meanwhile; its records were confirmed")
                return
            }
            found(
                LogVerification.Damage(
                    file: path, position: 0, offsets: entry.baseOffset..<report.headOffset,
                    reason: error.sentence), in: entry)
            return
        }
        let placeCount = report.damage.count + report.declaredGaps.count
        verifyHeader(reading, number, path)
        let room = isLast ? nil : Result { () throws(DiskError) in
            try FooterRoom.read(reading.file, header: reading.header)
        }
        // A segment is hashed behind the digest that its footer names; whether that is the right one
        // is seen afterwards.
        var previousDigest = chainDigest
        if case .success(.footer(let footer)) = room { previousDigest = footer.previousDigest }
        var gathering = FooterGathering(
            header: reading.header, entry: entry, endOffset: endOffset ?? entry.baseOffset,
            previousDigest: previousDigest ?? .zero)
        verifyCheckpoint(SegmentWalker.Start(reading.header), entry)
        let end = try reading.read(
            previousDigest: previousDigest, proof: SegmentReading.Proof(slot)
        ) { (item) throws(LogError) in
            switch item {
            case .damage(let damage, _):
                self.found(LogVerification.Damage(path, damage), in: entry)
            case .frame(let frame, let walker):
                let damage = walker.records(of: frame) { (item) throws(FormatError) in
                    try gathering.take(item)
                    try self.take(item)
                }
                if let damage { self.found(LogVerification.Damage(path, damage), in: entry) }
                gathering.take(frame: frame)
                self.report.commitCount += 1
                self.report.recordCount += UInt64(frame.header.recordCount)
                self.greatestGeneration = max(
                    self.greatestGeneration, frame.header.stateGeneration)
                self.verifyCheckpoint(walker.place, entry)
            }
        }
        let isWhole = report.damage.count + report.declaredGaps.count == placeCount
        report.headOffset = endOffset ?? end.place.nextOffset
        if isLast {
            conclude(end, reading, path)
        } else if let room {
            try verifyRest(reading, path)
            verifySealing(
                reading, path, room, isWhole: isWhole,
                expected: gathering.finish(digest: end.digest ?? .zero), digest: end.digest)
        }
        if isWhole, table.checkpoint?.segmentID == entry.id, !isCheckpointFound {
            found(manifestDamage("its checkpoint is at no place between two commits"), in: nil)
        }
    }

    private func verifyHeader(_ reading: SegmentReading, _ number: Int, _ path: String) {
        let entry = reading.entry
        // That it does not verify, its walk says.
        guard reading.headerFailure == nil else { return }
        // One that was repacked has another id than when its successor was begun.
        if number > 0, table.segments[number - 1].flags & SegmentEntry.Flags.repacked == 0,
            reading.header.previousID != table.segments[number - 1].id
        {
            found(
                LogVerification.Damage(
                    file: path, position: 0,
                    reason: "it follows segment \(reading.header.previousID) and not "
                        + "\(table.segments[number - 1].id)"), in: entry)
        }
        let expected = reading.header.segmentBytes
        if entry.fileBytes != 0, entry.fileBytes != expected {
            found(
                manifestDamage(
                    "it says that \(path) has \(entry.fileBytes) bytes and not \(expected)"),
                in: nil)
        }
        let size = (try? reading.file.size()) ?? 0
        if size != expected {
            found(
                LogVerification.Damage(
                    file: path, position: size,
                    reason: "the file has \(size) bytes and not \(expected)"), in: entry)
        }
    }

    private func take(_ item: FrameBody.Item) throws(FormatError) {
        switch item {
        case .record(let record):
            guard record.appendTimeMilliseconds >= lastTimeMilliseconds else {
                throw .invalid("an append time is before the one of the record before")
            }
            lastTimeMilliseconds = record.appendTimeMilliseconds
            guard let key = record.key, let content = record.content else { return }
            report.keyCount += 1
            guard keys.take(KeyEntry(key: key, content: content, offset: record.offset)) else {
                throw .invalid("a key stands in the log twice")
            }
        case .change(let change): state.apply(change)
        case .other: break
        }
    }

    /// The checkpoint must be a place between two frames, with what is known there.
    private func verifyCheckpoint(_ place: SegmentWalker.Start, _ entry: SegmentEntry) {
        guard let checkpoint = table.checkpoint, checkpoint.segmentID == entry.id,
            checkpoint.position == place.position
        else { return }
        isCheckpointFound = true
        if checkpoint.sequence != place.sequence || checkpoint.nextOffset != place.nextOffset
            || checkpoint.previousHeaderCRC != place.previousHeaderCRC
            || checkpoint.epoch < place.epoch
        {
            found(
                manifestDamage("its checkpoint does not agree with the commits before it"), in: nil)
        }
    }

    private func conclude(_ end: SegmentReading.End, _ reading: SegmentReading, _ path: String) {
        report.row = end.row
        report.end = end.decision
        report.endFile = SegmentHeader.fileName(id: reading.entry.id)
        report.endPosition = end.place.position
        guard end.decision == .torn else { return }
        notice(
            path, end.cutPosition,
            "\(end.nonZeroEnd - end.cutPosition) bytes of a commit that is torn, damaged or being "
                + "written")
    }

    // MARK: - Behind the frames

    /// From the last frame to the room of the footer all bytes are zero, unless a tail was cut.
    private func verifyRest(_ reading: SegmentReading, _ path: String) throws(LogError) {
        let entry = reading.entry
        guard entry.flags & SegmentEntry.Flags.cut == 0 else { return }
        let limit = max(entry.logicalEnd, reading.header.frameLimit)
        do throws(DiskError) {
            if let place = try ZeroScan(reading.file).firstNonZero(in: entry.logicalEnd..<limit) {
                found(
                    LogVerification.Damage(
                        file: path, position: place, reason: "bytes that must be zero are not"),
                    in: entry)
            }
        } catch {
            found(
                LogVerification.Damage(
                    file: path, position: entry.logicalEnd, reason: error.sentence), in: entry)
        }
    }

    /// The footer is the one that the frames make, and its digest continues the chain.
    ///
    /// - Parameters:
    ///   - expected: the footer that the frames make.
    ///   - digest: of the bytes, behind the digest that the footer names; nil when they could not all be
    ///     read.
    private func verifySealing(
        _ reading: SegmentReading, _ path: String, _ room: Result<FooterRoom, DiskError>,
        isWhole: Bool, expected: SegmentFooter, digest: Digest256?
    ) {
        let entry = reading.entry
        if entry.isSealed { report.sealedSegmentCount += 1 }
        let isDamaged = entry.flags & SegmentEntry.Flags.damaged != 0
        var reasons: [(place: UInt64, reason: String)] = []
        var next = entry.isSealed ? entry.digest : nil
        let footerPlace = reading.header.frameLimit
        switch room {
        case .failure(let error): reasons.append((footerPlace, error.sentence))
        case .success(.empty):
            // Nothing was written behind what was damaged before.
            if entry.isSealed, !isDamaged {
                reasons.append((footerPlace, "it is sealed and has no footer"))
            }
        case .success(.damaged(let error)):
            if entry.isSealed {
                reasons.append((footerPlace, "its footer does not verify (\(error))"))
            } else {
                notice(
                    path, footerPlace,
                    "an unfinished footer, which is written again (\(error))")
            }
        case .success(.footer(let footer)):
            if !footer.matches(reading.header, entry) {
                reasons.append((footerPlace, "its footer is not of this segment"))
                break
            }
            if let chainDigest, footer.previousDigest != chainDigest {
                reasons.append(
                    (footerPlace, "its digest does not continue from that of the segment before"))
            }
            next = next ?? digest
            guard isWhole, !isDamaged else { break }
            if digest != footer.digest || entry.isSealed && digest != entry.digest {
                reasons.append((0, "its bytes do not give the digest that it was sealed with"))
            } else if footer != expected {
                reasons.append((footerPlace, "its footer does not agree with its commits"))
            }
        }
        for (place, reason) in reasons {
            found(
                LogVerification.Damage(
                    file: path, position: place,
                    offsets: place == 0 ? expected.baseOffset..<expected.endOffset : 0..<0,
                    reason: reason), in: entry)
        }
        chainDigest = next
        isChainWhole = isChainWhole && entry.isSealed && digest == entry.digest && reasons.isEmpty
        if isChainWhole { report.chainHead = ChainHead(segmentID: entry.id, digest: entry.digest) }
    }

    // MARK: - Conclusions

    func conclude(_ anchor: ChainHead?) throws(LogError) {
        greatestGeneration = max(greatestGeneration, table.checkpoint?.stateGeneration ?? 0)
        if try inspector.isSlotLost(greatestGeneration, slot) {
            found(
                manifestDamage("the state slot of generation \(greatestGeneration) is lost"), in: nil)
        }
        for cursor in state.cursors.map(\.cursor) where cursor.nextOffset > report.headOffset {
            found(
                manifestDamage(
                    "cursor \(cursor.name) of \(cursor.owner) stands at \(cursor.nextOffset), beyond "
                        + "the head \(report.headOffset)"), in: nil)
        }
        if let last = slot.losses.spans.last, last.last >= report.headOffset {
            found(
                manifestDamage(
                    "it declares offset \(last.last) lost, beyond the head \(report.headOffset)"),
                in: nil)
        }
        if let anchor { verify(anchor) }
    }

    /// Holds a digest that was kept elsewhere against the chain.
    private func verify(_ anchor: ChainHead) {
        let known: (digest: Digest256, file: String, offsets: Range<UInt64>)?
        if anchor.segmentID == table.anchor.segmentID {
            known = (table.anchor.digest, inspector.manifest.path, 0..<0)
        } else if let number = table.segments.firstIndex(where: { $0.id == anchor.segmentID }),
            table.segments[number].isSealed
        {
            known = (
                table.segments[number].digest, inspector.path(table.segments[number]),
                report.firstOffset..<table.segments[number + 1].baseOffset
            )
        } else {
            known = nil
        }
        guard let known else {
            return found(
                manifestDamage(
                    "it knows no digest of segment \(anchor.segmentID); use a later anchor, or one of "
                        + "this log"), in: nil)
        }
        guard known.digest != anchor.digest else { return }
        found(
            LogVerification.Damage(
                file: known.file, position: 0, offsets: known.offsets,
                reason: "the chain up to it has the digest \(known.digest.hexadecimal) and not the "
                    + "anchor's"), in: nil)
    }

    // MARK: - Report

    /// Enters damage; what is known of before is told apart.
    func found(_ damage: LogVerification.Damage, in entry: SegmentEntry?) {
        if !damage.offsets.isEmpty { unreadable.append(damage.offsets) }
        let isDeclared =
            entry.map { slot.losses.covers(damage, in: $0) } ?? slot.losses.covers(damage.offsets)
        if isDeclared { report.declaredGaps.append(damage) } else { report.damage.append(damage) }
    }

    func manifestDamage(_ reason: String, at position: UInt64 = 0) -> LogVerification.Damage {
        LogVerification.Damage(file: inspector.manifest.path, position: position, reason: reason)
    }

    func notice(_ file: String, _ position: UInt64, _ reason: String) {
        report.notices.append(
            LogVerification.Damage(file: file, position: position, reason: reason))
    }
}
