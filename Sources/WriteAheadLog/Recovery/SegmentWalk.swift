/// Reads what opening has to read: the frames since the checkpoint, whichever segments they are in,
/// and what stands at the end. Gathers keys, control records and the sparse index of the segment that
/// is being written.
///
/// Damage stops it, unless the log may go on without what is damaged (`isSalvaging`): then what cannot
/// be read becomes a loss, exact as far as anything is known of it.
struct SegmentWalk {
    /// Bytes that were not read because they are damaged, for a copy.
    struct Damage {
        var segmentID: UInt64
        var bytes: Range<UInt64>
    }

    private let opening: LogOpening
    private let table: SegmentTable
    private let isSalvaging: Bool
    private let isTableNewest: Bool
    private let decoder = BlockDecoder()
    private let slotGeneration: UInt64
    private let slotHeadOffset: UInt64
    private(set) var state: LogState
    private(set) var segments: [SegmentIndex] = []
    private(set) var keys: [KeyEntry] = []
    private(set) var frameCount: UInt64 = 0
    private(set) var recordCount: UInt64 = 0
    private(set) var frameBytes: UInt64 = 0
    private(set) var sequence: UInt64
    private(set) var nextOffset: UInt64
    private(set) var previousHeaderCRC: UInt32 = 0
    private(set) var lastTimeMilliseconds: Int64 = 0
    private(set) var provenSequence: UInt64
    private(set) var lastHeader: SegmentHeader!
    private(set) var lastFile: (any DiskFile)!
    private(set) var end: SegmentScan.End!
    private(set) var row = RecoveryRow.cleanEnd
    private(set) var decision = RecoveryDecision.cleanEnd
    /// What was lost, and where.
    private(set) var losses: [Range<UInt64>] = []
    private(set) var damage: [Damage] = []
    /// Records may have been lost after the last one that is known of.
    private(set) var isEndUnknown = false

    init(
        _ opening: LogOpening, table: SegmentTable, state: LogState, isTableNewest: Bool,
        isSalvaging: Bool
    ) throws(LogError) {
        self.opening = opening
        self.table = table
        self.state = state
        self.isSalvaging = isSalvaging
        self.isTableNewest = isTableNewest
        slotGeneration = state.generation
        slotHeadOffset = state.headOffset
        let first = table.segments.first!
        let checkpoint = table.checkpoint
        provenSequence = max(
            state.durableSequence, table.segments.last!.firstSequence - 1,
            checkpoint?.sequence ?? 0)
        sequence = checkpoint?.sequence ?? first.firstSequence - 1
        nextOffset = checkpoint?.nextOffset ?? first.baseOffset
        previousHeaderCRC = checkpoint?.previousHeaderCRC ?? 0
        lastTimeMilliseconds = checkpoint?.greatestTimeMilliseconds ?? 0
        if let checkpoint, checkpoint.stateGeneration > state.generation {
            throw lostSlot(checkpoint.stateGeneration)
        }
    }

    /// - Throws: `corrupt` at the first place that the decision table calls so.
    mutating func run() throws(LogError) {
        var start = table.checkpoint
        for (number, entry) in table.segments.enumerated() {
            let isLast = number == table.segments.count - 1
            if let checkpoint = start, entry.id != checkpoint.segmentID {
                precondition(!isLast, "the checkpoint is in a segment of the table")
                segments.append(
                    SegmentIndex(
                        closed: entry, in: table,
                        endOffset: table.segments[number + 1].baseOffset))
                continue
            }
            try walk(entry, isLast: isLast, start: start)
            start = nil
        }
    }

