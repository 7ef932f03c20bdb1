/// Opens a log: chooses the manifest's slots, reads the segments past the page cache, decides by the
/// table what stands at the end, cuts a torn tail by rolling, and removes what a crash left
/// unfinished. Nothing that was proven durable is ever cut.
struct LogOpening {
    let disk: any Disk
    let directory: String
    let environment: LogEnvironment

    struct Opened {
        var writer: SegmentWriter
        var preparer: SegmentPreparer
        var pipeline: CommitPipeline
        var segments: [SegmentIndex]
        var runs: KeyRunSet
        /// Bytes of frames that the last checkpoint does not know.
        var uncheckpointedBytes: UInt64
        /// The runs hold the keys below; those from here on were read again.
        var checkpointOffset: UInt64
        /// What is to be told once somebody can listen.
        var events: [LogEvent]
        var report: RecoveryReport
    }

    func open(_ options: LogOptions) throws(LogError) -> Opened {
        let began = environment.monotonicNanoseconds()
        let segmentBytes = try options.validate()
        let names = try onDisk { () throws(DiskError) in try disk.list(directory) }
        var opened: Opened
        if names.contains(ManifestLayout.fileName) {
            opened = try reopen(names, options, segmentBytes: segmentBytes)
        } else {
            opened = try create(names, options, segmentBytes: segmentBytes)
        }
        opened.report.durationMilliseconds =
            (environment.monotonicNanoseconds() - began) / 1_000_000
        return opened
    }

    // MARK: - Create

    private func create(_ names: [String], _ options: LogOptions, segmentBytes: UInt64)
        throws(LogError) -> Opened
    {
        try removeUnfinishedCreation(names)
        let identifier = LogIdentifier(
            bytes: (0..<2).flatMap { _ in withUnsafeBytes(of: environment.random()) { Array($0) } })
        let now = environment.wallMilliseconds()
        let blocks = disk.blockBytes(directory)
        var table = SegmentTable(
            identifier: identifier, profile: options.profile,
            commitAlignment: options.profile == .silStrict
                ? min(max(4096, blocks.physical), FormatLimits.commitAlignmentMaximum)
                : min(max(512, blocks.logical), FormatLimits.commitAlignmentMaximum),
            capacityBytes: options.capacityBytes, segmentBytes: segmentBytes)
        var state = LogState(identifier: identifier, createdMilliseconds: now)
        state.generation = 1
        table.generation = 1

        let preparer = SegmentPreparer(
            disk: disk, directory: directory, segmentBytes: segmentBytes, writing: options.writing,
            spareCount: spareCount(options, segmentBytes), nextID: 1)
        let manifestFile = try onDisk { () throws(DiskError) in
            try ManifestFile.begin(disk, directory: directory)
        }
        let spare = try onDisk { () throws(DiskError) in try preparer.take() }
        var header = SegmentHeader(
            commitAlignment: table.commitAlignment, identifier: identifier, id: spare.id,
            salt: environment.random(), previousID: 0, firstSequence: 1, baseOffset: 0, epoch: 1,
            createdMilliseconds: now, segmentBytes: segmentBytes,
            commitBytesMaximum: UInt32(FormatLimits.commitBytes(segmentBytes: segmentBytes)),
            profile: options.profile)
        let encoded = header.encode()
        try onDisk { () throws(DiskError) in
            try spare.file.write(array: encoded, at: 0)
            try spare.file.synchronise()
        }
        let entry = SegmentEntry(
            id: header.id, salt: header.salt, baseOffset: 0, firstSequence: 1,
            headerCRC: header.crc)
        table.segments = [entry]
        table.nextSegmentID = 2
        let manifest = try onDisk { () throws(DiskError) in
            try ManifestFile.finish(
                manifestFile, disk, directory: directory, state: state, table: table)
        }
        let writer = SegmentWriter(
            disk: disk, directory: directory, environment: environment, manifest: manifest,
            preparer: preparer, writing: options.writing,
            start: SegmentWriter.Start(
                table: table, file: spare.file, header: header,
                position: header.firstFramePosition, previousHeaderCRC: header.crc,
                sequence: 0, headOffset: 0, epoch: 1, stateGeneration: state.generation,
                leastTimeMilliseconds: 0, greatestTimeMilliseconds: 0))
        var report = RecoveryReport()
        report.created = true
        report.segmentCount = 1
        report.endFile = SegmentHeader.fileName(id: header.id)
        report.endPosition = header.firstFramePosition
        return Opened(
            writer: writer, preparer: preparer,
            pipeline: pipeline(table, state, nextOffset: 0, lastSequence: 0, lastTime: 0),
            segments: [index(entry, header)], runs: KeyRunSet(), uncheckpointedBytes: 0,
            checkpointOffset: 0, events: [], report: report)
    }

