internal import Glibc

/// Reads lines of bytes from a descriptor. A last line without a newline counts.
struct LineReader {
    private let descriptor: Int32
    private let lineBytesMaximum: Int
    private var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    private var held: Range<Int> = 0..<0
    private var hasEnded = false

    init(descriptor: Int32, lineBytesMaximum: Int) {
        self.descriptor = descriptor
        self.lineBytesMaximum = lineBytesMaximum
    }

    /// The next line without its newline, or nil at the end.
    mutating func next() throws(CommandFailure) -> [UInt8]? {
        var line: [UInt8] = []
        while true {
            if let newline = buffer[held].firstIndex(of: UInt8(ascii: "\n")) {
                line += buffer[held.lowerBound..<newline]
                held = newline + 1..<held.upperBound
                return line
            }
            line += buffer[held]
            held = 0..<0
            guard line.count <= lineBytesMaximum else {
                throw CommandFailure(
                    .failure, "it has more than \(lineBytesMaximum) bytes; make it shorter")
            }
            if hasEnded { return line.isEmpty ? nil : line }
            try fill()
        }
    }

    private mutating func fill() throws(CommandFailure) {
        while true {
            let count = buffer.withUnsafeMutableBytes {
                read(descriptor, $0.baseAddress!, $0.count)
            }
            if count >= 0 {
                hasEnded = count == 0
                held = 0..<count
                return
            }
            guard errno == EINTR else {
                throw CommandFailure(
                    .failure, "cannot read the input: \(String(cString: strerror(errno)))")
            }
        }
    }
}
