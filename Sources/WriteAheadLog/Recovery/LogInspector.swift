internal import Glibc

/// Looks into a log without opening it: nothing is written, a running writer is not disturbed, and
/// only what is durable is told.
///
/// The writer may go on meanwhile. What a look shows is the log as it stood at some moment of it.
package final class LogInspector {
    package let directory: String
    let disk: any Disk
    let manifest: ManifestFile
    let names: [String]
    private let lock: (any DiskLock)?

    /// A frame that the writer is about to finish looks damaged for a moment: how often and how
    /// long it is given.
    var attempts = 5
    static let pauseMicroseconds: UInt32 = 40_000

    package convenience init(directory: String) throws(LogError) {
        try self.init(directory: directory, disk: LinuxDisk())
    }

    package init(directory: String, disk: any Disk) throws(LogError) {
        self.directory = directory
        self.disk = disk
        do throws(DiskError) { names = try disk.list(directory) } catch { throw .disk(error) }
        guard names.contains(ManifestLayout.fileName) else {
            throw .notALog(directory: directory, reason: "there is no manifest in it")
        }
        // While it is held the writer recycles no segment. A copy without the file, or one that
        // cannot be written, has no writer that could.
        if names.contains(LogInspector.lockName) {
            lock = (try? disk.lock(directory + "/" + LogInspector.lockName, exclusive: false)) ?? nil
        } else {
            lock = nil
        }
        do throws(DiskError) {
            let path = directory + "/" + ManifestLayout.fileName
            manifest = ManifestFile(path: path, file: try disk.open(path, .read))
        } catch { throw .disk(error) }
    }

    static let lockName = "readers"

    /// What the log in a directory was made with; nil when there is none.
    package static func storedProfile(directory: String) throws(LogError) -> Profile? {
        let names: [String]
        do throws(DiskError) { names = try LinuxDisk().list(directory) } catch {
            // Whatever is wrong with the directory, opening the log says it.
            return nil
        }
        guard names.contains(ManifestLayout.fileName) else { return nil }
        return try LogInspector(directory: directory).slots().table.profile
    }

    func path(_ entry: SegmentEntry) -> String {
        directory + "/" + SegmentHeader.fileName(id: entry.id)
    }

    // MARK: - Manifest

    /// The newest slots that verify. One being written at this moment does not; its twin does.
    func slots() throws(LogError) -> (state: LogState, table: SegmentTable, damage: [String]) {
        var damage: [String] = []
        for attempt in 1...attempts {
            let contents: ManifestFile.Contents
            do throws(DiskError) { contents = try manifest.read() } catch { throw .disk(error) }
            if let version = contents.unsupportedVersion {
                throw .unsupportedFormat(directory: directory, version: version)
            }
            damage = contents.damage
            if let state = contents.states.first, let table = contents.tables.first,
                state.identifier == table.identifier, !table.segments.isEmpty,
                state.isCountable, table.isCountable
            {
                guard damage.isEmpty || attempt == attempts else {
                    usleep(LogInspector.pauseMicroseconds)
                    continue
                }
                return (state, table, damage)
            }
            usleep(LogInspector.pauseMicroseconds)
        }
        throw .corrupt(
            Corruption(
                file: manifest.path, position: 0, offset: 0,
                reason: damage.isEmpty
                    ? "its slots belong to different logs, are empty or hold no log's numbers"
                    : damage.joined(separator: "; ")))
    }

    // MARK: - Walk

    /// Gives every durable record to `visit`, in order, and tells what the log is.
    ///
    /// - Throws: `corrupt` at the first damage, after everything before it was given.
    package func walk(_ visit: (LogRecord) -> Void = { _ in }) throws(LogError) -> LogInformation {
        let (slot, table, _) = try slots()
        var state = slot
        var information = LogInformation(table, slot)
        var nextOffset = table.segments[0].baseOffset
        var sequence = table.segments[0].firstSequence - 1
        var greatestGeneration: UInt64 = 0
        let decoder = BlockDecoder()
        for (number, entry) in table.segments.enumerated() {
            let isLast = number == table.segments.count - 1
            let (image, header, decision) = try segment(
                entry, isLast: isLast, table: table, provenSequence: slot.durableSequence)
            guard header.baseOffset == nextOffset, header.firstSequence == sequence + 1 else {
                throw corruption(entry, 0, nextOffset, "it does not follow the segment before it")
            }
            var scan = SegmentScan(
                header: header, bytes: image.bytes, logicalEnd: isLast ? nil : entry.logicalEnd,
                readFailure: image.readFailure)
            var shown = SegmentInformation(entry, header)
            scanning: while true {
                switch scan.next() {
                case .frame(let frame):
                    do throws(FormatError) {
                        try FrameBody.walk(frame.header, frame.body, decoder) { item in
                            switch item {
                            case .record(let record): visit(record)
                            case .change(let change): state.apply(change)
                            case .other: break
                            }
                        }
                    } catch {
                        throw corruption(entry, frame.position, nextOffset, "\(error)")
                    }
                    nextOffset = frame.header.endOffset
                    sequence = frame.header.lastSequence
                    shown.commitCount += 1
                case .end(let end):
                    shown.endPosition = end.position
                    if isLast {
                        guard decision != .corrupt else {
                            throw corruption(entry, end.position, nextOffset, end.reason)
                        }
                        information.end = decision
                    } else if scan.sequence != entry.lastSequence || end.position != entry.logicalEnd
                    {
                        throw corruption(entry, end.position, nextOffset, end.reason)
                    }
                    break scanning
                }
            }
            greatestGeneration = max(greatestGeneration, scan.stateGeneration)
            shown.endOffset = nextOffset
            shown.lastSequence = sequence
            information.segments.append(shown)
        }
        // Asked again, because the writer may have written slots since it was read first.
        if greatestGeneration > slot.generation,
            try slots().state.generation < greatestGeneration
        {
            throw .corrupt(
                Corruption(
                    file: manifest.path, position: 0, offset: nextOffset,
                    reason: "the state slot of generation \(greatestGeneration) is lost"))
        }
        information.headOffset = nextOffset
        information.lastSequence = sequence
        information.take(state)
        return information
    }

    /// A segment's bytes, made durable before they are believed; for the last one also what its end
    /// means.
    private func segment(
        _ entry: SegmentEntry, isLast: Bool, table: SegmentTable, provenSequence: UInt64
    ) throws(LogError) -> (SegmentImage, SegmentHeader, RecoveryDecision) {
        for attempt in 1...attempts {
            let image = try image(entry, isLast: isLast)
            let header: SegmentHeader
            do throws(FormatError) { header = try SegmentHeader(image.bytes) } catch {
                throw corruption(
                    entry, 0, entry.baseOffset, "its header does not verify (\(error))")
            }
            guard header.matches(entry, table) else {
                throw corruption(
                    entry, 0, entry.baseOffset, "its header is not the one that the manifest names")
            }
            guard isLast else { return (image, header, .cleanEnd) }
            var scan = SegmentScan(
                header: header, bytes: image.bytes, logicalEnd: nil,
                readFailure: image.readFailure)
            while case .frame = scan.next() {}
            guard case .end(let end) = scan.next() else { continue }
            let proven = max(
                provenSequence, header.firstSequence - 1, scan.watermark,
                end.laterFrameSequence ?? 0)
            let (_, decision) = DecisionTable.decide(
                RecoveryEvidence(
                    frameVerifiesAndLinks: false, readFailed: end.frameReadFailure != nil,
                    provenDurable: scan.sequence + 1 <= proven, bytes: end.bytes))
            if decision != .corrupt || attempt == attempts {
                return (image, header, decision)
            }
            usleep(LogInspector.pauseMicroseconds)
        }
        preconditionFailure("the last attempt returns")
    }

    func image(_ entry: SegmentEntry, isLast: Bool) throws(LogError) -> SegmentImage {
        do throws(DiskError) {
            let file = try disk.open(path(entry), .read)
            let image = try SegmentImage(file, limit: UInt64(1) << 33, uncached: false)
            // What was read may be in the page cache only: after this it is on the device.
            if isLast { try file.synchronise() }
            return image
        } catch { throw .disk(error) }
    }

    private func corruption(
        _ entry: SegmentEntry, _ position: UInt64, _ offset: UInt64, _ reason: String
    ) -> LogError {
        .corrupt(
            Corruption(file: path(entry), position: position, offset: offset, reason: reason))
    }
}