    /// Two segments are kept ready; one when two would be a large part of the capacity.
    private func spareCount(_ options: LogOptions, _ segmentBytes: UInt64) -> Int {
        options.capacityBytes / segmentBytes < 16 ? 1 : 2
    }

    /// A creation that was cut short leaves the manifest's working name and a segment without
    /// frames, in which unsynced zeros may read as anything. Without the working name only an empty
    /// segment is a leftover; anything else is a log whose manifest is gone, and that is for a
    /// person to look at.
    private func removeUnfinishedCreation(_ names: [String]) throws(LogError) {
        let isUnfinished = names.contains(ManifestFile.workingName)
        for name in names {
            guard SegmentHeader.id(fileName: name) != nil else { continue }
            switch try unlisted(name, nil).0 {
            case .unused: break
            case .foreign where isUnfinished: break
            case .foreign, .frames:
                throw .notALog(
                    directory: directory,
                    reason: "\(name) is not empty but the manifest is missing; restore it from a "
                        + "backup")
            }
            try onDisk { () throws(DiskError) in try disk.remove(path(name)) }
        }
        // Gone for good before the working name is: without that one they would be strangers.
        if isUnfinished {
            try onDisk { () throws(DiskError) in try disk.synchroniseDirectory(directory) }
        }
    }

    // MARK: - Reopen

    private func reopen(_ names: [String], _ options: LogOptions, segmentBytes: UInt64)
        throws(LogError) -> Opened
    {
        var report = RecoveryReport()
        let manifest = try onDisk { () throws(DiskError) in
            ManifestFile(
                path: path(ManifestLayout.fileName),
                file: try disk.open(path(ManifestLayout.fileName), .readWrite))
        }
        // Names that an earlier process made and did not sync become durable before they count.
        let contents = try onDisk { () throws(DiskError) in
            try disk.synchroniseDirectory(directory)
            return try manifest.read()
        }
        report.manifestDamage = contents.damage
        let (state, table) = try choose(contents)
        guard table.profile == options.profile else {
            throw .profileMismatch(stored: table.profile, asked: options.profile)
        }
        try checkFiles(names, table)
        var walk = try SegmentWalk(
            self, table: table, state: state, isTableNewest: contents.damage.isEmpty,
            isSalvaging: options.profile == .standard)
        try walk.run()
        report.take(walk, table)
        var events: [LogEvent] = []
        // Before the segment is left behind: its damaged bytes are for a person to look at.
        events += keepCopies(walk, table, &report)

        let leftovers = try sortUnlisted(
            names, table, segmentBytes: segmentBytes, &report)
        let preparer = SegmentPreparer(
            disk: disk, directory: directory, segmentBytes: segmentBytes, writing: options.writing,
            spareCount: spareCount(options, segmentBytes),
            nextID: max(table.nextSegmentID, leftovers.highestID + 1),
            recyclable: leftovers.recyclable)
        var segments = walk.segments
        var recovered = walk.state
        try declareLosses(walk, segments[0].entry.baseOffset, &recovered)
        let writer = SegmentWriter(
            disk: disk, directory: directory, environment: environment, manifest: manifest,
            preparer: preparer, writing: options.writing,
            start: SegmentWriter.Start(
                table: table, file: walk.lastFile, header: walk.lastHeader,
                position: walk.end.position, previousHeaderCRC: walk.previousHeaderCRC,
                sequence: walk.sequence, headOffset: walk.nextOffset, epoch: recovered.epoch,
                stateGeneration: state.generation,
                leastTimeMilliseconds: segments.last!.entry.leastTimeMilliseconds,
                greatestTimeMilliseconds: segments.last!.entry.greatestTimeMilliseconds))
        writer.take(capacityBytes: options.capacityBytes, segmentBytes: segmentBytes)
        let isCut = walk.decision == .torn || !walk.losses.isEmpty || walk.isEndUnknown
        guard !isCut || table.segments.count < FormatLimits.segmentCountMaximum
        else { throw .rejected(.noSpace) }
        try onDisk { () throws(DiskError) in
            // The last good frames may be in the file by luck of an unsynced write: make them stay
            // before anybody is told that they are there.
            try walk.lastFile.synchronise()
            if isCut {
                try writer.rollAfterCut(
                    state: recovered, baseOffset: walk.nextOffset,
                    damaged: Set(walk.damage.map(\.segmentID)))
            } else {
                try writer.writeStateSlot(recovered)
            }
            // The other slot too: a crash while it was written can have left anything behind its end.
            try writer.writeStateSlot(recovered)
            if contents.hasTornTable { try writer.changeTable(removing: true) { _ in } }
        }
        if isCut {
            for place in segments.indices { segments[place].entry = writer.table.segments[place] }
            segments[segments.count - 1].endOffset = walk.nextOffset
            segments.append(index(writer.table.segments.last!, writer.header))
        }
        try finishRemoval(recovered, writer, options, &segments)
        let (runs, points) = openRuns(writer.table, recovered, options, &report)
        if let points, let checkpoint = table.checkpoint,
            let active = segments.firstIndex(where: { $0.entry.id == checkpoint.segmentID })
        {
            segments[active].take(points: points + segments[active].points)
        }
        var pipeline = pipeline(
            writer.table, recovered, nextOffset: walk.nextOffset, lastSequence: walk.sequence,
            lastTime: walk.lastTimeMilliseconds)
        // Keys go with the records of a removal that was finished just now, unless they are kept longer.
        let keyFloor =
            options.retention.dedupeHorizonMilliseconds > 0 ? 0 : segments[0].entry.baseOffset
        for entry in walk.keys where entry.offset >= keyFloor {
            pipeline.restore(key: entry.key, offset: entry.offset, content: entry.content)
        }
        return Opened(
            writer: writer, preparer: preparer, pipeline: pipeline, segments: segments, runs: runs,
            uncheckpointedBytes: walk.frameBytes,
            checkpointOffset: table.checkpoint?.nextOffset ?? table.segments[0].baseOffset,
            events: events, report: report)
    }

