/// Every byte of the manifest is covered by a slot's checksum or zero.
extension LogVerifier {
    func verifyManifest() throws(LogError) {
        var damage: [LogVerification.Damage] = []
        var notices: [LogVerification.Damage] = []
        // A slot that is being written at this moment looks damaged.
        for attempt in 1...inspector.attempts {
            if attempt > 1 { inspector.pause() }
            (damage, notices) = try manifestFindings()
            if damage.isEmpty, notices.isEmpty { return }
        }
        for place in damage { found(place, in: nil) }
        report.notices += notices
    }

    private func manifestFindings() throws(LogError) -> (
        damage: [LogVerification.Damage], notices: [LogVerification.Damage]
    ) {
        let bytes: [UInt8]
        do throws(DiskError) { bytes = try inspector.manifest.allBytes() } catch {
            throw .disk(error)
        }
        var damage: [LogVerification.Damage] = []
        var notices: [LogVerification.Damage] = []
        if bytes.count != ManifestLayout.fileBytes {
            damage.append(
                manifestDamage(
                    "it has \(bytes.count) bytes and not \(ManifestLayout.fileBytes)",
                    at: UInt64(bytes.count)))
        }
        for slot in 0..<2 {
            let state = SlotBytes(
                bytes, ManifestLayout.stateSlotPosition(slot), FormatLimits.stateSlotBytes)
            let table = SlotBytes(
                bytes, ManifestLayout.tableSlotPosition(slot), ManifestLayout.tableSlotBytes)
            for (name, slotBytes, used) in [
                ("state slot \(slot)", state, state.read { try LogState($0).encode().count }),
                ("table slot \(slot)", table, table.read { try SegmentTable($0).encode().count }),
            ] {
                switch used {
                case nil: break
                case .failure(let error):
                    notices.append(
                        manifestDamage(
                            "\(name) does not verify (\(error)); its twin is used",
                            at: slotBytes.position))
                case .success(let count):
                    if let place = slotBytes.firstNonZero(from: count) {
                        damage.append(
                            manifestDamage("unused space of \(name) is not zero", at: place))
                    }
                }
            }
        }
        return (damage, notices)
    }
}

/// The bytes of one slot.
private struct SlotBytes {
    let position: UInt64
    private let bytes: ArraySlice<UInt8>

    init(_ file: [UInt8], _ position: UInt64, _ count: Int) {
        self.position = position
        let start = min(Int(position), file.count)
        bytes = file[start..<min(start + count, file.count)]
    }

    /// How many bytes its checksum covers; nil when it was never written and is all zero.
    func read(_ decode: (UnsafeRawBufferPointer) throws -> Int) -> Result<Int, any Error>? {
        bytes.withUnsafeBytes { bytes in bytes.isAllZero ? nil : Result { try decode(bytes) } }
    }

    func firstNonZero(from start: Int) -> UInt64? {
        let rest = bytes.dropFirst(start)
        guard !rest.withUnsafeBytes(\.isAllZero) else { return nil }
        return rest.firstIndex { $0 != 0 }.map { UInt64($0) }
    }
}
