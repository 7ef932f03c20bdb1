@testable import WriteAheadLog

/// Any bytes as a key run. Opening, looking keys up and inspecting never trap; in a run without damage
/// every key is found, however much of its index is in memory.
///
///     1    options: 1 checksums are made right
///     192  front of the header's page; the rest of it is zero
///     ...  parts, each a 16-bit length and its bytes: the contents of each page after the first, in
///          the order of the file; of the pages of the attachment all bytes
enum RunHarness {
    static let headerFrontBytes = 192
    private static let fileBytesMaximum: UInt64 = 64 << 10
    private static let directory = "/log"

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let isSealed = input.byte() & 1 != 0
        var header = input.take(headerFrontBytes)
        header += [UInt8](repeating: 0, count: KeyRunLayout.pageBytes - header.count)
        if isSealed { seal(header: &header) }
        guard var decoded = header.withUnsafeBytes({ try? KeyRunHeader($0) }),
            decoded.byteCount <= fileBytesMaximum
        else { return }
        checkRoundTrip(decoded)
        var file = header
        file += pages(decoded, &input, isSealed: isSealed)
        if isSealed {
            // The attachment's checksum stands in the header.
            let start = Int(decoded.attachmentPosition)
            let crc = file[start..<start + decoded.attachmentBytes].withUnsafeBytes {
                Checksum.of($0)
            }
            file.withUnsafeMutableBytes { $0.baseAddress!.set(crc, at: 84) }
            var page = Array(file[..<KeyRunLayout.pageBytes])
            seal(header: &page)
            file.replaceSubrange(..<KeyRunLayout.pageBytes, with: page)
            guard let again = page.withUnsafeBytes({ try? KeyRunHeader($0) }) else {
                harnessFailure("a header with another checksum is not read")
            }
            decoded = again
        }
        check(file, decoded)
    }

    private static func checkRoundTrip(_ header: KeyRunHeader) {
        var copy = header
        var page = [UInt8](repeating: 0, count: KeyRunLayout.pageBytes)
        page.withUnsafeMutableBytes { copy.write(at: $0.baseAddress!) }
        var decoded = page.withUnsafeBytes { try? KeyRunHeader($0) }
        decoded?.crc = header.crc
        guard decoded == header else { harnessFailure("a header is not read as it is written") }
    }

    private static func seal(header page: inout [UInt8]) {
        page.withUnsafeMutableBytes { bytes in
            let start = bytes.baseAddress!
            start.set(
                Checksum.extend(0, UnsafeRawPointer(start + 8), KeyRunLayout.pageBytes - 8), at: 4)
        }
    }

    /// All pages after the first.
    private static func pages(_ header: KeyRunHeader, _ input: inout HarnessInput, isSealed: Bool)
        -> [UInt8]
    {
        var file: [UInt8] = []
        for kind in [KeyRunPageKind.data, .fences, .filter] {
            for number in 0..<header.pageCount(kind) {
                var page = [UInt8](repeating: 0, count: KeyRunLayout.pageBytes)
                let contents = input.part().prefix(
                    KeyRunLayout.pageBytes - KeyRunLayout.pageHeaderBytes)
                let start = KeyRunLayout.pageHeaderBytes
                page.replaceSubrange(start..<start + contents.count, with: contents)
                if isSealed {
                    page.withUnsafeMutableBytes {
                        KeyRunPage.seal(
                            $0.baseAddress!, kind, count: header.itemCount(kind, number),
                            id: header.id, position: header.position(kind, number))
                    }
                }
                file += page
            }
        }
        let attachment = input.part().prefix(header.attachmentBytes)
        let room = Int(header.byteCount - header.attachmentPosition)
        return file + attachment + [UInt8](repeating: 0, count: room - attachment.count)
    }

    // MARK: The run

    private static func check(_ file: [UInt8], _ header: KeyRunHeader) {
        let entry = RunEntry(header)
        let disk = MemoryDisk()
        let path = directory + "/" + KeyRunLayout.fileName(id: header.id)
        disk.put(path, file)
        let damage = try? KeyRunInspector.verify(
            disk, directory: directory, identifier: header.identifier, entry: entry)
        let budget = KeyIndexBudget()
        guard let run = try? KeyRun(
            disk, directory: directory, identifier: header.identifier, entry: entry, budget: budget)
        else { return }
        _ = try? run.attachment()
        let keys = keys(file, header)
        let scratch = PageBuffer(pageCount: 1)
        for level in [KeyIndexLevel.onDisk, .folded, .whole] {
            var index: KeyRunIndex?
            if level != .onDisk {
                index = (try? KeyRunIndex.load(run, level, replacing: nil)) ?? nil
                if index == nil { continue }
            }
            for key in keys + [.zero] {
                let found = try? run.find(key, KeyHash(key), index, scratch: scratch)
                if let found = found ?? nil {
                    guard found.key == key else { harnessFailure("another key is found") }
                } else if damage?.isEmpty == true, key != .zero {
                    harnessFailure("a key of a sound run is not found (\(level))")
                }
            }
        }
    }

    private static func keys(_ file: [UInt8], _ header: KeyRunHeader) -> [Digest256] {
        file.withUnsafeBytes { bytes in
            (0..<header.dataPages).flatMap { number in
                (0..<header.itemCount(.data, number)).map { index in
                    let start = Int(header.position(.data, number)) + KeyRunLayout.pageHeaderBytes
                    return Digest256(
                        at: bytes.baseAddress! + start + index * KeyRunLayout.entryBytes)
                }
            }
        }
    }
}