    /// Every file that the manifest names is there; what is in those before the checkpoint is looked
    /// at when somebody reads it.
    private func checkFiles(_ names: [String], _ table: SegmentTable) throws(LogError) {
        let present = Set(names)
        for entry in table.segments {
            let name = SegmentHeader.fileName(id: entry.id)
            guard present.contains(name) else {
                throw .corrupt(
                    Corruption(
                        file: path(name), position: 0, offset: entry.baseOffset,
                        reason: "the file is missing"))
            }
        }
    }

    /// Copies what is cut off or passed over into the folder `quarantine`. A copy that fails is told
    /// and no more: the bytes stay where they are.
    private func keepCopies(
        _ walk: SegmentWalk, _ table: SegmentTable, _ report: inout RecoveryReport
    ) -> [LogEvent] {
        var pieces = walk.damage
        if walk.decision == .torn {
            pieces.append(SegmentWalk.Damage(segmentID: walk.lastHeader.id, bytes: walk.cutBytes))
        }
        var events: [LogEvent] = []
        for piece in pieces where !piece.bytes.isEmpty {
            do throws(DiskError) {
                report.quarantinedFiles.append(
                    try Quarantine(disk: disk, directory: directory).copy(
                        ofSegment: piece.segmentID, bytes: piece.bytes))
            } catch {
                events.append(.derivedWorkFailed(what: "quarantine", error))
            }
        }
        if walk.decision == .torn {
            events.append(.tailCut(bytes: UInt64(walk.cutBytes.count)))
        }
        return events
    }

    /// Enters what the walk passed over. Where the number of lost records is not known, a new epoch
    /// begins: its offsets are not those of the lost ones, whatever they were.
    private func declareLosses(
        _ walk: SegmentWalk, _ firstOffset: UInt64, _ state: inout LogState
    ) throws(LogError) {
        for offsets in walk.losses {
            try state.losses.declare(
                offsets, reasons: .corrupt, timeMilliseconds: environment.wallMilliseconds(),
                firstOffset: firstOffset)
        }
        if walk.isEndUnknown {
            // Without a new epoch offsets could be given twice.
            guard state.epochs.count < FormatLimits.epochCountMaximum else {
                throw .rejected(
                    .tooMany(what: "epochs", maximum: FormatLimits.epochCountMaximum))
            }
            state.epochs.append(
                EpochEntry(
                    epoch: state.epoch + 1, firstOffset: walk.nextOffset,
                    beganMilliseconds: environment.wallMilliseconds(), reason: "damaged end"))
        }
    }

