/// One step that is measured.
struct MicroCase: Sendable {
    var name: String
    /// What is counted as one operation.
    var operation: String
    /// Makes what the step needs, in a directory that exists and is empty, and returns what runs it
    /// so many times. Called once; what it returns is called for the warm-up and for the measurement.
    var prepare: @Sendable (_ directory: String) throws -> (_ operations: Int) throws -> Void
}

/// Bytes that follow from a number, so that every run does the same.
func sampleBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    return (0..<count).map { _ in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return UInt8(truncatingIfNeeded: state >> 24)
    }
}
