/// Writes commits: one frame, one write, one sync; and rolls to the next segment when one is full.
///
/// Not thread-safe: it belongs to whoever holds the commit token.
final class SegmentWriter: @unchecked Sendable {
    /// What a commit did, for those who read.
    enum Written {
        /// A frame in the last segment; `rolled` when that segment was begun for it.
        case frame(position: UInt64, header: FrameHeader, endPosition: UInt64, rolled: Bool)
        case stateSlot
    }

    enum Failure: Error {
        /// Nothing was written: there is no next segment to write into.
        case noSpace(DiskError?)
        /// Anything may be on disk.
        case unknown(DiskError)
    }

    private let disk: any Disk
    private let directory: String
    private let environment: LogEnvironment
    private let manifest: ManifestFile
    private let preparer: SegmentPreparer
    private(set) var table: SegmentTable
    private var file: any DiskFile
    private var blocks: BlockWriter?
    private let writing: CommitWriting
    private(set) var header: SegmentHeader
    private(set) var position: UInt64
    private var previousHeaderCRC: UInt32
    /// The last sequence written, and so durable: one commit is in flight, ever.
    private(set) var sequence: UInt64
    private(set) var stateGeneration: UInt64
    /// One past the last durable record.
    private(set) var headOffset: UInt64
    /// The same when the state slot was last written: what is below is proven durable by it.
    private(set) var recordedHeadOffset: UInt64
    private(set) var epoch: UInt64
    /// Retention's time of the commit that is being written.
    var retentionMilliseconds: Int64 = 0
    private var leastTimeMilliseconds: Int64 = 0
    private var greatestTimeMilliseconds: Int64 = 0

    struct Start {
        var table: SegmentTable
        var file: any DiskFile
        var header: SegmentHeader
        var position: UInt64
        var previousHeaderCRC: UInt32
        var sequence: UInt64
        var headOffset: UInt64
        var epoch: UInt64
        var stateGeneration: UInt64
        var leastTimeMilliseconds: Int64
        var greatestTimeMilliseconds: Int64
    }

    init(
        disk: any Disk, directory: String, environment: LogEnvironment, manifest: ManifestFile,
        preparer: SegmentPreparer, writing: CommitWriting, start: Start
    ) {
        self.disk = disk
        self.directory = directory
        self.environment = environment
        self.manifest = manifest
        self.preparer = preparer
        self.writing = writing
        table = start.table
        file = start.file
        header = start.header
        position = start.position
        previousHeaderCRC = start.previousHeaderCRC
        sequence = start.sequence
        headOffset = start.headOffset
        recordedHeadOffset = start.headOffset
        epoch = start.epoch
        stateGeneration = start.stateGeneration
        leastTimeMilliseconds = start.leastTimeMilliseconds
        greatestTimeMilliseconds = start.greatestTimeMilliseconds
        openBlocks()
    }

    private func openBlocks() {
        let path = directory + "/" + SegmentHeader.fileName(id: header.id)
        blocks = writing == .direct ? BlockWriter(disk, path, position: position) : nil
    }

    /// Makes a commit durable. `state` is the durable state before it.
    func perform(_ commit: StagedCommit, state: LogState) throws(Failure) -> Written {
        if commit.recordCount == 0 {
            // Without records a change takes no space: the state slot is written in place.
            var state = state
            for change in commit.changes { state.apply(change) }
            try failUnknown { () throws(DiskError) in try writeStateSlot(state) }
            return .stateSlot
        }
        commit.endBody(
            firstOffset: commit.firstOffset + UInt64(commit.recordCount),
            timeMilliseconds: commit.lastTimeMilliseconds)
        var rolled = false
        if needsNextSegment(bodyBytes: commit.bodyBytes) {
            try roll(state: state, baseOffset: commit.firstOffset)
            rolled = true
        }
        return try write(commit, epoch: state.epoch, rolled: rolled)
    }

    /// Whether a frame has no room in the segment. One of an earlier, smaller segment size may take
    /// less in one commit.
    private func needsNextSegment(bodyBytes: Int) -> Bool {
        let frameBytes = FormatLimits.frameHeaderBytes + bodyBytes
        return position + UInt64(aligned(frameBytes)) > header.frameLimit
            || frameBytes > Int(header.commitBytesMaximum)
    }

