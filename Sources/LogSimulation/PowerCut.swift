/// Draws what a disk may hold when the power comes back: any subset of what was not synced.
package struct PowerCut: Sendable {
    /// Whether a piece that was being written may hold anything, not only its old or new bytes. The
    /// profile `silStrict` has to live with that; `standard` assumes that a sector is old or new.
    package var garbage: Bool

    package init(garbage: Bool) { self.garbage = garbage }

    /// How one file's unsynced pieces fare. Sectors that fare independently hardly ever give "all but
    /// one" or "all of the first half", which are what real devices leave: so the ways are drawn.
    private enum Fate: CaseIterable {
        case allOld, allNew, eachSector, eachPage, firstPart, oneMissing, onlyOne
    }

    package func draw(from image: DiskImage, using random: inout SimulationRandom) -> DiskImage {
        var result = image
        for change in image.unsyncedNames where random.oneIn(2) {
            result.apply(change, to: \.durableNames)
        }
        result.names = result.durableNames
        result.unsyncedNames = []
        // Drawn in the order of names, so that a seed gives the same image on every machine.
        for number in Set(result.names.values).sorted() {
            guard !image.files[number].isSynced else {
                result.files[number].cache = result.files[number].device
                continue
            }
            let bytes = draw(image.files[number], using: &random)
            result.files[number] = DiskImage.File(device: bytes, cache: bytes)
        }
        return result
    }

    private func draw(_ file: DiskImage.File, using random: inout SimulationRandom) -> PagedBytes {
        var device = file.device
        let fate = random.element(Fate.allCases)
        if fate == .allNew && !(garbage && random.oneIn(4)) {
            for write in file.unsynced { device.takePages(of: write.range, from: file.cache) }
            device.resize(to: file.cache.count)
            return device
        }
        let pieceBytes = fate == .eachPage || (fate != .eachSector && random.oneIn(2)) ? 4096 : 512
        let size = drawSize(file, fate, using: &random)
        let pieceCount = file.unsynced.reduce(0) {
            $0 + Self.pieceCount($1, pieceBytes)
        }
        let chosen = pieceCount == 0 ? 0 : random.below(pieceCount)
        let damaged = garbage && pieceCount > 0 && random.oneIn(3) ? random.below(pieceCount) : -1
        var pieceNumber = 0
        /// Pieces that stay as they are: a later write to one of them did not arrive either.
        var stopped = Set<Int>()
        for write in file.unsynced {
            var start = write.position
            while start < write.range.upperBound {
                let piece = start / pieceBytes
                let end = min((piece + 1) * pieceBytes, write.range.upperBound)
                defer {
                    start = end
                    pieceNumber += 1
                }
                if pieceNumber == damaged, end <= max(size, device.count) {
                    let first = piece * pieceBytes
                    device.write(random.bytes(min(pieceBytes, max(size, end) - first)), at: first)
                    stopped.insert(piece)
                    continue
                }
                guard !stopped.contains(piece) else { continue }
                let arrives =
                    switch fate {
                    case .allOld: false
                    case .allNew: true
                    case .eachSector, .eachPage: random.oneIn(2)
                    case .firstPart: pieceNumber < chosen
                    case .oneMissing: pieceNumber != chosen
                    case .onlyOne: pieceNumber == chosen
                    }
                guard arrives, end <= size else {
                    stopped.insert(piece)
                    continue
                }
                Self.apply(write, start..<end, to: &device)
            }
        }
        device.resize(to: max(size, file.device.count > file.cache.count ? size : device.count))
        return device
    }

    static func apply(
        _ write: DiskImage.UnsyncedWrite, _ range: Range<Int>, to device: inout PagedBytes
    ) {
        if let bytes = write.bytes {
            bytes.withUnsafeBytes {
                device.write(
                    UnsafeRawBufferPointer(
                        rebasing: $0[range.lowerBound - write.position..<range.upperBound
                            - write.position]),
                    at: range.lowerBound)
            }
        } else {
            device.write([UInt8](repeating: 0, count: range.count), at: range.lowerBound)
        }
    }

    private static func pieceCount(_ write: DiskImage.UnsyncedWrite, _ pieceBytes: Int) -> Int {
        guard write.byteCount > 0 else { return 0 }
        return (write.range.upperBound - 1) / pieceBytes - write.position / pieceBytes + 1
    }

    /// A length that was not synced is the old one, the new one or any between, in whole sectors.
    private func drawSize(
        _ file: DiskImage.File, _ fate: Fate, using random: inout SimulationRandom
    ) -> Int {
        let (old, new) = (file.device.count, file.cache.count)
        guard new > old, fate != .allNew else { return max(old, new) }
        switch random.below(3) {
        case 0: return old
        case 1: return new
        default: return min(new, old + random.below((new - old) / 512 + 1) * 512)
        }
    }
}
