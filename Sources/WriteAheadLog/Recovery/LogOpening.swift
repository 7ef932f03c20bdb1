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
        var report: RecoveryReport
    }

    func open(_ options: LogOptions) throws(LogError) -> Opened {
        let began = environment.monotonicNanoseconds()
        let segmentBytes = try options.validate()
        let names = try onDisk { () throws(DiskError) in try disk.list(directory) }
        var opened: Opened
        if names.contains(ManifestLayout.fileName) {
            opened = try reopen(names, options)
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
            disk: disk, directory: directory, segmentBytes: segmentBytes, nextID: 1)
        let manifestFile = try onDisk { () throws(DiskError) in
            try ManifestFile.begin(disk, directory: directory)
        }
        let spare = try onDisk { () throws(DiskError) in try preparer.prepareFirst() }
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
            preparer: preparer,
            start: SegmentWriter.Start(
                table: table, file: spare.file, header: header,
                position: header.firstFramePosition, previousHeaderCRC: header.crc,
                sequence: 0, stateGeneration: state.generation, leastTimeMilliseconds: 0,
                greatestTimeMilliseconds: 0))
        var report = RecoveryReport()
        report.created = true
        report.segmentCount = 1
        report.endFile = SegmentHeader.fileName(id: header.id)
        report.endPosition = header.firstFramePosition
        return Opened(
            writer: writer, preparer: preparer,
            pipeline: pipeline(table, state, nextOffset: 0, lastSequence: 0, lastTime: 0),
            segments: [index(entry, header)], report: report)
    }

    /// A creation that was cut short leaves the manifest's working name and a segment without
    /// frames, in which unsynced zeros may read as anything. Without the working name only an empty
    /// segment is a leftover; anything else is a log whose manifest is gone, and that is for a
    /// person to look at.
    private func removeUnfinishedCreation(_ names: [String]) throws(LogError) {
        let isUnfinished = names.contains(ManifestFile.workingName)
        for name in names {
            guard SegmentHeader.id(fileName: name) != nil else { continue }
            switch try unlisted(name, nil) {
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

    private func reopen(_ names: [String], _ options: LogOptions) throws(LogError) -> Opened {
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
        var walk = try SegmentWalk(self, table: table, state: state)
        try walk.run(uncached: true)
        report.segmentCount = table.segments.count
        report.frameCount = walk.frameCount
        report.recordCount = walk.recordCount
        report.keyCount = UInt64(walk.keys.count)
        report.row = walk.row
        report.decision = walk.decision
        report.endFile = SegmentHeader.fileName(id: walk.lastHeader.id)
        report.endPosition = walk.end.position
        report.provenSequence = walk.provenSequence
        report.lastSequence = walk.sequence
        if walk.decision == .torn { report.cutBytes = walk.end.nonZeroEnd - walk.end.position }

        let highestID = try removeUnlisted(names, table, &report)
        let preparer = SegmentPreparer(
            disk: disk, directory: directory, segmentBytes: table.segmentBytes,
            nextID: max(table.nextSegmentID, highestID + 1))
        var segments = walk.segments
        let writer = SegmentWriter(
            disk: disk, directory: directory, environment: environment, manifest: manifest,
            preparer: preparer,
            start: SegmentWriter.Start(
                table: table, file: walk.lastFile, header: walk.lastHeader,
                position: walk.end.position, previousHeaderCRC: walk.previousHeaderCRC,
                sequence: walk.sequence, stateGeneration: state.generation,
                leastTimeMilliseconds: segments.last!.entry.leastTimeMilliseconds,
                greatestTimeMilliseconds: segments.last!.entry.greatestTimeMilliseconds))
        let recovered = walk.state
        guard walk.decision != .torn
            || table.segments.count < FormatLimits.segmentCountMaximum
        else { throw .rejected(.noSpace) }
        try onDisk { () throws(DiskError) in
            // The last good frames may be in the file by luck of an unsynced write: make them stay
            // before anybody is told that they are there.
            try walk.lastFile.synchronise()
            if walk.decision == .torn {
                try writer.rollAfterCut(state: recovered, baseOffset: walk.nextOffset)
            } else {
                try writer.writeStateSlot(recovered)
            }
        }
        if walk.decision == .torn {
            segments[segments.count - 1].entry = writer.table.segments[segments.count - 1]
            segments.append(index(writer.table.segments.last!, writer.header))
        }
        var pipeline = pipeline(
            table, recovered, nextOffset: walk.nextOffset, lastSequence: walk.sequence,
            lastTime: walk.lastTimeMilliseconds)
        for (key, entry) in walk.keys {
            pipeline.restore(key: key, offset: entry.offset, content: entry.content)
        }
        return Opened(
            writer: writer, preparer: preparer, pipeline: pipeline, segments: segments,
            report: report)
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

    /// Removes segment files that the manifest does not list: spares and rolls that a crash left
    /// unfinished. One with frames above the last listed sequence would be lost data: refused. What a
    /// crash cannot have left is kept and reported.
    private func removeUnlisted(
        _ names: [String], _ table: SegmentTable, _ report: inout RecoveryReport
    ) throws(LogError) -> UInt64 {
        let listed = Set(table.segments.map(\.id))
        var highestID = table.segments.map(\.id).max() ?? 0
        for name in names {
            guard let id = SegmentHeader.id(fileName: name), !listed.contains(id) else { continue }
            // New segments keep clear of its name; of one that no log reaches, creating a file does.
            if id < FormatLimits.counterMaximum { highestID = max(highestID, id) }
            switch try unlisted(name, table.identifier) {
            case .unused: break
            case .foreign:
                report.keptFiles.append(name)
                continue
            case .frames(let sequence) where sequence < table.segments.first!.firstSequence: break
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
            try onDisk { () throws(DiskError) in try disk.remove(path(name)) }
            report.removedFiles.append(name)
        }
        if !report.removedFiles.isEmpty {
            try onDisk { () throws(DiskError) in try disk.synchroniseDirectory(directory) }
        }
        return highestID
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

    private func unlisted(_ name: String, _ identifier: LogIdentifier?) throws(LogError) -> Unlisted {
        let image = try onDisk { () throws(DiskError) in
            let image = try SegmentImage(
                try disk.open(path(name), .read), limit: UInt64(1) << 33, uncached: false)
            if let failure = image.readFailure { throw failure.error }
            return image
        }
        let header = try? SegmentHeader(image.bytes)
        if let header, identifier == nil || header.identifier == identifier,
            SegmentHeader.fileName(id: header.id) == name
        {
            var scan = SegmentScan(header: header, bytes: image.bytes, logicalEnd: nil)
            if case .frame(let frame) = scan.next() { return .frames(frame.header.sequence) }
        } else if header != nil {
            return .foreign
        }
        let unused = min(FormatLimits.segmentHeaderBytes, image.byteCount)
        return image.isZero(from: unused) ? .unused : .foreign
    }

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
