/// A file that is not long, as a whole.
enum SmallText {
    static func read(_ path: String) throws(RowError) -> [UInt8] {
        let input = try RowInput(path: path)
        var bytes: [UInt8] = []
        while bytes.count < 16 << 20 {
            let more = try input.read(256 << 10)
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }
}
