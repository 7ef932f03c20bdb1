/// Why a run could not be written or read. Runs are derived: none of these stops a log.
enum KeyRunError: Error, Hashable, Sendable {
    case disk(DiskError)
    case damaged(KeyRunDamage)
}

/// A place in a run that is not what was written there.
struct KeyRunDamage: Hashable, Sendable {
    var path: String
    /// Byte position in the file.
    var position: UInt64
    var reason: String
}
