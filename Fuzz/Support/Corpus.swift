import Glibc

/// The inputs that a fuzzer's program keeps: those that reach something, and those that once broke
/// something. A test gives each to the harness again.
enum Corpus {
    private static let root: String = {
        // This file is compiled through links, so how far below the root it is differs.
        var path = Substring(#filePath)
        while !path.isEmpty, access(path + "/Fuzz/corpus", F_OK) != 0 {
            path = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
        }
        return String(path)
    }()

    /// Gives every input to `check` and returns how many there were.
    static func replay(_ target: String, _ check: (UnsafeRawBufferPointer) -> Void) -> Int {
        var count = 0
        for directory in ["corpus", "FailCases"] {
            let path = "\(root)/Fuzz/\(directory)/\(target)"
            for name in names(path) {
                guard let bytes = read("\(path)/\(name)") else { continue }
                bytes.withUnsafeBytes(check)
                count += 1
            }
        }
        return count
    }

    /// Writes first inputs where BSFG_WRITE_CORPUS is set: after a change of format they are made
    /// again from what the program writes.
    static func write(
        _ target: String, _ seeds: @autoclosure () throws -> [(name: String, bytes: [UInt8])]
    ) rethrows {
        guard getenv("BSFG_WRITE_CORPUS") != nil else { return }
        for seed in try seeds() {
            guard let file = fopen("\(root)/Fuzz/corpus/\(target)/\(seed.name)", "w") else {
                fatalError("\(target)/\(seed.name) cannot be written")
            }
            _ = seed.bytes.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) }
            fclose(file)
        }
    }

    private static func names(_ path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    private static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        var content: [UInt8] = []
        while case let count = fread(&bytes, 1, bytes.count, file), count > 0 {
            content += bytes[..<count]
        }
        return content
    }
}
