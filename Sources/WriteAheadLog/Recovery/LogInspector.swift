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
                    pause()
                    continue
                }
                return (state, table, damage)
            }
            pause()
        }
        throw .corrupt(
            Corruption(
                file: manifest.path, position: 0, offset: 0,
                reason: damage.isEmpty
                    ? "its slots belong to different logs, are empty or hold no log's numbers"
                    : damage.joined(separator: "; ")))
    }

    // MARK: - Walk

    /// What a walk meets.
    package enum Item {
        case record(LogRecord)
        /// Records that are not there: declared lost before, or damaged now.
        case gap(LogVerification.Damage, isDeclared: Bool)
    }

    /// Gives every durable record to `visit`, in order, and tells what the log is.
    ///
    /// - Throws: `corrupt` at the first damage that is not a declared loss, after everything before it
    ///   was given.
    package func walk(_ visit: (LogRecord) -> Void = { _ in }) throws(LogError) -> LogInformation {
        try walk(stopping: true) { item in
            if case .record(let record) = item { visit(record) }
        }
    }

    /// Gives every record that can be read, and the gaps between them, in order: whatever is damaged.
    ///
    /// - Throws: when the manifest cannot be used.
    package func walkPastDamage(_ visit: (Item) -> Void) throws(LogError) -> LogInformation {
        try walk(stopping: false, visit)
    }

    private func walk(stopping: Bool, _ visit: (Item) -> Void) throws(LogError) -> LogInformation {
        let (slot, table, _) = try slots()
        var state = slot
        var information = LogInformation(table, slot)
        var greatestGeneration: UInt64 = 0
        var nextOffset = table.segments[0].baseOffset
        /// Tells of damage to records, or ends the walk with it.
        func meet(_ damage: LogVerification.Damage, _ entry: SegmentEntry) throws(LogError) {
            let isDeclared = slot.losses.covers(damage, in: entry)
            if stopping, !isDeclared {
                throw .corrupt(
                    Corruption(
                        file: damage.file, position: damage.position, offset: nextOffset,
                        reason: damage.reason))
            }
            if !damage.offsets.isEmpty { visit(.gap(damage, isDeclared: isDeclared)) }
            nextOffset = max(nextOffset, damage.offsets.upperBound)
        }
        for (number, entry) in table.segments.enumerated() {
            let path = path(entry)
            let endOffset =
                number + 1 < table.segments.count ? table.segments[number + 1].baseOffset : nil
            let reading: SegmentReading
            switch Result(catching: { () throws(DiskError) in try self.reading(table, number) }) {
            case .success(let opened): reading = opened
            case .failure(let error):
                if let endOffset, try !isListed(entry) {
                    // Removed since the table was read, after it was confirmed.
                    information.firstOffset = endOffset
                    nextOffset = endOffset
                    continue
                }
                if stopping, !slot.losses.covers(entry.baseOffset..<(endOffset ?? entry.baseOffset)) {
                    throw .disk(error)
                }
                try meet(
                    LogVerification.Damage(
                        file: path, position: 0,
                        offsets: nextOffset..<max(nextOffset, endOffset ?? slot.headOffset),
                        reason: error.sentence), entry)
                continue
            }
            var shown = SegmentInformation(entry, reading.header)
            let end = try reading.read(proof: SegmentReading.Proof(slot)) {
                (item) throws(LogError) in
                switch item {
                case .frame(let frame, let walker):
                    shown.commitCount += 1
                    greatestGeneration = max(greatestGeneration, frame.header.stateGeneration)
                    let damage = walker.records(of: frame) { item in
                        switch item {
                        case .record(let record):
                            visit(.record(record))
                            nextOffset = record.offset + 1
                        case .change(let change): state.apply(change)
                        case .other: break
                        }
                    }
                    if var damage {
                        // Those before the damaged one were given.
                        damage.offsets =
                            min(nextOffset, damage.offsets.upperBound)..<damage.offsets.upperBound
                        try meet(LogVerification.Damage(path, damage), entry)
                    }
                    nextOffset = frame.header.endOffset
                case .damage(let damage, _):
                    try meet(LogVerification.Damage(path, damage), entry)
                }
            }
            shown.endPosition = end.place.position
            shown.endOffset = nextOffset
            shown.lastSequence = end.place.sequence
            information.segments.append(shown)
            information.lastSequence = end.place.sequence
            if reading.isLast { information.end = end.decision }
        }
        if stopping, try isSlotLost(greatestGeneration, slot) {
            throw .corrupt(
                Corruption(
                    file: manifest.path, position: 0, offset: nextOffset,
                    reason: "the state slot of generation \(greatestGeneration) is lost"))
        }
        information.headOffset = nextOffset
        information.take(state)
        return information
    }

    func reading(_ table: SegmentTable, _ number: Int) throws(DiskError) -> SegmentReading {
        try SegmentReading(
            disk, directory: directory, table: table, number: number, attempts: attempts)
    }

    func pause() { usleep(SegmentReading.pauseMicroseconds) }

    /// Whether the table, as it is now, names a segment: the writer may have removed it meanwhile.
    func isListed(_ entry: SegmentEntry) throws(LogError) -> Bool { try isListed(entry.id) }

    func isListed(_ id: UInt64) throws(LogError) -> Bool {
        try slots().table.segments.contains { $0.id == id }
    }

    func isListed(run id: UInt64) throws(LogError) -> Bool {
        try slots().table.runs.contains { $0.id == id }
    }

    /// Whether a frame tells of a later state slot than there is. Asked again, because the writer may
    /// have written slots since it was read first.
    func isSlotLost(_ generation: UInt64, _ slot: LogState) throws(LogError) -> Bool {
        guard generation > slot.generation else { return false }
        return try slots().state.generation < generation
    }
}

extension LossTable {
    /// Whether all of these records are declared lost.
    func covers(_ offsets: Range<UInt64>) -> Bool {
        guard !offsets.isEmpty else { return false }
        let declared = gaps(in: offsets)
        return declared.count == 1 && declared[0].offsets == offsets
    }

    /// Whether damage is known: its records are declared lost or, where it costs none, its segment is
    /// marked as damaged.
    func covers(_ damage: LogVerification.Damage, in entry: SegmentEntry) -> Bool {
        damage.offsets.isEmpty
            ? entry.flags & SegmentEntry.Flags.damaged != 0 : covers(damage.offsets)
    }
}

extension SegmentHeader {
    func matches(_ entry: SegmentEntry, _ table: SegmentTable) -> Bool {
        id == entry.id && salt == entry.salt && crc == entry.headerCRC
            && identifier == table.identifier && baseOffset == entry.baseOffset
            && firstSequence == entry.firstSequence
    }
}