    /// Where in a block the frame behind this commit will begin; 0 when frames are not written by
    /// blocks. A guess that is wrong costs a copy.
    func frameStart(after commit: StagedCommit) -> Int {
        guard blocks != nil else { return 0 }
        guard commit.recordCount > 0 else { return BlockWriter.placeInBlock(position) }
        let bodyBytes = commit.bodyBytes + commit.controlBlockBytes
        let start =
            needsNextSegment(bodyBytes: bodyBytes)
            ? FrameAlignment.firstFrame(table.profile, table.commitAlignment) : position
        return BlockWriter.placeInBlock(
            start + UInt64(aligned(FormatLimits.frameHeaderBytes + bodyBytes)))
    }

    /// Records the durable state and sequence, so that the newest commit is proven durable too.
    func writeStateSlot(_ state: LogState) throws(DiskError) {
        var slot = state
        slot.generation = stateGeneration + 1
        slot.durableSequence = sequence
        slot.headOffset = headOffset
        try manifest.write(slot)
        stateGeneration += 1
        recordedHeadOffset = headOffset
    }

    private func write(
        _ commit: StagedCommit, epoch: UInt64, rolled: Bool
    ) throws(Failure) -> Written {
        let frameBytes = aligned(FormatLimits.frameHeaderBytes + commit.bodyBytes)
        var frame = FrameHeader()
        frame.bodyBytes = UInt32(commit.bodyBytes)
        frame.previousHeaderCRC = previousHeaderCRC
        frame.epoch = epoch
        frame.sequence = sequence + 1
        frame.recordCount = UInt32(commit.recordCount)
        frame.durableSequence = sequence
        frame.firstOffset = commit.firstOffset
        frame.stateGeneration = stateGeneration
        frame.controlCount = UInt32(commit.changes.count)
        frame.blockCount = UInt32(commit.blockCount)
        precondition(
            FormatLimits.frameHeaderBytes + commit.bodyBytes <= Int(header.commitBytesMaximum),
            "a commit is within its maximum")
        frame.bodyCRC = commit.bodyCRC
        let place = position
        try failUnknown { () throws(DiskError) in
            if let blocks {
                commit.place(at: blocks.frameStart)
                frame.write(at: commit.frame, salt: header.salt, position: place)
                try blocks.write(commit, frameBytes: frameBytes)
            } else {
                commit.place(at: 0)
                frame.write(at: commit.frame, salt: header.salt, position: place)
                commit.pad(to: frameBytes)
                try file.write(
                    UnsafeRawBufferPointer(start: commit.frame, count: frameBytes), at: place)
                try file.synchronise()
            }
        }
        position += UInt64(frameBytes)
        preparer.committed(bytes: UInt64(frameBytes))
        previousHeaderCRC = frame.headerCRC
        sequence += 1
        headOffset = frame.endOffset
        self.epoch = frame.epoch
        if leastTimeMilliseconds == 0 { leastTimeMilliseconds = commit.lastTimeMilliseconds }
        greatestTimeMilliseconds = commit.lastTimeMilliseconds
        return .frame(position: place, header: frame, endPosition: position, rolled: rolled)
    }

    /// Begins the next segment: state slot, segment header, table, each synced, then the first
    /// commit. A crash between any two leaves an unfinished roll that opening undoes.
    private func roll(state: LogState, baseOffset: UInt64) throws(Failure) {
        guard table.segments.count < FormatLimits.segmentCountMaximum else { throw .noSpace(nil) }
        let spare: SegmentPreparer.Spare
        do { spare = try preparer.take() } catch { throw .noSpace(error) }
        try failUnknown { () throws(DiskError) in
            try writeStateSlot(state)
            try begin(spare, epoch: state.epoch, baseOffset: baseOffset, cut: false)
        }
    }

    /// The roll after bytes at the end were cut: the old segment ends where its last good frame does.
    /// `baseOffset` lies beyond that when records were lost there, which `state` then declares.
    /// - Parameter damaged: ids of the segments with records that were lost.
    func rollAfterCut(state: LogState, baseOffset: UInt64, damaged: Set<UInt64>) throws(DiskError) {
        let spare = try preparer.take()
        self.epoch = state.epoch
        headOffset = baseOffset
        // Both slots: no frame says yet that there is a slot with these losses.
        try writeStateSlot(state)
        try writeStateSlot(state)
        for place in table.segments.indices where damaged.contains(table.segments[place].id) {
            table.segments[place].flags |= SegmentEntry.Flags.damaged
        }
        try begin(spare, epoch: state.epoch, baseOffset: baseOffset, cut: true)
    }

    // MARK: - Between commits