    /// A removal whose losses are declared is finished, so that no reader meets a record that was
    /// declared lost.
    private func finishRemoval(
        _ state: LogState, _ writer: SegmentWriter, _ options: LogOptions,
        _ segments: inout [SegmentIndex]
    ) throws(LogError) {
        guard
            let end = state.losses.unfinishedRemovalEnd(
                firstOffset: segments[0].entry.baseOffset)
        else { return }
        // Whole segments were given up, whatever else is said of the last records of one.
        let count = segments.dropLast().prefix { $0.entry.baseOffset < end }.count
        guard count > 0 else { return }
        let removed = segments.prefix(count).map(\.entry)
        segments.removeFirst(count)
        let keepsKeys = options.retention.dedupeHorizonMilliseconds > 0
        let firstOffset = keepsKeys ? nil : segments[0].entry.baseOffset
        try onDisk { () throws(DiskError) in
            try writer.changeTable(removing: true) { table in
                table.removeFirst(removed.count, runsBelow: firstOffset)
            }
            for entry in removed { try disk.remove(path(SegmentHeader.fileName(id: entry.id))) }
        }
    }

    /// Opens the key runs of the table. One that cannot be used leaves a range that is looked up
    /// again once it is rebuilt.
    private func openRuns(
        _ table: SegmentTable, _ state: LogState, _ options: LogOptions,
        _ report: inout RecoveryReport
    ) -> (runs: KeyRunSet, points: [SegmentIndex.Point]?) {
        let keepsExpired = options.retention.dedupeHorizonMilliseconds > 0
        var runs = KeyRunSet.open(
            disk: disk, directory: directory, table: table, budget: options.indexBudget,
            keepsExpired: keepsExpired)
        let first = table.segments[0].baseOffset
        if keepsExpired, options.profile == .silStrict, first > 0,
            state.flags & LogState.Flags.dedupeHorizonLost != 0
        {
            // Nobody has accepted the loss yet, and no run tells any more which keys were lost.
            runs = runs.replacing(floorOffset: runs.floorOffset, missing: runs.missing + [0..<first])
        }
        report.missingKeyRanges = runs.missing
        guard let checkpoint = table.checkpoint else { return (runs, nil) }
        let points = runs.attachment(endingAt: checkpoint.nextOffset).flatMap {
            SegmentIndex.points($0, ofSegment: checkpoint.segmentID)
        }
        return (runs, points)
    }

    private func choose(_ contents: ManifestFile.Contents) throws(LogError) -> (
        LogState, SegmentTable
    ) {
        if let version = contents.unsupportedVersion {
            throw .unsupportedFormat(directory: directory, version: version)
        }
        guard let state = contents.states.first, let table = contents.tables.first else {
            throw .corrupt(
                Corruption(
                    file: path(ManifestLayout.fileName), position: 0, offset: 0,
                    reason: "neither slot verifies: " + contents.damage.joined(separator: "; ")))
        }
        guard state.identifier == table.identifier, !table.segments.isEmpty else {
            throw .corrupt(
                Corruption(
                    file: path(ManifestLayout.fileName), position: 0, offset: 0,
                    reason: "its slots belong to different logs"))
        }
        guard state.isCountable, table.isCountable else {
            throw .corrupt(
                Corruption(
                    file: path(ManifestLayout.fileName), position: 0, offset: 0,
                    reason: "its numbers are not those of any log"))
        }
        return (state, table)
    }

    private struct Leftovers {
        var highestID: UInt64
        /// Files that hold nothing and have the length of a segment.
        var recyclable: [UInt64] = []
    }

