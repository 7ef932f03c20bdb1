import Testing

@testable import WriteAheadLog

/// Logs that do not open, repaired: the price is told before it is paid, and nothing else is lost.
@Suite("Repair")
struct RepairTests {
    enum Damage: CaseIterable {
        case activeCommit
        case activeEnd
        case closedCommit
        case missingClosed
        case missingActive
        case activeHeaderField
        case activeHeaderMuch
        case closedHeader
        case shortActive
        case stateSlots
        case tableSlots
        case wholeManifest
        case noManifest
        case lostStateSlot
        case stateOfNoLog
        case tableOfNoLog
    }

    static func apply(_ damage: Damage, to disk: MemoryDisk, _ sample: VerifyTests.Sample) throws {
        let segments = sample.table.segments
        let active = logPath + "/" + SegmentHeader.fileName(id: segments.last!.id)
        let closed = logPath + "/" + SegmentHeader.fileName(id: segments[1].id)
        let manifest = logPath + "/manifest"
        func clear(_ start: UInt64, _ count: Int) {
            disk.edit(manifest) { bytes in
                for place in Int(start)..<Int(start) + count where bytes[place] != 0 {
                    bytes[place] ^= 0x5A
                }
            }
        }
        switch damage {
        case .activeCommit:
            // Behind the checkpoint, so that opening reads it, and with a commit after it.
            let first = FrameAlignment.firstFrame(sample.table.profile, sample.table.commitAlignment)
            disk.edit(active) { $0[Int(first) + 200] ^= 1 }
        case .activeEnd:
            disk.edit(active) { bytes in
                let end = bytes.lastIndex { $0 != 0 }!
                bytes[end] ^= 0xFF
            }
        case .closedCommit: disk.edit(closed) { $0[Int(segments[1].logicalEnd) / 2] ^= 4 }
        case .missingClosed: try disk.remove(closed)
        case .missingActive: try disk.remove(active)
        case .activeHeaderField: disk.edit(active) { $0[106] ^= 9 }
        case .activeHeaderMuch: disk.edit(active) { for place in 96..<112 { $0[place] ^= 0xA5 } }
        case .closedHeader: disk.edit(closed) { $0[60] ^= 0x10 }
        case .shortActive: disk.edit(active) { $0.removeLast(300_000) }
        case .stateSlots:
            for slot in 0..<2 { clear(ManifestLayout.stateSlotPosition(slot), 128) }
        case .tableSlots:
            for slot in 0..<2 { clear(ManifestLayout.tableSlotPosition(slot), 4096) }
        case .wholeManifest: clear(0, ManifestLayout.fileBytes)
        case .noManifest: try disk.remove(manifest)
        case .lostStateSlot:
            // Both slots older than what the frames tell of.
            var state = sample.state
            let file = ManifestFile(path: manifest, file: try disk.open(manifest, .readWrite))
            for generation: UInt64 in [1, 2] {
                state.generation = generation
                try file.write(state)
            }
        case .stateOfNoLog:
            // Newer than the one that counts, and its checksum is right.
            var state = sample.state
            state.generation += 1
            state.headOffset = FormatLimits.counterMaximum
            try ManifestFile(path: manifest, file: try disk.open(manifest, .readWrite)).write(state)
        case .tableOfNoLog:
            var table = sample.table
            table.generation += 1
            table.nextSegmentID = FormatLimits.counterMaximum
            try ManifestFile(path: manifest, file: try disk.open(manifest, .readWrite)).write(table)
        }
    }

