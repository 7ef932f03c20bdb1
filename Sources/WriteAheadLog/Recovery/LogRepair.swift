/// Makes a log that does not open one that does, at a price that is told before it is paid.
///
/// Damaged bytes stay where they are and are copied into the folder `quarantine` besides; records
/// that cannot be read any more are declared lost, so that readers meet a gap; what follows them is
/// kept. Where nothing tells how many records were lost at the end, a new epoch begins. Commits are
/// never written again. The writer's lock is held meanwhile.
///
/// Not thread-safe.
package final class LogRepair {
    private let directory: String
    private let disk: any Disk
    private let environment: LogEnvironment
    private let names: [String]
    private let lock: any DiskLock

    package convenience init(directory: String) throws(RepairError) {
        try self.init(directory: directory, disk: LinuxDisk(), environment: .linux)
    }

    package init(directory: String, disk: any Disk, environment: LogEnvironment)
        throws(RepairError)
    {
        self.directory = directory
        self.disk = disk
        self.environment = environment
        names = try LogRepair.onDisk { () throws(DiskError) in try disk.list(directory) }
        guard
            names.contains(where: {
                $0 == ManifestLayout.fileName || SegmentHeader.id(fileName: $0) != nil
            })
        else { throw .log(.notALog(directory: directory, reason: "there is no segment in it")) }
        let lock = try LogRepair.onDisk { () throws(DiskError) in
            try disk.lock(directory + "/lock", exclusive: true)
        }
        guard let lock else { throw .log(.locked(directory: directory)) }
        self.lock = lock
    }

    deinit { lock.release() }

    // MARK: - Plan

    /// Finds out what is wrong and what would be done about it. Reads everything; changes nothing.
    package func plan() throws(RepairError) -> RepairPlan {
        let (table, state) = try manifest()
        var plan = RepairPlan(directory: directory, table: table.value, state: state.value)
        plan.findings += table.findings + state.findings
        if table.isRebuilt {
            plan.actions.append("make a new table from the segments' headers and footers")
        }
        if state.isRebuilt {
            plan.actions.append(
                "make a new state from headers and frames; cursors may stand earlier than they did")
            plan.epochReason = "repair: state lost"
        }
        let slotGeneration = plan.state.generation
        plan.greatestGeneration = max(slotGeneration, plan.table.checkpoint?.stateGeneration ?? 0)
        plan.headOffset = plan.state.headOffset
        for number in plan.table.segments.indices { try readSegment(number, &plan) }
        let isNewestLost = state.isOlder || plan.greatestGeneration > slotGeneration
        if isNewestLost, !state.isRebuilt {
            plan.findings.append(
                finding(
                    state.isOlder
                        ? "the newest state slot holds numbers of no log"
                        : "the state slot of generation \(plan.greatestGeneration) is lost"))
            plan.actions.append(
                "go on from an older state slot; cursors may stand earlier than they did")
            plan.epochReason = plan.epochReason ?? "repair: state slot lost"
        }
        if state.isRebuilt { plan.unknownFrom = plan.unknownFrom ?? plan.headOffset }
        guard plan.isNeeded else { return plan }
        try conclude(&plan, isTableRebuilt: table.isRebuilt)
        return plan
    }

    private struct Found<Value> {
        var value: Value
        var isRebuilt = false
        /// A newer slot verifies, and cannot be counted on from: opening refuses it.
        var isOlder = false
        var findings: [LogVerification.Damage] = []
    }

    private func manifest() throws(RepairError) -> (Found<SegmentTable>, Found<LogState>) {
        var contents = ManifestFile.Contents()
        if names.contains(ManifestLayout.fileName) {
            contents = try LogRepair.onDisk { () throws(DiskError) in
                let path = directory + "/" + ManifestLayout.fileName
                return try ManifestFile(path: path, file: try disk.open(path, .read)).read()
            }
        } else {
            contents.damage = ["the file is missing"]
        }
        if let version = contents.unsupportedVersion {
            throw .log(.unsupportedFormat(directory: directory, version: version))
        }
        // An older table may not list what was written since: where the newest is none, the segments
        // tell more than it does. An older state tells more than they do.
        let storedTable = contents.tables.first.flatMap {
            $0.isCountable && !$0.segments.isEmpty ? $0 : nil
        }
        let storedState = contents.states.first { $0.isCountable }
        let rebuilding = TableRebuilding(disk: disk, directory: directory, names: names)
        let isStateOfNoLog = contents.states.first?.isCountable == false
        if isStateOfNoLog { contents.damage.append("the newest state slot holds numbers of no log") }
        if storedTable == nil, !contents.tables.isEmpty {
            contents.damage.append("the newest table slot holds numbers of no log, or no segment")
        }
        let findings = contents.damage.map { finding($0) }
        let table: Found<SegmentTable>
        if let storedTable {
            table = Found(value: storedTable)
        } else {
            table = Found(
                value: try rebuilding.table(storedState?.identifier), isRebuilt: true,
                findings: findings)
        }
        guard let storedState else {
            return (
                table,
                Found(value: try rebuilding.state(table.value), isRebuilt: true, findings: findings)
            )
        }
        guard storedState.identifier == table.value.identifier else {
            throw .notProvable("the manifest's slots belong to different logs")
        }
        return (table, Found(value: storedState, isOlder: isStateOfNoLog))
    }

    private func finding(_ reason: String) -> LogVerification.Damage {
        LogVerification.Damage(
            file: directory + "/" + ManifestLayout.fileName, position: 0, reason: reason)
    }

    // MARK: - Segments

    /// Reads a segment, and enters what is damaged in it and what to do about that.
    private func readSegment(_ number: Int, _ plan: inout RepairPlan) throws(RepairError) {
        let name = SegmentHeader.fileName(id: plan.table.segments[number].id)
        guard names.contains(name) else { return replaceMissing(number, name, &plan) }
        let isLast = number == plan.table.segments.count - 1
        let path = directory + "/" + name
        let table = plan.table
        var reading = try LogRepair.onDisk { () throws(DiskError) in
            try SegmentReading(
                disk, directory: directory, table: table, number: number, attempts: 1)
        }
        let hasHeader = reading.headerFailure == nil
        if let reason = reading.headerFailure {
            try restoreHeader(reading, number, path, reason, &plan)
            let table = plan.table
            reading = try LogRepair.onDisk { () throws(DiskError) in
                try SegmentReading(
                    disk, directory: directory, table: table, number: number, attempts: 1)
            }
        }
        let size = try LogRepair.onDisk { () throws(DiskError) in try reading.file.size() }
        if size < reading.header.segmentBytes {
            plan.findings.append(
                LogVerification.Damage(
                    file: path, position: size, reason: "the file has been cut short"))
            plan.actions.append("give \(name) its length again, with zeros")
            plan.table.segments[number].flags |= SegmentEntry.Flags.damaged
            plan.lengths.append((reading.entry.id, size..<reading.header.segmentBytes))
        }
        let findingCount = plan.findings.count
        let end = try read(reading, number, path, hasHeader: hasHeader, &plan)
        plan.headOffset = max(plan.headOffset, end.place.nextOffset)
        guard isLast else { return }
        plan.lastPlace = end.place
        if end.decision == .corrupt || plan.findings.count > findingCount {
            close(number, reading.header, end.place, &plan)
        }
    }

    /// The walk of one segment; what it finds is declared lost unless it was before.
    private func read(
        _ reading: SegmentReading, _ number: Int, _ path: String, hasHeader: Bool,
        _ plan: inout RepairPlan
    ) throws(RepairError) -> SegmentReading.End {
        var found: [(damage: LogVerification.Damage, end: UInt64)] = []
        var state = plan.state
        var entry = plan.table.segments[number]
        var greatestGeneration = plan.greatestGeneration
        let isLast = reading.isLast
        let end: SegmentReading.End
        do throws(LogError) {
            end = try reading.read(proof: SegmentReading.Proof(plan.state)) {
                (item) throws(LogError) in
                switch item {
                case .damage(let damage, let end):
                    // Of the header enough was said.
                    guard hasHeader || damage.position > 0 || !damage.offsets.isEmpty else { return }
                    found.append((LogVerification.Damage(path, damage), end))
                case .frame(let frame, let walker):
                    greatestGeneration = max(greatestGeneration, frame.header.stateGeneration)
                    let damage = walker.records(of: frame) { item in
                        switch item {
                        case .change(let change): state.apply(change)
                        case .record(let record) where isLast:
                            if entry.leastTimeMilliseconds == 0 {
                                entry.leastTimeMilliseconds = record.appendTimeMilliseconds
                            }
                            entry.greatestTimeMilliseconds = max(
                                entry.greatestTimeMilliseconds, record.appendTimeMilliseconds)
                        case .record, .other: break
                        }
                    }
                    if let damage {
                        found.append((LogVerification.Damage(path, damage), frame.endPosition))
                    }
                }
            }
        } catch { throw .log(error) }
        plan.state = state
        plan.greatestGeneration = greatestGeneration
        plan.table.segments[number] = entry
        if isLast, end.decision == .corrupt, var (damage, byteEnd) = found.popLast() {
            // One record at least stood there; only a slot tells of how many.
            let known = end.place.nextOffset..<max(end.place.nextOffset, plan.state.headOffset)
            plan.unknownFrom = known.upperBound
            plan.epochReason = plan.epochReason ?? "repair: damaged end"
            damage.offsets = known
            byteEnd = max(byteEnd, damage.position)
            lose(damage, byteEnd, number, &plan)
        }
        for (damage, byteEnd) in found where !plan.state.losses.covers(damage, in: entry) {
            lose(damage, byteEnd, number, &plan)
        }
        return end
    }

    private func lose(
        _ damage: LogVerification.Damage, _ end: UInt64, _ number: Int, _ plan: inout RepairPlan
    ) {
        let bytes = damage.position..<max(damage.position, end)
        plan.findings.append(damage)
        plan.table.segments[number].flags |= SegmentEntry.Flags.damaged
        plan.copies.append((plan.table.segments[number].id, bytes))
        if !damage.offsets.isEmpty { plan.lostBytes += bytes.upperBound - bytes.lowerBound }
        plan.losses += plan.state.losses.undeclared(in: damage.offsets)
        plan.actions.append(
            "copy bytes \(bytes) of \(SegmentHeader.fileName(id: plan.table.segments[number].id)) and "
                + "leave them behind")
    }

    /// A file that is gone is replaced by one without commits.
    private func replaceMissing(_ number: Int, _ name: String, _ plan: inout RepairPlan) {
        let entry = plan.table.segments[number]
        let isLast = number == plan.table.segments.count - 1
        let endOffset =
            isLast
            ? max(entry.baseOffset, plan.state.headOffset) : plan.table.segments[number + 1].baseOffset
        plan.findings.append(
            LogVerification.Damage(
                file: directory + "/" + name, position: 0, offsets: entry.baseOffset..<endOffset,
                reason: "the file is missing"))
        plan.actions.append("put a segment without commits in the place of \(name)")
        var header = knownHeader(number, plan, segmentBytes: plan.table.segmentBytes)
        if entry.fileBytes >= FormatLimits.segmentBytesMinimum { header.segmentBytes = entry.fileBytes }
        header.salt = environment.random()
        _ = header.encode()
        plan.emptySegments.append(header)
        plan.losses += plan.state.losses.undeclared(in: entry.baseOffset..<endOffset)
        plan.lostBytes += max(entry.logicalEnd, header.firstFramePosition) - header.firstFramePosition
        plan.table.segments[number].salt = header.salt
        plan.table.segments[number].headerCRC = header.crc
        plan.table.segments[number].flags |= SegmentEntry.Flags.damaged
        plan.headOffset = max(plan.headOffset, endOffset)
        guard isLast else {
            plan.table.segments[number].logicalEnd = header.firstFramePosition
            return
        }
        plan.unknownFrom = endOffset
        plan.epochReason = plan.epochReason ?? "repair: newest segment missing"
        close(number, header, SegmentWalker.Start(header), &plan)
    }

    /// What a segment's header must have been but for its epoch and time.
    private func knownHeader(_ number: Int, _ plan: RepairPlan, segmentBytes: UInt64) -> SegmentHeader {
        let entry = plan.table.segments[number]
        return SegmentHeader(
            commitAlignment: plan.table.commitAlignment, identifier: plan.table.identifier,
            id: entry.id, salt: entry.salt,
            previousID: number == 0
                ? plan.table.anchor.segmentID : plan.table.segments[number - 1].id,
            firstSequence: entry.firstSequence, baseOffset: entry.baseOffset,
            epoch: plan.state.epochs.last { $0.firstOffset <= entry.baseOffset }?.epoch ?? 1,
            createdMilliseconds: entry.leastTimeMilliseconds, segmentBytes: segmentBytes,
            commitBytesMaximum: UInt32(FormatLimits.commitBytes(segmentBytes: segmentBytes)),
            profile: plan.table.profile)
    }

    /// A header that can be proven is written again. In the place of any other stands a new one, to
    /// which the first commit does not link: that one is lost.
    private func restoreHeader(
        _ reading: SegmentReading, _ number: Int, _ path: String, _ reason: String,
        _ plan: inout RepairPlan
    ) throws(RepairError) {
        let stored = try LogRepair.onDisk { () throws(DiskError) in
            try SegmentImage(
                reading.file, limit: UInt64(2 * FormatLimits.commitAlignmentMaximum), uncached: true)
        }
        var known = knownHeader(number, plan, segmentBytes: reading.header.segmentBytes)
        let entry = plan.table.segments[number]
        let front = UnsafeRawBufferPointer(
            rebasing: stored.bytes[min(Int(known.firstFramePosition), stored.byteCount)...])
        let frame = try? FrameHeader(
            front, salt: entry.salt, position: known.firstFramePosition,
            commitBytesMaximum: Int(known.commitBytesMaximum))
        plan.findings.append(LogVerification.Damage(file: path, position: 0, reason: reason))
        plan.copies.append((entry.id, 0..<UInt64(FormatLimits.segmentHeaderBytes)))
        if let header = HeaderRestoring.restore(
            Array(stored.bytes.prefix(FormatLimits.segmentHeaderBytes)), known: known,
            crc: entry.headerCRC, epoch: frame?.epoch)
        {
            plan.actions.append("write the header of \(path) again, as its checksum proves it was")
            plan.headers.append(header)
            return
        }
        if let frame { known.epoch = frame.epoch }
        _ = known.encode()
        plan.actions.append("write a new header of \(path), to which its first commit does not link")
        plan.headers.append(known)
        plan.table.segments[number].headerCRC = known.crc
        plan.table.segments[number].flags |= SegmentEntry.Flags.damaged
    }

    // MARK: - The new end

    /// The last segment ends where its last good frame does; a new one follows.
    private func close(
        _ number: Int, _ header: SegmentHeader, _ place: SegmentWalker.Start,
        _ plan: inout RepairPlan
    ) {
        plan.table.segments[number].lastSequence = max(
            place.sequence, plan.state.durableSequence, header.firstSequence - 1)
        plan.table.segments[number].logicalEnd = place.position
        plan.table.segments[number].fileBytes = header.segmentBytes
        plan.table.segments[number].retentionMilliseconds = Int64(
            clamping: plan.state.retentionMilliseconds)
        plan.table.segments[number].flags |= SegmentEntry.Flags.cut | SegmentEntry.Flags.damaged
        plan.beginsSegment = true
        plan.actions.append("begin a new segment")
    }

    /// Declares the losses, begins the new epoch and segment, and puts the checkpoint behind
    /// everything that is damaged.
    private func conclude(_ plan: inout RepairPlan, isTableRebuilt: Bool) throws(RepairError) {
        let now = environment.wallMilliseconds()
        plan.losses = LossTable.merged(plan.losses)
        for cursor in plan.state.cursors {
            plan.headOffset = max(plan.headOffset, cursor.cursor.nextOffset)
        }
        if let place = plan.lastPlace, !plan.beginsSegment { plan.headOffset = place.nextOffset }
        for offsets in plan.losses {
            do throws(LogError) {
                try plan.state.losses.declare(
                    offsets, reasons: .corrupt, timeMilliseconds: now,
                    firstOffset: plan.table.segments[0].baseOffset)
            } catch { throw .log(error) }
        }
        let epoch = max(plan.state.epoch, plan.lastPlace?.epoch ?? 1)
        if let reason = plan.epochReason {
            if plan.state.epochs.count == FormatLimits.epochCountMaximum {
                plan.state.epochs.removeFirst()
            }
            plan.state.epochs.append(
                EpochEntry(
                    epoch: epoch + 1, firstOffset: plan.headOffset, beganMilliseconds: now,
                    reason: reason))
            plan.actions.append("begin epoch \(epoch + 1) at offset \(plan.headOffset): \(reason)")
        }
        plan.state.generation = plan.greatestGeneration + 1
        plan.state.headOffset = plan.headOffset
        if plan.beginsSegment { begin(&plan, now) }
        let last = plan.table.segments.count - 1
        plan.state.durableSequence =
            plan.beginsSegment
            ? plan.table.segments[last].firstSequence - 1
            : plan.lastPlace?.sequence ?? plan.state.durableSequence
        if isTableRebuilt || plan.beginsSegment
            || plan.table.checkpoint?.segmentID != plan.table.segments[last].id
        {
            try setCheckpoint(&plan)
        }
        if isTableRebuilt { try takeRuns(&plan) }
    }

    private func begin(_ plan: inout RepairPlan, _ now: Int64) {
        let last = plan.table.segments[plan.table.segments.count - 1]
        var header = SegmentHeader(
            commitAlignment: plan.table.commitAlignment, identifier: plan.table.identifier,
            id: plan.table.nextSegmentID, salt: environment.random(), previousID: last.id,
            firstSequence: last.lastSequence + 1, baseOffset: plan.headOffset,
            epoch: plan.state.epoch, createdMilliseconds: now,
            segmentBytes: plan.table.segmentBytes,
            commitBytesMaximum: UInt32(
                FormatLimits.commitBytes(segmentBytes: plan.table.segmentBytes)),
            profile: plan.table.profile)
        while names.contains(SegmentHeader.fileName(id: header.id)) { header.id += 1 }
        _ = header.encode()
        plan.newSegment = header
        plan.table.nextSegmentID = header.id + 1
        plan.table.segments.append(
            SegmentEntry(
                id: header.id, salt: header.salt, baseOffset: header.baseOffset,
                firstSequence: header.firstSequence, headerCRC: header.crc))
    }

    /// The checkpoint at the front of the last segment: nothing before is read when it is opened. Keys
    /// that are in no run are gathered again afterwards.
    private func setCheckpoint(_ plan: inout RepairPlan) throws(RepairError) {
        let last = plan.table.segments[plan.table.segments.count - 1]
        let header: SegmentHeader
        if let new = plan.newSegment {
            header = new
        } else if let restored = plan.headers.first(where: { $0.id == last.id }) {
            header = restored
        } else {
            let path = directory + "/" + SegmentHeader.fileName(id: last.id)
            let image = try LogRepair.onDisk { () throws(DiskError) in
                try SegmentImage(
                    try disk.open(path, .read), limit: UInt64(FormatLimits.segmentHeaderBytes),
                    uncached: true)
            }
            do throws(FormatError) { header = try SegmentHeader(image.bytes) } catch {
                throw .notProvable("\(path) changed meanwhile")
            }
        }
        plan.table.checkpoint = Checkpoint(
            segmentID: header.id, position: header.firstFramePosition,
            sequence: header.firstSequence - 1, nextOffset: header.baseOffset,
            previousHeaderCRC: header.crc, epoch: header.epoch,
            greatestTimeMilliseconds: plan.table.segments.dropLast()
                .map(\.greatestTimeMilliseconds).max() ?? 0,
            stateGeneration: plan.state.generation)
    }

    /// The key runs that are whole, of which the longest go first.
    private func takeRuns(_ plan: inout RepairPlan) throws(RepairError) {
        guard let checkpoint = plan.table.checkpoint else { return }
        var found: [RunEntry] = []
        for name in names.sorted() {
            guard let (id, copy) = KeyRunLayout.parse(fileName: name), copy == .first else { continue }
            let page = PageBuffer(pageCount: 1)
            let path = directory + "/" + name
            _ = try LogRepair.onDisk { () throws(DiskError) in
                try disk.open(path, .read).read(into: page.bytes, at: 0)
            }
            guard let header = try? KeyRunHeader(UnsafeRawBufferPointer(page.bytes)),
                header.id == id, header.endOffset <= checkpoint.nextOffset
            else { continue }
            let second = KeyRunLayout.fileName(id: id, copy: .second)
            let entry = RunEntry(header, copies: names.contains(second) ? 2 : 1)
            let damage = try? KeyRunInspector.verify(
                disk, directory: directory, identifier: plan.table.identifier, entry: entry)
            if damage?.isEmpty == true { found.append(entry) }
        }
        found.sort { ($0.firstOffset, $1.endOffset) < ($1.firstOffset, $0.endOffset) }
        var next: UInt64 = 0
        for entry in found where entry.firstOffset >= next && !entry.offsets.isEmpty {
            guard plan.table.runs.count < FormatLimits.runCountMaximum else { break }
            plan.table.runs.append(entry)
            next = entry.endOffset
        }
    }

    // MARK: - Apply

    /// Does what the plan says: first the copies, then new files, then the manifest.
    ///
    /// - Parameters:
    ///   - acceptedLoss: as `lossSpecification` has it; the safety profile wants it when records are
    ///     lost, and whoever gives one gives the right one.
    ///   - quarantine: the folder for copies; nil: `quarantine` in the log's directory.
    /// - Returns: the paths of the copies.
    package func apply(
        _ plan: RepairPlan, acceptedLoss: String? = nil, quarantine: String? = nil
    ) throws(RepairError) -> [String] {
        let expected = plan.lossSpecification
        guard acceptedLoss == expected || acceptedLoss == nil && plan.profile == .standard
            || acceptedLoss == nil && expected.isEmpty
        else { throw .lossNotAccepted(expected: expected) }
        guard plan.isNeeded else { return [] }
        return try LogRepair.onDisk { () throws(DiskError) in
            var copies: [String] = []
            let folder = Quarantine(disk: disk, directory: directory, folder: quarantine)
            if names.contains(ManifestLayout.fileName) {
                copies.append(
                    try folder.copy(
                        ofFile: ManifestLayout.fileName,
                        as: "manifest-\(plan.state.generation)",
                        bytes: 0..<UInt64(ManifestLayout.fileBytes)))
            }
            for (id, bytes) in plan.copies where !bytes.isEmpty {
                copies.append(try folder.copy(ofSegment: id, bytes: bytes))
            }
            for header in plan.headers { try write(header) }
            for (id, bytes) in plan.lengths { try extend(id, bytes) }
            for header in plan.emptySegments { try make(header) }
            if let header = plan.newSegment { try make(header) }
            try disk.synchroniseDirectory(directory)
            try writeManifest(plan)
            return copies
        }
    }

    private func write(_ header: SegmentHeader) throws(DiskError) {
        var header = header
        let path = directory + "/" + SegmentHeader.fileName(id: header.id)
        let file = try disk.open(path, .readWrite)
        try file.write(array: header.encode(), at: 0)
        try file.synchronise()
    }

    private func extend(_ id: UInt64, _ bytes: Range<UInt64>) throws(DiskError) {
        let path = directory + "/" + SegmentHeader.fileName(id: id)
        let file = try disk.open(path, .readWrite)
        try ZeroFill.fill(file, from: bytes.lowerBound, byteCount: bytes.upperBound)
    }

    private func make(_ header: SegmentHeader) throws(DiskError) {
        var header = header
        let name = SegmentHeader.fileName(id: header.id)
        // An attempt before this one may have been cut short.
        if try disk.list(directory).contains(name) { try disk.remove(directory + "/" + name) }
        let file = try disk.open(directory + "/" + name, .create)
        try ZeroFill.fill(file, byteCount: header.segmentBytes)
        try file.write(array: header.encode(), at: 0)
        try file.synchronise()
    }

    /// A new file takes the manifest's place, both slots of everything written.
    private func writeManifest(_ plan: RepairPlan) throws(DiskError) {
        var state = plan.state
        var table = plan.table
        table.generation += 1
        let manifest = try ManifestFile.finish(
            try ManifestFile.begin(disk, directory: directory), disk, directory: directory,
            state: state, table: table)
        state.generation += 1
        table.generation += 1
        try manifest.write(state)
        try manifest.write(table)
    }

    private static func onDisk<Value>(_ body: () throws(DiskError) -> Value) throws(RepairError)
        -> Value
    {
        do throws(DiskError) { return try body() } catch { throw .log(.disk(error)) }
    }
}

extension LossTable {
    /// The parts of a range that are not declared lost.
    func undeclared(in offsets: Range<UInt64>) -> [Range<UInt64>] {
        var parts: [Range<UInt64>] = []
        var next = offsets.lowerBound
        for gap in gaps(in: offsets) {
            if gap.offsets.lowerBound > next { parts.append(next..<gap.offsets.lowerBound) }
            next = gap.offsets.upperBound
        }
        if next < offsets.upperBound { parts.append(next..<offsets.upperBound) }
        return parts
    }

    /// Ranges in order, those that touch or overlap as one.
    static func merged(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
        var merged: [Range<UInt64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = merged.last, range.lowerBound <= last.upperBound {
                merged[merged.count - 1] =
                    last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        return merged
    }
}
