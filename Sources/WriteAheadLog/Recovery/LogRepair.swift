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
        if table.isRebuilt { plan.actions.append("make a new table from the segments' headers") }
        if state.isRebuilt {
            plan.actions.append("make a new state from headers and frames; cursors may stand earlier")
            plan.unknownFrom = 0
        }
        let greatestGeneration = try readSegments(&plan)
        if greatestGeneration > plan.state.generation, !state.isRebuilt {
            plan.findings.append(
                finding("the state slot of generation \(greatestGeneration) is lost"))
            plan.actions.append("go on from an older state slot; cursors may stand earlier")
        }
        plan.state.generation = max(plan.state.generation, greatestGeneration)
        if plan.isNeeded || !plan.findings.isEmpty { conclude(&plan, isRebuilt: table.isRebuilt) }
        return plan
    }

    private struct Found<Value> {
        var value: Value
        var isRebuilt = false
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
        let storedTable = contents.tables.first { $0.isCountable && !$0.segments.isEmpty }
        let storedState = contents.states.first { $0.isCountable }
        let rebuilding = TableRebuilding(disk: disk, directory: directory, names: names)
        let findings = contents.damage.map(finding)
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
        return (table, Found(value: storedState))
    }

    /// Reads every segment, and enters what is damaged in it.
    ///
    /// - Returns: the highest state generation that a frame tells of.
    private func readSegments(_ plan: inout RepairPlan) throws(RepairError) -> UInt64 {
        var greatestGeneration = plan.table.checkpoint?.stateGeneration ?? 0
        for number in plan.table.segments.indices {
            var entry = plan.table.segments[number]
            let path = directory + "/" + SegmentHeader.fileName(id: entry.id)
            let isLast = number == plan.table.segments.count - 1
            let reading: SegmentReading
            do throws(DiskError) {
                let size = try disk.open(path, .read).size()
                reading = try SegmentReading(
                    disk, directory: directory, table: plan.table, number: number, attempts: 1)
                if size < reading.header.segmentBytes {
                    plan.findings.append(
                        LogVerification.Damage(
                            file: path, position: size, reason: "the file has been cut short"))
                    plan.actions.append("give \(path) its length again, with zeros")
                }
            } catch {
                guard names.contains(SegmentHeader.fileName(id: entry.id)) == false else {
                    // It is there and cannot be read: a failing disk is not repaired on top of.
                    throw .log(.disk(error))
                }
                try replaceMissing(number, path, &plan)
                continue
            }
            if let reason = reading.headerFailure {
                try restoreHeader(reading, number, path, reason, &plan)
                entry = plan.table.segments[number]
            }
            let end = try read(reading, path, entry, &plan, &greatestGeneration)
            guard isLast, end.decision == .corrupt else { continue }
            close(reading, end, &plan)
        }
        return greatestGeneration
    }

    private func read(
        _ reading: SegmentReading, _ path: String, _ entry: SegmentEntry, _ plan: inout RepairPlan,
        _ greatestGeneration: inout UInt64
    ) throws(RepairError) -> SegmentReading.End {
        var found: [(damage: LogVerification.Damage, end: UInt64)] = []
        var state = plan.state
        var greatest = greatestGeneration
        let proof = SegmentReading.Proof(plan.state)
        let end: SegmentReading.End
        do throws(LogError) {
            end = try reading.read(proof: proof) { (item) throws(LogError) in
                switch item {
                case .damage(let damage, let end):
                    found.append((LogVerification.Damage(path, damage), end))
                case .frame(let frame, let walker):
                    greatest = max(greatest, frame.header.stateGeneration)
                    let damage = walker.records(of: frame) { item in
                        if case .change(let change) = item { state.apply(change) }
                    }
                    if let damage {
                        found.append((LogVerification.Damage(path, damage), frame.endPosition))
                    }
                }
            }
        } catch { throw .log(error) }
        plan.state = state
        greatestGeneration = greatest
        for (damage, end) in found where !plan.state.losses.covers(damage, in: entry) {
            plan.findings.append(damage)
            let bytes = damage.position..<max(damage.position, end)
            plan.copies.append((entry.id, bytes))
            // The one record that stood there at least is not counted where nothing tells of more.
            let known = reading.isLast && end == reading.header.frameLimit
            lose(damage.offsets, known ? 0..<0 : bytes, entry.id, &plan)
        }
        return end
    }

    private func lose(
        _ offsets: Range<UInt64>, _ bytes: Range<UInt64>, _ id: UInt64, _ plan: inout RepairPlan
    ) {
        if let number = plan.table.segments.firstIndex(where: { $0.id == id }) {
            plan.table.segments[number].flags |= SegmentEntry.Flags.damaged
        }
        plan.lostBytes += bytes.upperBound - bytes.lowerBound
        for part in plan.state.losses.undeclared(in: offsets) {
            if let last = plan.losses.last, last.upperBound >= part.lowerBound {
                plan.losses[plan.losses.count - 1] =
                    last.lowerBound..<max(last.upperBound, part.upperBound)
            } else {
                plan.losses.append(part)
            }
        }
    }
}
