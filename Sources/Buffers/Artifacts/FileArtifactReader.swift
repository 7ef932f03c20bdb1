internal import Facts
internal import WriteAheadLog

/// Reads a blob's file; the open file keeps its bytes readable whatever becomes of its name. What is read
/// from the beginning to the end is hashed on the way, and bytes that the disk changed are never given out
/// as a whole: the last piece fails in their place.
final class FileArtifactReader: ArtifactReader, @unchecked Sendable {
    // Sendable by hand: one call at a time.

    private let file: any DiskFile
    private let digest: Digest
    private let whenDamaged: @Sendable (Digest) -> Void
    private var hash = SHA256()
    /// Up to here everything was hashed, in order.
    private var hashedBytes: UInt64 = 0
    let size: UInt64

    /// - Parameters:
    ///   - digest: of the whole file.
    ///   - whenDamaged: called with the digest before the read that finds another one fails.
    init(
        _ file: any DiskFile, _ digest: Digest, whenDamaged: @escaping @Sendable (Digest) -> Void
    ) throws(DiskError) {
        self.file = file
        self.digest = digest
        self.whenDamaged = whenDamaged
        size = try file.size()
    }

    func read(at position: UInt64, count: Int) throws(ArtifactError) -> [UInt8] {
        let wanted = Int(min(UInt64(count), size - min(position, size)))
        var failure: DiskError?
        let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, initialized in
            guard wanted > 0 else { return }
            do throws(DiskError) {
                initialized = try file.read(into: UnsafeMutableRawBufferPointer(buffer), at: position)
            } catch {
                failure = error
            }
        }
        if let failure { throw ArtifactError(.failed, failure.sentence) }
        try check(bytes, at: position)
        return bytes
    }

    private func check(_ bytes: [UInt8], at position: UInt64) throws(ArtifactError) {
        guard position == hashedBytes else { return }
        hash.update(bytes)
        hashedBytes += UInt64(bytes.count)
        guard hashedBytes == size else { return }
        let found = hash.finish()
        // A reading from the beginning again is checked again.
        hash = SHA256()
        hashedBytes = 0
        guard found != digest else { return }
        whenDamaged(digest)
        throw ArtifactError(
            .failed,
            "the bytes kept for sha256:\(digest) have the digest sha256:\(found) now, so the disk has "
                + "changed them; nothing is served of them as a whole")
    }
}
