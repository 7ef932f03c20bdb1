/// Refuses appends while the file system has less free space than the reserve, whatever the fill, so
/// that cursors and truncation always find room. Taken again at a quarter more than the reserve.
struct FreeSpaceGuard: Sendable {
    private(set) var isLow = false
    private(set) var freeBytes: UInt64 = .max
    private let reserveBytes: UInt64

    /// - Parameter options: validated; a reserve of 0 refuses nothing.
    init(options: RetentionOptions) { reserveBytes = options.freeSpaceReserveBytes }

    /// Takes the free bytes as they are now and returns the event to emit. O(1).
    mutating func update(freeBytes: UInt64) -> LogEvent? {
        self.freeBytes = freeBytes
        if !isLow, freeBytes < reserveBytes {
            isLow = true
            return .lowSpace(freeBytes: freeBytes)
        }
        if isLow, freeBytes >= recoveryBytes {
            isLow = false
            return .spaceRecovered(freeBytes: freeBytes)
        }
        return nil
    }

    /// What has to become free before appends are taken again; 0 while they are.
    var missingBytes: UInt64 { isLow ? recoveryBytes - freeBytes : 0 }

    private var recoveryBytes: UInt64 { reserveBytes + reserveBytes / 4 }

    /// What a new record is answered, nil when it is taken. O(1).
    var refusal: AppendRefusal? { isLow ? .noSpace(freeBytes: freeBytes) : nil }
}
