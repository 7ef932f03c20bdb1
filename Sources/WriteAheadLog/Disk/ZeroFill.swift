/// Writes zeros, so that later writes into the file change data only and a commit needs no journal; in
/// small pieces, so that commits beside it go on.
enum ZeroFill {
    static let chunkBytes = 256 * 1024

    /// Writes zeros from `start` up to `byteCount` and makes them durable.
    ///
    /// - Parameter pause: called after each piece with its bytes, to let others go first.
    static func fill(
        _ file: any DiskFile, from start: UInt64 = 0, byteCount: UInt64,
        pause: (_ bytes: Int) -> Void = { _ in }
    ) throws(DiskError) {
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: chunkBytes, alignment: 4096)
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var position = start
        while position < byteCount {
            let count = Int(min(UInt64(chunkBytes), byteCount - position))
            try file.write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: position)
            file.writeBack(from: position, byteCount: count)
            position += UInt64(count)
            pause(count)
        }
        try file.synchronise()
    }
}