    private mutating func walk(_ entry: SegmentEntry, isLast: Bool, start: Checkpoint?)
        throws(LogError)
    {
        let path = opening.path(SegmentHeader.fileName(id: entry.id))
        let file = try opening.onDisk { () throws(DiskError) in
            let file = try opening.disk.open(path, isLast ? .readWrite : .read)
            // The page cache may hold bytes that a failed sync never brought to the device.
            if isLast { try file.synchronise() }
            return file
        }
        let header = try header(entry, file, path, isFollowing: start == nil)
        let from = start?.position ?? header.firstFramePosition
        let limit = isLast ? writtenLimit(header, from: from) : entry.logicalEnd
        let image = try opening.onDisk { () throws(DiskError) in
            try SegmentImage(
                file, from: from & ~4095, limit: limit, uncached: isLast,
                readerCount: opening.environment.threads ? 3 : 1)
        }
        var index = SegmentIndex(entry: entry, header: header)
        if let start, start.nextOffset > entry.baseOffset {
            // Of the records before the checkpoint, which nobody reads now.
            index.entry.greatestTimeMilliseconds = max(
                entry.greatestTimeMilliseconds, start.greatestTimeMilliseconds)
        }
        var scan = SegmentScan(
            header: header, image: image, start: start.map(SegmentScan.Start.init),
            logicalEnd: isLast ? nil : entry.logicalEnd)
        scanning: while true {
            switch scan.next() {
            case .frame(let frame):
                try take(frame, path, &index)
            case .end(let end):
                sequence = scan.sequence
                if isLast, try concludes(end, scan, header, path) {
                    self.end = end
                    lastHeader = header
                    lastFile = file
                    index.endPosition = end.position
                    break scanning
                }
                if !isLast {
                    if scan.sequence == entry.lastSequence, end.position == entry.logicalEnd {
                        index.endPosition = end.position
                        break scanning
                    }
                    guard isSalvaging else {
                        throw corruption(
                            path, end.position, end.frameReadFailure?.sentence ?? end.reason)
                    }
                }
                guard salvage(end, &scan, entry, number: segments.count) else {
                    if isLast {
                        self.end = end
                        lastHeader = header
                        lastFile = file
                    }
                    index.endPosition = isLast ? end.position : entry.logicalEnd
                    break scanning
                }
            }
        }
        if segments.count == table.segments.count - 1, sequence < header.firstSequence {
            previousHeaderCRC = header.crc
        }
        // Also where no frame was read, because none follows the checkpoint.
        index.endOffset = isLast ? nextOffset : table.segments[segments.count + 1].baseOffset
        segments.append(index)
    }

    /// How far the log can have written beyond what a checkpoint records: nothing after it is read.
    private func writtenLimit(_ header: SegmentHeader, from position: UInt64) -> UInt64 {
        // From an older table, when the newer one is damaged, more can have been written.
        guard table.checkpoint != nil, isTableNewest else { return header.segmentBytes }
        return min(header.segmentBytes, position + FormatLimits.uncheckpointedBytesMaximum)
    }

    private func header(
        _ entry: SegmentEntry, _ file: any DiskFile, _ path: String, isFollowing: Bool
    ) throws(LogError) -> SegmentHeader {
        let image = try opening.onDisk { () throws(DiskError) in
            let image = try SegmentImage(
                file, limit: UInt64(FormatLimits.segmentHeaderBytes), uncached: true)
            if let failure = image.readFailure { throw failure.error }
            return image
        }
        let header: SegmentHeader
        do throws(FormatError) { header = try SegmentHeader(image.bytes) } catch {
            throw corruption(path, 0, "its header does not verify (\(error))")
        }
        guard header.matches(entry, table),
            !isFollowing || header.baseOffset == nextOffset && header.firstSequence == sequence + 1
        else { throw corruption(path, 0, "its header is not the one that the manifest names") }
        let size = try opening.onDisk { () throws(DiskError) in try file.size() }
        guard size >= header.segmentBytes else {
            // It had its whole length, synced, before it was listed.
            throw corruption(path, size, "the file has been cut short")
        }
        return header
    }

