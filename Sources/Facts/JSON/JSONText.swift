/// Writing JSON text.
package enum JSONText {
    /// Appends a JSON string as RFC 8785 spells it: the two-character escapes where they exist,
    /// `\u00xx` in lower case for the other control characters, everything else as it is.
    package static func appendString(_ utf8: some Sequence<UInt8>, to output: inout [UInt8]) {
        output.append(0x22)
        for byte in utf8 { appendCharacter(byte, to: &output) }
        output.append(0x22)
    }

    /// The same for bytes that stand together: what needs no escape is taken in one piece.
    static func appendString(_ utf8: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        output.append(0x22)
        var start = 0
        for (index, byte) in utf8.enumerated() where byte < 0x20 || byte == 0x22 || byte == 0x5C {
            output.append(contentsOf: UnsafeRawBufferPointer(rebasing: utf8[start..<index]))
            appendCharacter(byte, to: &output)
            start = index + 1
        }
        output.append(contentsOf: UnsafeRawBufferPointer(rebasing: utf8[start...]))
        output.append(0x22)
    }

    @inline(__always)
    static func appendCharacter(_ byte: UInt8, to output: inout [UInt8]) {
        switch byte {
        case 0x22, 0x5C:
            output.append(0x5C)
            output.append(byte)
        case 0x20...0xFF: output.append(byte)
        case 0x08:
            output.append(0x5C)
            output.append(0x62)
        case 0x09:
            output.append(0x5C)
            output.append(0x74)
        case 0x0A:
            output.append(0x5C)
            output.append(0x6E)
        case 0x0C:
            output.append(0x5C)
            output.append(0x66)
        case 0x0D:
            output.append(0x5C)
            output.append(0x72)
        default:
            let low = byte & 15
            output.append(contentsOf: [0x5C, 0x75, 0x30, 0x30, 0x30 + (byte >> 4)])
            output.append(low < 10 ? 0x30 + low : 0x61 + low - 10)
        }
    }
}

extension JSONText {
    /// Lays out compact, valid JSON over several lines.
    static func indented(_ json: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(json.count * 2)
        var depth = 0
        var inString = false
        var index = 0
        func breakLine() {
            output.append(0x0A)
            output += repeatElement(0x20, count: depth * 2)
        }
        while index < json.count {
            let byte = json[index]
            index += 1
            if inString {
                output.append(byte)
                if byte == 0x5C, index < json.count {
                    output.append(json[index])
                    index += 1
                } else if byte == 0x22 {
                    inString = false
                }
                continue
            }
            switch byte {
            case 0x7B, 0x5B:
                output.append(byte)
                if index < json.count, json[index] == 0x7D || json[index] == 0x5D {
                    output.append(json[index])
                    index += 1
                } else {
                    depth += 1
                    breakLine()
                }
            case 0x7D, 0x5D:
                depth -= 1
                breakLine()
                output.append(byte)
            case 0x2C:
                output.append(byte)
                breakLine()
            case 0x3A: output += [0x3A, 0x20]
            default:
                inString = byte == 0x22
                output.append(byte)
            }
        }
        return output
    }
}
