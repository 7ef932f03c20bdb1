import Facts
import Foundation
import Testing

/// Files that say what bytes are for ever. `BSFG_WRITE_GOLDEN=1` writes a file that is not there
/// yet; one that is there is never written over.
enum Golden {
    static func expect(
        _ bytes: [UInt8], equals path: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let lines = Hexadecimal.encode(bytes).chunks(of: 64).joined(separator: "\n") + "\n"
        try expect(text: lines, equals: path, sourceLocation: sourceLocation)
    }

    static func expect(
        text: String, equals path: String, replaces: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let file = Repository.root.appendingPathComponent(path)
        let exists = FileManager.default.fileExists(atPath: file.path)
        let writes = ProcessInfo.processInfo.environment["BSFG_WRITE_GOLDEN"] == "1"
        if writes, !exists || replaces {
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        let committed = try Repository.text(path)
        #expect(committed == text, "\(path)", sourceLocation: sourceLocation)
    }
}

extension String {
    fileprivate func chunks(of length: Int) -> [String] {
        let characters = Array(utf8)
        return stride(from: 0, to: characters.count, by: length).map {
            String(decoding: characters[$0..<min($0 + length, characters.count)], as: UTF8.self)
        }
    }
}
