internal import Glibc
internal import RPC

/// The systemd unit that `make install` places.
enum ServiceUnit {
    static let name = "bsfg-controller"
    private static let bytesMaximum = 64 << 10
    private static let directories = [
        "/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
    ]

    /// Whether the unit is installed and runs the node of a configuration directory.
    static func runs(configuration directory: String, in directories: [String] = directories) -> Bool {
        directories.contains { place in
            guard let bytes = try? SmallFile.read("\(place)/\(name).service", bytesMaximum: bytesMaximum)
            else { return false }
            return bytes.split(separator: UInt8(ascii: "\n")).contains { line in
                line.starts(with: "ExecStart=".utf8)
                    && Array(line).suffix(directory.utf8.count + 1).elementsEqual(" \(directory)".utf8)
            }
        }
    }
}
