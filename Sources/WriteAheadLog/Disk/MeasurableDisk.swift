internal import CPlatform
internal import Glibc

/// What `disk-test` asks of a disk beyond what a log needs.
package protocol MeasurableDisk: Disk {
    /// The block device below a path; nil where there is none (tmpfs, network and some
    /// copy-on-write file systems).
    func device(_ path: String) -> BlockDevice?
    /// Whether a write that meets a limit half-way tells how much it took, and the next one why it
    /// took nothing.
    func reportsShortWrites(_ path: String) throws(DiskError) -> Bool
}

/// A block device as the kernel describes it.
package struct BlockDevice: Hashable, Sendable {
    package var name: String
    /// Whether a cache that loses its content with the power stands before the medium, so that
    /// flushes are sent; nil when unknown.
    package var hasVolatileCache: Bool?
    /// Whether a single write can be sent through that cache (forced unit access).
    package var hasForcedUnitAccess: Bool?
    package var isRotational: Bool?

    package init(
        name: String, hasVolatileCache: Bool? = nil, hasForcedUnitAccess: Bool? = nil,
        isRotational: Bool? = nil
    ) {
        self.name = name
        self.hasVolatileCache = hasVolatileCache
        self.hasForcedUnitAccess = hasForcedUnitAccess
        self.isRotational = isRotational
    }
}

extension LinuxDisk: MeasurableDisk {
    package func device(_ path: String) -> BlockDevice? {
        guard let name = attribute("", path) else { return nil }
        return BlockDevice(
            name: name,
            hasVolatileCache: attribute("queue/write_cache", path).map { $0 == "write back" },
            hasForcedUnitAccess: attribute("queue/fua", path).map { $0 == "1" },
            isRotational: attribute("queue/rotational", path).map { $0 == "1" })
    }

    package func reportsShortWrites(_ path: String) throws(DiskError) -> Bool {
        let limit = 64 * 1024
        let bytes = [UInt8](repeating: 1, count: limit)
        var secondError: Int32 = 0
        // Half of it fits below the limit.
        let first = bsfg_write_limited(
            path, UInt64(limit), bytes, limit, UInt64(limit / 2), &secondError)
        guard first >= 0 else { throw DiskError(.write, path, code: errno) }
        return first == limit / 2 && secondError == EFBIG
    }

    private func attribute(_ name: String, _ path: String) -> String? {
        var text = [CChar](repeating: 0, count: 128)
        let count = bsfg_device_attribute(path, name, &text, text.count)
        guard count > 0 else { return nil }
        return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
