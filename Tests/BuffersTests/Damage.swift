import Foundation
import Testing

/// Changes a byte in the one segment of a log's directory that holds these bytes.
func damage(_ directory: String, _ bytes: [UInt8]) throws {
    for file in try FileManager.default.contentsOfDirectory(atPath: directory) where file.hasSuffix(".segment") {
        let path = directory + "/" + file
        var content = try Data(contentsOf: URL(filePath: path))
        guard let found = content.range(of: Data(bytes)) else { continue }
        content[found.lowerBound + bytes.count / 2] ^= 1
        try content.write(to: URL(filePath: path))
        return
    }
    Issue.record("no segment of \(directory) holds the bytes")
}
