/// The 16 random bytes that tell one log from every other, given when it is created.
public struct LogIdentifier: Hashable, Sendable {
    /// 16 bytes.
    public let bytes: [UInt8]

    /// Bytes of an identifier.
    public static let byteCount = 16

    /// - Precondition: exactly 16 bytes.
    public init(bytes: [UInt8]) {
        precondition(bytes.count == LogIdentifier.byteCount, "a log identifier has 16 bytes")
        self.bytes = bytes
    }

    /// 32 lower-case hexadecimal characters.
    public var hexadecimal: String { bytes.withUnsafeBytes { Hexadecimal.encode($0) } }
}

/// What a log promises beyond the contract; chosen at creation and kept for its life.
public enum Profile: UInt8, Sendable, CaseIterable {
    /// Packs commits into device blocks, assuming that a device does not damage bytes outside the
    /// sectors being written.
    case standard = 1
    /// Never rewrites a device block that holds acknowledged bytes, and can never drop a record.
    case silStrict = 2

    /// As configurations and tools write it.
    public var name: String { self == .standard ? "standard" : "sil_strict" }
}
