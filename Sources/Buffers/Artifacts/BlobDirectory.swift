internal import Facts
internal import WriteAheadLog

/// The files of a store: `blobs/<two digits>/<64 digits>` by digest and `incoming/<number>` for what is
/// on its way. No byte of a request is ever part of a path.
struct BlobDirectory: Sendable {
    let root: String
    let disk: any Disk

    /// Makes the directories. Blocks.
    init(_ root: String, _ disk: any Disk) throws(DiskError) {
        self.root = root
        self.disk = disk
        try disk.createDirectory("\(root)/incoming")
        try disk.createDirectory("\(root)/blobs")
    }

    func path(_ digest: Digest) -> String {
        let text = digest.hexadecimal
        return "\(root)/blobs/\(text.prefix(2))/\(text)"
    }

    /// A file of its own for an upload.
    func create(_ number: UInt64) throws(DiskError) -> (path: String, file: any DiskFile) {
        let path = "\(root)/incoming/\(number)"
        return (path, try disk.open(path, .create))
    }

    /// Gives a whole and durable file the name of its digest, durably.
    func adopt(_ path: String, as digest: Digest) throws(DiskError) {
        let target = self.path(digest)
        let directory = String(target.dropLast(Digest.byteCount * 2 + 1))
        try disk.createDirectory(directory)
        try disk.rename(path, to: target)
        try disk.synchroniseDirectory(directory)
        try disk.synchroniseDirectory("\(root)/incoming")
    }

    func remove(_ digest: Digest) throws(DiskError) { try disk.remove(path(digest)) }

    /// Removes what interrupted uploads and removals left behind: whatever is in `incoming`, and every
    /// blob that has no name.
    func removeLeftovers(keeping isNamed: (Digest) -> Bool) throws(DiskError) {
        for name in try disk.list("\(root)/incoming") { try disk.remove("\(root)/incoming/\(name)") }
        for shelf in try disk.list("\(root)/blobs") {
            for name in try disk.list("\(root)/blobs/\(shelf)") {
                guard let digest = Digest(hexadecimal: name), isNamed(digest) else {
                    try disk.remove("\(root)/blobs/\(shelf)/\(name)")
                    continue
                }
            }
        }
    }
}