extension SegmentHeader {
    func matches(_ entry: SegmentEntry, _ table: SegmentTable) -> Bool {
        id == entry.id && salt == entry.salt && crc == entry.headerCRC
            && identifier == table.identifier && baseOffset == entry.baseOffset
            && firstSequence == entry.firstSequence
    }
}

/// The records of one frame, each proven by its block's checksum and its own, and the frame's counts
/// held against them.
enum FrameBody {
    enum Item {
        case record(LogRecord)
        case change(StateChange)
        /// Of a kind that may be ignored.
        case other
    }

    static func walk(
        _ frame: FrameHeader, _ body: UnsafeRawBufferPointer,
        _ decoder: BlockDecoder = BlockDecoder(), _ visit: (Item) throws(FormatError) -> Void
    ) throws(FormatError) {
        var blocks = BlockIterator(body: body)
        var blockCount: UInt32 = 0
        var controlCount: UInt32 = 0
        var offset = frame.firstOffset
        while let (block, bytes) = try blocks.next() {
            var rest = try decoder.records(of: block, in: bytes)
            guard block.firstOffset == offset else {
                throw .invalid("a block's first offset does not follow the one before")
            }
            for _ in 0..<block.recordCount {
                let record = try RecordView(rest)
                rest = UnsafeRawBufferPointer(rebasing: rest[record.byteCount...])
                if block.isControl {
                    controlCount += 1
                    switch record.kind & ~RecordKind.ignorableBit {
                    case RecordKind.cursor, RecordKind.register:
                        try visit(
                            .change(try StateChange(kind: record.kind, payload: record.payload)))
                    case _ where record.kind & RecordKind.ignorableBit != 0: try visit(.other)
                    default: throw .unsupported(UInt64(record.kind))
                    }
                } else {
                    try visit(
                        .record(
                            LogRecord(
                                offset: offset,
                                appendTimeMilliseconds: block.baseTimeMilliseconds
                                    + Int64(record.timeDeltaMilliseconds),
                                epoch: frame.epoch, key: record.key, content: record.content,
                                crc: record.crc, payload: record.payload)))
                    offset += 1
                }
            }
            guard rest.isEmpty else { throw .invalid("a block has bytes after its records") }
            blockCount += 1
        }
        guard offset == frame.endOffset, controlCount == frame.controlCount,
            blockCount == frame.blockCount
        else { throw .invalid("a frame's counts are not those of its body") }
    }
}
