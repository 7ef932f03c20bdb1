@testable import WriteAheadLog

/// Any bytes as a slot of the manifest: decoding never traps, and what is decoded is written so that
/// it is decoded the same.
///
///     1    options: 1 a table and not a state, 2 the checksum is made right
///     ...  the slot; of a table's header the first 256 bytes, the rest of it is zero
enum ManifestHarness {
    static let headerFrontBytes = 256

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let options = input.byte()
        let isTable = options & 1 != 0
        var slot = isTable ? table(input.all()) : input.all()
        if options & 2 != 0 { if isTable { seal(table: &slot) } else { seal(state: &slot) } }
        slot.withUnsafeBytes { slot in
            if isTable {
                guard let table = try? SegmentTable(slot) else { return }
                guard table.encode().withUnsafeBytes({ try? SegmentTable($0) }) == table else {
                    harnessFailure("a table is not read as it is written")
                }
                _ = table.isCountable
            } else {
                guard var state = try? LogState(slot) else { return }
                guard state.encode().withUnsafeBytes({ try? LogState($0) }) == state else {
                    harnessFailure("a state is not read as it is written")
                }
                _ = state.isCountable
                let (registers, cursors) = (state.registers, state.cursors)
                for register in registers { state.apply(.register(register)) }
                for cursor in cursors { state.apply(.cursor(cursor)) }
            }
        }
    }

    /// A table's slot from the front of its header and its entries.
    static func table(_ bytes: [UInt8]) -> [UInt8] {
        var slot = Array(bytes.prefix(headerFrontBytes))
        slot += [UInt8](repeating: 0, count: SegmentTable.headerBytes - slot.count)
        return slot + bytes.dropFirst(headerFrontBytes)
    }

    static func seal(state slot: inout [UInt8]) {
        guard slot.count >= LogState.headerBytes else { return }
        slot.withUnsafeMutableBytes { bytes in
            let start = bytes.baseAddress!
            let length = min(
                Int(UnsafeRawPointer(start).integer(UInt32.self, at: 12)), bytes.count)
            guard length >= 8 else { return }
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), length - 8), at: 4)
        }
    }

    /// Entries that the slot has no bytes for are zero.
    static func seal(table slot: inout [UInt8]) {
        let (segments, runs) = slot.withUnsafeBytes {
            (
                Int($0.baseAddress!.integer(UInt32.self, at: 64)),
                Int($0.baseAddress!.integer(UInt32.self, at: 68))
            )
        }
        let byteCount =
            SegmentTable.headerBytes + segments * SegmentEntry.byteCount + runs * runEntryBytes
        guard byteCount <= ManifestLayout.tableSlotBytes else { return }
        if slot.count < byteCount {
            slot += [UInt8](repeating: 0, count: byteCount - slot.count)
        }
        slot.withUnsafeMutableBytes { bytes in
            let start = bytes.baseAddress!
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), byteCount - 8), at: 4)
        }
    }

    private static let runEntryBytes = 64
}
