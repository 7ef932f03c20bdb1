/// Refuses appends while the file system has less free space than the reserve, whatever the fill, so
/// that cursors and truncation always find room. Taken again at a quarter more than the reserve.
struct FreeSpaceGuard: Sendable {
    enum Transition: Equatable, Sendable {
        case low(freeBytes: UInt64)
        case recovered(freeBytes: UInt64)
    }

    private(set) var isLow = false
    private(set) var freeBytes: UInt64 = .max
    private let reserveBytes: UInt64

    /// - Parameter options: validated; a reserve of 0 refuses nothing.
    init(options: RetentionOptions) { reserveBytes = options.freeSpaceReserveBytes }

    /// Takes the free bytes as they are now. O(1).
    mutating func update(freeBytes: UInt64) -> Transition? {
        self.freeBytes = freeBytes
        if !isLow, freeBytes < reserveBytes {
            isLow = true
            return .low(freeBytes: freeBytes)
        }
        if isLow, freeBytes >= reserveBytes + reserveBytes / 4 {
            isLow = false
            return .recovered(freeBytes: freeBytes)
        }
        return nil
    }

    /// What a new record is answered, nil when it is taken. O(1).
    var refusal: AppendRefusal? { isLow ? .noSpace(freeBytes: freeBytes) : nil }
}
