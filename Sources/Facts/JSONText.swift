/// Writing JSON text.
package enum JSONText {
    /// Appends a JSON string as RFC 8785 spells it: the two-character escapes where they exist,
    /// `\u00xx` in lower case for the other control characters, everything else as it is.
    package static func appendString(_ utf8: some Sequence<UInt8>, to output: inout [UInt8]) {
        output.append(0x22)
        for byte in utf8 { appendCharacter(byte, to: &output) }
        output.append(0x22)
    }

    @inline(__always)
    static func appendCharacter(_ byte: UInt8, to output: inout [UInt8]) {
        switch byte {
        case 0x22, 0x5C: output.append(0x5C); output.append(byte)
        case 0x20...0xFF: output.append(byte)
        case 0x08: output.append(0x5C); output.append(0x62)
        case 0x09: output.append(0x5C); output.append(0x74)
        case 0x0A: output.append(0x5C); output.append(0x6E)
        case 0x0C: output.append(0x5C); output.append(0x66)
        case 0x0D: output.append(0x5C); output.append(0x72)
        default:
            let low = byte & 15
            output.append(contentsOf: [0x5C, 0x75, 0x30, 0x30, 0x30 + (byte >> 4)])
            output.append(low < 10 ? 0x30 + low : 0x61 + low - 10)
        }
    }
}
