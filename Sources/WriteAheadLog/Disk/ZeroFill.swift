/// Writes zeros, so that later writes into the file change data only and a commit needs no journal; in
/// small pieces, so that commits beside it go on.
enum ZeroFill {
    static let chunkBytes = 256 * 1024

    /// Writes zeros from `start` up to `byteCount` and makes them durable.
    ///
    /// - Parameter goesOn: asked after each piece, with its bytes.
    /// - Returns: false when it was given up.
    @discardableResult
    static func fill(
        _ file: any DiskFile, from start: UInt64 = 0, byteCount: UInt64,
        goesOn: (_ bytes: Int) -> Bool = { _ in true }
    ) throws(DiskError) -> Bool {
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: chunkBytes, alignment: 4096)
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var position = start
        while position < byteCount {
            let count = Int(min(UInt64(chunkBytes), byteCount - position))
            try file.write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: position)
            file.writeBack(from: position, byteCount: count)
            position += UInt64(count)
            guard goesOn(count) else { return false }
        }
        try file.synchronise()
        return true
    }
}
