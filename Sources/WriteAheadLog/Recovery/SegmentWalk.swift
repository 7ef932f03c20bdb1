/// Walks all segments of a log in order and gathers what is in them: keys, control records, the
/// sparse index, and what stands at the end.
struct SegmentWalk {
    private let opening: LogOpening
    private let table: SegmentTable
    private let decoder = BlockDecoder()
    private(set) var state: LogState
    private(set) var segments: [SegmentIndex] = []
    private(set) var keys: [Digest256: KeyTable.Entry] = [:]
    private(set) var frameCount: UInt64 = 0
    private(set) var recordCount: UInt64 = 0
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

    init(_ opening: LogOpening, table: SegmentTable, state: LogState) throws(LogError) {
        self.opening = opening
        self.table = table
        self.state = state
        provenSequence = max(state.durableSequence, table.segments.last!.firstSequence - 1)
        sequence = table.segments.first!.firstSequence - 1
        nextOffset = table.segments.first!.baseOffset
    }

    /// - Throws: `corrupt` at the first place that the decision table calls so.
    mutating func run(uncached: Bool) throws(LogError) {
        let slotGeneration = state.generation
        for (number, entry) in table.segments.enumerated() {
            let isLast = number == table.segments.count - 1
            try walk(entry, isLast: isLast, uncached: uncached, slotGeneration: slotGeneration)
        }
    }

    private mutating func walk(
        _ entry: SegmentEntry, isLast: Bool, uncached: Bool, slotGeneration: UInt64
    ) throws(LogError) {
        let path = opening.path(SegmentHeader.fileName(id: entry.id))
        let (file, image) = try opening.onDisk { () throws(DiskError) in
            let file = try opening.disk.open(path, isLast ? .readWrite : .read)
            // The page cache may hold bytes that a failed sync never brought to the device.
            if isLast { try file.synchronise() }
            return (
                file,
                try SegmentImage(file, limit: UInt64(1) << 33, uncached: uncached && isLast)
            )
        }
        let header = try header(entry, image, path)
        guard image.readFailure != nil || UInt64(image.byteCount) >= header.segmentBytes else {
            // It had its whole length, synced, before it was listed.
            throw corruption(path, UInt64(image.byteCount), "the file has been cut short")
        }
        var index = SegmentIndex(entry: entry, header: header)
        var scan = SegmentScan(
            header: header, bytes: image.bytes, logicalEnd: isLast ? nil : entry.logicalEnd,
            provenSequence: provenSequence, readFailure: image.readFailure)
        while true {
            switch scan.next() {
            case .frame(let frame):
                try take(frame, path, &index)
                if frame.header.stateGeneration > slotGeneration {
                    throw corruption(
                        opening.path(ManifestLayout.fileName), 0,
                        "the state slot of generation \(frame.header.stateGeneration) is lost")
                }
            case .end(let end):
                sequence = scan.sequence
                previousHeaderCRC = scan.sequence < header.firstSequence ? header.crc : previousHeaderCRC
                if isLast {
                    try conclude(end, scan, header, file, path)
                } else if scan.sequence != entry.lastSequence || end.position != entry.logicalEnd {
                    throw corruption(
                        path, end.position, end.frameReadFailure?.sentence ?? end.reason)
                }
                index.endPosition = end.position
                segments.append(index)
                return
            }
        }
    }

    private func header(_ entry: SegmentEntry, _ image: SegmentImage, _ path: String)
        throws(LogError) -> SegmentHeader
    {
        let header: SegmentHeader
        do throws(FormatError) { header = try SegmentHeader(image.bytes) } catch {
            throw corruption(path, 0, "its header does not verify (\(error))")
        }
        guard header.id == entry.id, header.salt == entry.salt, header.crc == entry.headerCRC,
            header.identifier == table.identifier, header.baseOffset == entry.baseOffset,
            header.firstSequence == entry.firstSequence, header.baseOffset == nextOffset,
            header.firstSequence == sequence + 1
        else { throw corruption(path, 0, "its header is not the one that the manifest names") }
        return header
    }

    /// Takes the records of a good frame.
    private mutating func take(
        _ frame: SegmentScan.Frame, _ path: String, _ index: inout SegmentIndex
    ) throws(LogError) {
        var greatestTime: Int64 = 0
        do throws(FormatError) {
            var blocks = BlockIterator(body: frame.body)
            while let (block, bytes) = try blocks.next() {
                greatestTime = max(greatestTime, try take(block, bytes))
            }
        } catch {
            throw corruption(path, frame.position, "a block or record does not verify (\(error))")
        }
        frameCount += 1
        recordCount += UInt64(frame.header.recordCount)
        nextOffset = frame.header.endOffset
        previousHeaderCRC = frame.header.headerCRC
        lastTimeMilliseconds = max(lastTimeMilliseconds, greatestTime)
        index.append(
            frameAt: frame.position, header: frame.header, greatestTimeMilliseconds: greatestTime,
            endPosition: frame.endPosition)
    }

    /// - Returns: the append time of its last record.
    private mutating func take(_ block: BlockHeader, _ bytes: UnsafeRawBufferPointer)
        throws(FormatError) -> Int64
    {
        var time = block.baseTimeMilliseconds
        var rest = try decoder.records(of: block, in: bytes)
        var offset = block.firstOffset
        for _ in 0..<block.recordCount {
            let record = try RecordView(rest)
            rest = UnsafeRawBufferPointer(rebasing: rest[record.byteCount...])
            time = block.baseTimeMilliseconds + Int64(record.timeDeltaMilliseconds)
            if block.isControl {
                try take(control: record)
            } else {
                if let key = record.key, let content = record.content {
                    keys[key] = KeyTable.Entry(offset: offset, content: content)
                }
                offset += 1
            }
        }
        guard rest.isEmpty else { throw .invalid("a block has bytes after its records") }
        return time
    }

    private mutating func take(control record: RecordView) throws(FormatError) {
        switch record.kind & ~RecordKind.ignorableBit {
        case RecordKind.cursor, RecordKind.register:
            let change = try StateChange(kind: record.kind, payload: record.payload)
            guard change.revision < FormatLimits.counterMaximum else {
                throw .invalid("a revision is not one of any log")
            }
            state.apply(change)
        default:
            guard record.kind & RecordKind.ignorableBit != 0 else {
                throw .unsupported(UInt64(record.kind))
            }
        }
    }

    /// Decides by the table what stands at the end of the last segment.
    private mutating func conclude(
        _ end: SegmentScan.End, _ scan: SegmentScan, _ header: SegmentHeader,
        _ file: any DiskFile, _ path: String
    ) throws(LogError) {
        self.end = end
        lastHeader = header
        lastFile = file
        provenSequence = max(provenSequence, scan.watermark, end.laterFrameSequence ?? 0)
        let evidence = RecoveryEvidence(
            frameVerifiesAndLinks: false, readFailed: end.frameReadFailure != nil,
            provenDurable: scan.sequence + 1 <= provenSequence, bytes: end.bytes)
        (row, decision) = DecisionTable.decide(evidence)
        if decision == .corrupt {
            throw corruption(
                path, end.position,
                "row \(row.rawValue): " + (end.frameReadFailure?.sentence ?? end.reason))
        }
    }

    private func corruption(_ file: String, _ position: UInt64, _ reason: String) -> LogError {
        .corrupt(Corruption(file: file, position: position, offset: nextOffset, reason: reason))
    }
}
