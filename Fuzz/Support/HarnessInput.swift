/// Reads a fuzzer's input front to back; past the end there are zeros, so that every input means
/// something.
struct HarnessInput {
    private var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 {
        guard let first = rest.first else { return 0 }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
        return first
    }

    /// A 16-bit length and that many bytes, or what is left.
    mutating func part() -> [UInt8] {
        let count = Int(byte()) | Int(byte()) << 8
        return take(count)
    }

    mutating func all() -> [UInt8] { take(rest.count) }

    mutating func take(_ count: Int) -> [UInt8] {
        let part = rest.prefix(count)
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
        return Array(part)
    }
}

/// What a harness calls when something holds that must not: the sentence is in the report.
func harnessFailure(_ sentence: String) -> Never { fatalError(sentence) }
