import WriteAheadLog

/// JSON-like records of exactly one size, half words and half random hexadecimal digits: the ones
/// that every peer is measured with.
struct Records {
    private static let words = [
        "order", "payment", "customer", "shipped", "pending", "warehouse", "refund", "invoice",
        "created", "updated", "region", "priority",
    ]

    let payloads: [[UInt8]]

    /// - Parameter count: as many as come one after the other before the first comes again; nil: 4 MiB of
    ///   them.
    init(bytes size: Int, count: Int? = nil) {
        var state = 0x9E37_79B9_7F4A_7C15 ^ UInt64(size)
        func random() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
        func word() -> String { Records.words[Int(random() % 12)] }
        let count = count ?? max(64, (4 << 20) / size)
        payloads = (0..<count).map { number in
            var text = "{\"id\":\(number),\"ts\":\(1_700_000_000_000 + random() % 1_000_000_000)"
            while text.utf8.count < size {
                let digits = String(random(), radix: 16)
                text += ",\"\(word())\":\"\(word()) \(word())\",\"k\(random() % 97)\":\""
                text += String(repeating: "0", count: 16 - digits.count) + digits + "\""
            }
            var bytes = Array(text.utf8.prefix(size))
            bytes[size - 1] = UInt8(ascii: "}")
            return bytes
        }
    }

    subscript(number: Int) -> [UInt8] { payloads[number % payloads.count] }
}