    /// Judges files that the manifest does not list: spares, removed segments and rolls that a crash
    /// left unfinished, which are used again or removed. One with frames above the last listed
    /// sequence would be lost data: refused. What a crash cannot have left is kept and reported.
    private func sortUnlisted(
        _ names: [String], _ table: SegmentTable, segmentBytes: UInt64,
        _ report: inout RecoveryReport
    ) throws(LogError) -> Leftovers {
        let listed = Set(table.segments.map(\.id))
        let listedRuns = Set(table.runs.map(\.id))
        var leftovers = Leftovers(highestID: table.segments.map(\.id).max() ?? 0)
        leftovers.highestID = max(leftovers.highestID, table.runs.map(\.id).max() ?? 0)
        for name in names {
            if KeyRunCopies.isWorkingName(name) {
                try onDisk { () throws(DiskError) in try disk.remove(path(name)) }
                report.removedFiles.append(name)
                continue
            }
            if let run = KeyRunLayout.parse(fileName: name)?.id, !listedRuns.contains(run) {
                // Derived, and in no table: a checkpoint or a merge that was not finished.
                try onDisk { () throws(DiskError) in try disk.remove(path(name)) }
                report.removedFiles.append(name)
                continue
            }
            guard let id = SegmentHeader.id(fileName: name), !listed.contains(id) else { continue }
            // New segments keep clear of its name; of one that no log reaches, creating a file does.
            if id < FormatLimits.counterMaximum { leftovers.highestID = max(leftovers.highestID, id) }
            let first = table.segments.first!
            let (kind, bytes) = try unlisted(name, table.identifier)
            switch kind {
            case .unused: break
            case .foreign:
                report.keptFiles.append(name)
                continue
            case .frames(let sequence) where sequence < first.firstSequence: break
            case .frames(let sequence)
            where sequence == first.firstSequence
                && (id < first.id || id == table.anchor.segmentID):
                // Removed, and cut before its first commit: that one's sequence was given again.
                break
            case .frames(let sequence)
            where table.segments.dropLast().contains { $0.firstSequence == sequence }:
                // A segment and its dense copy: whichever the manifest does not name.
                break
            case .frames(let sequence) where sequence < table.segments.last!.firstSequence:
                report.keptFiles.append(name)
                continue
            case .frames:
                throw .corrupt(
                    Corruption(
                        file: path(name), position: UInt64(FormatLimits.segmentHeaderBytes),
                        offset: table.segments.last!.baseOffset,
                        reason: "it holds commits that the manifest does not know"))
            }
            if bytes == segmentBytes, leftovers.recyclable.count < 2,
                id < FormatLimits.counterMaximum
            {
                leftovers.recyclable.append(id)
                continue
            }
            try onDisk { () throws(DiskError) in try disk.remove(path(name)) }
            report.removedFiles.append(name)
        }
        if !report.removedFiles.isEmpty {
            try onDisk { () throws(DiskError) in try disk.synchroniseDirectory(directory) }
        }
        return leftovers
    }

    /// What a segment file is that the manifest does not name.
    private enum Unlisted: Equatable {
        /// Nothing but zeros and perhaps a header: a spare or an unfinished roll.
        case unused
        /// Its first frame verifies; from this sequence on.
        case frames(UInt64)
        /// Another log's, or bytes that no crash of this program leaves.
        case foreign
    }

    /// Looks at the file's front only: frames follow each other without a hole, so the first one
    /// tells whether there are any.
    private func unlisted(_ name: String, _ identifier: LogIdentifier?) throws(LogError) -> (
        Unlisted, bytes: UInt64
    ) {
        let (image, size) = try onDisk { () throws(DiskError) in
            let file = try disk.open(path(name), .read)
            let image = try SegmentImage(file, limit: LogOpening.frontBytes, uncached: false)
            if let failure = image.readFailure { throw failure.error }
            return (image, try file.size())
        }
        let header = try? SegmentHeader(image.bytes)
        if let header, identifier == nil || header.identifier == identifier,
            SegmentHeader.fileName(id: header.id) == name
        {
            let first = header.firstFramePosition
            let front = UnsafeRawBufferPointer(
                rebasing: image.bytes[min(Int(first), image.byteCount)...])
            if let frame = try? FrameHeader(
                front, salt: header.salt, position: first,
                commitBytesMaximum: Int(header.commitBytesMaximum))
            {
                return (.frames(frame.sequence), size)
            }
        } else if header != nil {
            return (.foreign, size)
        }
        let unused = min(FormatLimits.segmentHeaderBytes, image.byteCount)
        return (image.isZero(from: unused) ? .unused : .foreign, size)
    }

    /// A segment's header, at most the largest alignment, and a frame's header.
    private static let frontBytes: UInt64 = 256 * 1024

    // MARK: - Parts

    private func pipeline(
        _ table: SegmentTable, _ state: LogState, nextOffset: UInt64, lastSequence: UInt64,
        lastTime: Int64
    ) -> CommitPipeline {
        CommitPipeline(
            limits: CommitPipeline.Limits(
                payloadBytes: FormatLimits.payloadBytes(segmentBytes: table.segmentBytes),
                dataBytes: FormatLimits.dataBytes(segmentBytes: table.segmentBytes),
                capacityBytes: table.capacityBytes),
            state: state, nextOffset: nextOffset, lastSequence: lastSequence,
            lastTimeMilliseconds: lastTime)
    }

    private func index(_ entry: SegmentEntry, _ header: SegmentHeader) -> SegmentIndex {
        SegmentIndex(entry: entry, header: header)
    }

    func path(_ name: String) -> String { directory + "/" + name }

    func onDisk<Value>(_ body: () throws(DiskError) -> Value) throws(LogError) -> Value {
        do throws(DiskError) { return try body() } catch { throw .disk(error) }
    }
}