    /// Takes the records of a good frame.
    private mutating func take(
        _ frame: SegmentScan.Frame, _ path: String, _ index: inout SegmentIndex
    ) throws(LogError) {
        guard frame.header.stateGeneration <= slotGeneration else {
            throw lostSlot(frame.header.stateGeneration)
        }
        var greatestTime: Int64 = 0
        do throws(FormatError) {
            try FrameBody.walk(frame.header, frame.body, decoder) { (item) throws(FormatError) in
                switch item {
                case .record(let record):
                    greatestTime = max(greatestTime, record.appendTimeMilliseconds)
                    if let key = record.key, let content = record.content {
                        keys.append(
                            KeyEntry(key: key, content: content, offset: record.offset))
                    }
                case .change(let change):
                    guard change.isCountable else {
                        throw .invalid("a change has numbers that are of no log")
                    }
                    state.apply(change)
                case .other: break
                }
            }
        } catch {
            throw corruption(path, frame.position, "a block or record does not verify (\(error))")
        }
        frameCount += 1
        frameBytes += frame.endPosition - frame.position
        recordCount += UInt64(frame.header.recordCount)
        nextOffset = frame.header.endOffset
        previousHeaderCRC = frame.header.headerCRC
        lastTimeMilliseconds = max(lastTimeMilliseconds, greatestTime)
        index.append(
            frameAt: frame.position, header: frame.header, greatestTimeMilliseconds: greatestTime,
            endPosition: frame.endPosition)
    }

    /// Decides by the table what stands at the end of the last segment; false when it is damage that
    /// is to be passed over.
    private mutating func concludes(
        _ end: SegmentScan.End, _ scan: SegmentScan, _ header: SegmentHeader, _ path: String
    ) throws(LogError) -> Bool {
        provenSequence = max(provenSequence, scan.watermark, end.laterFrameSequence ?? 0)
        let evidence = RecoveryEvidence(
            frameVerifiesAndLinks: false, readFailed: end.frameReadFailure != nil,
            provenDurable: scan.sequence + 1 <= provenSequence, bytes: end.bytes)
        (row, decision) = DecisionTable.decide(evidence)
        if decision == .cleanEnd, end.tornPadding != nil {
            // The last commit is whole; what was to be zero behind it is left behind with a roll.
            (row, decision) = (.tornTail, .torn)
        }
        guard decision == .corrupt else { return true }
        // What could not be read may still be there: nothing is given up for a read error.
        if isSalvaging, row != .readError { return false }
        throw corruption(
            path, end.position,
            "row \(row.rawValue): " + (end.frameReadFailure?.sentence ?? end.reason))
    }

    /// What a torn end leaves behind.
    var cutBytes: Range<UInt64> {
        let start = end.tornPadding?.lowerBound ?? end.position
        return start..<max(start, end.nonZeroEnd)
    }

    // MARK: - Damage

    /// Passes over damage: goes on at the next frame that verifies, if there is one.
    ///
    /// - Returns: false when nothing of this segment is left to read.
    private mutating func salvage(
        _ end: SegmentScan.End, _ scan: inout SegmentScan, _ entry: SegmentEntry, number: Int
    ) -> Bool {
        let isLast = number == table.segments.count - 1
        if let later = end.laterFrame, later.header.firstOffset >= nextOffset {
            lose(upTo: later.header.firstOffset)
            damage.append(Damage(segmentID: entry.id, bytes: end.position..<later.position))
            scan.resume(at: later)
            return true
        }
        if isLast {
            // How many records stood there is known only as far as a slot or the proof tells.
            lose(upTo: max(nextOffset, slotHeadOffset))
            sequence = max(sequence, provenSequence)
            isEndUnknown = true
            damage.append(
                Damage(segmentID: entry.id, bytes: end.position..<max(end.position, end.nonZeroEnd)))
        } else {
            let next = table.segments[number + 1]
            lose(upTo: next.baseOffset)
            sequence = next.firstSequence - 1
            damage.append(Damage(segmentID: entry.id, bytes: end.position..<entry.logicalEnd))
        }
        return false
    }

    private mutating func lose(upTo offset: UInt64) {
        if offset > nextOffset { losses.append(nextOffset..<offset) }
        nextOffset = max(nextOffset, offset)
    }

    private func corruption(_ file: String, _ position: UInt64, _ reason: String) -> LogError {
        .corrupt(Corruption(file: file, position: position, offset: nextOffset, reason: reason))
    }

    private func lostSlot(_ generation: UInt64) -> LogError {
        corruption(
            opening.path(ManifestLayout.fileName), 0,
            "the state slot of generation \(generation) is lost")
    }
}