    /// From where opening would read if this moment were recorded.
    var checkpoint: Checkpoint {
        Checkpoint(
            segmentID: header.id, position: position, sequence: sequence, nextOffset: headOffset,
            previousHeaderCRC: previousHeaderCRC, epoch: epoch,
            greatestTimeMilliseconds: max(
                greatestTimeMilliseconds,
                table.segments.dropLast().last?.greatestTimeMilliseconds ?? 0),
            stateGeneration: stateGeneration)
    }

    /// Changes the table and makes the new one durable. `removing` says that files go which the table
    /// before names: then both slots take the new one first, so that no slot ever names what is gone.
    func changeTable(removing: Bool = false, _ change: (inout SegmentTable) -> Void)
        throws(DiskError)
    {
        change(&table)
        for _ in 0..<(removing ? 2 : 1) {
            table.generation += 1
            try manifest.write(table)
        }
    }

    /// Uses another capacity and segment size from now on.
    func take(capacityBytes: UInt64, segmentBytes: UInt64) {
        table.capacityBytes = capacityBytes
        table.segmentBytes = segmentBytes
    }

    private func begin(
        _ spare: SegmentPreparer.Spare, epoch: UInt64, baseOffset: UInt64, cut: Bool
    ) throws(DiskError) {
        var next = SegmentHeader(
            commitAlignment: table.commitAlignment, identifier: table.identifier, id: spare.id,
            salt: environment.random(), previousID: header.id, firstSequence: sequence + 1,
            baseOffset: baseOffset, epoch: epoch,
            createdMilliseconds: environment.wallMilliseconds(),
            segmentBytes: table.segmentBytes,
            commitBytesMaximum: UInt32(FormatLimits.commitBytes(segmentBytes: table.segmentBytes)),
            profile: table.profile)
        try spare.file.write(array: next.encode(), at: 0)
        try spare.file.synchronise()

        let last = table.segments.count - 1
        table.segments[last].lastSequence = sequence
        table.segments[last].logicalEnd = position
        table.segments[last].leastTimeMilliseconds = leastTimeMilliseconds
        table.segments[last].greatestTimeMilliseconds = greatestTimeMilliseconds
        table.segments[last].fileBytes = header.segmentBytes
        table.segments[last].retentionMilliseconds = retentionMilliseconds
        if cut { table.segments[last].flags |= SegmentEntry.Flags.cut }
        table.segments.append(
            SegmentEntry(
                id: next.id, salt: next.salt, baseOffset: baseOffset,
                firstSequence: next.firstSequence, headerCRC: next.crc))
        table.nextSegmentID = max(table.nextSegmentID, next.id + 1)
        table.generation += 1
        try manifest.write(table)

        file = spare.file
        header = next
        headOffset = baseOffset
        position = next.firstFramePosition
        openBlocks()
        previousHeaderCRC = next.crc
        leastTimeMilliseconds = 0
        greatestTimeMilliseconds = 0
    }

    /// Frames begin at multiples of 8 under `standard`, which packs them into device blocks, and at
    /// multiples of the commit alignment under `silStrict`.
    private func aligned(_ byteCount: Int) -> Int {
        let alignment = FrameAlignment.bytes(header.profile, header.commitAlignment)
        return (byteCount + alignment - 1) & ~(alignment - 1)
    }

    private func failUnknown(_ body: () throws(DiskError) -> Void) throws(Failure) {
        do throws(DiskError) { try body() } catch { throw .unknown(error) }
    }
}

/// Where frames may begin.
enum FrameAlignment {
    static func bytes(_ profile: Profile, _ commitAlignment: UInt32) -> Int {
        profile == .silStrict ? Int(commitAlignment) : 8
    }

    /// Where a segment's first frame begins: behind the header, at a multiple of the alignment, so
    /// that all frames whose length is one begin at one.
    static func firstFrame(_ profile: Profile, _ commitAlignment: UInt32) -> UInt64 {
        UInt64(max(FormatLimits.segmentHeaderBytes, bytes(profile, commitAlignment)))
    }

    static func end(of frameBytes: Int, at position: UInt64, _ header: SegmentHeader) -> UInt64 {
        end(of: frameBytes, at: position, header.profile, header.commitAlignment)
    }

    static func end(
        of frameBytes: Int, at position: UInt64, _ profile: Profile, _ commitAlignment: UInt32
    ) -> UInt64 {
        let alignment = UInt64(bytes(profile, commitAlignment))
        return position + (UInt64(frameBytes) + alignment - 1) & ~(alignment - 1)
    }
}
