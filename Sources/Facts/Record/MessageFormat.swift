/// The number of the digest rules that a message was made by, read without the rest of it.
package enum MessageFormat {
    private static let field: UInt32 = 3

    /// Of a message's bytes; 0 where it says none or cannot be read, which its receiver finds out.
    package static func number(_ message: UnsafeRawBufferPointer) -> UInt32 {
        var reader = WireReader(message)
        var format: UInt32 = 0
        while let next = try? reader.next() {
            if next.number == field, next.type == .varint { format = UInt32(clamping: next.value) }
        }
        return format
    }
}