    @Test("every kind of damage", arguments: Profile.allCases, Damage.allCases)
    func repair(_ profile: Profile, _ damage: Damage) throws {
        let sample = try VerifyTests.sample(profile)
        // Without the manifest nothing tells a removed segment that was not yet zeroed again from one
        // of the log, and repair refuses: whether there is one depends on when the log was closed.
        let listed = Set(sample.table.segments.map { SegmentHeader.fileName(id: $0.id) })
        let disk = MemoryDisk(
            files: sample.files.filter { path, _ in
                let name = String(path.dropFirst(logPath.count + 1))
                return SegmentHeader.id(fileName: name) == nil || listed.contains(name)
            })
        try Self.apply(damage, to: disk, sample)
        let before = disk.files

        var repair = try LogRepair(directory: logPath, disk: disk, environment: .linux)
        let plan = try repair.plan()
        #expect(disk.files == before, "a plan changes nothing")
        try #require(plan.isNeeded, "\(plan.findings)")
        #expect(!plan.findings.isEmpty)
        if profile == .silStrict, !plan.lossSpecification.isEmpty {
            #expect(throws: RepairError.lossNotAccepted(expected: plan.lossSpecification)) {
                try repair.apply(plan)
            }
        }
        #expect(throws: RepairError.lossNotAccepted(expected: plan.lossSpecification)) {
            try repair.apply(plan, acceptedLoss: "0..4611686018427387903")
        }
        #expect(disk.files == before, "nothing is done that was not accepted")

        let copies = try repair.apply(
            plan, acceptedLoss: plan.lossSpecification.isEmpty ? nil : plan.lossSpecification)
        for copy in copies { #expect(disk.files[logPath + "/" + copy] != nil) }
        repair = try LogRepair(directory: logPath, disk: disk.copy(), environment: .linux)
        let again = try repair.plan()
        #expect(!again.isNeeded, "\(again.actions)")
        let report = try VerifyTests.verify(disk, deep: true)
        #expect(report.isSound, "\(report.damage)")

        let log = try openLog(disk, sample.options)
        let (seen, gaps) = try VerifyTests.readable(log)
        #expect(Set(seen).isSubset(of: sample.records))
        let lost = sample.records.map { UInt64($0.split(separator: " ")[0])! }.filter { offset in
            plan.losses.contains { $0.contains(offset) } || plan.unknownFrom.map { offset >= $0 } == true
        }
        #expect(seen.count == sample.records.count - lost.count, "\(plan.lossSpecification) \(gaps)")
        // A key that is left is not taken for new, once its run is gathered again.
        if let keyed = seen.last(where: { $0.split(separator: " ", omittingEmptySubsequences: false)[2] != "" })
        {
            let offset = UInt64(keyed.split(separator: " ")[0])!
            let number = Int(offset)
            let batch = AppendBatch()
            try batch.add(
                key: digest("key \(number)"), content: digest("content \(number)"), payload: [1])
            var outcomes: [AppendOutcome] = []
            let isAnswered = eventually {
                do {
                    outcomes = Array(try log.append(batch).outcomes)
                    return true
                } catch { return false }
            }
            #expect(isAnswered && outcomes == [.existing(offset: offset)], "\(outcomes)")
        }
        // Offsets are never given twice, and the log takes records.
        let receipt = try log.append(oneRecord(payload(1)))
        #expect(receipt.outcomes == [.appended(offset: log.headOffset - 1)])
        #expect(log.headOffset > UInt64(sample.records.last!.split(separator: " ")[0])! || !lost.isEmpty)
        if plan.unknownFrom != nil { #expect(log.epochs.last!.reason.hasPrefix("repair")) }
        log.close()
    }

    @Test("what is sound is not repaired, and what is open is not either")
    func nothingToDo() throws {
        let sample = try VerifyTests.sample(.standard)
        let disk = MemoryDisk(files: sample.files)
        do {
            let repair = try LogRepair(directory: logPath, disk: disk, environment: .linux)
            let plan = try repair.plan()
            #expect(!plan.isNeeded && plan.findings.isEmpty && plan.lossSpecification.isEmpty)
            #expect(try repair.apply(plan).isEmpty)
        }
        let log = try openLog(disk, sample.options)
        #expect(throws: RepairError.log(.locked(directory: logPath))) {
            try LogRepair(directory: logPath, disk: disk, environment: .linux)
        }
        log.close()
    }

    @Test("a table that the segments do not prove is not made up")
    func notProvable() throws {
        let sample = try VerifyTests.sample(.standard)
        let disk = MemoryDisk(files: sample.files)
        try Self.apply(.tableSlots, to: disk, sample)
        try disk.remove(logPath + "/" + SegmentHeader.fileName(id: sample.table.segments[1].id))
        let before = disk.files
        let repair = try LogRepair(directory: logPath, disk: disk, environment: .linux)
        let result = Result { () throws(RepairError) in try repair.plan() }
        guard case .failure(.notProvable(let reason)) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(reason.contains("segment") && disk.files == before)
    }
}
