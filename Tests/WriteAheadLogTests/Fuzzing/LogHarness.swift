@testable import WriteAheadLog

/// Any bytes as the directory of a log. Looking into it, verifying and opening never trap; what is
/// opened has the records that the look showed, and is sound.
///
/// The input is parts, each a 16-bit length and its bytes:
///
///     options: 1 checksums are made right, 2 frames are linked, 4 the segments are the table's,
///              8 both slots of a kind are the same
///     a state slot
///     a table slot, as `ManifestHarness` has it
///     segments in order, each as `SegmentHarness` has it without its first three bytes
enum LogHarness {
    static let directory = "/log"
    private static let segmentCountMaximum = 3
    private static let segmentBytes = 1 << 20

    static func check(_ bytes: UnsafeRawBufferPointer) {
        guard let disk = disk(bytes) else { return }
        let shown = Result { try records(disk) }
        _ = try? inspector(disk)?.verify()
        let opened = Result { () throws(LogError) in
            try Log.open(
                directory: directory,
                options: LogOptions(capacityBytes: 64 << 20, segmentBytes: UInt64(segmentBytes)),
                disk: disk, environment: .linux)
        }
        guard case .success(let log) = opened else { return }
        var read: [String] = []
        do throws(LogError) {
            try log.read(from: log.firstOffset) { record in
                read.append(text(record))
                return true
            }
        } catch { read.append("\(error)") }
        log.close()
        if case .success(let shown) = shown, shown != read {
            harnessFailure("opening shows \(read.count) records, looking \(shown.count)")
        }
    }

    private static func inspector(_ disk: MemoryDisk) throws -> LogInspector? {
        let inspector = try LogInspector(directory: directory, disk: disk)
        inspector.attempts = 1
        return inspector
    }

    private static func records(_ disk: MemoryDisk) throws -> [String] {
        var seen: [String] = []
        _ = try inspector(disk)?.walk { seen.append(text($0)) }
        return seen
    }

    private static func text(_ record: LogRecord) -> String {
        "\(record.offset) \(record.appendTimeMilliseconds) \(record.crc) \(record.payload.count)"
    }

    // MARK: The directory

    private static func disk(_ bytes: UnsafeRawBufferPointer) -> MemoryDisk? {
        var input = HarnessInput(bytes)
        let options = input.part().first ?? 0
        var state = input.part()
        var table = ManifestHarness.table(input.part())
        var segments: [[UInt8]] = []
        while !input.isEmpty, segments.count < segmentCountMaximum {
            var segment = SegmentHarness.image(input.part())
            segment += [UInt8](repeating: 0, count: max(0, segmentBytes - segment.count))
            if options & 1 != 0 { SegmentSeal.seal(&segment, linked: options & 2 != 0) }
            segments.append(segment)
        }
        guard state.count <= FormatLimits.stateSlotBytes,
            table.count <= ManifestLayout.tableSlotBytes
        else { return nil }
        if options & 4 != 0 { name(segments, in: &table) }
        if options & 1 != 0 {
            ManifestHarness.seal(state: &state)
            ManifestHarness.seal(table: &table)
        }
        let disk = MemoryDisk()
        var manifest = [UInt8](repeating: 0, count: ManifestLayout.fileBytes)
        for slot in 0..<(options & 8 != 0 ? 2 : 1) {
            let stateStart = Int(ManifestLayout.stateSlotPosition(slot))
            manifest.replaceSubrange(stateStart..<stateStart + state.count, with: state)
            let tableStart = Int(ManifestLayout.tableSlotPosition(slot))
            manifest.replaceSubrange(tableStart..<tableStart + table.count, with: table)
        }
        disk.put(directory + "/" + ManifestLayout.fileName, manifest)
        for segment in segments {
            let id = segment.withUnsafeBytes { $0.baseAddress!.integer(UInt64.self, at: 56) }
            disk.put(directory + "/" + SegmentHeader.fileName(id: id), segment)
        }
        return disk
    }

    /// Says of each segment in the table what its header says.
    private static func name(_ segments: [[UInt8]], in table: inout [UInt8]) {
        for (number, segment) in segments.enumerated() {
            let start = SegmentTable.headerBytes + number * SegmentEntry.byteCount
            guard table.count >= start + SegmentEntry.byteCount else { return }
            // From the header's place to the entry's: id, salt, base offset, first sequence, CRC.
            for (from, to, count) in [
                (56, 0, 8), (64, 8, 8), (88, 16, 8), (80, 24, 8), (4, 100, 4),
            ] {
                table.replaceSubrange(
                    start + to..<start + to + count, with: segment[from..<from + count])
            }
        }
    }
}
