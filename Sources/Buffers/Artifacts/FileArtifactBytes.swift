internal import Facts
internal import Glibc
internal import WriteAheadLog

/// A file that takes an upload's bytes and hashes them on the way.
final class FileArtifactUpload: ArtifactUpload, @unchecked Sendable {
    // Sendable by hand: used by one thread at a time.

    /// Bytes after which what is written is made durable, so that the end does not have to wait for all.
    private static let synchroniseBytes: UInt64 = 32 << 20

    private let store: FileArtifactStore
    private let disk: any Disk
    private let path: String
    private var file: (any DiskFile)?
    private let expectedBytes: UInt64
    private var reservedBytes: UInt64
    private var hash = SHA256()
    private var size: UInt64 = 0
    private var durableSize: UInt64 = 0

    init(
        _ store: FileArtifactStore, _ disk: any Disk, _ path: String, _ file: any DiskFile,
        expectedBytes: UInt64, reservedBytes: UInt64
    ) {
        self.store = store
        self.disk = disk
        self.path = path
        self.file = file
        self.expectedBytes = expectedBytes
        self.reservedBytes = reservedBytes
    }

    deinit { abandon() }

    func write(_ bytes: [UInt8]) throws(ArtifactError) {
        guard let file else { throw ArtifactError(.failed, "the upload is over already") }
        let needed = size + UInt64(bytes.count)
        guard needed <= expectedBytes else {
            throw ArtifactError(
                .failed, "more bytes come than the \(expectedBytes) that were announced")
        }
        if needed > reservedBytes {
            let ahead = min(expectedBytes, needed + store.reservationBytes)
            do throws(ArtifactError) {
                try store.reserve(ahead - reservedBytes)
                reservedBytes = ahead
            } catch {
                // Where there is no room for what is to come there may be for what is here.
                try store.reserve(needed - reservedBytes)
                reservedBytes = needed
            }
        }
        let result = bytes.withUnsafeBytes { bytes in
            hash.update(bytes)
            return Result { () throws(DiskError) in try file.write(bytes, at: size) }
        }
        do throws(DiskError) {
            try result.get()
            size += UInt64(bytes.count)
            if size - durableSize >= Self.synchroniseBytes {
                try file.synchronise()
                durableSize = size
            }
        } catch {
            throw ArtifactError(error.code == ENOSPC ? .full : .failed, error.sentence)
        }
    }

    func finish(
        as name: ArtifactName, expected: Digest?, mediaType: String, fileName: String
    ) throws(ArtifactError) -> StoredArtifact {
        defer { abandon() }
        guard let file else { throw ArtifactError(.failed, "the upload is over already") }
        let digest = hash.finish()
        if let expected, expected != digest { throw .mismatch(expected, digest) }
        do throws(DiskError) {
            try file.synchronise()
        } catch {
            throw ArtifactError(.failed, error.sentence)
        }
        return try store.adopt(
            path,
            ArtifactContent(digest: digest, size: size, mediaType: mediaType, fileName: fileName),
            as: name)
    }

    func abandon() {
        guard file != nil else { return }
        file = nil
        // Gone already where the store adopted it.
        try? disk.remove(path)
        store.giveBack(reservedBytes)
    }
}
